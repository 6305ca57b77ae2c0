"""Decodes image files in bounded memory, without TensorFlow."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, NoReturn

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

# Format -> how its files start, and its reader. These only decode pixels, while
# other readers of Pillow run programs or follow references (EPS, WMF, ...). We
# call them directly because `Image.open` has its own size limit, which applies
# to the whole process. Multi-image files of phones are JPEG files with more
# data after the first image.
_READERS: dict[str, tuple[bytes, type[ImageFile.ImageFile]]] = {
    "JPEG": (rb"\xff\xd8\xff", JpegImageFile),
    "PNG": (rb"\x89PNG\r\n\x1a\n", PngImageFile),
    "WEBP": (rb"RIFF.{4}WEBP", WebPImageFile),
    "BMP": (rb"BM", BmpImageFile),
    "GIF": (rb"GIF8[79]a", GifImageFile),
    # Pillow also accepts the second byte order, a common mistake.
    "TIFF": (rb"(II|MM)([*+]\0|\0[*+])", TiffImageFile),
}
IMAGE_FORMATS = tuple(_READERS)

# Bytes to read for the longest of the headers below.
_HEADER = 30

_ORIENTATION = 274
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
TIFF_COMPRESSION, _RAW = 259, 1
_TIFF_PHOTOMETRIC, _MIN_IS_WHITE, _YCBCR = 262, 0, 6
_TIFF_SAMPLE_FORMAT, _SIGNED = 339, 2
_TIFF_SUBSAMPLING = 530


# Side of the blocks in which decoded images are converted, in pixels.
_BLOCK = 512
_BYTE = np.dtype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Request:
    """A file to read: its allowed formats and size, and its name in errors.

    Args:
        argument: Name of the argument in errors.
        noun: Kind of file in errors, with its article.
        formats: Allowed formats.
        max_pixels: Larger files are refused before they are decoded.
        received: Value of the argument in errors.
    """

    argument: str
    noun: str
    formats: tuple[str, ...]
    max_pixels: int
    received: str

    def refuse(self, rule: str, cause: Exception | None = None) -> NoReturn:
        raise ValueError(
            f"`{self.argument}` {rule}. "
            f"Received: {self.argument}={self.received}"
        ) from cause

    def check_size(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise ValueError(
                f"`{self.argument}` must have at most {self.max_pixels} "
                "pixels, or `max_pixels` be larger. Received: "
                f"{self.argument}={self.received} of {width}x{height}"
            )


def decode_image(stream: IO[bytes], request: Request) -> np.ndarray:
    """Decodes an image as upright RGB.

    Args:
        stream: The file.
        request: Allowed formats and number of pixels.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: If the file has another format, or is broken.
    """
    opened = open_image(stream, request)
    to_rgb = _rgb_converter(opened, request)
    load_pixels(opened, request)
    return upright(opened, to_rgb, (3,))


def read_header(
    stream: IO[bytes], request: Request
) -> tuple[tuple[int, int], int]:
    """Reads the upright size of an image, and its orientation.

    Returns:
        Width and height of the result of `decode_image`, and the orientation
        as in `orientation_of`.

    Raises:
        ValueError: If the file has another format, or is broken.
    """
    opened = open_image(stream, request)
    (width, height), orientation = opened.size, orientation_of(opened)
    # For TIFF files, Pillow returns the upright size already.
    if orientation > 4 and not isinstance(opened, TiffImageFile):
        width, height = height, width
    return (width, height), orientation


def decode_channels(
    stream: IO[bytes], request: Request, bands: int
) -> np.ndarray:
    """Decodes an upright image with a number of channels, without scaling.

    Args:
        stream: The file.
        request: Allowed formats and number of pixels.
        bands: 1 converts any image to gray (ITU-R 601), 2 takes gray and
            alpha, 4 takes RGB and alpha.

    Returns:
        `(H, W, bands)`, uint8, or uint16 for gray files of 16 bits.

    Raises:
        ValueError: If the file has another format or other channels, or is
            broken.
    """
    opened = open_image(stream, request)
    to_rgb = _rgb_converter(opened, request)
    is_deep = bands == 1 and opened.mode.startswith("I;16")
    kept = {1: opened.mode, 2: "LA", 4: "RGBA"}.get(bands)
    if opened.mode != kept or (bands > 1 and raw_mode(opened)[-3:] == "16B"):
        request.refuse(
            f"must be a TIFF file of {bands} bands, or have as many channels "
            f"of 8 bits, not {raw_mode(opened)}"
        )

    def convert(block: Image.Image) -> np.ndarray:
        if bands == 1 and not is_deep and block.mode != "L":
            block = Image.fromarray(to_rgb(block)).convert("L")
        return np.asarray(block).reshape(*block.size[::-1], bands)

    load_pixels(opened, request)
    dtype = np.uint16 if is_deep else np.uint8
    return upright(opened, convert, (bands,), np.dtype(dtype))


def open_image(stream: IO[bytes], request: Request) -> ImageFile.ImageFile:
    """Reads only the header, and refuses sizes that would fill the memory."""
    header = stream.read(_HEADER)
    kinds = [
        name
        for name, (start, _) in _READERS.items()
        if re.match(start, header, re.DOTALL)
    ]
    name = kinds[0] if kinds else ""
    if name not in request.formats:
        rule = f"must be {request.noun} file ({', '.join(request.formats)})"
        request.refuse(f"{rule}, not {name}" if name else rule)
    _, reader = _READERS[name]
    request.check_size(*_early_size(name, header))
    try:
        stream.seek(0)
        opened = reader(stream)
    except MemoryError:
        raise
    # On broken files Pillow's readers may raise anything (OSError, SyntaxError,
    # struct.error, IndexError, ...), here and in `load_pixels`.
    except Exception as error:
        request.refuse(
            f"must be a {name} file that can be decoded ({error})", error
        )
    request.check_size(*opened.size)
    return opened


def _early_size(name: str, header: bytes) -> tuple[int, int]:
    """Returns the size of files whose readers allocate memory on opening.

    It is (0, 0) for other formats, and for headers without a valid size.
    """

    def number(start: int, size: int) -> int:
        return int.from_bytes(header[start : start + size], "little")

    kind = header[12:16]
    if name == "GIF":
        return number(6, 2), number(8, 2)
    if name != "WEBP":
        return 0, 0
    if kind == b"VP8X":
        return number(24, 3) + 1, number(27, 3) + 1
    if kind == b"VP8L":
        bits = number(21, 4)
        return bits % 2**14 + 1, (bits >> 14) % 2**14 + 1
    # The upper two bits only say how to enlarge the image on display.
    return number(26, 2) % 2**14, number(28, 2) % 2**14


def load_pixels(opened: ImageFile.ImageFile, request: Request) -> None:
    """Decodes the pixels."""
    rule = f"must be a {opened.format} file that can be decoded"
    if isinstance(opened, TiffImageFile):
        size = opened.tag_v2[_TIFF_WIDTH], opened.tag_v2[_TIFF_HEIGHT]
        if _covered(opened.tile) < size[0] * size[1]:
            # Pillow would leave the missing parts black.
            request.refuse(f"{rule} (some of its parts are missing)")
        # Allocate here, since Pillow would apply its own size limit.
        opened.im = Image.new(opened.mode, size, None).im
    try:
        opened.load()
    except MemoryError:
        raise
    except Exception as error:
        request.refuse(f"{rule} ({error})", error)


def _covered(tiles: Iterable[ImageFile._Tile]) -> int:
    """Returns the number of pixels in the parts of a file."""
    total = 0
    for tile in tiles:
        left, top, right, bottom = tile.extents or (0, 0, 0, 0)
        total += (right - left) * (bottom - top)
    return total


def upright(
    image: ImageFile.ImageFile,
    convert: Callable[[Image.Image], np.ndarray],
    channels: tuple[int, ...],
    dtype: np.dtype = _BYTE,
) -> np.ndarray:
    """Converts a decoded image to (H, W, *channels), turned upright.

    Pillow would copy the whole image for every step. This converts it block
    by block, and writes each block to its place.
    """
    orientation = orientation_of(image)
    width, height = image.size
    shape = (height, width) if orientation < 5 else (width, height)
    upright = np.empty((*shape, *channels), dtype)
    # The same memory, with the rows and columns of the file.
    stored = upright
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    if orientation >= 5:
        stored = stored.swapaxes(0, 1)
    # Pillow would warn about transparency that RGB cannot hold.
    image.info.pop("transparency", None)
    for top in range(0, height, _BLOCK):
        bottom = min(top + _BLOCK, height)
        for left in range(0, width, _BLOCK):
            right = min(left + _BLOCK, width)
            # `image.crop` would apply Pillow's size limit to the block.
            core = image.im.crop((left, top, right, bottom))
            stored[top:bottom, left:right] = convert(image._new(core))
    return upright


def orientation_of(image: ImageFile.ImageFile) -> int:
    """Returns the EXIF orientation to apply, from 1 (none) to 8.

    Args:
        image: An opened file.
    """
    try:
        # Pillow turns TIFF files while decoding, and updates this tag.
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        # Do not refuse good pixels because of damaged metadata.
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _rgb_converter(
    opened: ImageFile.ImageFile, request: Request
) -> Callable[[Image.Image], np.ndarray]:
    """Returns a function from blocks to arrays that broadcast to RGB."""
    tags = tiff_tags(opened)
    signed = _SIGNED in tags.get(_TIFF_SAMPLE_FORMAT, ())
    if signed or opened.mode in ("I", "F"):
        request.refuse(
            "must have unsigned channels of at most 16 bits, not floats or "
            "longer integers"
        )
    if (
        tags.get(_TIFF_PHOTOMETRIC) == _YCBCR
        and tags.get(TIFF_COMPRESSION, _RAW) == _RAW
        and (opened.mode != "YCbCr" or tags.get(_TIFF_SUBSAMPLING) != (1, 1))
    ):
        # Pillow reads them as if every pixel had its own color, which is not
        # TIFF's default, and old versions read them as RGB.
        request.refuse("must not have subsampled colors uncompressed in TIFF")
    if opened.mode == "P" and opened.palette is None:
        request.refuse("must have a palette, or be of another kind")
    if not opened.mode.startswith("I;16"):
        return block_to_rgb
    white = 4095 if raw_mode(opened) == "I;12" else 65535
    scaled = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)
    if tags.get(_TIFF_PHOTOMETRIC) == _MIN_IS_WHITE:
        # Pillow inverts channels of 8 bits, but not these.
        scaled = scaled[::-1]
    return lambda block: scaled[np.asarray(block)][..., None]


def block_to_rgb(block: Image.Image) -> np.ndarray:
    """Converts a part of an image of any mode to RGB, uint8 (H, W, 3)."""
    if block.mode == "La":
        # Premultiplied alpha has no direct conversion to RGB.
        block = block.convert("LA")
    return np.asarray(block if block.mode == "RGB" else block.convert("RGB"))


def tiff_tags(opened: ImageFile.ImageFile) -> Mapping[int, Any]:
    """Returns the tags of a TIFF file by number; empty for other files."""
    return opened.tag_v2 if isinstance(opened, TiffImageFile) else {}


def raw_mode(opened: ImageFile.ImageFile) -> str:
    """Returns Pillow's raw mode of a file that is not decoded yet."""
    arguments = opened.tile[0][3] if opened.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)
