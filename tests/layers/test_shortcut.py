"""Tests that the shortcut is the convolution over the concatenation."""

import itertools
from collections.abc import Callable
from typing import Any

import keras
import pytest
import reference
import tensorflow as tf
from keras import ops
from slow_cases import slow_but
from support import (
    CHANNELS,
    OUT,
    assert_close,
    make_shortcut,
    numpy,
    operations,
    oracle_pyramid,
    random_map,
)

from keras_pspnet.layers.pyramid import PyramidConv, PyramidPoolingModule

SIZES = ((61, 45), (60, 60), (12, 18), (1, 1), (2, 5))
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def make_plain(shortcut: PyramidConv) -> tuple[Callable, keras.layers.Layer]:
    """The module and a `Conv2D` over it, with the shortcut's values."""
    conv = keras.layers.Conv2D(
        OUT, 3, padding="same", use_bias=False, dtype=shortcut.dtype_policy
    )
    conv.build(shortcut.pyramid.compute_output_shape((3, 9, 9, CHANNELS)))
    conv.kernel.assign(shortcut.kernel)

    def call(x: Any, training: bool) -> Any:
        return conv(shortcut.pyramid(x, training=training))

    return call, conv


def variables(shortcut: PyramidConv) -> list[Any]:
    """What gradients are compared for: the kernel, then the pyramid's own."""
    pyramid = shortcut.pyramid.trainable_variables
    return [variable.value for variable in (shortcut.kernel, *pyramid)]


def value_and_gradients(
    call: Callable, sources: list[Any], training: bool
) -> Callable:
    """Output, and gradients of a random functional of it."""

    def run(x: Any, cotangent: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = call(x, training=training)
            loss = ops.sum(out * cotangent)
        return [out, *tape.gradient(loss, [x, *sources])]

    return run


def both_forms(
    dtype: str, training: bool, **kwargs: Any
) -> tuple[Callable, Callable]:
    """The shortcut in `dtype`, the plain form in float64.

    In float32 the gradient of the plain form's resizing, which adds up
    thousands of pixels one by one, is itself off by 2e-5.
    """
    shortcut = make_shortcut(dtype, **kwargs)
    exact = make_shortcut("float64", **kwargs)
    plain, conv = make_plain(exact)
    return (
        value_and_gradients(shortcut, variables(shortcut), training),
        value_and_gradients(
            plain, [conv.kernel.value, *variables(exact)[1:]], training
        ),
    )


def assert_forms_agree(
    forms: tuple[Callable, Callable], size: tuple[int, int], dtype: str
) -> None:
    results = [
        form(
            tf.constant(random_map(*size), form_dtype),
            tf.constant(random_map(*size, channels=OUT), form_dtype),
        )
        for form, form_dtype in zip(forms, (dtype, "float64"), strict=True)
    ]
    for got, want in zip(*results, strict=True):
        assert got.dtype == dtype
        assert_close(got, want, TOLERANCE[dtype])


@pytest.mark.parametrize(
    "dtype, align_corners, training",
    slow_but(
        [
            ("float32", False, True),
            ("float64", True, True),
            ("float64", False, False),
        ],
        itertools.product(TOLERANCE, (False, True), (False, True)),
    ),
)
def test_shortcut_equals_concatenation(
    dtype: str, align_corners: bool, training: bool
) -> None:
    forms = both_forms(dtype, training, align_corners=align_corners)
    for size in SIZES:
        assert_forms_agree(forms, size, dtype)


@pytest.mark.parametrize(
    "dtype, training, align_corners",
    slow_but(
        [("float32", True, False)],
        [
            (*case, corners)
            for case in (("float32", True), ("float64", False))
            for corners in (False, True)
        ],
    ),
)
def test_shortcut_equals_concatenation_at_unknown_sizes(
    dtype: str, training: bool, align_corners: bool
) -> None:
    forms = both_forms(dtype, training, align_corners=align_corners)
    graphs = tuple(
        tf.function(
            form,
            input_signature=[
                tf.TensorSpec((None, None, None, channels), form_dtype)
                for channels in (CHANNELS, OUT)
            ],
        )
        for form, form_dtype in zip(forms, (dtype, "float64"), strict=True)
    )
    for size in SIZES:
        assert_forms_agree(graphs, size, dtype)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"pooling": "max"},
        {"reduce": False},
        {"filters": 3},
        {"bin_sizes": ()},
        {"bin_sizes": (4, 7)},
    ],
)
def test_shortcut_equals_concatenation_for_every_module(
    kwargs: dict[str, Any],
) -> None:
    forms = both_forms("float64", training=True, **kwargs)
    for size in ((13, 9), (12, 12)):
        assert_forms_agree(forms, size, "float64")


@pytest.mark.parametrize("size", [(13, 9), (12, 18), (2, 5), (1, 1)])
@pytest.mark.parametrize("align_corners", [False, True])
def test_shortcut_against_the_definition(
    align_corners: bool, size: tuple[int, int]
) -> None:
    shortcut = make_shortcut("float64", align_corners=align_corners)
    x = random_map(*size)
    features = oracle_pyramid(shortcut.pyramid, x, training=False)
    want = reference.conv2d(features, numpy(shortcut.kernel), padding=1)
    for call in (shortcut, tf.function(lambda x: shortcut(x))):
        assert_close(call(x.astype("float64")), want, 1e-12)


def test_shortcut_never_forms_the_concatenation() -> None:
    shortcut = make_shortcut()
    function = tf.function(lambda x: shortcut(x))
    for operation in operations(function, random_map(61, 45)):
        for tensor in operation.outputs:
            if tensor.shape.rank == 4:
                assert tuple(tensor.shape[1:]) != (61, 45, CHANNELS + 4 * 2)


@pytest.mark.parametrize("filters", [0, -1, 2.0, None, True])
def test_shortcut_refuses_filters(filters: Any) -> None:
    message = "`filters` must be a positive integer. Received: filters="
    with pytest.raises(ValueError, match=message):
        PyramidConv(filters, PyramidPoolingModule())
