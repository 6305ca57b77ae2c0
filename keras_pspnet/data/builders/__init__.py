"""Builders of data sets that TensorFlow Datasets lacks.

Importing this module registers them. It requires TensorFlow Datasets (`pip
install keras-pspnet[tfds]`):

    import tensorflow_datasets as tfds

    import keras_pspnet.data.builders

    examples = tfds.load("camvid", split="train")
    examples = tfds.load("voc2012_segmentation/sbd", split="trainaug")

`keras_pspnet.data.sources.tfds` reads them by index, as images and masks.
"""

from keras_pspnet.data.builders.camvid.dataset_builder import (
    Builder as CamVid,
)
from keras_pspnet.data.builders.voc2012_segmentation.dataset_builder import (
    Builder as Voc2012Segmentation,
)

__all__ = ["CamVid", "Voc2012Segmentation"]
