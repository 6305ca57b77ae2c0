"""Data sets, decoding, augmentation, input pipelines and procedural scenes.

Examples:
    >>> from keras_pspnet.data import check, load
    >>> check(load("data", "val", strict=False))
    []
"""

from keras_pspnet.data.checks import check as check
from keras_pspnet.data.dataset import SegmentationData as SegmentationData
from keras_pspnet.data.dataset import load as load
from keras_pspnet.data.division import class_counts as class_counts
from keras_pspnet.data.division import divide as divide
from keras_pspnet.data.image_files import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from keras_pspnet.data.image_files import MASK_SUFFIXES as MASK_SUFFIXES
from keras_pspnet.data.image_files import find_images as find_images
from keras_pspnet.data.images import MAX_PIXELS as MAX_PIXELS
from keras_pspnet.data.images import RGB as RGB
from keras_pspnet.data.images import Source as Source
from keras_pspnet.data.images import image_georeference as image_georeference
from keras_pspnet.data.images import image_windows as image_windows
from keras_pspnet.data.images import read_image as read_image
from keras_pspnet.data.images import read_mask as read_mask
from keras_pspnet.data.pairs import read_pair as read_pair
from keras_pspnet.data.sources.changes import ignore as ignore
from keras_pspnet.data.sources.encodings import Encoding as Encoding
from keras_pspnet.data.sources.encodings import (
    UnknownValuesError as UnknownValuesError,
)
from keras_pspnet.data.sources.folders import (
    check_label_file as check_label_file,
)
from keras_pspnet.data.sources.folders import (
    label_set_encoding as label_set_encoding,
)
from keras_pspnet.data.sources.label_files import LABEL_FILE as LABEL_FILE
from keras_pspnet.data.sources.label_files import (
    find_label_file as find_label_file,
)
from keras_pspnet.data.sources.label_files import (
    read_label_file as read_label_file,
)
from keras_pspnet.data.sources.listing import FilePair as FilePair
from keras_pspnet.data.sources.listing import Issue as Issue
from keras_pspnet.data.sources.listing import Listing as Listing
from keras_pspnet.data.sources.listing import Sample as Sample
from keras_pspnet.data.sources.listing import SplitError as SplitError
from keras_pspnet.data.sources.listing import check_complete as check_complete
from keras_pspnet.data.sources.pairing import pair_files as pair_files
from keras_pspnet.data.sources.published import DATASETS as DATASETS
from keras_pspnet.data.statistics import BandStatistics as BandStatistics
from keras_pspnet.data.statistics import band_statistics as band_statistics
from keras_pspnet.data.synthetic.scenes import make_scene as make_scene
from keras_pspnet.data.synthetic.scenes import scene_arrays as scene_arrays
from keras_pspnet.data.synthetic.towns import make_town as make_town
from keras_pspnet.data.write import label_file_text as label_file_text
from keras_pspnet.data.write import write_pairs as write_pairs
