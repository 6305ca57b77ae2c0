"""Pictures and index masks from files, bytes and arrays, without TensorFlow."""

import dataclasses
import os
import threading
import warnings
from collections.abc import Callable, Collection, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageFile

Source = str | os.PathLike[str] | bytes | np.ndarray

# As many pixels as fill 256 MiB in RGB; Pillow warns above the same count.
MAX_PIXELS = 2**28 // 3

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")

# Only decoders that read pixels: others of Pillow's run programs or follow
# references (EPS, WMF, ...). Phones' multi-picture files count as JPEG.
_IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# Lossy formats change indices, so none of them can hold a mask.
_MASK_FORMATS = ("PNG", "BMP", "GIF", "TIFF")

_EXIF_ORIENTATION = 274
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow stretches 2 and 4-bit grey PNGs to 0..255; dividing gives the index.
_GREY_STEPS = {"L;2": 85, "L;4": 17}

# `catch_warnings` swaps a list of the whole process; two threads in it at
# once could leave each other's list behind.
_warnings_lock = threading.Lock()


def read_image(source: Source) -> np.ndarray:
    """Reads a picture as upright RGB.

    Files may be JPEG, PNG, WebP, BMP, GIF (its first frame) or TIFF, in
    grey (8 or 16 bit), palette, CMYK or RGB form. 16-bit grey is scaled to 8
    bits. Alpha is dropped, not composited, as `tf.io.decode_image` does when
    asked for 3 channels.

    Args:
        source: A path, the bytes of a file, or an array of shape `(H, W, 3)`,
            either uint8 or of floats within 0..255.

    Returns:
        An array of shape `(H, W, 3)`: uint8, or float32 for a float array. A
        uint8 or float32 array comes back itself, not as a copy.

    Raises:
        FileNotFoundError: If the path does not exist.
        OSError: If the path cannot be opened.
        TypeError: If `source` is none of the above, or of another dtype.
        ValueError: If the file is not a complete picture, if it has more than
            `MAX_PIXELS` pixels (found out before decoding), or if an array
            has another shape or values outside 0..255.
    """
    if isinstance(source, np.ndarray):
        return _check_image_array(source)
    return _decode(source, _Kind("image", "a picture", _IMAGE_FORMATS, _to_rgb))


def read_mask(source: Source) -> np.ndarray:
    """Reads a mask whose pixels are class indices.

    Palette files give the index, never the colour. Grey files of 1, 2, 4, 8
    or 16 bits give the stored value.

    Args:
        source: A path to a PNG, BMP, TIFF or GIF file, the bytes of one, or
            an integer array of shape `(H, W)` within 0..255.

    Returns:
        A uint8 array of shape `(H, W)`; a uint8 array comes back itself.

    Raises:
        FileNotFoundError: If the path does not exist.
        OSError: If the path cannot be opened.
        TypeError: If `source` is none of the above, or of another dtype.
        ValueError: If the file is not a complete index mask (a coloured one,
            for instance), if it has more than `MAX_PIXELS` pixels, or if an
            array has another rank or values outside 0..255.
    """
    if isinstance(source, np.ndarray):
        return _check_mask_array(source)
    return _decode(
        source, _Kind("mask", "an index mask", _MASK_FORMATS, _to_index)
    )


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
    images = _files_by_stem("images_dir", images_dir, IMAGE_SUFFIXES)
    masks = _files_by_stem("masks_dir", masks_dir, MASK_SUFFIXES)
    if not images.keys() & masks.keys():
        raise ValueError(
            "`images_dir` and `masks_dir` must hold pictures and masks with "
            "the same names (a.jpg and a.png). Received: "
            f"images_dir={os.fspath(images_dir)!r} ({len(images)} pictures), "
            f"masks_dir={os.fspath(masks_dir)!r} ({len(masks)} masks)"
        )
    _check_partners("masks_dir", masks_dir, "mask", images, masks)
    _check_partners("images_dir", images_dir, "picture", masks, images)
    return [(str(images[stem]), str(masks[stem])) for stem in sorted(images)]


def read_class_mask(
    path: str | os.PathLike[str], num_classes: int, ignore_label: int = 255
) -> np.ndarray:
    """Reads an index mask and checks its labels.

    Args:
        path: Path of the index mask.
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
            f"mask={os.fspath(path)!r}"
        )
    return mask


def read_pair(
    image_path: str | os.PathLike[str],
    mask_path: str | os.PathLike[str],
    num_classes: int,
    ignore_label: int = 255,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a picture and its mask, and checks that they fit.

    Args:
        image_path: Path of the picture.
        mask_path: Path of the index mask.
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
            f"mask={os.fspath(mask_path)!r} of {_size(mask)}, "
            f"image={os.fspath(image_path)!r} of {_size(image)}"
        )
    return image, mask


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What is read: the argument's name, a noun, formats, and a converter.

    `convert` takes the opened, not yet decoded picture. It raises ValueError
    with a rule ("must be ..."), which `_decode` completes.
    """

    argument: str
    noun: str
    formats: tuple[str, ...]
    convert: Callable[[ImageFile.ImageFile], np.ndarray]


def _decode(source: object, kind: _Kind) -> np.ndarray:
    argument = kind.argument
    if isinstance(source, bytes):
        received = f"Received: {argument}=<{len(source)} bytes>"
        return _decode_stream(BytesIO(source), kind, received)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"`{argument}` must be a path, bytes or a NumPy array. Received: "
            f"{argument}={source!r} of type {type(source).__name__}"
        )
    received = f"Received: {argument}={os.fspath(source)!r}"
    try:
        # Closed below, where opening is no longer what can fail.
        stream = open(source, "rb")  # noqa: SIM115
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
    with stream:
        return _decode_stream(stream, kind, received)


def _decode_stream(stream: IO[bytes], kind: _Kind, received: str) -> np.ndarray:
    try:
        return kind.convert(_open(stream, kind))
    except ValueError as error:
        raise ValueError(f"`{kind.argument}` {error}. {received}") from error


def _open(stream: IO[bytes], kind: _Kind) -> ImageFile.ImageFile:
    """Reads the header alone, and refuses sizes that would fill the memory."""
    too_large = f"must have at most {MAX_PIXELS} pixels"
    try:
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(stream, formats=kind.formats)
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise ValueError(too_large) from error
    # Pillow's decoders raise whatever broken bytes lead them into (OSError,
    # SyntaxError, struct.error, IndexError, ...), here and in `_load`.
    except Exception as error:
        formats = ", ".join(kind.formats)
        raise ValueError(f"must be {kind.noun} file ({formats})") from error
    # Pillow's own limit can be lifted by anyone in the process.
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(too_large)
    return picture


def _load(opened: ImageFile.ImageFile) -> Image.Image:
    """Decodes the pixels and turns them upright."""
    try:
        opened.load()
    except Exception as error:
        raise ValueError(f"must be a complete file ({error})") from error
    try:
        orientation = opened.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        # Damaged metadata is no reason to refuse sound pixels.
        return opened
    method = _UPRIGHT.get(orientation)
    return opened if method is None else opened.transpose(method)


def _to_rgb(opened: ImageFile.ImageFile) -> np.ndarray:
    picture = _load(opened)
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        grey = _integers(picture)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("must have 8 or 16 bits per channel")
        # 65535 is 255 * 257; adding half of 257 rounds.
        grey = ((grey + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.mode == "F":
        raise ValueError("must have 8 or 16 bits per channel, not floats")
    if picture.mode in ("La", "RGBa"):
        # Premultiplied alpha has no direct way to RGB.
        picture = picture.convert(picture.mode.upper())
    # Pillow warns when it drops a palette's transparency.
    picture.info.pop("transparency", None)
    return np.array(picture.convert("RGB"))


def _to_index(opened: ImageFile.ImageFile) -> np.ndarray:
    if len(opened.getbands()) > 1 or opened.mode == "F":
        raise ValueError(
            "must be an index mask, one class index per pixel in a grey or "
            f"palette file, not {opened.mode}"
        )
    # Forgotten by Pillow once the pixels are decoded.
    stored = opened.tile[0][3] if opened.format == "PNG" else None
    index = _integers(_load(opened))
    if index.min() < 0 or index.max() > 255:
        wrong = index.max() if index.max() > 255 else index.min()
        raise ValueError(
            f"must hold class indices within 0..255, not {int(wrong)}"
        )
    return (index // _GREY_STEPS.get(str(stored), 1)).astype(np.uint8)


def _integers(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(np.int64)


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


def _files_by_stem(
    argument: str, folder: str | os.PathLike[str], suffixes: Sequence[str]
) -> dict[str, Path]:
    path, received = Path(folder), f"{argument}={os.fspath(folder)!r}"
    if not path.exists():
        raise FileNotFoundError(
            f"`{argument}` must be a folder that exists. Received: {received}"
        )
    if not path.is_dir():
        raise NotADirectoryError(
            f"`{argument}` must be a folder. Received: {received}"
        )
    files: dict[str, Path] = {}
    for entry in sorted(path.iterdir()):
        hidden = entry.name.startswith(".")
        if hidden or entry.suffix.lower() not in suffixes:
            continue
        other = files.setdefault(entry.stem, entry)
        if other != entry:
            raise ValueError(
                f"`{argument}` must hold each name once. Received: "
                f"{received} with {other.name!r} and {entry.name!r}"
            )
    return files


def _check_partners(
    argument: str,
    folder: str | os.PathLike[str],
    kind: str,
    wanting: dict[str, Path],
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
