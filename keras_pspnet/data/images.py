"""Reads images and index masks from files, bytes and arrays."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from io import BytesIO
from typing import IO

import numpy as np

from keras_pspnet.data.bands import (
    KEPT_DTYPES,
    count_pages,
    decode_bands,
    decode_deep_rgb,
    describe_bands,
    naming_tiff_errors,
    open_bands,
    read_tiff_size,
)
from keras_pspnet.data.decoders import (
    IMAGE_FORMATS,
    Request,
    decode_image,
    read_header,
)
from keras_pspnet.data.mask_decoders import (
    MASK_FORMATS,
    StoredMask,
    decode_mask,
)
from keras_pspnet.data.tiff_windows import TiffWindows
from keras_pspnet.utils import (
    as_integer,
    check_integer,
    check_rule,
    naming_errors,
)
from keras_pspnet.utils.georeference import Georeference, read_georeference

Source = str | os.PathLike[str] | bytes | np.ndarray

# The number of pixels that fill 256 MiB in RGB, as in Pillow's warning.
MAX_PIXELS = 2**28 // 3
# The number of bands of RGB images, whose values are 0..255.
RGB = 3


def read_image(
    source: Source, max_pixels: int = MAX_PIXELS, bands: int = 3
) -> np.ndarray:
    """Reads an image as upright RGB, or the values of other bands.

    RGB files may be JPEG, PNG, WebP, BMP, GIF or TIFF, in black and white,
    gray, palette, RGB, CMYK, YCbCr or Lab form. If there are several frames or
    pages, the first is read. Channels of more than 8 bits are scaled to 8.
    Alpha is dropped, not composited, as in `tf.io.decode_image` with 3
    channels. Color profiles are not applied. CMYK in JPEG files is assumed to
    be inverted, as Adobe writes it.

    Images with other than 3 bands are read without scaling, from TIFF and
    GeoTIFF files with one page, in strips or tiles, of 8 or 16 bits or floats
    (other types become float32). Pixels that the file declares as nodata
    (GDAL_NODATA) get the mean of their band; without such a declaration, NaN
    is refused. For 1 band, any other file is converted to gray (ITU-R 601), at
    8 or 16 bits. For 2 bands it must have gray and alpha, for 4 RGB and alpha.

    Peak memory is the decoded image (at most 4 bytes per pixel) and the result
    (3 bytes). Rotated TIFF files take 8 bytes per pixel, and WebP files 16,
    most of it in libwebp.

    Args:
        source: A path, the bytes of a file, or an array of shape `(H, W, 3)`,
            either uint8 or floats within 0..255; for other bands an array
            `(H, W, bands)` of finite numbers.
        max_pixels: Files with more pixels are refused before they are
            decoded. Pillow's own limit, which applies to the whole process,
            is neither used nor changed; but its readers of WebP and GIF may
            refuse files of more than twice `PIL.Image.MAX_IMAGE_PIXELS`.
        bands: Number of bands of the image; 3 are RGB.

    Returns:
        An array of shape `(H, W, bands)`: uint8, or float32 for a float
        array; for other than 3 bands also uint16 or int16. An array of such a
        dtype is returned without a copy.

    Raises:
        FileNotFoundError: If the path does not exist.
        OSError: If the path cannot be opened.
        TypeError: If `source` is none of the above, or has another dtype.
        ImportError: If the compression of a TIFF file of other bands needs
            imagecodecs: `pip install keras-pspnet[tiff]`.
        ValueError: If the file is not a complete image, or has other bands or
            more than `max_pixels` pixels; for RGB, if its channels are
            signed, floats or longer than 16 bits, so that white is undefined;
            if an array has another shape or values outside 0..255; or if
            `max_pixels` or `bands` is not a positive integer.
    """
    _check_max_pixels(max_pixels)
    check_integer("bands", bands)
    if isinstance(source, np.ndarray):
        return _check_image_array(source, bands)
    with _stream("image", source) as stream:
        request = Request(
            "image", "an image", IMAGE_FORMATS, max_pixels, named(source)
        )
        if bands != RGB:
            return decode_bands(stream, request, bands)
        deep = decode_deep_rgb(stream, request)
        if deep is not None:
            return deep
        try:
            return decode_image(stream, request)
        except ValueError as error:
            stream.seek(0)
            found = describe_bands(stream)
            if not found:
                raise
            raise ValueError(
                "`image` must be RGB of 8 bits, or `bands` be its number of "
                f"bands. Received: image={named(source)}, a TIFF file of "
                f"{found} ({error})"
            ) from error


@contextlib.contextmanager
def image_windows(
    source: Source, max_pixels: int = MAX_PIXELS, bands: int = RGB
) -> Iterator[np.ndarray | TiffWindows]:
    """Opens an image to read windows of it as needed.

    Args:
        source: As in `read_image`. The other arguments and the errors are
            those of `read_image`, too.
        max_pixels: Files with more pixels are refused.
        bands: Number of bands of the image.

    Yields:
        The result of `read_image`; or, for a TIFF file with other than 3
        bands, a `TiffWindows`, which can be sliced like an array.
    """
    if bands == RGB or not isinstance(source, str | os.PathLike):
        yield read_image(source, max_pixels, bands)
        return
    _check_max_pixels(max_pixels)
    with _stream("image", source) as stream:
        request = Request("image", "", IMAGE_FORMATS, max_pixels, named(source))
        page = open_bands(stream, request, bands)
        if page is not None:
            with naming_tiff_errors(request):
                windows = TiffWindows(page, request)
            yield windows
            return
    yield read_image(source, max_pixels, bands)


def read_mask(source: Source, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a mask whose pixels are class indices.

    From palette files it reads the index, never the color. From gray files of
    1, 2, 4, 8 or 16 bits it reads the stored value, where 0 is black.

    Args:
        source: The path or the bytes of a PNG, BMP, TIFF or GIF file, or an
            integer array of shape `(H, W)` within 0..255.
        max_pixels: As in `read_image`.

    Returns:
        A uint8 array of shape `(H, W)`; a uint8 array is returned without a
        copy.

    Raises:
        FileNotFoundError: If the path does not exist.
        OSError: If the path cannot be opened.
        TypeError: If `source` is none of the above, or has another dtype.
        ValueError: If the file is not a complete index mask (but a colored
            one, for instance) or has more than `max_pixels` pixels; if an
            array has another rank or values outside 0..255; or if
            `max_pixels` is not a positive integer.
    """
    if isinstance(source, np.ndarray):
        _check_max_pixels(max_pixels)
        return _check_mask_array(source)
    return _decode_mask(source, max_pixels, indices_only=True).pixels


def read_stored_mask(
    source: str | os.PathLike[str] | bytes, max_pixels: int = MAX_PIXELS
) -> StoredMask:
    """Reads the stored values or colors of a mask.

    Args:
        source: As in `read_mask`, or an RGB or RGBA file of 8 bits per
            channel (alpha is dropped).
        max_pixels: As in `read_image`.

    Returns:
        Values within 0..65535, uint8 or uint16 `(H, W)`, or colors, uint8
        `(H, W, 3)`; and the palette if there is one.

    Raises:
        OSError: If the path cannot be opened.
        ValueError: If the file is not a complete mask, or has more than
            `max_pixels` pixels.
    """
    return _decode_mask(source, max_pixels, indices_only=False)


def image_orientation(source: str | os.PathLike[str] | bytes) -> int:
    """Reads the EXIF orientation of an image, without its pixels.

    Args:
        source: The path or the bytes of a file that `read_image` reads.

    Returns:
        The orientation: 1 is upright, 3 is upside down, up to 8.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is not an image.
    """
    return _read_header(source)[1]


def image_size(source: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """Reads the width and height of an upright image, without its pixels.

    Args:
        source: The path or the bytes of a file that `read_image` reads.

    Returns:
        Width and height of the result of `read_image`.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is not an image.
    """
    return _read_header(source)[0]


def _read_header(
    source: str | os.PathLike[str] | bytes,
) -> tuple[tuple[int, int], int]:
    with _stream("image", source) as stream:
        # Pixels are not read, so their number does not matter.
        request = Request(
            "image", "an image", IMAGE_FORMATS, sys.maxsize, named(source)
        )
        try:
            return read_header(stream, request)
        except ValueError:
            # Pillow does not know all bands of TIFF files; ours are upright.
            size = read_tiff_size(stream, request)
            if size is None:
                raise
            return size, 1


def tiff_pages(source: str | os.PathLike[str] | bytes) -> int:
    """Counts the pages of a TIFF file; other files have one.

    Args:
        source: The path or the bytes of a file.
    """
    with _stream("image", source) as stream:
        return count_pages(stream)


def image_georeference(
    source: str | os.PathLike[str] | bytes,
) -> Georeference | None:
    """Reads the location of an image on Earth, without its pixels.

    Args:
        source: The path or the bytes of a file that `read_image` reads.

    Returns:
        The georeference of a GeoTIFF, None for other files.
    """
    with _stream("image", source) as stream:
        return read_georeference(stream)


def named(source: str | os.PathLike[str] | bytes) -> str:
    """Returns the name of a file for errors."""
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    return repr(os.fspath(source))


def _decode_mask(
    source: str | os.PathLike[str] | bytes, max_pixels: int, indices_only: bool
) -> StoredMask:
    _check_max_pixels(max_pixels)
    with _stream("mask", source) as stream:
        request = Request(
            "mask", "an index mask", MASK_FORMATS, max_pixels, named(source)
        )
        return decode_mask(stream, request, indices_only)


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


def _check_image_array(image: np.ndarray, bands: int) -> np.ndarray:
    if image.ndim != 3 or image.shape[-1] != bands or 0 in image.shape:
        raise ValueError(
            f"`image` must have the shape (height, width, {bands}). Received: "
            f"image of shape {image.shape}"
        )
    if bands != RGB:
        return _check_bands(image)
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise TypeError(
            "`image` must be uint8, or floats within 0..255. Received: "
            f"image of dtype {image.dtype}"
        )
    low, high = float(image.min()), float(image.max())
    # NaN fails every comparison, so negate the valid range.
    if not (low >= 0 and high <= 255):
        raise ValueError(
            "`image` must have values within 0..255. Received: image within "
            f"{low:g}..{high:g}"
        )
    return image.astype(np.float32, copy=False)


def _check_bands(image: np.ndarray) -> np.ndarray:
    if image.dtype.kind not in "uif":
        raise TypeError(
            "`image` must hold integers or floats. Received: "
            f"image of dtype {image.dtype}"
        )
    if not np.isfinite(image).all():
        raise ValueError(
            "`image` must have finite values. Received: image with "
            f"{int((~np.isfinite(image)).sum())} values that are NaN or "
            "infinite"
        )
    kept = image.dtype.name in KEPT_DTYPES
    return image if kept else image.astype(np.float32)


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
