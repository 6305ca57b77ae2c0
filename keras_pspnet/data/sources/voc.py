"""VOC trees: images, colored masks, and lists of splits.

The masks in `SegmentationClass` are index or colored PNG files. Classes and
colors come from `labelmap.txt` (written by CVAT and Datumaro). Without it they
are VOC's own, with outlines as 255. Instance masks are not read.
"""

from __future__ import annotations

import re
from pathlib import Path

from keras_pspnet.data.image_files import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    files_in,
)
from keras_pspnet.data.sources.annotations import choose_split
from keras_pspnet.data.sources.encodings import (
    Encoding,
    class_pairs,
    plain_encoding,
)
from keras_pspnet.data.sources.folders import (
    find_encoding,
    lossy_masks,
)
from keras_pspnet.data.sources.listing import (
    Listing,
    Sample,
    find_files,
    pair_names,
    read_names,
)
from keras_pspnet.data.sources.published import VOC_ENCODING
from keras_pspnet.data.sources.voc_trainaug import VOC_LISTS
from keras_pspnet.labels import VOC, LabelSet
from keras_pspnet.utils import naming_errors

NAME = "VOC tree"

_IMAGES, _MASKS, _LABELS = "JPEGImages", "SegmentationClass", "labelmap.txt"
_LINE = re.compile(r"([^:]+):(\d{1,3}),(\d{1,3}),(\d{1,3})(:.*)?")


def is_source(folder: Path, split: str | None) -> bool:
    """Tells whether VOC's folders exist, and the list of the split."""
    lists = _lists(folder)
    return (
        (folder / _IMAGES).is_dir()
        and (folder / _MASKS).is_dir()
        and (split is None or split in lists)
    )


def list_samples(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists the pairs of a split.

    Args:
        folder: Folder with `JPEGImages` and `SegmentationClass`, and
            optionally `labelmap.txt` and `ImageSets/Segmentation`.
        split: Name of a list; may be None if there is at most one.
        labels: Classes and colors that replace those of the folder.

    Returns:
        The pairs and their issues.

    Raises:
        OSError: If a folder or file cannot be read.
        ValueError: If there is no such split, or the classes do not fit.
    """
    lists = _lists(folder)
    split = choose_split(lists or {""}, split, NAME, folder)
    name = folder.resolve().name
    found = find_encoding([folder], labels)
    if found is not None:
        labels, encoding = found
    elif (folder / _LABELS).is_file():
        labels, encoding = _read_label_map(folder / _LABELS, name)
    else:
        labels, encoding = VOC, VOC_ENCODING
    places = folder / _IMAGES, folder / _MASKS
    issues = lossy_masks(places[1], files_in(places[1], IMAGE_SUFFIXES))
    images = find_files(places[0], IMAGE_SUFFIXES, issues)
    masks = find_files(places[1], MASK_SUFFIXES, issues)
    names = list(masks)
    if split:
        names = read_names(lists[split], issues)
    listed_in = str(lists.get(split, ""))
    where = str(places[0]), str(places[1])
    pairs = pair_names(names, images, masks, where, issues, listed_in)
    samples = [Sample(*pair, encoding) for pair in pairs]
    return Listing(labels, samples, issues, NAME)


def _lists(folder: Path) -> dict[str, Path]:
    files = sorted((folder / VOC_LISTS).glob("*.txt"))
    return {file.stem: file for file in files}


def _read_label_map(path: Path, name: str) -> tuple[LabelSet, Encoding]:
    """Reads lines of `name:red,green,blue:parts:actions`."""
    with naming_errors("labelmap.txt", path, "readable"):
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    names, colors = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(
                "`labelmap.txt` must have lines of name:red,green,blue::. "
                f"Received: line {number}, {line[:80]!r}, of {str(path)!r}"
            )
        names.append(match[1])
        colors.append((int(match[2]), int(match[3]), int(match[4])))
    try:
        labels = LabelSet(name, tuple(names), tuple(colors))
    except ValueError as error:
        raise ValueError(f"{error} in {str(path)!r}") from error
    return labels, plain_encoding(labels, str(path), class_pairs(labels))
