"""Reads and lists annotations, for the formats of all tools."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import mmap
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from keras_pspnet.data.image_files import IMAGE_SUFFIXES, files_in
from keras_pspnet.data.images import MAX_PIXELS, image_size
from keras_pspnet.data.sources.classes import Classes
from keras_pspnet.data.sources.drawing import Drawing
from keras_pspnet.data.sources.image_finder import ImageFinder
from keras_pspnet.data.sources.label_files import LABEL_FILE
from keras_pspnet.data.sources.listing import (
    Issue,
    Listing,
    Sample,
    SplitError,
)
from keras_pspnet.data.sources.shapes import Shape, TooFewPointsError
from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.utils import naming_errors

_ENCODINGS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
# Number of files to read to recognize the format of a folder.
_LOOKED_INTO = 50
# Maximum number of characters that errors quote from a file.
_QUOTED = 160
# Shapes may extend beyond an image by this share of its side.
_PAST_EDGE = 0.05
MALFORMED = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    TypeError,
    ValueError,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Annotation:
    """The annotation of one image.

    Args:
        file: The file that contains it.
        image: Name of the image in that file.
        size: Width and height, if the file has them.
        shapes: Class names and shapes, in drawing order.
    """

    file: Path
    image: str
    size: tuple[int, int] | None = None
    shapes: list[tuple[str, Shape]] = dataclasses.field(default_factory=list)


def list_annotations(
    form: str,
    classes: Classes,
    annotations: Iterable[Annotation],
    finder: ImageFinder,
    issues: list[Issue],
) -> Listing:
    """Lists images with the masks to draw for them.

    Args:
        form: Name of the format.
        classes: The classes.
        annotations: The annotations of all images.
        finder: Finds the images.
        issues: Issues found in reading; issues with images and classes are
            added.

    Returns:
        The pairs.
    """
    samples: list[Sample] = []
    seen: set[Path] = set()
    values = classes.values
    unknown: Counter[str] = Counter()
    first: dict[str, str] = {}
    file, empty, past = str(finder.folder), 0, []
    for each in annotations:
        file = str(each.file)
        image = finder.find(each.image)
        if image is None or image in seen:
            what = "is named twice" if image else "is not in the folder"
            text = f"{file}: the image {_short(each.image)} {what}"
            issues.append(Issue(text, (file,)))
            continue
        seen.add(image)
        size = each.size
        relative = any(getattr(s, "relative", False) for _, s in each.shapes)
        if size is None and each.shapes and not relative:
            # An unreadable file becomes an issue later.
            with contextlib.suppress(OSError, ValueError):
                size = image_size(str(image))
        shapes = []
        for name, shape in each.shapes:
            if name not in values:
                unknown[name] += 1
                first.setdefault(name, file)
            left, top, right, bottom = shape.box()
            width, height = (1, 1) if relative else size or (right, bottom)
            if min(right, bottom) < 0 or left >= width or top >= height:
                text = f"{file}: a shape of {_short(name)} lies outside of "
                text += str(image)
                issues.append(Issue(text, (file, str(image))))
            elif (
                max(-left, right - width) > _PAST_EDGE * width
                or max(-top, bottom - height) > _PAST_EDGE * height
            ):
                where = f"x {left:.6g} to {right:.6g}, y {top:.6g} to "
                where += f"{bottom:.6g} in {width}x{height} of {image}"
                past.append((where, str(image)))
            shapes.append((shape, values.get(name, IGNORE_LABEL)))
        empty += not shapes
        drawing = Drawing(str(image), size, tuple(shapes), classes.outside)
        samples.append(Sample(str(image), file, drawing))
    issues += [
        Issue(
            f"{count} shapes have the class {_short(name)}, which "
            f"{classes.origin} does not list, the first in {first[name]}",
            (first[name],),
        )
        for name, count in unknown.items()
    ]
    if past:
        text = f"{len(past)} shapes pass the edges of their images by more "
        text += f"than {_PAST_EDGE:.0%}, the first is {past[0][0]}: were the "
        text += "images resized?"
        issues.append(Issue(text, (file, past[0][1]), is_warning=True))
    if classes.outside == IGNORE_LABEL:
        text = f"no background in {classes.origin}: pixels outside of all "
        text += "shapes are ignored"
        issues.append(Issue(text, (classes.origin,), is_warning=True))
    issues += left_out(seen, finder)
    if empty == len(samples):
        text = f"{file}: no image that is in the folder has a shape"
        issues.append(Issue(text, (file,)))
    elif empty:
        kind = "ignored"
        if classes.outside != IGNORE_LABEL:
            kind = repr(classes.labels.names[classes.outside])
        text = f"{empty} of {len(samples)} images have no shapes: all their "
        text += f"pixels are {kind}"
        issues.append(Issue(text, (file,), is_warning=True))
    if Path(classes.origin).name == LABEL_FILE:
        form += f" (classes of {classes.origin})"
    return Listing(classes.labels, samples, issues, form)


def left_out(images: Collection[Path], finder: ImageFinder) -> list[Issue]:
    """Warns about images without an annotation.

    Args:
        images: The images that have one.
        finder: The finder of these images.
    """
    found = [
        file
        for folder in sorted({image.parent for image in images})
        if finder.is_whole(folder)
        for file in files_in(folder, IMAGE_SUFFIXES)
        if file not in images
    ]
    if not found:
        return []
    text = f"{len(found)} images in {finder.folder} have no annotation and "
    text += f"are left out, the first is {found[0]}"
    return [Issue(text, (str(found[0]),), is_warning=True)]


def as_size(width: Any, height: Any) -> tuple[int, int]:
    """Checks a width and height from a file, and returns them.

    Raises:
        ValueError: If they are not positive, or too large for an image.
        TypeError: If they are not numbers.
        OverflowError: If they are infinite.
    """
    size = int(width), int(height)
    if not 1 <= min(size) <= max(size) <= MAX_PIXELS:
        raise ValueError(
            f"width and height must be 1 to {MAX_PIXELS}, not "
            f"{_short(width)} and {_short(height)}"
        )
    return size


@contextlib.contextmanager
def collecting(issues: list[Issue], file: Path, entry: str) -> Iterator[None]:
    """Turns errors in an entry of a file into issues.

    Args:
        issues: List to add them to.
        file: The file.
        entry: Name of the entry, for the issue.
    """
    try:
        yield
    except TooFewPointsError as error:
        text = f"{file}: {entry} is skipped, for {error}"
        issues.append(Issue(text, (str(file),), is_warning=True))
    except MALFORMED as error:
        issues.append(Issue(f"{file}: {entry}: {reason(error)}", (str(file),)))


def reason(error: Exception) -> str:
    """Describes briefly what is wrong with an entry."""
    if isinstance(error, KeyError):
        return f"{_short(error.args[0])} is missing"
    return str(error)[:_QUOTED]


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not JSON, or nested too deeply.
    """
    with naming_errors("annotations", path, "readable"):
        content = path.read_bytes()
    try:
        return json.loads(content.decode(json.detect_encoding(content)))
    except (RecursionError, ValueError) as error:
        raise ValueError(
            f"`annotations` must be a complete JSON file ({error}). "
            f"Received: annotations={str(path)!r}"
        ) from error


def with_words(
    folder: Path, suffix: str, *words: str, without: str = ""
) -> list[Path]:
    """Finds files that contain words, without reading them completely.

    Args:
        folder: Folder to search; it may be missing.
        suffix: Suffix of the files.
        *words: Words that a file must contain.
        without: Words that it must not contain.

    Returns:
        The files; in a folder with very many files, only the first ones.
    """
    if not folder.is_dir():
        return []
    files = files_in(folder, (suffix,))[:_LOOKED_INTO]
    return [
        file
        for file in files
        if _has(file, words) and not (without and _has(file, (without,)))
    ]


def _has(file: Path, words: Collection[str]) -> bool:
    try:
        with (
            file.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            # Some Windows editors write UTF-16 with a byte order mark.
            encoding = _ENCODINGS.get(content[:2], "utf-8")
            return all(content.find(w.encode(encoding)) >= 0 for w in words)
    except (OSError, ValueError):
        # Empty files cannot be memory-mapped.
        return False


def has_split(splits: Collection[str], split: str | None) -> bool:
    """Tells whether there is the split that is asked for; None is any."""
    return bool(splits) and (split is None or split in splits)


def choose_split(
    splits: Collection[str], split: str | None, form: str, folder: Path
) -> str:
    """Returns the requested split, or the only one.

    Args:
        splits: The splits that exist; "" means that the set is not split.
        split: The requested split, or None.
        form: Name of the format.
        folder: The folder.

    Raises:
        SplitError: If the split does not exist, or None leaves a choice.
    """
    if split is None and len(splits) == 1:
        return next(iter(splits))
    if (split or "") not in splits:
        raise SplitError(splits, split, f"the {form} of {str(folder)!r}")
    return split or ""


def _short(value: Any) -> str:
    return repr(value)[:_QUOTED]
