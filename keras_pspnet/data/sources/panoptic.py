"""COCO panoptic: a PNG of segment ids for each image, and one JSON file.

The id of a pixel is R + 256 G + 65536 B. Segments do not overlap. Id 0 (void)
and crowd regions become 255. There is no background.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_pspnet.data.images import MAX_PIXELS, named, read_stored_mask
from keras_pspnet.data.sources.annotations import (
    choose_split,
    collecting,
    has_split,
    left_out,
    with_words,
)
from keras_pspnet.data.sources.classes import find_classes
from keras_pspnet.data.sources.coco import (
    category_names,
    image_entries,
    read_coco,
)
from keras_pspnet.data.sources.image_finder import ImageFinder
from keras_pspnet.data.sources.listing import Issue, Listing, Sample
from keras_pspnet.labels import IGNORE_LABEL, LabelSet

NAME = "COCO panoptic"

_PREFIX = "panoptic_"


@dataclasses.dataclass(frozen=True)
class SegmentIds:
    """Reads a PNG of segment ids.

    Args:
        classes: Class or 255 of each id.
        origin: The file that lists the ids, for errors.
    """

    classes: tuple[tuple[int, int], ...]
    origin: str

    def read(
        self,
        source: str | os.PathLike[str] | bytes,
        max_pixels: int = MAX_PIXELS,
    ) -> np.ndarray:
        """Reads a mask.

        Args:
            source: Path of the PNG file, or its bytes.
            max_pixels: Larger masks are refused.

        Returns:
            Classes and 255, uint8 `(H, W)`.

        Raises:
            OSError: If the file cannot be opened.
            ValueError: If it cannot be decoded, or has unknown ids.
        """
        stored = read_stored_mask(source, max_pixels).pixels
        if stored.ndim == 2:
            stored = stored[..., None]
        ids = np.zeros(stored.shape[:2], np.int32)
        for channel in range(stored.shape[2]):
            ids |= stored[..., channel].astype(np.int32) << 8 * channel
        table = {0: IGNORE_LABEL} | dict(self.classes)
        known = np.array(sorted(table), np.int64)
        places = np.searchsorted(known, ids).clip(max=len(known) - 1)
        unknown = known[places] != ids
        if unknown.any():
            raise ValueError(
                f"`mask` must have the segments that {self.origin} lists. "
                f"Received: the id {ids[unknown][0]}, and {unknown.sum()} "
                f"pixels of ids not listed, in mask={named(source)}"
            )
        values = np.array([table[each] for each in known.tolist()], np.uint8)
        return values[places]


def is_source(folder: Path, split: str | None) -> bool:
    """Tells whether there is a file for a split, with its PNG files."""
    return has_split(_splits(folder), split)


def list_samples(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists the images of a file that have a PNG file.

    Args:
        folder: Folder with the JSON file and a folder of the same name with
            the PNG files, or with `annotations` that has both.
        split: Part of the file name: `val2017` for `panoptic_val2017.json`.
        labels: As in `find_classes`; COCO's classes are sorted by id.

    Returns:
        The pairs and their issues.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If there is no such split, the file is not COCO's, or the
            classes do not fit.
    """
    splits = _splits(folder)
    split = choose_split(splits, split, NAME, folder)
    file = splits[split]
    content = read_coco(file)
    issues: list[Issue] = []
    names = category_names(content, file, issues)
    classes = find_classes(folder, names.values(), labels, background=False)
    ids = {
        key: classes.values[name]
        for key, name in names.items()
        if name in classes.values
    }
    images = image_entries(content, file, issues)
    places = [folder / "images" / split, folder / split, file.parent]
    images_in = ImageFinder(folder, *places, split=split, splits=splits)
    masks_in = ImageFinder(file.with_suffix(""))
    samples: list[Sample] = []
    for number, entry in enumerate(content["annotations"], start=1):
        with collecting(issues, file, f"annotation {number}"):
            name = images[int(entry["image_id"])].image
            image = images_in.find(name)
            mask = masks_in.find(entry["file_name"])
            for path, missing in (image, name), (mask, entry["file_name"]):
                if path is None:
                    raise ValueError(f"{missing!r} is not in the folder")
            truth = SegmentIds(_classes_of(entry, ids), str(file))
            samples.append(Sample(str(image), str(mask), truth))
    issues += left_out({Path(each.image) for each in samples}, images_in)
    if not samples:
        text = f"{file}: there is no image with a PNG of its segments"
        issues.append(Issue(text, (str(file),)))
    return Listing(classes.labels, samples, issues, NAME)


def _classes_of(
    entry: dict[str, Any], ids: dict[int, int]
) -> tuple[tuple[int, int], ...]:
    """Returns the class or 255 of each segment of an image."""
    pairs = []
    for segment in entry["segments_info"]:
        key = int(segment["category_id"])
        if key not in ids:
            raise ValueError(f"there is no class of category {key}")
        is_crowd = segment.get("iscrowd")
        pairs.append(
            (int(segment["id"]), IGNORE_LABEL if is_crowd else ids[key])
        )
    return tuple(pairs)


def _splits(folder: Path) -> dict[str, Path]:
    """Maps splits to JSON files that have a folder of the same name."""
    return {
        file.stem.removeprefix(_PREFIX): file
        for place in (folder / "annotations", folder)
        for file in with_words(place, ".json", '"segments_info"')
        if file.with_suffix("").is_dir()
    }
