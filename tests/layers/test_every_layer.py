"""Tests of what all layers have in common."""

import keras
import numpy as np
import pytest
from layer_checks import run_layer_test
from support import random_map

from keras_pspnet.layers import (
    BatchNorm,
    GlobalSpatialDropout2D,
    InputNormalization,
    PyramidConv,
    PyramidPoolingModule,
    Resize,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3))
IMAGES = IMAGES.astype("float32")

# Name -> what makes the layer, its inputs, its dtype in mixed precision.
LAYERS = {
    "module": (PyramidPoolingModule, random_map(13, 9), "bfloat16"),
    "module of all options": (
        lambda: PyramidPoolingModule(
            (1, 5),
            filters=7,
            pooling="max",
            align_corners=True,
            use_bias=True,
        ),
        random_map(5, 7),
        "bfloat16",
    ),
    "module without reduction": (
        lambda: PyramidPoolingModule((2, 3), reduce=False),
        random_map(6, 12),
        "bfloat16",
    ),
    "shortcut": (
        lambda: PyramidConv(
            3,
            PyramidPoolingModule((2, 5), filters=4, align_corners=True),
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.5),
            use_bias=True,
        ),
        random_map(13, 9),
        "bfloat16",
    ),
    "batch normalization": (
        lambda: BatchNorm(momentum=0.5, epsilon=1e-3),
        random_map(5, 7),
        "bfloat16",
    ),
    "dropout": (
        lambda: GlobalSpatialDropout2D(0.3, seed=4),
        random_map(5, 7),
        "bfloat16",
    ),
    # Images have more levels than bfloat16 has digits.
    "normalization": (
        lambda: InputNormalization((1, 2, 3), (4, 5, 6)),
        IMAGES,
        "float32",
    ),
    # Logits stay float32.
    "resize": (
        lambda: Resize(align_corners=True),
        [random_map(5, 7), random_map(13, 9, channels=1)],
        "float32",
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name: str) -> None:
    make, inputs, half = LAYERS[name]
    run_layer_test(make, inputs, half)
