"""Data: decoding, augmentation, pipelines, procedural scenes, data sets.

Examples:
    >>> from keras_pspnet.data import check, load
    >>> check(load("data", "val", strict=False))
    []
"""

from keras_pspnet.data.checks import check as check
from keras_pspnet.data.readers import load as load
