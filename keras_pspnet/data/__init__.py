"""Data: decoding, augmentation, pipelines, procedural scenes, data sets.

Examples:
    >>> from keras_pspnet.data import check, load
    >>> check(load("data", "val", strict=False))
    []
"""

from keras_pspnet.data.checks import check as check
from keras_pspnet.data.dataset import SegmentationData as SegmentationData
from keras_pspnet.data.dataset import label_pairs as label_pairs
from keras_pspnet.data.dataset import load as load
from keras_pspnet.data.dataset import pair_folders as pair_folders
from keras_pspnet.data.dataset import read_pair as read_pair
from keras_pspnet.data.image_files import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from keras_pspnet.data.image_files import MASK_SUFFIXES as MASK_SUFFIXES
from keras_pspnet.data.image_files import find_images as find_images
from keras_pspnet.data.images import MAX_PIXELS as MAX_PIXELS
from keras_pspnet.data.images import Source as Source
from keras_pspnet.data.images import read_image as read_image
from keras_pspnet.data.images import read_mask as read_mask
from keras_pspnet.data.sources.encodings import Encoding as Encoding
from keras_pspnet.data.sources.folders import (
    label_set_encoding as label_set_encoding,
)
from keras_pspnet.data.sources.label_files import (
    find_label_file as find_label_file,
)
from keras_pspnet.data.sources.listing import Issue as Issue
from keras_pspnet.data.sources.listing import check_complete as check_complete
from keras_pspnet.data.sources.listing import pair_files as pair_files
from keras_pspnet.data.sources.published import DATASETS as DATASETS
from keras_pspnet.data.synthetic.scenes import make_scene as make_scene
from keras_pspnet.data.synthetic.scenes import scene_arrays as scene_arrays
from keras_pspnet.data.synthetic.towns import make_town as make_town
