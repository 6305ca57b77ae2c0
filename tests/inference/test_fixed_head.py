"""Tests of the head of known size: same numbers, operations of engines."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from support import (
    CHANNELS,
    assert_close,
    oracle_pyramid,
    picture,
    random_map,
    randomize,
    tiny_pspnet,
)

from keras_pspnet.inference.fixed_head import FixedPyramid, pool, resize
from keras_pspnet.inference.fold import as_constants, fold
from keras_pspnet.inference.predictor import predict_logits
from keras_pspnet.layers import PyramidPoolingModule, Resize

SIZES = ((60, 60), (61, 45), (12, 18), (5, 12), (2, 5), (1, 1))
BINS = (1, 2, 3, 6)
# Of graphs for every engine; the last line holds no operations of a network.
TAKEN = {
    *("Conv2D", "MaxPool", "ResizeBilinear", "Relu", "AddV2", "BiasAdd"),
    *("Sub", "RealDiv", "Mul", "Pad", "PadV2", "StridedSlice", "ConcatV2"),
    *("Reshape", "Transpose", "Squeeze", "ExpandDims", "Cast"),
    *("Const", "Placeholder", "Identity", "NoOp"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_pooling_is_adaptive(size, pooling) -> None:
    x = random_map(*size)
    oracle = getattr(reference, f"adaptive_{pooling}_pool")
    for bins, cells in zip(BINS, pool(x, BINS, pooling), strict=True):
        assert_close(cells, oracle(x, bins), 1e-6)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_resizing_is_bilinear(size, align_corners) -> None:
    x = random_map(7, 6)
    assert_close(
        resize(x, size, align_corners),
        reference.bilinear(x, size, align_corners),
        2e-6,
    )


def test_a_pyramid_without_the_shortcut() -> None:
    x = random_map(13, 18)
    layer = FixedPyramid(BINS, align_corners=True)
    layer.build(x.shape)
    randomize(layer)
    want = oracle_pyramid(layer, x, training=False)
    assert_close(layer(x, training=False), want, 1e-5)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"align_corners": True}, (48, 64)),
        ({"pooling": "max", "bin_sizes": (2, 3)}, (65, 41)),
        ({"reduce": False, "bin_sizes": (1, 4)}, (8, 9)),
        pytest.param({}, (65, 41), marks=pytest.mark.slow),
        pytest.param({"bin_sizes": ()}, (48, 64), marks=pytest.mark.slow),
    ],
)
def test_a_network_keeps_its_logits(arguments, size) -> None:
    model = tiny_pspnet(**arguments).inference_model()
    randomize(model.get_layer("head_bn"))
    images = np.stack([picture(*size), picture(*size)[::-1]])
    images = images.astype("float32")
    run = tf.function(as_constants(fold(model, size, fixed_head=True)))
    traced = run.get_concrete_function(tf.TensorSpec(images.shape))
    logits = traced(tf.constant(images))
    assert_close(logits, predict_logits(model, images), 1e-5)
    found = traced.graph.get_operations()
    assert {each.type for each in found} <= TAKEN
    ranks = [len(out.shape) for each in found for out in each.outputs]
    assert max(ranks) == 4


def test_other_people_s_pyramids_have_it_too() -> None:
    image = keras.Input((None, None, CHANNELS))

    x = keras.layers.AveragePooling2D(2)(image)
    x = Resize()([PyramidPoolingModule((2, 3))(x), image])
    model = keras.Model(image, x)
    images = random_map(20, 26)
    network = fold(model, (20, 26), fixed_head=True)
    assert_close(network(images), model(images), 1e-5)
    run = tf.function(as_constants(network))
    graph = run.get_concrete_function(
        tf.TensorSpec((1, 20, 26, CHANNELS))
    ).graph
    types = [each.type for each in graph.get_operations()]
    assert types.count("ResizeBilinear") == 3
    assert "MatMul" not in types and "BatchMatMulV2" not in types


def test_an_unknown_size_keeps_products_of_matrices() -> None:
    model = tiny_pspnet().inference_model()
    network = fold(model, (None, 64), fixed_head=True)
    images = np.stack([picture(41, 64)]).astype("float32")
    assert_close(network(images), predict_logits(model, images), 1e-5)
