"""Images of any number of bands, their values as they are stored."""

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

# What images keep; other numbers become float32.
KEPT_DTYPES = ("uint8", "uint16", "int16", "float32")

_ORIENTATION, _UPRIGHT = 274, 1
_GDAL_NODATA = 42113
_DEFLATE = (8, 32946)
# Forms of bands of values. Pillow knows the colors of others.
_VALUES = _MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2


def decode_bands(stream: IO[bytes], request: Request, bands: int) -> np.ndarray:
    """Decodes the values of an image, TIFF or any other.

    Args:
        stream: The file.
        request: Which formats and how many pixels it may have.
        bands: Bands that it must have. For 1, colors become gray.

    Returns:
        (H, W, bands), of one of `KEPT_DTYPES`.

    Raises:
        ImportError: If the compression of a TIFF file needs imagecodecs.
        ValueError: If the file is another, broken, or has NaN.
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
    """Decodes RGB of 16 bits in TIFF, scaled to 8.

    Pillow drops 8 bits without rounding, and mixes up bands that lie apart.

    Args:
        stream: The file.
        request: Which formats and how many pixels it may have.

    Returns:
        uint8 (H, W, 3), or None for other files, which are left at their
        beginning.

    Raises:
        ValueError: If the file is broken.
    """
    if not is_tiff(stream):
        return None
    # What it does not know or cannot decompress is for Pillow to read.
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
    """Reads the width and height of a TIFF file of any bands.

    Args:
        stream: The file.
        request: Its name in errors.

    Returns:
        Width and height; None if it is no TIFF file.

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
    """Counts the images of the size of the first in a TIFF file.

    Overviews, thumbnails and masks are no pages.

    Args:
        stream: Any file, at its beginning.

    Returns:
        How many; 1 of other files, and of broken ones.
    """
    if not is_tiff(stream):
        return 1
    # Broken bytes lead it into anything; they are for those who read pixels.
    with contextlib.suppress(Exception):
        pages = open_tiff(stream)
        first = pages.first.shape
        return sum(
            page.shape == first and not page.subfiletype
            for page in map(pages.get, range(len(pages)))
        )
    return 1


def describe_bands(stream: IO[bytes]) -> str:
    """Tells what bands a TIFF file holds that are not RGB of 8 bits.

    Args:
        stream: Any file, at its beginning.

    Returns:
        "4 bands of uint16"; "" of RGB, of other files and of broken ones.
    """
    if is_tiff(stream):
        with contextlib.suppress(Exception):
            page = open_tiff(stream).first
            bands = page.samplesperpixel, page.dtype.name
            if page.dtype.kind in "uif" and bands != (3, "uint8"):
                return "{} bands of {}".format(*bands)
    return ""


def open_bands(stream: IO[bytes], request: Request, bands: int) -> Any | None:
    """Opens a TIFF file of bands whose parts are decoded one by one.

    Args:
        stream: The file.
        request: Its name in errors, and how many pixels it may have.
        bands: Bands that it must have.

    Returns:
        The page of tifffile; None of files that `decode_bands` reads as
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
    """Makes one error of whatever broken bytes lead tifffile into."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if request.received in str(error):
            # It is one of ours.
            raise
        if "imagecodecs" in str(error):
            raise ImportError(
                f"imagecodecs must be installed to read {request.received} "
                f"({error}): pip install keras-pspnet[tiff]"
            ) from error
        rule = f"must be a TIFF file that can be decoded ({error})"
        request.refuse(rule, error)


def _is_colored(page: Any, bands: int) -> bool:
    """Tells whether Pillow reads the colors, or the bits of black and white.

    A model for gray images sees RGB of 8 bits as gray in any format.
    """
    to_grey = (
        bands == 1 and page.photometric == _RGB and page.bitspersample == 8
    )
    return to_grey or page.photometric not in _VALUES or page.bitspersample < 8


def _check(page: Any, request: Request, bands: int) -> None:
    """Refuses what would fill the memory, or be read wrongly."""
    request.check_size(page.imagewidth, page.imagelength)
    # Tiles are decoded whole, however little of one is in the image.
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
    """Refuses parts that become far more than they may: zlib has no bound."""
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
    # Bands one after the other, or side by side in each pixel.
    image = planes[0] if len(planes) == 1 else planes[..., 0].transpose(1, 2, 0)
    return np.ascontiguousarray(as_values(image, page))


def as_values(image: np.ndarray, page: Any) -> np.ndarray:
    """Makes the values of bands of what is stored, in one of `KEPT_DTYPES`.

    Args:
        image: As decoded, of any shape.
        page: The page that it is a part of.
    """
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if page.photometric == _MIN_IS_WHITE and image.dtype.kind == "u":
        image = np.iinfo(image.dtype).max - image
    if image.dtype.name not in KEPT_DTYPES:
        image = image.astype("float32")
    return image


def declared_nodata(page: Any) -> float | None:
    """Returns the value of pixels without data, as GDAL writes it."""
    text = page.tags.valueof(_GDAL_NODATA)
    try:
        return None if text is None else float(text)
    except (TypeError, ValueError):
        return None


def _finite(
    image: np.ndarray, nodata: float | None, request: Request
) -> np.ndarray:
    """Gives pixels that are declared to be without data their band's mean.

    So they say nothing to a network: neither do they stand out, nor is NaN
    spread from them.
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
    """Tells which values are without data: declared so, NaN or infinite.

    Args:
        values: Of any shape.
        nodata: What is declared, see `declared_nodata`.
    """
    bad = ~np.isfinite(values)
    if nodata is not None:
        # NaN is declared, or stands for what is.
        with np.errstate(over="ignore"):
            bad |= values == np.float32(nodata)
    return bad


def refuse_nan(request: Request, count: int, index: int) -> NoReturn:
    """Refuses a file with NaN that does not declare it.

    Args:
        request: Its name in errors.
        count: Pixels of a band that are NaN or infinite.
        index: The band, from 0.
    """
    request.refuse(
        f"must have numbers in all bands: {count} pixels of band {index + 1} "
        "are NaN or infinite. Fill them, or declare them as without data "
        "(gdal_edit -a_nodata nan)"
    )
