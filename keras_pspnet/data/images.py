"""Pictures and index masks from files, bytes and arrays, without TensorFlow."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from io import BytesIO
from pathlib import Path, PurePath
from typing import IO, NoReturn, TypeVar

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

Source = str | os.PathLike[str] | bytes | np.ndarray
File = TypeVar("File", bound=PurePath)

# As many pixels as fill 256 MiB in RGB; Pillow warns above the same count.
MAX_PIXELS = 2**28 // 3

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")

# How files start, and what reads them: only decoders of pixels, for others of
# Pillow's run programs or follow references (EPS, WMF, ...). They are called
# directly because `Image.open` has a limit of its own, which is the whole
# process's. Phones' multi-picture files are JPEG files with more behind them.
_READERS: dict[str, tuple[bytes, type[ImageFile.ImageFile]]] = {
    "JPEG": (rb"\xff\xd8\xff", JpegImageFile),
    "PNG": (rb"\x89PNG\r\n\x1a\n", PngImageFile),
    "WEBP": (rb"RIFF.{4}WEBP", WebPImageFile),
    "BMP": (rb"BM", BmpImageFile),
    "GIF": (rb"GIF8[79]a", GifImageFile),
    # The second byte order is a common mistake, which Pillow forgives.
    "TIFF": (rb"(II|MM)([*+]\0|\0[*+])", TiffImageFile),
}
_IMAGE_FORMATS = tuple(_READERS)
# Lossy formats change indices, so none of them can hold a mask.
_MASK_FORMATS = ("PNG", "BMP", "GIF", "TIFF")

# The longest header of those below, in bytes.
_HEADER = 30

_ORIENTATION = 274
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_COMPRESSION, _RAW = 259, 1
_TIFF_PHOTOMETRIC, _MIN_IS_WHITE, _YCBCR = 262, 0, 6
_TIFF_SAMPLE_FORMAT, _SIGNED = 339, 2
_TIFF_SUBSAMPLING = 530

# Pillow stretches 2 and 4-bit grey to 0..255; dividing gives the index.
_GREY_STEPS = {"L;2": 85, "L;4": 17}

# Side of the squares, in pixels, in which decoded pictures are converted.
_BLOCK = 512


def read_image(source: Source, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a picture as upright RGB.

    Files may be JPEG, PNG, WebP, BMP, GIF or TIFF, in black and white, grey,
    palette, RGB, CMYK, YCbCr or Lab form; of several frames or pages the first
    is read. Channels of more than 8 bits are scaled to 8. Alpha is dropped,
    not composited, as `tf.io.decode_image` does when asked for 3 channels.
    Colour profiles are not applied, and CMYK in JPEG files is taken to be
    inverted, as Adobe writes it.

    At the peak, the decoded picture (4 bytes per pixel at most) and the result
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
        ValueError: If the file is not a complete picture, has more than
            `max_pixels` pixels, or channels that are signed, floats or longer
            than 16 bits, of which none tells what is white; if an array has
            another shape or values outside 0..255; or if `max_pixels` is not
            a positive integer.
    """
    _check_max_pixels(max_pixels)
    if isinstance(source, np.ndarray):
        return _check_image_array(source)
    with _stream("image", source) as stream:
        request = _Request(
            "image", "a picture", _IMAGE_FORMATS, max_pixels, _named(source)
        )
        opened = _open(stream, request)
        to_rgb = _rgb_converter(opened, request)
        _load(opened, request)
        return _upright(opened, to_rgb, (3,))


def read_mask(source: Source, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a mask whose pixels are class indices.

    Palette files give the index, never the colour. Grey files of 1, 2, 4, 8
    or 16 bits give the stored value, counted from black.

    Args:
        source: A path to a PNG, BMP, TIFF or GIF file, the bytes of one, or
            an integer array of shape `(H, W)` within 0..255.
        max_pixels: As of `read_image`.

    Returns:
        A uint8 array of shape `(H, W)`; a uint8 array comes back itself.

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
        request = _Request(
            "mask", "an index mask", _MASK_FORMATS, max_pixels, _named(source)
        )
        opened = _open(stream, request)
        to_index = _index_converter(opened, request)
        _load(opened, request)
        return _upright(opened, to_index, ())


def find_images(
    paths: Sequence[str | os.PathLike[str]],
) -> list[Path]:
    """Lists the picture files that paths, folders and patterns stand for.

    Args:
        paths: Each a file, which is taken as it is; a folder, of which the
            files that end in `IMAGE_SUFFIXES` are taken, in upper or lower
            case, but neither hidden ones nor those of folders inside; or,
            where there is neither, a pattern as of `glob` ("photos/*.jpg",
            "photos/**/*" for folders inside as well), of whose matches the
            same files are taken.

    Returns:
        The files in the order of `paths`, sorted within a folder or pattern;
        each once, where it comes up first.

    Raises:
        FileNotFoundError: If there is no such file or folder, and no picture
            that a pattern matches.
        OSError: If a folder cannot be listed.
        TypeError: If `paths` is a single path, or holds something else.
        ValueError: If `paths` is empty, or a folder holds no picture.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise TypeError(
            f"`paths` must be a sequence of paths. Received: paths={paths!r}"
        )
    found: dict[Path, None] = {}
    for path in paths:
        found |= dict.fromkeys(_images_at(path))
    if not found:
        raise ValueError(
            f"`paths` must not be empty. Received: paths={paths!r}"
        )
    return list(found)


def find_pairs(
    images_dir: str | os.PathLike[str], masks_dir: str | os.PathLike[str]
) -> list[tuple[str, str]]:
    """Pairs the pictures of one folder with the masks of another by stem.

    Args:
        images_dir: Folder of pictures: files that end in `IMAGE_SUFFIXES`, in
            upper or lower case. Other and hidden files are passed over.
        masks_dir: Folder of masks: files that end in `MASK_SUFFIXES`.

    Returns:
        `(image_path, mask_path)` per pair, sorted by stem.

    Raises:
        FileNotFoundError: If a folder does not exist.
        NotADirectoryError: If one is not a folder.
        ValueError: If there is no pair, a picture without a mask, a mask
            without a picture, or a stem that occurs twice in one folder.
    """
    return [
        (str(image), str(mask))
        for image, mask in pair_files(
            images_dir,
            _files_of("images_dir", images_dir, IMAGE_SUFFIXES),
            masks_dir,
            _files_of("masks_dir", masks_dir, MASK_SUFFIXES),
        )
    ]


def pair_files(
    images_dir: str | os.PathLike[str],
    images: Iterable[File],
    masks_dir: str | os.PathLike[str],
    masks: Iterable[File],
) -> list[tuple[File, File]]:
    """Pairs images with masks by stem.

    Args:
        images_dir: Folder of the images, for error messages.
        images: The files in it.
        masks_dir: Folder of the masks, likewise.
        masks: The files in it.

    Returns:
        `(image, mask)` per pair, sorted by stem.

    Raises:
        ValueError: As of `find_pairs`.
    """
    image_of = _by_stem("images_dir", images_dir, images)
    mask_of = _by_stem("masks_dir", masks_dir, masks)
    if not image_of.keys() & mask_of.keys():
        raise ValueError(
            "`images_dir` and `masks_dir` must hold pictures and masks with "
            "the same names (a.jpg and a.png). Received: "
            f"images_dir={os.fspath(images_dir)!r} ({len(image_of)} pictures), "
            f"masks_dir={os.fspath(masks_dir)!r} ({len(mask_of)} masks)"
        )
    _check_partners("masks_dir", masks_dir, "mask", image_of, mask_of)
    _check_partners("images_dir", images_dir, "picture", mask_of, image_of)
    return [(image_of[stem], mask_of[stem]) for stem in sorted(image_of)]


def read_class_mask(
    path: str | os.PathLike[str] | bytes,
    num_classes: int,
    ignore_label: int = 255,
) -> np.ndarray:
    """Reads an index mask and checks its labels.

    Args:
        path: Path of the index mask, or the bytes of the file.
        num_classes: Labels must be within `0..num_classes-1`,
        ignore_label: or be this one.

    Returns:
        The mask, uint8 `(H, W)`.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it cannot be decoded, or a label is out of range.
    """
    mask = read_mask(path)
    counts = np.bincount(mask.reshape(-1), minlength=256)
    wrong = [
        int(label)
        for label in np.flatnonzero(counts)
        if label >= num_classes and label != ignore_label
    ]
    if wrong:
        raise ValueError(
            f"`mask` must hold labels within 0..{num_classes - 1}, or "
            f"{ignore_label} to ignore. Received: label {wrong[0]} in "
            f"mask={_named(path)}"
        )
    return mask


def read_pair(
    image_path: str | os.PathLike[str] | bytes,
    mask_path: str | os.PathLike[str] | bytes,
    num_classes: int,
    ignore_label: int = 255,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a picture and its mask, and checks that they fit.

    Args:
        image_path: Path of the picture, or the bytes of the file.
        mask_path: Path of the index mask, likewise.
        num_classes: Labels must be within `0..num_classes-1`,
        ignore_label: or be this one.

    Returns:
        The picture, uint8 `(H, W, 3)`, and the mask, uint8 `(H, W)`.

    Raises:
        OSError: If a file cannot be opened.
        ValueError: If a file cannot be decoded, if the sizes differ, or if a
            label is out of range.
    """
    image = read_image(image_path)
    mask = read_class_mask(mask_path, num_classes, ignore_label)
    if image.shape[:2] != mask.shape:
        raise ValueError(
            "`mask` must have the size of its picture. Received: "
            f"mask={_named(mask_path)} of {_size(mask)}, "
            f"image={_named(image_path)} of {_size(image)}"
        )
    return image, mask


@dataclasses.dataclass(frozen=True)
class _Request:
    """What is to be read, within which limits, and its name in errors."""

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
                f"pixels. Received: {self.argument}={self.received} of "
                f"{width}x{height}"
            )


def _check_max_pixels(max_pixels: int) -> None:
    if type(max_pixels) is not int or max_pixels < 1:
        raise ValueError(
            "`max_pixels` must be an integer of at least 1. "
            f"Received: max_pixels={max_pixels!r}"
        )


def _named(source: str | os.PathLike[str] | bytes) -> str:
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    return repr(os.fspath(source))


def _stream(argument: str, source: str | os.PathLike[str] | bytes) -> IO[bytes]:
    if isinstance(source, bytes):
        return BytesIO(source)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"`{argument}` must be a path, bytes or a NumPy array. Received: "
            f"{argument}={source!r} of type {type(source).__name__}"
        )
    received = f"Received: {argument}={os.fspath(source)!r}"
    try:
        return open(source, "rb")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"`{argument}` must be a file that exists. {received}"
        ) from error
    except OSError as error:
        raise type(error)(
            f"`{argument}` must be a file that can be read "
            f"({error.strerror}). {received}"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"`{argument}` must be a valid path. {received}"
        ) from error


def _open(stream: IO[bytes], request: _Request) -> ImageFile.ImageFile:
    """Reads the header alone, and refuses sizes that would fill the memory."""
    header = stream.read(_HEADER)
    for name in request.formats:
        start, reader = _READERS[name]
        if re.match(start, header, re.DOTALL):
            break
    else:
        formats = ", ".join(request.formats)
        request.refuse(f"must be {request.noun} file ({formats})")
    request.check_size(*_early_size(name, header))
    try:
        stream.seek(0)
        opened = reader(stream)
    except MemoryError:
        raise
    # Pillow's readers raise whatever broken bytes lead them into (OSError,
    # SyntaxError, struct.error, IndexError, ...), here and in `_load`.
    except Exception as error:
        request.refuse(
            f"must be a {name} file that can be decoded ({error})", error
        )
    request.check_size(*opened.size)
    return opened


def _early_size(name: str, header: bytes) -> tuple[int, int]:
    """Returns the size of files whose readers allocate as they open them.

    That is (0, 0) for other formats, and for headers too broken to have one.
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
    # The upper two bits only say how to enlarge the picture.
    return number(26, 2) % 2**14, number(28, 2) % 2**14


def _load(opened: ImageFile.ImageFile, request: _Request) -> None:
    """Decodes the pixels."""
    rule = f"must be a {opened.format} file that can be decoded"
    if isinstance(opened, TiffImageFile):
        size = opened.tag_v2[_TIFF_WIDTH], opened.tag_v2[_TIFF_HEIGHT]
        if _covered(opened.tile) < size[0] * size[1]:
            # Pillow would leave the rest black.
            request.refuse(f"{rule} (some of its parts are missing)")
        # Pillow would hold its own limit against the file in allocating this.
        opened.im = Image.new(opened.mode, size, None).im
    try:
        opened.load()
    except MemoryError:
        raise
    except Exception as error:
        request.refuse(f"{rule} ({error})", error)


def _covered(tiles: Iterable[ImageFile._Tile]) -> int:
    """Returns how many pixels the parts of a file have."""
    total = 0
    for tile in tiles:
        left, top, right, bottom = tile.extents or (0, 0, 0, 0)
        total += (right - left) * (bottom - top)
    return total


def _upright(
    image: ImageFile.ImageFile,
    convert: Callable[[Image.Image], np.ndarray],
    channels: tuple[int, ...],
) -> np.ndarray:
    """Converts a decoded picture to uint8 (H, W, *channels), and turns it.

    Pillow would need a copy of the picture for every step. Here it is
    converted block by block, each written where it belongs.
    """
    orientation = _orientation(image)
    width, height = image.size
    shape = (height, width) if orientation < 5 else (width, height)
    upright = np.empty((*shape, *channels), np.uint8)
    # The same memory, with rows and columns as they are in the file.
    stored = upright
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    if orientation >= 5:
        stored = stored.swapaxes(0, 1)
    # Pillow warns where it converts transparency that RGB cannot hold.
    image.info.pop("transparency", None)
    for top in range(0, height, _BLOCK):
        bottom = min(top + _BLOCK, height)
        for left in range(0, width, _BLOCK):
            right = min(left + _BLOCK, width)
            # `image.crop` would hold Pillow's own limit against the block.
            core = image.im.crop((left, top, right, bottom))
            stored[top:bottom, left:right] = convert(image._new(core))
    return upright


def _orientation(image: ImageFile.ImageFile) -> int:
    """Returns how a picture is yet to be turned, 1 (not at all) to 8."""
    try:
        # Pillow has turned TIFF files in decoding, and tells so here.
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        # Damaged metadata is no reason to refuse sound pixels.
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _rgb_converter(
    opened: ImageFile.ImageFile, request: _Request
) -> Callable[[Image.Image], np.ndarray]:
    """Returns what makes arrays that broadcast to RGB of a file's blocks."""
    tags = opened.tag_v2 if isinstance(opened, TiffImageFile) else {}
    signed = _SIGNED in tags.get(_TIFF_SAMPLE_FORMAT, ())
    if signed or opened.mode in ("I", "F"):
        request.refuse(
            "must have unsigned channels of at most 16 bits, not floats or "
            "longer integers"
        )
    if (
        tags.get(_TIFF_PHOTOMETRIC) == _YCBCR
        and tags.get(_TIFF_COMPRESSION, _RAW) == _RAW
        and (opened.mode != "YCbCr" or tags.get(_TIFF_SUBSAMPLING) != (1, 1))
    ):
        # Pillow reads them as if every pixel had its own colour, which the
        # default of TIFF is not, and old versions as if it were RGB.
        request.refuse("must not have subsampled colours uncompressed in TIFF")
    if opened.mode == "P" and opened.palette is None:
        request.refuse("must have a palette, or be of another kind")
    if not opened.mode.startswith("I;16"):
        return _block_to_rgb
    white = 4095 if _raw_mode(opened) == "I;12" else 65535
    scaled = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)
    if tags.get(_TIFF_PHOTOMETRIC) == _MIN_IS_WHITE:
        # Pillow inverts shorter channels, but not these.
        scaled = scaled[::-1]
    return lambda block: scaled[np.asarray(block)][..., None]


def _block_to_rgb(block: Image.Image) -> np.ndarray:
    if block.mode == "La":
        # Premultiplied alpha has no direct way to RGB.
        block = block.convert("LA")
    return np.asarray(block if block.mode == "RGB" else block.convert("RGB"))


def _index_converter(
    opened: ImageFile.ImageFile, request: _Request
) -> Callable[[Image.Image], np.ndarray]:
    """Returns what makes arrays of class indices of a file's blocks."""
    if len(opened.getbands()) > 1 or opened.mode == "F":
        request.refuse(
            "must be an index mask, one class index per pixel in a grey or "
            f"palette file, not {opened.mode}"
        )
    step = _GREY_STEPS.get(_raw_mode(opened)[:3], 1)

    def convert(block: Image.Image) -> np.ndarray:
        stored = np.asarray(block)
        low, high = int(stored.min()), int(stored.max())
        if low < 0 or high > 255:
            request.refuse(
                "must hold class indices within 0..255, not "
                f"{high if high > 255 else low}"
            )
        return stored.astype(np.uint8) // step

    return convert


def _raw_mode(opened: ImageFile.ImageFile) -> str:
    """Returns how pixels lie in a file that is not decoded yet."""
    arguments = opened.tile[0][3] if opened.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


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


def _files_of(
    argument: str, folder: str | os.PathLike[str], suffixes: Sequence[str]
) -> list[Path]:
    path, received = Path(folder), f"{argument}={os.fspath(folder)!r}"
    if not path.exists():
        raise FileNotFoundError(
            f"`{argument}` must be a folder that exists. Received: {received}"
        )
    if not path.is_dir():
        raise NotADirectoryError(
            f"`{argument}` must be a folder. Received: {received}"
        )
    return _files_in(path, suffixes)


def _by_stem(
    argument: str, folder: str | os.PathLike[str], files: Iterable[File]
) -> dict[str, File]:
    found: dict[str, File] = {}
    for file in files:
        other = found.setdefault(file.stem, file)
        if other != file:
            raise ValueError(
                f"`{argument}` must hold each name once. Received: {argument}="
                f"{os.fspath(folder)!r} with {other.name!r} and {file.name!r}"
            )
    return found


def _files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Lists the files of a folder that end in `suffixes`, none hidden."""
    return [
        entry
        for entry in sorted(folder.iterdir())
        if not entry.name.startswith(".") and _is_file(entry, suffixes)
    ]


def _is_file(path: Path, suffixes: Sequence[str]) -> bool:
    # Broken links count, so that reading them tells.
    return path.suffix.lower() in suffixes and not path.is_dir()


def _images_at(path: str | os.PathLike[str]) -> list[Path]:
    """Lists what one of the paths of `find_images` stands for."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            "`paths` must hold strings or path objects. Received: "
            f"{path!r} of type {type(path).__name__}"
        )
    name = os.fspath(path)
    received = f"Received: paths={name!r}"
    if os.path.isdir(name):
        images = _files_in(Path(name), IMAGE_SUFFIXES)
        if not images:
            raise ValueError(
                "`paths` must be pictures, or folders that hold some "
                f"({', '.join(IMAGE_SUFFIXES)}). {received} without a picture"
            )
        return images
    if os.path.exists(name):
        return [Path(name)]
    if not glob.has_magic(name):
        raise FileNotFoundError(
            "`paths` must be files, folders or patterns of files that exist. "
            f"{received}"
        )
    matches = sorted(map(Path, glob.glob(name, recursive=True)))
    images = [match for match in matches if _is_file(match, IMAGE_SUFFIXES)]
    if not images:
        raise FileNotFoundError(
            "`paths` must be patterns that match pictures "
            f"({', '.join(IMAGE_SUFFIXES)}). {received}, which matches "
            f"{len(matches)} files, none of them a picture"
        )
    return images


def _check_partners(
    argument: str,
    folder: str | os.PathLike[str],
    kind: str,
    wanting: Mapping[str, PurePath],
    partners: Collection[str],
) -> None:
    lonely = [
        wanting[stem].name for stem in sorted(wanting) if stem not in partners
    ]
    if lonely:
        names = ", ".join(lonely[:5]) + (", ..." if len(lonely) > 5 else "")
        raise ValueError(
            f"`{argument}` must hold a {kind} for each file of the other "
            f"folder; {len(lonely)} have none: {names}. Received: "
            f"{argument}={os.fspath(folder)!r}"
        )


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
