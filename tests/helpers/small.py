"""A model that trains fast, for tests that need any network."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_pspnet.layers import (
    InputNormalization,
    PyramidConv,
    PyramidPoolingModule,
    Resize,
)
from keras_pspnet.layers.batch_norm import BatchNorm
from keras_pspnet.models.trainer import SegmentationTrainer

CLASSES = 3
SIDES = (17, 21)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (9, *SIDES, 3)).astype("uint8")
MASKS = RNG.integers(0, CLASSES, (9, *SIDES)).astype("uint8")
MASKS[:, 2:5] = 255


class Small(SegmentationTrainer):
    """Both heads and a pyramid on one convolution: fast to train."""

    def __init__(self, aux=True, bins=(1, 2), classes=CLASSES):
        image = keras.Input((None, None, 3))
        x = InputNormalization((120,) * 3, (60,) * 3)(image)
        features = layers.Conv2D(4, 3, strides=4, padding="same")(x)
        pyramid = PyramidPoolingModule(bins, dtype="float32")
        head = BatchNorm()(PyramidConv(4, pyramid)(features))

        def logits(x):
            return Resize()([layers.Conv2D(classes, 1)(x), image])

        outputs = logits(layers.ReLU()(head))
        if aux:
            outputs = {"main": outputs, "aux": logits(features)}
        super().__init__(inputs=image, outputs=outputs)
        self.num_classes, self.aux, self.pyramid = classes, aux, pyramid


def small(aux=True, bins=(1, 2), classes=CLASSES, eager=True, **kwargs):
    keras.utils.set_random_seed(0)
    model = Small(aux, bins, classes)
    model.compile(run_eagerly=eager, **kwargs)
    return model


def values(model):
    return [np.array(variable.value) for variable in model.variables]


def assert_same(got, wanted, tolerance=1e-5):
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def batches(count=4, size=2):
    """Returns a data set whose batch size the graph knows."""
    data = tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).take(count)
    return data.batch(size, drop_remainder=True)


def generator(x=IMAGES, y=MASKS):
    while True:
        yield x[:2], y[:2]


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return IMAGES[:2], MASKS[:2]
