"""Decodes images of any number of bands, with their stored values."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import zlib
from collections.abc import Iterator
from typing import IO, Any, NoReturn

import numpy as np

from keras_pspnet.data.decoders import Request, decode_channels
from keras_pspnet.utils.tiff import is_tiff, open_tiff

# Types that images keep; other types become float32.
KEPT_DTYPES = ("uint8", "uint16", "int16", "float32")

_ORIENTATION, _UPRIGHT = 274, 1
_GDAL_NODATA = 42113
_DEFLATE = (8, 32946)
# Photometric interpretations of plain values; Pillow decodes the others.
_VALUES = _MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2


def decode_bands(stream: IO[bytes], request: Request, bands: int) -> np.ndarray:
    """Decodes the stored values of an image, TIFF or another format.

    Args:
        stream: The file.
        request: Allowed formats and number of pixels.
        bands: Number of bands that it must have. For 1, colors become gray.

    Returns:
        (H, W, bands), of one of `KEPT_DTYPES`.

    Raises:
        ImportError: If the compression of a TIFF file needs imagecodecs.
        ValueError: If the file has another format, is broken, or has NaN.
    """
    if is_tiff(stream):
        with naming_tiff_errors(request):
            page = open_tiff(stream).first
            if not _is_colored(page, bands):
                _check(page, request, bands)
                return _finite(_read(page), declared_nodata(page), request)
        stream.seek(0)
    return decode_channels(stream, request, bands)


def decode_deep_rgb(stream: IO[bytes], request: Request) -> np.ndarray | None:
    """Decodes a TIFF file of RGB with 16 bits, and scales it to 8.

    Pillow would drop 8 bits without rounding, and mix up separate bands.

    Args:
        stream: The file.
        request: Allowed formats and number of pixels.

    Returns:
        uint8 (H, W, 3); None for other files, which are rewound.

    Raises:
        ValueError: If the file is broken.
    """
    if not is_tiff(stream):
        return None
    # Pillow reads the files that tifffile does not know or cannot decompress.
    with contextlib.suppress(Exception):
        page = open_tiff(stream).first
        is_deep = page.dtype == np.uint16 and page.bitspersample == 16
        if is_deep and page.photometric == _RGB and page.samplesperpixel >= 3:
            _check(page, request, page.samplesperpixel)
            levels = np.rint(np.arange(2**16) * (255 / (2**16 - 1)))
            return levels.astype(np.uint8)[_read(page)[..., :3]]
    stream.seek(0)
    return None


def read_tiff_size(
    stream: IO[bytes], request: Request
) -> tuple[int, int] | None:
    """Reads the width and height of a TIFF file with any bands.

    Args:
        stream: The file.
        request: Names the file in errors.

    Returns:
        Width and height; None if it is not a TIFF file.

    Raises:
        ValueError: If the file is broken.
    """
    stream.seek(0)
    if not is_tiff(stream):
        return None
    with naming_tiff_errors(request):
        page = open_tiff(stream).first
        return page.imagewidth, page.imagelength


def count_pages(stream: IO[bytes]) -> int:
    """Counts the images in a TIFF file that have the size of the first.

    Overviews, thumbnails and masks do not count as pages.

    Args:
        stream: Any file, at its start.

    Returns:
        The number of pages; 1 for other files and for broken ones.
    """
    if not is_tiff(stream):
        return 1
    # Broken files may raise anything; reading their pixels will report it.
    with contextlib.suppress(Exception):
        pages = open_tiff(stream)
        first = pages.first.shape
        return sum(
            page.shape == first and not page.subfiletype
            for page in map(pages.get, range(len(pages)))
        )
    return 1


def describe_bands(stream: IO[bytes]) -> str:
    """Describes the bands of a TIFF file that is not 8-bit RGB.

    Args:
        stream: Any file, at its start.

    Returns:
        "4 bands of uint16", for instance; "" for RGB, for other files and for
        broken ones.
    """
    if is_tiff(stream):
        with contextlib.suppress(Exception):
            page = open_tiff(stream).first
            bands = page.samplesperpixel, page.dtype.name
            if page.dtype.kind in "uif" and bands != (3, "uint8"):
                return "{} bands of {}".format(*bands)
    return ""


def open_bands(stream: IO[bytes], request: Request, bands: int) -> Any | None:
    """Opens a TIFF file of bands, to decode its parts one by one.

    Args:
        stream: The file.
        request: Names the file in errors, and limits its number of pixels.
        bands: Number of bands that it must have.

    Returns:
        The page of tifffile; None for files that `decode_bands` reads as
        colors.

    Raises:
        ValueError: If the file is broken.
    """
    if not is_tiff(stream):
        return None
    with naming_tiff_errors(request):
        page = open_tiff(stream).first
        if _is_colored(page, bands):
            stream.seek(0)
            return None
        _check(page, request, bands)
        return page


@contextlib.contextmanager
def naming_tiff_errors(request: Request) -> Iterator[None]:
    """Turns any error of tifffile on a broken file into one of ours."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if request.received in str(error):
            # The error is one of ours already.
            raise
        if "imagecodecs" in str(error):
            raise ImportError(
                f"imagecodecs must be installed to read {request.received} "
                f"({error}): pip install keras-pspnet[tiff]"
            ) from error
        rule = f"must be a TIFF file that can be decoded ({error})"
        request.refuse(rule, error)


def _is_colored(page: Any, bands: int) -> bool:
    """Tells whether Pillow must read the file: colors, or black and white.

    A model for gray images takes 8-bit RGB in any format as gray.
    """
    to_gray = (
        bands == 1 and page.photometric == _RGB and page.bitspersample == 8
    )
    return to_gray or page.photometric not in _VALUES or page.bitspersample < 8


def _check(page: Any, request: Request, bands: int) -> None:
    """Refuses files that would fill the memory or be misread."""
    request.check_size(page.imagewidth, page.imagelength)
    # A tile is decoded as a whole, even if little of it is in the image.
    request.check_size(page.tilewidth, page.tilelength)
    found = page.samplesperpixel
    if found != bands or page.imagedepth != 1:
        request.refuse(
            f"must have as many bands as the model's images, {bands}, not "
            f"{found}"
        )
    if page.dtype is None or page.dtype.kind not in "buif":
        request.refuse(
            "must have bands of integers or floats, not "
            f"{page.bitspersample} bits of sample format {page.sampleformat}"
        )
    orientation = page.tags.valueof(_ORIENTATION, default=_UPRIGHT)
    if orientation != _UPRIGHT:
        request.refuse(f"must be stored upright, not turned ({orientation})")
    size = page.parent.filehandle.size
    ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=False))
    expected = 1 if page.is_contiguous else math.prod(page.chunked)
    if len(page.dataoffsets) < expected or max(ends, default=0) > size:
        request.refuse("must be a whole TIFF file (some parts are missing)")
    if page.compression in _DEFLATE and not importlib.util.find_spec(
        "imagecodecs"
    ):
        _check_inflated(page, request)


def _check_inflated(page: Any, request: Request) -> None:
    """Refuses parts that inflate beyond their size: zlib sets no limit."""
    pixels = max(
        page.imagewidth * page.imagelength, page.tilewidth * page.tilelength
    )
    most = pixels * page.samplesperpixel * page.dtype.itemsize
    file = page.parent.filehandle
    for offset, count in zip(
        page.dataoffsets, page.databytecounts, strict=True
    ):
        file.seek(offset)
        inflating = zlib.decompressobj()
        inflating.decompress(file.read(count), most + 1)
        if inflating.unconsumed_tail:
            request.refuse("must not become larger than its size says")


def _read(page: Any) -> np.ndarray:
    """Reads a page as (H, W, bands)."""
    planes = page.asarray(squeeze=False)[:, 0]
    # Bands are separate planes, or interleaved in each pixel.
    image = planes[0] if len(planes) == 1 else planes[..., 0].transpose(1, 2, 0)
    return np.ascontiguousarray(as_values(image, page))


def as_values(image: np.ndarray, page: Any) -> np.ndarray:
    """Converts decoded values to one of `KEPT_DTYPES`.

    Args:
        image: Decoded values, of any shape.
        page: The page that they are part of.
    """
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if page.photometric == _MIN_IS_WHITE and image.dtype.kind == "u":
        image = np.iinfo(image.dtype).max - image
    if image.dtype.name not in KEPT_DTYPES:
        image = image.astype("float32")
    return image


def declared_nodata(page: Any) -> float | None:
    """Returns GDAL's nodata value, if the file declares one."""
    text = page.tags.valueof(_GDAL_NODATA)
    try:
        return None if text is None else float(text)
    except (TypeError, ValueError):
        return None


def _finite(
    image: np.ndarray, nodata: float | None, request: Request
) -> np.ndarray:
    """Replaces pixels without data by the mean of their band.

    They then neither stand out to a network nor spread NaN.
    """
    for index in range(image.shape[-1]):
        band = image[..., index]
        bad = lacks_data(band, nodata)
        if bad.any():
            if nodata is None:
                refuse_nan(request, int(bad.sum()), index)
            rest = band[~bad]
            band[bad] = rest.mean(dtype=np.float64) if rest.size else 0
    return image


def lacks_data(values: np.ndarray, nodata: float | None) -> np.ndarray:
    """Finds values without data: the nodata value, NaN and infinity.

    Args:
        values: Values of any shape.
        nodata: The nodata value, see `declared_nodata`.
    """
    bad = ~np.isfinite(values)
    if nodata is not None:
        # NaN also counts if another value is declared.
        with np.errstate(over="ignore"):
            bad |= values == np.float32(nodata)
    return bad


def refuse_nan(request: Request, count: int, index: int) -> NoReturn:
    """Refuses a file with NaN that declares no nodata value.

    Args:
        request: Names the file in errors.
        count: Number of pixels of a band that are NaN or infinite.
        index: The band, counted from 0.
    """
    request.refuse(
        f"must have numbers in all bands: {count} pixels of band {index + 1} "
        "are NaN or infinite. Fill them, or declare them as without data "
        "(gdal_edit -a_nodata nan)"
    )
