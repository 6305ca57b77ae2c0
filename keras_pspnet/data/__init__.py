"""Data: decoding, augmentation, pipelines, procedural scenes, data sets.

Example:
    >>> from keras_pspnet.data import check, load
    >>> data = load("camvid", "val", root="data")
    >>> check(data)
    []
"""

from keras_pspnet.data.checks import check as check
from keras_pspnet.data.readers import load as load
