"""Tests of resizing and adaptive pooling against NumPy definitions."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from keras import ops

from keras_pspnet.layers.resize import (
    Resize,
    adaptive_pool,
    adaptive_pooling_matrix,
    apply_height,
    interpolation_matrix,
    resize,
    spatial_size,
)

SIZES = (1, 2, 3, 5, 6, 7, 12, 30, 45, 60, 61)
POOLS = {
    "average": reference.adaptive_average_pool,
    "max": reference.adaptive_max_pool,
}


def random_map(
    height: int, width: int, channels: int = 3, dtype: str = "float32"
) -> np.ndarray:
    rng = np.random.default_rng(height * 100 + width)
    return rng.normal(size=(2, height, width, channels)).astype(dtype)


def oracle_interpolation(
    in_size: int, out_size: int, align_corners: bool
) -> np.ndarray:
    """Resizes the identity: column j is the response to sample j."""
    identity = np.eye(in_size)[None, :, None, :]
    return reference.bilinear(identity, (out_size, 1), align_corners)[0, :, 0]


def oracle_pooling(size: int, bins: int) -> np.ndarray:
    matrix = np.zeros((bins, size))
    for row, (start, end) in zip(
        matrix, reference.bin_edges(size, bins), strict=True
    ):
        row[start:end] = 1 / (end - start)
    return matrix


@pytest.fixture(scope="module")
def run_time_interpolation():
    """Both conventions, with sizes that the graph does not know."""
    return {
        align: tf.function(
            lambda n_in, n_out, align=align: interpolation_matrix(
                n_in, n_out, align
            ),
            input_signature=[tf.TensorSpec((), tf.int32)] * 2,
        )
        for align in (False, True)
    }


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("in_size", SIZES)
def test_interpolation_matrix(
    in_size: int, align_corners: bool, run_time_interpolation
) -> None:
    for out_size in SIZES:
        want = oracle_interpolation(in_size, out_size, align_corners)
        fixed = interpolation_matrix(
            in_size, out_size, align_corners, "float64"
        )
        assert keras.backend.standardize_dtype(fixed.dtype) == "float64"
        np.testing.assert_allclose(fixed, want, atol=1e-12)
        run_time = run_time_interpolation[align_corners](in_size, out_size)
        np.testing.assert_allclose(run_time, want, atol=1e-5)
        for matrix in (fixed, run_time):
            assert matrix.shape == (out_size, in_size)
            np.testing.assert_allclose(np.sum(matrix, 1), 1, atol=1e-5)
            assert np.min(matrix) >= 0


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_adaptive_pooling_matrix(bins: int) -> None:
    run_time = tf.function(
        lambda size: adaptive_pooling_matrix(size, bins),
        input_signature=[tf.TensorSpec((), tf.int32)],
    )
    for size in range(1, 62):
        want = oracle_pooling(size, bins)
        fixed = adaptive_pooling_matrix(size, bins, "float64")
        np.testing.assert_allclose(fixed, want, rtol=1e-14)
        np.testing.assert_allclose(np.sum(fixed, 1), 1, rtol=1e-12)
        np.testing.assert_allclose(run_time(size), want, rtol=1e-6)


def test_known_bins_overlap_as_in_pytorch() -> None:
    # torch.nn.AdaptiveAvgPool1d(4) of 0..13 gives 1.5, 4.5, 8.5, 11.5.
    pooled = ops.matmul(
        adaptive_pooling_matrix(14, 4), np.arange(14.0)[:, None]
    )
    np.testing.assert_allclose(pooled[:, 0], [1.5, 4.5, 8.5, 11.5])


@pytest.fixture(scope="module")
def resize_unknown():
    return {
        align: tf.function(
            lambda x, h, w, align=align: resize(x, (h, w), align),
            input_signature=[
                tf.TensorSpec((None, None, None, 3)),
                tf.TensorSpec((), tf.int32),
                tf.TensorSpec((), tf.int32),
            ],
        )
        for align in (False, True)
    }


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    "source, target",
    [
        ((1, 1), (5, 7)),
        ((6, 6), (61, 45)),
        ((61, 45), (6, 3)),
        ((2, 5), (5, 2)),
        ((8, 7), (1, 1)),
        ((9, 9), (9, 9)),
    ],
)
def test_resize(
    source: tuple[int, int],
    target: tuple[int, int],
    align_corners: bool,
    resize_unknown,
) -> None:
    x = random_map(*source)
    want = reference.bilinear(x, target, align_corners)
    eager = resize(x, target, align_corners)
    graph = tf.function(lambda x: resize(x, target, align_corners))(x)
    unknown = resize_unknown[align_corners](x, *target)
    for result in (eager, graph):
        np.testing.assert_allclose(result, want, atol=3e-6)
    # Positions computed at run time are float32, like PyTorch's.
    np.testing.assert_allclose(unknown, want, atol=2e-5)
    double = resize(x.astype("float64"), target, align_corners)
    np.testing.assert_allclose(double, want, atol=1e-12)


def test_resize_keeps_half_precision_and_its_constants() -> None:
    x = np.full((1, 3, 4, 2), 1.5)
    for dtype in ("bfloat16", "float16"):
        result = resize(ops.cast(x, dtype), (7, 9))
        assert keras.backend.standardize_dtype(result.dtype) == dtype
        # Weights 1/3 and 2/3 do not add up to 1 in half precision.
        np.testing.assert_allclose(ops.cast(result, "float32"), 1.5, rtol=0.02)


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_adaptive_pool(bins: int, pooling: str) -> None:
    unknown = tf.function(
        lambda x: adaptive_pool(x, bins, pooling),
        input_signature=[tf.TensorSpec((None, None, None, 3))],
    )
    # Both sides divide (60, 60), one does, none does, bins exceed the map.
    for size in ((60, 60), (12, 7), (61, 45), (2, 5), (1, 1), (1, 6)):
        x = random_map(*size)
        want = POOLS[pooling](x, bins)
        for result in (adaptive_pool(x, bins, pooling), unknown(x)):
            assert result.shape == (2, bins, bins, 3)
            np.testing.assert_allclose(result, want, atol=2e-6)
        double = adaptive_pool(x.astype("float64"), bins, pooling)
        np.testing.assert_allclose(double, want, atol=1e-14)


def test_unknown_sizes_in_float64() -> None:
    keras.config.set_floatx("float64")
    x = random_map(13, 9, dtype="float64")
    unknown = tf.TensorSpec((None, None, None, 3), "float64")
    pool = tf.function(lambda x: adaptive_pool(x, 6, "average"), [unknown])
    want = reference.adaptive_average_pool(x, 6)
    np.testing.assert_allclose(pool(x), want, rtol=1e-6, atol=1e-6)


def test_sizes_that_are_known_stay_known() -> None:
    x = keras.Input((13, 9, 4))
    assert adaptive_pool(x, 3).shape == (None, 3, 3, 4)
    assert adaptive_pool(x, 3, "max").shape == (None, 3, 3, 4)
    assert resize(x, (61, 45)).shape == (None, 61, 45, 4)
    assert apply_height(np.ones((5, 13), "float32"), x).shape == (None, 5, 9, 4)
    assert spatial_size(x) == (13, 9)


@pytest.mark.parametrize("align_corners", [False, True])
def test_resize_takes_its_size_from_another_map(align_corners: bool) -> None:
    layer = Resize(align_corners)
    x, like = random_map(8, 6), random_map(61, 45, channels=1)
    want = reference.bilinear(x, (61, 45), align_corners)
    np.testing.assert_allclose(layer([x, like]), want, atol=1e-5)
    unknown = tf.function(
        lambda x, like: layer([x, like]),
        input_signature=[
            tf.TensorSpec((None, None, None, 3)),
            tf.TensorSpec((None, None, None, 1)),
        ],
    )
    np.testing.assert_allclose(unknown(x, like), want, atol=2e-5)
    shapes = [(None, 8, 6, 5), (None, 61, None, 3)]
    assert layer.compute_output_shape(shapes) == (None, 61, None, 5)
    keras.config.set_dtype_policy("float64")
    assert Resize().compute_dtype == "float64"
