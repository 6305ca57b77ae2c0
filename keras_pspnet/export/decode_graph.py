"""Decodes images inside a graph: a bad one has a status, and no error."""

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
# EXIF stands in one segment at the front, which its length keeps below this.
_HEADER_BYTES = 2**16
_EXIF = b"Exif\x00\x00"
_ORIENTATION = 0x0112
_IFD_ENTRIES = 64


def decode(data: Any, max_pixels: int) -> tuple[Any, Any]:
    """Decodes one JPEG or PNG file as `read_image` does.

    Sizes are read from the header before anything is decoded. JPEG files are
    turned upright by their EXIF orientation.

    Args:
        data: Scalar string, the file.
        max_pixels: Larger images are not decoded.

    Returns:
        float32 (H, W, 3), and a scalar string: OK, or why the image is
        one black pixel.
    """
    is_jpeg = tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff"
    is_png = tf.strings.substr(data, 0, len(_PNG_START)) == _PNG_START

    def png_size() -> Any:
        header = _integers(tf.strings.substr(data, 0, 24), 24)
        return tf.stack([_big_endian(header, 20), _big_endian(header, 16)])

    def jpeg_size() -> Any:
        return _attempt(
            lambda each: tf.cast(
                tf.image.extract_jpeg_shape(each)[:2], tf.int64
            ),
            data,
            tf.zeros([2], tf.int64),
        )

    size = tf.case(
        [(is_jpeg, jpeg_size), (is_png, png_size)],
        default=lambda: tf.zeros([2], tf.int64),
    )
    # Sizes below 2^31 each: the product cannot overflow.
    small = tf.reduce_prod(size) <= max_pixels
    whole = tf.reduce_all(size > 0)

    def decoded_image() -> Any:
        # TensorFlow's decoders take each other's formats, among them GIF,
        # whose frames would all be decoded: the format is settled here.
        return tf.cond(
            is_jpeg,
            lambda: _attempt(_decode_jpeg, data, _nothing()),
            lambda: _attempt(_decode_png, data, _nothing()),
        )

    image = tf.cond(small & whole, decoded_image, _nothing)
    image = tf.ensure_shape(image, [None, None, 3])
    decoded = tf.size(image) > 0
    status = tf.case(
        [
            (tf.strings.length(data) == 0, lambda: tf.constant(EMPTY)),
            (~(is_jpeg | is_png), lambda: tf.constant(UNKNOWN)),
            (~small, lambda: tf.constant(TOO_LARGE)),
            (~decoded, lambda: tf.constant(DAMAGED)),
        ],
        default=lambda: tf.constant(OK),
    )
    image = tf.cond(
        decoded, lambda: image, lambda: tf.zeros([1, 1, 3], tf.uint8)
    )
    return tf.cast(image, tf.float32), status


def _attempt(function: Callable[[Any], Any], data: Any, instead: Any) -> Any:
    """Returns `function(data)`, or `instead` where that raises.

    A data set that drops what fails is the one construct of TensorFlow that
    goes on after an error, and it works in graphs that servers load.
    """
    dataset = tf.data.Dataset.from_tensors(data).map(function)
    dataset = dataset.ignore_errors().concatenate(
        tf.data.Dataset.from_tensors(instead)
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.take(1).with_options(options).get_single_element()


def _nothing() -> Any:
    return tf.zeros([0, 0, 3], tf.uint8)


def _decode_png(data: Any) -> Any:
    return tf.io.decode_png(data, channels=3)


def _decode_jpeg(data: Any) -> Any:
    # The accurate transform is the one that Pillow uses.
    image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return _upright(image, _orientation(data))


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
    return tf.reduce_any(value == tf.constant(choices, tf.int64))


def _orientation(data: Any) -> Any:
    """Reads the EXIF orientation of a JPEG file, 1 where it has none."""
    header = _integers(tf.strings.substr(data, 0, _HEADER_BYTES), _HEADER_BYTES)
    places = header[: _HEADER_BYTES - len(_EXIF)] == _EXIF[0]
    for offset, byte in enumerate(_EXIF[1:], start=1):
        end = _HEADER_BYTES - len(_EXIF) + offset
        places &= header[offset:end] == byte
    found = tf.where(places)[:, 0]
    start = tf.cond(
        tf.size(found) > 0, lambda: found[0] + len(_EXIF), lambda: _zero()
    )
    little = _at(header, start) == ord("I")

    def number(places: Any, size: int) -> Any:
        """Reads unsigned numbers of so many bytes."""
        steps = tf.range(size, dtype=tf.int64)
        powers = tf.where(little, steps, size - 1 - steps)
        values = _at(header, tf.expand_dims(places, -1) + steps)
        return tf.reduce_sum(values * 256**powers, axis=-1)

    directory = start + number(start + 4, 4)
    index = tf.range(_IFD_ENTRIES, dtype=tf.int64)
    entries = directory + 2 + 12 * index
    right = number(entries, 2) == _ORIENTATION
    right &= index < number(directory, 2)
    value = tf.reduce_max(tf.where(right, number(entries + 8, 2), 0))
    valid = (start > 0) & (value >= 1) & (value <= 8)
    return tf.where(valid, value, 1)


def _zero() -> Any:
    return tf.zeros([], tf.int64)


def _at(values: Any, places: Any) -> Any:
    """Gathers with 0 for places that do not exist."""
    count = tf.size(values, tf.int64)
    inside = (places >= 0) & (places < count)
    found = tf.gather(values, tf.clip_by_value(places, 0, count - 1))
    return tf.where(inside, found, 0)


def _integers(data: Any, count: int) -> Any:
    """Returns the first bytes of a string as int64 (count,), 0 at the end."""
    return tf.cast(
        tf.io.decode_raw(data[None], tf.uint8, fixed_length=count)[0], tf.int64
    )


def _big_endian(values: Any, start: int) -> Any:
    powers = 256 ** tf.constant([3, 2, 1, 0], tf.int64)
    return tf.reduce_sum(values[start : start + 4] * powers)
