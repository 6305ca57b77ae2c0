"""Images and index masks from files, bytes and arrays, without TensorFlow."""

from __future__ import annotations

import os
from io import BytesIO
from typing import IO

import numpy as np
from PIL import Image

from keras_pspnet.data.decoders import (
    IMAGE_FORMATS,
    MASK_FORMATS,
    Request,
    decode_image,
    decode_mask,
    orientation_of,
)
from keras_pspnet.utils import as_integer, check_rule, naming_errors

Source = str | os.PathLike[str] | bytes | np.ndarray

# As many pixels as fill 256 MiB in RGB; Pillow warns above the same count.
MAX_PIXELS = 2**28 // 3


def read_image(source: Source, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads an image as upright RGB.

    Files may be JPEG, PNG, WebP, BMP, GIF or TIFF, in black and white, grey,
    palette, RGB, CMYK, YCbCr or Lab form; of several frames or pages the first
    is read. Channels of more than 8 bits are scaled to 8. Alpha is dropped,
    not composited, as `tf.io.decode_image` does when asked for 3 channels.
    Colour profiles are not applied, and CMYK in JPEG files is taken to be
    inverted, as Adobe writes it.

    At the peak, the decoded image (4 bytes per pixel at most) and the result
    (3 bytes) are in memory; a turned TIFF file takes 8 bytes per pixel, and
    WebP files take 16, most of it in libwebp.

    Args:
        source: A path, the bytes of a file, or an array of shape `(H, W, 3)`,
            either uint8 or of floats within 0..255.
        max_pixels: Files with more pixels are refused before they are
            decoded. Pillow's own limit, which a whole process shares, is
            neither consulted nor changed; but its readers of WebP and GIF may
            refuse files of more than twice `PIL.Image.MAX_IMAGE_PIXELS`.

    Returns:
        An array of shape `(H, W, 3)`: uint8, or float32 for a float array. A
        uint8 or float32 array comes back itself, not as a copy.

    Raises:
        FileNotFoundError: If the path does not exist.
        OSError: If the path cannot be opened.
        TypeError: If `source` is none of the above, or of another dtype.
        ValueError: If the file is not a complete image, has more than
            `max_pixels` pixels, or channels that are signed, floats or longer
            than 16 bits, of which none tells what is white; if an array has
            another shape or values outside 0..255; or if `max_pixels` is not
            a positive integer.
    """
    _check_max_pixels(max_pixels)
    if isinstance(source, np.ndarray):
        return _check_image_array(source)
    with _stream("image", source) as stream:
        request = Request(
            "image", "a picture", IMAGE_FORMATS, max_pixels, named(source)
        )
        return decode_image(stream, request)


def read_mask(
    source: Source, max_pixels: int = MAX_PIXELS, allow_colors: bool = False
) -> np.ndarray:
    """Reads a mask whose pixels are class indices.

    Palette files give the index, never the colour. Grey files of 1, 2, 4, 8
    or 16 bits give the stored value, counted from black.

    Args:
        source: A path to a PNG, BMP, TIFF or GIF file, the bytes of one, or
            an integer array of shape `(H, W)` within 0..255.
        max_pixels: As of `read_image`.
        allow_colors: Whether a PNG file of 8-bit RGB or RGBA gives its colours
            instead of an error.

    Returns:
        A uint8 array of shape `(H, W)`, or `(H, W, 3)` of colours; a uint8
        array comes back itself.

    Raises:
        FileNotFoundError: If the path does not exist.
        OSError: If the path cannot be opened.
        TypeError: If `source` is none of the above, or of another dtype.
        ValueError: If the file is not a complete index mask (a coloured one,
            for instance) or has more than `max_pixels` pixels; if an array
            has another rank or values outside 0..255; or if `max_pixels` is
            not a positive integer.
    """
    _check_max_pixels(max_pixels)
    if isinstance(source, np.ndarray):
        return _check_mask_array(source)
    with _stream("mask", source) as stream:
        request = Request(
            "mask", "an index mask", MASK_FORMATS, max_pixels, named(source)
        )
        return decode_mask(stream, request, allow_colors)


def mask_palette(source: str | os.PathLike[str] | bytes) -> np.ndarray | None:
    """Reads the colours of a palette file, without its pixels.

    Args:
        source: A path or the bytes of a file that `read_mask` reads.

    Returns:
        uint8 (N, 3), None if the file has no palette, or one of a rare order.
    """
    with _stream("mask", source) as stream, Image.open(stream) as opened:
        if opened.mode != "P" or opened.palette is None:
            return None
        mode, colors = opened.palette.getdata()
    channels = {"RGB": 3, "BGR": 3, "BGRX": 4}.get(mode)
    if channels is None:
        return None
    table = np.frombuffer(colors, np.uint8).reshape(-1, channels)[:, :3]
    # BMP files have blue first.
    return table if mode == "RGB" else table[:, ::-1]


def image_orientation(source: str | os.PathLike[str] | bytes) -> int:
    """Reads how an image is stored, without its pixels.

    Args:
        source: A path or the bytes of a file that `read_image` reads.

    Returns:
        EXIF's orientation: 1 upright, 3 upside down, up to 8.
    """
    with _stream("image", source) as stream, Image.open(stream) as opened:
        return orientation_of(opened)


def named(source: str | os.PathLike[str] | bytes) -> str:
    """Returns what errors call a file."""
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    return repr(os.fspath(source))


def _check_max_pixels(max_pixels: int) -> None:
    rule = "be an integer of at least 1"
    kept = as_integer(max_pixels) is not None
    check_rule("max_pixels", max_pixels, rule, kept)


def _stream(argument: str, source: str | os.PathLike[str] | bytes) -> IO[bytes]:
    if isinstance(source, bytes):
        return BytesIO(source)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"`{argument}` must be a path, bytes or a NumPy array. Received: "
            f"{argument}={source!r} of type {type(source).__name__}"
        )
    with naming_errors(argument, source, "a file that can be read"):
        return open(source, "rb")


def _check_image_array(image: np.ndarray) -> np.ndarray:
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(
            "`image` must have the shape (height, width, 3). Received: "
            f"image of shape {image.shape}"
        )
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise TypeError(
            "`image` must be uint8, or floats within 0..255. Received: "
            f"image of dtype {image.dtype}"
        )
    low, high = float(image.min()), float(image.max())
    # NaN fails every comparison, so this asks for what is right.
    if not (low >= 0 and high <= 255):
        raise ValueError(
            "`image` must have values within 0..255. Received: image within "
            f"{low:g}..{high:g}"
        )
    return image.astype(np.float32, copy=False)


def _check_mask_array(mask: np.ndarray) -> np.ndarray:
    if mask.ndim != 2 or 0 in mask.shape:
        raise ValueError(
            "`mask` must have the shape (height, width). Received: "
            f"mask of shape {mask.shape}"
        )
    if not np.issubdtype(mask.dtype, np.integer):
        raise TypeError(
            f"`mask` must hold integers. Received: mask of dtype {mask.dtype}"
        )
    low, high = int(mask.min()), int(mask.max())
    if low < 0 or high > 255:
        raise ValueError(
            "`mask` must have values within 0..255. Received: mask within "
            f"{low}..{high}"
        )
    return mask.astype(np.uint8, copy=False)
