"""Pairs images and masks by their names."""

from __future__ import annotations

import bisect
import dataclasses
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TypeVar

from keras_pspnet.data.image_files import MASK_SUFFIXES
from keras_pspnet.data.sources.listing import FilePair, Issue

# Prefix and suffix of the name that an image and its mask share.
Affix = tuple[str, str]
# Subfolder of a file, and its name without suffix.
Stem = tuple[str, str]
T = TypeVar("T")
# Number of masks used to find the common parts of their names.
_SAMPLE = 1000
# Number of candidates that an issue lists.
_SHOWN = 4


@dataclasses.dataclass(frozen=True)
class Naming:
    """Prefixes and suffixes in the names of images and masks.

    Args:
        image: Prefix and suffix of images.
        mask: Prefix and suffix of masks.
    """

    image: Affix = ("", "")
    mask: Affix = ("", "")

    def __str__(self) -> str:
        parts = {"images": self.image, "masks": self.mask}
        return " and ".join(
            f"{noun} named {before}*{behind}"
            for noun, (before, behind) in parts.items()
            if before or behind
        )

    @property
    def length(self) -> int:
        """The number of characters outside the shared name."""
        return len("".join(self.image + self.mask))


def pair_files(
    images: Iterable[PurePath],
    masks: Iterable[PurePath],
    places: tuple[str, str],
    issues: list[Issue],
) -> tuple[list[FilePair], str]:
    """Pairs images and masks by name.

    Names are compared without file suffix and in any Unicode normal form;
    subfolders must have the same names. Masks may have a prefix or suffix that
    all of them share (a.jpg and a_mask.png), and so may images. The one with
    the most pairs is chosen, and among several the shortest.

    Args:
        images: Image files, relative to their folder.
        masks: Mask files, likewise.
        places: The two folders; they may be the same.
        issues: Gets an issue for each file without a partner and each name
            that two files share, or if there is no pair at all.

    Returns:
        Paths of images and masks, sorted by name; and a description of the
        prefixes and suffixes found, "" if there are none.
    """
    image_of = _by_stem(images, places[0], issues)
    mask_of = _by_stem(masks, places[1], issues)
    found = _find_naming(list(image_of), list(mask_of))
    # If nothing pairs, report what comes close.
    naming = found or _closest(list(image_of), list(mask_of))
    image_of = _strip(image_of, naming.image)
    mask_of = _strip(mask_of, naming.mask)
    alone = sorted(stem for stem in mask_of if stem not in image_of)
    pairs = []
    for stem in sorted(image_of.keys() | mask_of.keys()):
        one, other = image_of.get(stem, []), mask_of.get(stem, [])
        if len(one) > 1 or len(other) > 1:
            # Ambiguous, and an issue already.
            continue
        if one and other:
            pairs.append((one[0], other[0]))
        elif one:
            text = f"{one[0]} has no mask in {places[1]}"
            text += _near(stem, alone, mask_of)
            issues.append(Issue(text, (one[0],)))
        else:
            text = f"{other[0]} has no image in {places[0]}"
            issues.append(Issue(text, (other[0],)))
    if not pairs:
        text = f"there is no pair of images in {places[0]} and masks in "
        issues.append(Issue(text + places[1], places))
    return pairs, str(naming) if found else ""


def split_folder(
    files: Sequence[PurePath],
) -> tuple[list[PurePath], list[PurePath]]:
    """Separates images and masks in one folder.

    A file is a mask if its name is that of another file with a prefix or
    suffix (a.jpg and a_mask.png), or if it is lossless and has the name of a
    lossy file (a.jpg and a.png).

    Args:
        files: Image and mask files.

    Returns:
        Images and masks; no masks if names do not tell.
    """
    stems = {_stem(file) for file in files}
    lossy = {_stem(file) for file in files if not _is_lossless(file)}
    counts: Counter[Affix] = Counter()
    for folder, name in stems:
        for cut in range(1, len(name)):
            if (folder, name[:cut]) in stems and _ends(name, cut):
                counts["", name[cut:]] += 1
            if (folder, name[cut:]) in stems and _begins(name, cut):
                counts[name[:cut], ""] += 1
    same = [each for each in files if _is_lossless(each)]
    same = [each for each in same if _stem(each) in lossy]
    most = max(counts.values(), default=0)
    if len(same) >= max(most, 1):
        masks = set(same)
    else:
        # Keep all of the most frequent ones; we cannot choose among them.
        affixes = [each for each, count in counts.items() if count == most]
        masks = {
            file
            for file in files
            for affix in affixes
            if _has(_stem(file)[1], affix)
        }
    return [each for each in files if each not in masks], sorted(masks)


def _is_lossless(file: PurePath) -> bool:
    return file.suffix.lower() in MASK_SUFFIXES


def _stem(file: PurePath) -> Stem:
    # Some systems store é as one character, some as two.
    path = unicodedata.normalize("NFC", file.as_posix())
    folder, _, name = path.rpartition("/")
    return folder, posixpath.splitext(name)[0]


def _by_stem(
    files: Iterable[PurePath], place: str, issues: list[Issue]
) -> dict[Stem, list[str]]:
    """Maps names to paths."""
    found: dict[Stem, list[str]] = {}
    for file in files:
        path = f"{place}/{file.as_posix()}"
        found.setdefault(_stem(file), []).append(path)
    for paths in found.values():
        if len(paths) > 1:
            text = f"{' and '.join(paths)} are {len(paths)} files of one name"
            issues.append(Issue(text, tuple(paths)))
    return found


def _strip(path_of: Mapping[Stem, T], affix: Affix) -> dict[Stem, T]:
    """Removes a prefix and suffix, and leaves the shared names."""
    before, behind = affix
    return {
        (folder, name[len(before) : len(name) - len(behind)]): path
        for (folder, name), path in path_of.items()
    }


def _near(
    stem: Stem, alone: Sequence[Stem], mask_of: Mapping[Stem, list[str]]
) -> str:
    """Lists the unpaired masks whose names start like that of an image."""
    folder, name = stem
    first = bisect.bisect_left(alone, stem)
    near = []
    for other in alone[first:]:
        if other[0] != folder or not other[1].startswith(name):
            break
        if _ends(other[1], len(name)):
            near += [PurePath(path).name for path in mask_of[other]]
    if not near:
        return ""
    shown = ", ".join(near[:_SHOWN])
    if len(near) > _SHOWN:
        shown += f" and {len(near) - _SHOWN} more"
    return f"; candidates are {shown}: keep those of one kind there"


def _closest(images: Sequence[Stem], masks: Sequence[Stem]) -> Naming:
    """Finds the part of image names to remove so that masks start with them."""
    for affix in sorted(_affixes(images), key=lambda each: len("".join(each))):
        ((folder, name),) = _strip({images[0]: ""}, affix)
        for other, mask in masks:
            if other == folder and mask.startswith(name):
                return Naming(image=affix)
    return Naming()


def _find_naming(
    images: Sequence[Stem], masks: Sequence[Stem]
) -> Naming | None:
    """Finds the naming with the most pairs, the shortest of several."""
    same = len(set(images).intersection(masks))
    if same == len(images) or same == len(masks):
        return Naming()
    image_names = {
        affix: set(_strip(dict.fromkeys(images), affix))
        for affix in _affixes(images)
    }
    sample = masks[:: max(1, len(masks) // _SAMPLE)]
    pairs: dict[Naming, int] = {}
    for mask_affix in _affixes(masks):
        mask_names = set(_strip(dict.fromkeys(sample), mask_affix))
        for image_affix, names in image_names.items():
            naming = Naming(image_affix, mask_affix)
            pairs[naming] = len(mask_names & names)
    best = max(pairs, key=lambda each: (pairs[each], -each.length))
    return best if pairs[best] else None


def _affixes(stems: Sequence[Stem]) -> list[Affix]:
    """Lists prefixes and suffixes that all names share, including none."""
    names = [name for _, name in stems]
    low, high = min(names), max(names)
    shortest = min(map(len, names))
    first = 0
    while first < shortest and low[first] == high[first]:
        first += 1
    # Sorted backwards, the first and the last have the least in common.
    turned = sorted(name[::-1] for name in names)
    last = 0
    while last < shortest and turned[0][last] == turned[-1][last]:
        last += 1
    name = names[0]
    before = [cut for cut in range(1, first + 1) if _begins(name, cut)]
    behind = [cut for cut in range(1, last + 1) if _ends(name, len(name) - cut)]
    return [
        (name[:head], name[len(name) - tail :])
        for head in (0, *before)
        for tail in (0, *behind)
        if head + tail < shortest
    ]


def _has(name: str, affix: Affix) -> bool:
    before, behind = affix
    fits = name.startswith(before) and name.endswith(behind)
    return fits and len(name) > len(before + behind)


def _begins(name: str, cut: int) -> bool:
    """Tells whether the part before a position may be a prefix."""
    return 0 < cut < len(name) and (
        not name[cut - 1].isalnum() or _changes(name, cut)
    )


def _ends(name: str, cut: int) -> bool:
    """Tells whether the part after a position may be a suffix."""
    return 0 < cut < len(name) and (
        not name[cut].isalnum() or _changes(name, cut)
    )


def _changes(name: str, cut: int) -> bool:
    """Tells whether letters meet digits, or a camelCase word starts here."""
    a, b = name[cut - 1], name[cut]
    if not (a.isalnum() and b.isalnum()):
        return False
    return a.isdigit() != b.isdigit() or (a.islower() and b.isupper())
