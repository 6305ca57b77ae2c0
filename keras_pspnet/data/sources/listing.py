"""The list of a data set's pairs, before any is read, and their issues."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Protocol, TypeVar

import numpy as np

from keras_pspnet.data.image_files import (
    IMAGE_SUFFIXES,
    files_in,
)
from keras_pspnet.data.images import MAX_PIXELS
from keras_pspnet.labels import LabelSet

File = TypeVar("File", bound=PurePath)
# Paths of an image and its mask.
FilePair = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Issue:
    """A problem in a data set.

    Args:
        text: The problem, and where it is.
        files: The affected files.
        is_warning: Whether the set can still be used.
    """

    text: str
    files: tuple[str, ...]
    is_warning: bool = False

    def __str__(self) -> str:
        return f"warning: {self.text}" if self.is_warning else self.text


class SplitError(ValueError):
    """A split does not exist, or must be chosen.

    Args:
        splits: The splits that exist; "" means that the set is not split.
        split: The requested split.
        where: The data set, for the message.
    """

    def __init__(
        self, splits: Iterable[str], split: str | None, where: str
    ) -> None:
        self.splits = tuple(sorted(splits))
        listed = ", ".join(repr(each or None) for each in self.splits)
        super().__init__(
            f"`split` must be one of {listed} for {where}. "
            f"Received: split={split!r}"
        )


class GroundTruth(Protocol):
    """Reads the mask of one image: an `Encoding` of files, or a `Drawing`."""

    def read(
        self,
        source: str | os.PathLike[str] | bytes,
        max_pixels: int = MAX_PIXELS,
        /,
    ) -> np.ndarray:
        """Reads classes and 255, uint8 `(H, W)`.

        Args:
            source: The file that holds the ground truth, or its bytes.
            max_pixels: Larger masks are refused.

        Raises:
            OSError: If a file cannot be opened.
            ValueError: If it cannot be decoded, is too large, or holds a
                value without a class.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Sample:
    """An image and its ground truth.

    Args:
        image: Path of the image.
        mask: Path of the file with the ground truth: a mask, or the
            annotations of one or more images.
        ground_truth: Reads that file.
    """

    image: str
    mask: str
    ground_truth: GroundTruth


@dataclasses.dataclass(frozen=True)
class Listing:
    """All pairs of a split, and the issues found while listing them.

    Args:
        labels: The classes.
        samples: The pairs.
        issues: The issues.
        form: Name of the recognized format, such as "COCO JSON".
    """

    labels: LabelSet
    samples: list[Sample]
    issues: list[Issue]
    form: str = ""


def find_files(
    folder: Path, suffixes: Collection[str], issues: list[Issue]
) -> dict[str, Path]:
    """Finds files by suffix.

    Args:
        folder: Folder to search; hidden files are skipped.
        suffixes: Allowed suffixes, in upper or lower case.
        issues: Gets an issue for every name that two files share.

    Returns:
        The files, sorted by name.
    """
    return by_stem(files_in(folder, suffixes), issues)


def by_stem(
    files: Iterable[File], issues: list[Issue], ending: str = ""
) -> dict[str, File]:
    """Maps names without suffix to files.

    Args:
        files: The files.
        issues: Gets an issue for every name that two files share.
        ending: Required end of names, which is removed from them.

    Returns:
        The files in their order; the first of two with the same name.
    """
    found: dict[str, File] = {}
    for file in files:
        if not file.stem.endswith(ending):
            continue
        other = found.setdefault(file.stem.removesuffix(ending), file)
        if other != file:
            text = f"{other} and {file} are two files of one name"
            issues.append(Issue(text, (str(other), str(file))))
    return found


def list_file(name: str, folder: Path, split: str, *more: str) -> Path:
    """Finds the text file that lists a split.

    Args:
        name: Name of the set, for errors.
        folder: Folder with the lists.
        split: The split.
        *more: Splits that need no list, for errors.

    Returns:
        The file.

    Raises:
        ValueError: If there is none.
    """
    path = folder / f"{split}.txt"
    if not path.is_file():
        lists = sorted(entry.stem for entry in folder.glob("*.txt"))
        raise ValueError(
            f"`split` must be one of {', '.join([*lists, *more])} for "
            f"{name!r}, whose lists are in {folder}. Received: split={split!r}"
        )
    return path


def read_names(path: Path, issues: list[Issue]) -> list[str]:
    """Reads the list of a split.

    Args:
        path: Text file with one image per line, by name or path. Text after a
            space is skipped, as are empty lines and lines that start with #.
        issues: Gets an issue for every name that is listed twice.

    Returns:
        The names without folder, suffix and repetitions, in their order.
    """
    names = []
    # Keep names in other encodings as the file system has them.
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            listed = Path(line.split()[0])
            is_file = listed.suffix.lower() in IMAGE_SUFFIXES
            names.append(listed.stem if is_file else listed.name)
    counts = Counter(names)
    issues += [
        Issue(f"{path} lists {name} {count} times", (str(path),))
        for name, count in counts.items()
        if count > 1
    ]
    return list(counts)


def pair_names(
    names: Iterable[str],
    images: Mapping[str, PurePath],
    masks: Mapping[str, PurePath],
    places: tuple[str, str],
    issues: list[Issue],
    listed_in: str = "",
) -> list[FilePair]:
    """Pairs images and masks of the same name.

    Args:
        names: Names of the pairs, in their order.
        images: Image files by name.
        masks: Mask files by name.
        places: The folders of images and masks, for issues.
        issues: Gets an issue for each name without an image or mask, or if
            there is no pair at all.
        listed_in: The file that lists the names, for issues; "" if none does.

    Returns:
        The pairs.
    """
    pairs = []
    for name in names:
        image, mask = images.get(name), masks.get(name)
        if image and mask:
            pairs.append((str(image), str(mask)))
        elif image:
            text = f"{image} has no mask in {places[1]}"
            issues.append(Issue(text, (str(image),)))
        elif mask:
            text = f"{mask} has no image in {places[0]}"
            issues.append(Issue(text, (str(mask),)))
        else:
            text = f"{listed_in} lists {name!r}, which has neither an image "
            text += f"in {places[0]} nor a mask in {places[1]}"
            issues.append(Issue(text, ()))
    if not pairs:
        text = f"there is no pair of images in {places[0]} and masks in "
        text += places[1]
        if listed_in:
            text += f" that {listed_in} lists"
        issues.append(Issue(text, places))
    return pairs


def check_complete(issues: Sequence[Issue]) -> None:
    """Checks that the images and masks of two folders belong together.

    Args:
        issues: The issues that `pair_files` found.

    Raises:
        ValueError: If there are any.
    """
    if issues:
        raise ValueError(
            "`images_dir` and `masks_dir` must hold images and masks of the "
            f"same names. Received: {issues[0]} (1 of {len(issues)} issues)"
        )
