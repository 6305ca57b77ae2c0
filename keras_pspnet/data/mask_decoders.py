"""Decodes masks of values or colors, without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageFile

from keras_pspnet.data.decoders import (
    TIFF_COMPRESSION,
    Request,
    block_to_rgb,
    load_pixels,
    open_image,
    raw_mode,
    tiff_tags,
    upright,
)

# Lossy formats change indices, so they cannot hold masks.
MASK_FORMATS = ("PNG", "BMP", "GIF", "TIFF")

_TIFF_BITS = 258
# TIFF's two codes for JPEG compression.
_JPEG_IN_TIFF = (6, 7)
# Pillow stretches 2 and 4-bit gray to 0..255; dividing gives the index.
_GREY_STEPS = {"L;2": 85, "L;4": 17}


class StoredMask(NamedTuple):
    """The stored content of a mask file.

    Args:
        pixels: Values, uint8 or uint16 `(H, W)`, or colors, uint8
            `(H, W, 3)`.
        palette: Colors of the values, uint8 `(N, 3)`; None without a palette,
            or if its channels are in a rare order.
    """

    pixels: np.ndarray
    palette: np.ndarray | None = None


def decode_mask(
    stream: IO[bytes], request: Request, indices_only: bool
) -> StoredMask:
    """Decodes a mask.

    Args:
        stream: The file.
        request: As in `decode_image`.
        indices_only: Whether to refuse values above 255, and colors.

    Returns:
        Values within 0..65535 or colors, and the palette.

    Raises:
        ValueError: If the file has another format, or is broken.
    """
    opened = open_image(stream, request)
    if tiff_tags(opened).get(TIFF_COMPRESSION) in _JPEG_IN_TIFF:
        request.refuse("must be stored without loss, not as JPEG in TIFF")
    if not indices_only and _has_byte_colors(opened):
        load_pixels(opened, request)
        return StoredMask(upright(opened, block_to_rgb, (3,)))
    is_long = not indices_only and opened.mode.startswith("I")
    dtype = np.dtype(np.uint16 if is_long else np.uint8)
    to_index = _index_converter(opened, request, dtype)
    palette = _palette(opened)
    load_pixels(opened, request)
    return StoredMask(upright(opened, to_index, (), dtype), palette)


def _index_converter(
    opened: ImageFile.ImageFile, request: Request, dtype: np.dtype
) -> Callable[[Image.Image], np.ndarray]:
    """Returns a function from blocks of a file to arrays of class indices."""
    if len(opened.getbands()) > 1 or opened.mode == "F":
        request.refuse(
            "must be an index mask, one class index per pixel in a gray or "
            f"palette file, not {opened.mode}"
        )
    step = _GREY_STEPS.get(raw_mode(opened)[:3], 1)
    most = np.iinfo(dtype).max

    def convert(block: Image.Image) -> np.ndarray:
        stored = np.asarray(block)
        low, high = int(stored.min()), int(stored.max())
        if low < 0 or high > most:
            request.refuse(
                f"must hold class indices within 0..{most}, not "
                f"{high if high > most else low}"
            )
        return stored.astype(dtype) // dtype.type(step)

    return convert


def _has_byte_colors(opened: ImageFile.ImageFile) -> bool:
    """Tells whether a file has RGB or RGBA of 8 bits per channel."""
    bits = tiff_tags(opened).get(_TIFF_BITS, (8,))
    return (
        opened.mode in ("RGB", "RGBA")
        # Modes of other bit depths are "RGB;16B", "BGR;15" and so on.
        and ";" not in raw_mode(opened)
        and set(bits) == {8}
    )


def _palette(opened: ImageFile.ImageFile) -> np.ndarray | None:
    """Returns the colors of a file that is not decoded yet."""
    if opened.mode != "P" or opened.palette is None:
        return None
    mode, colors = opened.palette.getdata()
    table = np.frombuffer(colors, np.uint8)
    if mode == "RGB;L":
        # TIFF files store all of red first.
        return table.reshape(3, -1).T
    channels = {"RGB": 3, "BGR": 3, "BGRX": 4}.get(mode)
    if channels is None:
        return None
    table = table.reshape(-1, channels)[:, :3]
    # BMP files store blue first.
    return table if mode == "RGB" else table[:, ::-1]
