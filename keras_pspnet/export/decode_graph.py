"""Decodes images inside a graph: a bad one gets a status, not an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

OK = "OK"
EMPTY = "EMPTY"
UNKNOWN = "NOT_JPEG_OR_PNG"
TOO_LARGE = "TOO_LARGE"
DAMAGED = "DAMAGED"

_PNG_START = b"\x89PNG\r\n\x1a\n"
# EXIF is in one segment near the start, at most this long.
_HEADER_BYTES = 2**16
_EXIF = b"Exif\x00\x00"
_ORIENTATION = 0x0112
_IFD_ENTRIES = 64


def decode(data: Any, max_pixels: int, channels: int = 3) -> tuple[Any, Any]:
    """Decodes one JPEG or PNG file as `read_image` does.

    The size is read from the header before anything is decoded. JPEG files are
    turned upright by their EXIF orientation.

    Args:
        data: Scalar string, the file.
        max_pixels: Larger images are not decoded.
        channels: 3 for RGB, 1 for gray.

    Returns:
        float32 (H, W, channels), and a scalar string: OK, or the reason why
        the image is empty.
    """
    is_jpeg = tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff"
    is_png = tf.strings.substr(data, 0, len(_PNG_START)) == _PNG_START

    def png_size() -> Any:
        return _numbers(data, 16, 8, tf.int32, little_endian=False)[::-1]

    def jpeg_size() -> Any:
        return _attempt(
            lambda each: tf.image.extract_jpeg_shape(each)[:2], data, no_size()
        )

    def no_size() -> Any:
        return tf.zeros([2], tf.int32)

    sizes = [(is_jpeg, jpeg_size), (is_png, png_size)]
    size = tf.cast(tf.case(sizes, default=no_size), tf.int64)
    # Each side is below 2^31, so the product cannot overflow.
    small = tf.reduce_prod(size) <= max_pixels
    whole = tf.reduce_all(size > 0)

    def decoded_image() -> Any:
        # TensorFlow's decoders accept each other's formats, and would decode
        # every frame of a GIF: choose the decoder by the file's start.
        return tf.cond(
            is_jpeg,
            lambda: _attempt(decode_jpeg, data, nothing()),
            lambda: _attempt(decode_png, data, nothing()),
        )

    def decode_jpeg(data: Any) -> Any:
        # Pillow uses the accurate transform, too.
        image = tf.io.decode_jpeg(data, channels, dct_method="INTEGER_ACCURATE")
        return _upright(image, _orientation(data))

    def decode_png(data: Any) -> Any:
        return tf.io.decode_png(data, channels)

    def nothing() -> Any:
        return tf.zeros([0, 0, channels], tf.uint8)

    image = tf.cond(small & whole, decoded_image, nothing)
    image = tf.ensure_shape(image, [None, None, channels])
    decoded = tf.size(image) > 0
    status = tf.constant(OK)
    for wrong, name in (
        (~decoded, DAMAGED),
        (~small, TOO_LARGE),
        (~(is_jpeg | is_png), UNKNOWN),
        (tf.strings.length(data) == 0, EMPTY),
    ):
        status = tf.where(wrong, name, status)
    return tf.cast(image, tf.float32), status


def _attempt(function: Callable[[Any], Any], data: Any, instead: Any) -> Any:
    """Returns `function(data)`, or `instead` if that raises.

    `ignore_errors` of a data set is TensorFlow's only construct that continues
    after an error, and it works in graphs that servers load.
    """
    dataset = tf.data.Dataset.from_tensors(data).map(function)
    dataset = dataset.ignore_errors().concatenate(
        tf.data.Dataset.from_tensors(instead)
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.take(1).with_options(options).get_single_element()


def _upright(image: Any, orientation: Any) -> Any:
    """Undoes an EXIF orientation of 1 to 8."""
    image = tf.cond(
        orientation >= 5,
        lambda: tf.transpose(image, (1, 0, 2)),
        lambda: image,
    )
    flipped = _is_one_of(orientation, (2, 3, 6, 7))
    image = tf.cond(flipped, lambda: image[:, ::-1], lambda: image)
    upside_down = _is_one_of(orientation, (3, 4, 7, 8))
    return tf.cond(upside_down, lambda: image[::-1], lambda: image)


def _is_one_of(value: Any, choices: tuple[int, ...]) -> Any:
    return tf.reduce_any(value == tf.constant(choices))


def _orientation(data: Any) -> Any:
    """Reads the EXIF orientation of a JPEG file; 1 if it has none."""
    header = tf.strings.substr(data, 0, _HEADER_BYTES)
    parts = tf.strings.split(header, _EXIF, maxsplit=1)
    # The EXIF data is a TIFF file, which starts with II or MM.
    tiff = tf.concat([parts, [b""]], axis=0)[1]
    return tf.cond(
        tf.strings.substr(tiff, 0, 1) == b"I",
        lambda: _orientation_of(tiff, little_endian=True),
        lambda: _orientation_of(tiff, little_endian=False),
    )


def _orientation_of(tiff: Any, little_endian: bool) -> Any:
    directory = _numbers(tiff, 4, 4, tf.int32, little_endian)[0]
    count = _numbers(tiff, directory, 2, tf.uint16, little_endian)[0]
    # An entry has 12 bytes: tag, type, count, and here a short value.
    length = 12 * _IFD_ENTRIES
    entries = _numbers(tiff, directory + 2, length, tf.uint16, little_endian)
    entries = tf.cast(tf.reshape(entries, [-1, 6]), tf.int32)
    right = entries[:, 0] == _ORIENTATION
    right &= tf.range(_IFD_ENTRIES) < tf.cast(count, tf.int32)
    value = tf.reduce_max(tf.where(right, entries[:, 4], 0))
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _numbers(
    data: Any, start: Any, length: int, dtype: Any, little_endian: bool
) -> Any:
    """Reads `length` bytes of a string as numbers, 0 beyond its end."""
    start = tf.clip_by_value(start, 0, tf.strings.length(data))
    part = tf.strings.substr(data, start, length)
    return tf.io.decode_raw(
        part[None], dtype, little_endian, fixed_length=length
    )[0]
