"""The pairs of a data set before any is read, and what is wrong with them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from keras_pspnet.data.images import IMAGE_SUFFIXES, MASK_SUFFIXES
from keras_pspnet.data.sources.encodings import Encoding
from keras_pspnet.labels import LabelSet


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


@dataclasses.dataclass(frozen=True)
class Sample:
    """A picture, its mask, and what the mask's values mean."""

    image: str
    mask: str
    encoding: Encoding


@dataclasses.dataclass(frozen=True)
class Listing:
    """All pairs of a split, and the faults found in listing them."""

    labels: LabelSet
    samples: list[Sample]
    issues: list[Issue]


def find_files(
    folder: Path, suffixes: Collection[str], issues: list[Issue]
) -> dict[str, Path]:
    """Finds files by their names without suffix.

    Args:
        folder: Where to look; hidden files are passed over.
        suffixes: How files must end, in upper or lower case.
        issues: Gets one for every name that two files have.

    Returns:
        The files, sorted by name.
    """
    files: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if (
            entry.name.startswith(".")
            or entry.suffix.lower() not in suffixes
            or entry.is_dir()
        ):
            continue
        other = files.setdefault(entry.stem, entry)
        if other != entry:
            issues.append(
                Issue(
                    f"{folder} holds {other.name} and {entry.name}, two files "
                    "of one name",
                    (str(other), str(entry)),
                )
            )
    return files


def read_names(path: Path, issues: list[Issue]) -> list[str]:
    """Reads the list of a split.

    Args:
        path: Text with a picture a line: its name, or the path of its file.
            What follows after a space is passed over, as are empty lines
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


def make_listing(
    labels: LabelSet,
    names: Iterable[str],
    images: Mapping[str, Path],
    masks: Mapping[str, tuple[Path, Encoding]],
    places: tuple[str, str],
    issues: list[Issue],
    listed_in: str = "",
) -> Listing:
    """Pairs pictures and masks of the same name.

    Args:
        labels: The classes.
        names: Names of the pairs, in their order.
        images: Picture files by name.
        masks: Mask files by name, and what their values mean.
        places: Where pictures and masks are looked for, for faults.
        issues: Those found so far.
        listed_in: Where a list has the names, for faults; "" if none has.

    Returns:
        The pairs, and a fault more for each name without picture or mask,
        or if there is no pair at all.
    """
    samples = []
    issues = list(issues)
    for name in names:
        image, mask = images.get(name), masks.get(name)
        if image and mask:
            samples.append(Sample(str(image), str(mask[0]), mask[1]))
        elif image:
            issues.append(
                Issue(f"{image} has no mask in {places[1]}", (str(image),))
            )
        elif mask:
            issues.append(
                Issue(
                    f"{mask[0]} has no picture in {places[0]}", (str(mask[0]),)
                )
            )
        else:
            issues.append(
                Issue(
                    f"{listed_in} lists {name!r}, which has neither a picture "
                    f"in {places[0]} nor a mask in {places[1]}",
                    (),
                )
            )
    if not samples:
        text = f"there is no pair of pictures in {places[0]} and masks in "
        text += places[1]
        if listed_in:
            text += f" that {listed_in} lists"
        issues.append(Issue(text, places))
    return Listing(labels, samples, issues)


def lossy_masks(folder: Path) -> list[Issue]:
    """Finds pictures in a folder of masks that cannot hold a mask."""
    return [
        Issue(
            f"{entry} cannot be a mask: masks must end in "
            f"{', '.join(MASK_SUFFIXES)}, for lossy files change indices",
            (str(entry),),
        )
        for entry in sorted(folder.iterdir())
        if entry.suffix.lower() in set(IMAGE_SUFFIXES) - set(MASK_SUFFIXES)
        and not entry.name.startswith(".")
    ]
