"""Tests that all decoders of JPEG files in this package give the same bits."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from image_files import encoded
from PIL import Image
from support import picture

from keras_pspnet.data.images import read_image
from keras_pspnet.export.decode_graph import decode

FORMS: dict[str, dict[str, Any]] = {
    "as cameras write": {"quality": 95, "subsampling": "4:2:0"},
    "full colors": {"quality": 90, "subsampling": "4:4:4"},
    "half as many columns": {"quality": 75, "subsampling": "4:2:2"},
    "coarse": {"quality": 10},
    "progressive": {"quality": 85, "progressive": True},
    "optimized": {"quality": 85, "optimize": True},
    "restarts": {"quality": 85, "restart_marker_blocks": 2},
}


@tf.function(input_signature=[tf.TensorSpec((), tf.string)])
def in_graph(data: tf.Tensor) -> Any:
    return decode(data, 10**6)


def assert_same(data: bytes) -> np.ndarray:
    """Compares Pillow's reading with that of exported graphs."""
    want = read_image(data)
    image, status = in_graph(tf.constant(data))
    assert status == b"OK"
    np.testing.assert_array_equal(image, want)
    return want


@pytest.mark.parametrize("size", [(37, 50), (64, 48), (1, 1), (7, 200)])
@pytest.mark.parametrize("form", FORMS)
def test_color(form: str, size: tuple[int, int]) -> None:
    data = encoded(picture(*size), form="JPEG", **FORMS[form])
    want = assert_same(data)
    accurate = tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE")
    np.testing.assert_array_equal(accurate, want)


@pytest.mark.parametrize("form", ["coarse", "progressive"])
def test_grey(form: str) -> None:
    want = assert_same(
        encoded(picture(37, 50)[..., 0], form="JPEG", **FORMS[form])
    )
    np.testing.assert_array_equal(want[..., 0], want[..., 2])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["II", "MM"])
def test_orientations(orientation: int, order: str) -> None:
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[274] = orientation
    data = encoded(
        picture(37, 50), exif=exif, form="JPEG", **FORMS["as cameras write"]
    )
    assert order.encode() in data[:64]
    want = assert_same(data)
    assert want.shape[:2] == ((37, 50) if orientation < 5 else (50, 37))


def test_the_fast_transform_would_be_another() -> None:
    # Else the tests above would not tell the two apart.
    data = encoded(picture(64, 48), form="JPEG", **FORMS["full colors"])
    fast = tf.io.decode_jpeg(data, 3, dct_method="INTEGER_FAST")
    assert (fast.numpy() != read_image(data)).any()
