"""The pairs of a data set before any is read, and what is wrong with them."""

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
    """Something wrong with a data set.

    Args:
        text: What is wrong, and where.
        files: The files it is about.
        is_warning: Whether the set can be used all the same.
    """

    text: str
    files: tuple[str, ...]
    is_warning: bool = False

    def __str__(self) -> str:
        return f"warning: {self.text}" if self.is_warning else self.text


class SplitError(ValueError):
    """A split must be chosen, or there is none such.

    Args:
        splits: The splits that there are; "" is a whole that is not split.
        split: What was asked for.
        where: The data set, for people.
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
            ValueError: If it cannot be decoded, is larger, or holds what is
                no class.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Sample:
    """An image and its ground truth.

    Args:
        image: Path of the image.
        mask: Path of the file that holds the ground truth: a mask, or the
            annotations of one image or of many.
        ground_truth: Reads that file.
    """

    image: str
    mask: str
    ground_truth: GroundTruth


@dataclasses.dataclass(frozen=True)
class Listing:
    """All pairs of a split, and the issues found in listing them.

    Args:
        labels: The classes.
        samples: The pairs.
        issues: What is wrong with them.
        form: What was recognized, such as "COCO JSON", for people.
    """

    labels: LabelSet
    samples: list[Sample]
    issues: list[Issue]
    form: str = ""


def find_files(
    folder: Path, suffixes: Collection[str], issues: list[Issue]
) -> dict[str, Path]:
    """Finds files by their names without suffix.

    Args:
        folder: Where to look; hidden files are skipped.
        suffixes: How files must end, in upper or lower case.
        issues: Gets one for every name that two files have.

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
        issues: Gets one for every name that two files have.
        ending: How names must end; what stands before it is the name.

    Returns:
        The files in their order; of two with one name the first.
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
        folder: Where the lists are.
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
        path: Text with an image a line: its name, or the path of its file.
            What follows after a space is skipped, as are empty lines
            and those that start with #.
        issues: Gets one for every name that is listed twice.

    Returns:
        The names, without folder and suffix, each once, in their order.
    """
    names = []
    # Names in another encoding stay what the file system calls them.
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
        places: Where images and masks are looked for, for issues.
        issues: Gets one for each name without image or mask, or if there is
            no pair at all.
        listed_in: Where a list has the names, for issues; "" if none has.

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
        issues: What `pair_files` found.

    Raises:
        ValueError: If there is any.
    """
    if issues:
        raise ValueError(
            "`images_dir` and `masks_dir` must hold images and masks of the "
            f"same names. Received: {issues[0]} (1 of {len(issues)} issues)"
        )
