"""COCO JSON: one file for all images of a split, polygons or run lengths.

An object is the union of one or more polygons, or a mask of run lengths,
compressed or not; only run lengths can have holes. Crowd regions (`iscrowd`)
are 255, below all other objects. COCO does not order overlapping objects;
those later in the file are drawn on top. Boxes without a segmentation are not
masks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_pspnet.data.sources.annotations import (
    Annotation,
    as_size,
    choose_split,
    collecting,
    has_split,
    list_annotations,
    read_json,
    with_words,
)
from keras_pspnet.data.sources.classes import find_classes
from keras_pspnet.data.sources.image_finder import ImageFinder
from keras_pspnet.data.sources.label_files import LABELME_IGNORE
from keras_pspnet.data.sources.listing import Issue, Listing
from keras_pspnet.data.sources.runs import decode_coco
from keras_pspnet.data.sources.shapes import Bitmap, Shape, polygon
from keras_pspnet.labels import LabelSet

NAME = "COCO JSON"

# File names of COCO's tasks, the best for masks first. Other tasks, such as
# captions, have no masks.
_TASKS = "instances_", "stuff_", "person_keypoints_"
_NO_MASKS = "captions_", "image_info_", "labels_"
# File names that do not name a split.
_WHOLE = "annotations", "_annotations.coco", "result", "coco", "instances"


def is_source(folder: Path, split: str | None) -> bool:
    """Tells whether there is a file of COCO for a split."""
    return has_split(_splits(folder), split)


def list_samples(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists the images of a file.

    Args:
        folder: Folder with the file, or with `annotations` that has it.
        split: Part of the file name: `train2017` for
            `instances_train2017.json`.
        labels: As in `find_classes`; COCO's classes are sorted by id.

    Returns:
        The pairs and their issues.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If there is no such split, the file is not COCO JSON or
            has only boxes, or the classes do not fit.
    """
    splits = _splits(folder)
    split = choose_split(splits, split, NAME, folder)
    file = splits[split]
    content = read_coco(file)
    issues: list[Issue] = []
    names = category_names(content, file, issues)
    annotations = _read(content, names, file, issues)
    classes = find_classes(folder, names.values(), labels)
    places = [folder / "images" / split, folder / split, file.parent]
    finder = ImageFinder(folder, *places, split=split, splits=splits)
    return list_annotations(NAME, classes, annotations, finder, issues)


def read_coco(file: Path) -> dict[str, Any]:
    """Reads a file with images, annotations and categories.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it lacks one of them.
    """
    content = read_json(file)
    keys = "images", "annotations", "categories"
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in keys
    ):
        raise ValueError(
            f"`annotations` must have lists of {', '.join(keys)}. Received: "
            f"annotations={str(file)!r}"
        )
    return content


def category_names(
    content: dict[str, Any], file: Path, issues: list[Issue]
) -> dict[int, str]:
    """Returns the names of the categories by id, sorted.

    Args:
        content: The result of `read_coco`.
        file: The file.
        issues: Gets an issue for each category without a name, or with the
            id of another one.
    """
    names: dict[int, str] = {}
    for number, entry in enumerate(content["categories"], start=1):
        with collecting(issues, file, f"category {number}"):
            name = entry["name"]
            if not isinstance(name, str) or not name.strip():
                raise ValueError("the name must not be empty")
            key = int(entry["id"])
            if key in names:
                raise ValueError(f"the id {key} is another category's")
            names[key] = name
    return dict(sorted(names.items()))


def image_entries(
    content: dict[str, Any], file: Path, issues: list[Issue]
) -> dict[int, Annotation]:
    """Returns the images by id, without shapes.

    Args:
        content: The result of `read_coco`.
        file: The file.
        issues: Gets an issue for each image that is malformed, or has the id
            of another one.
    """
    images: dict[int, Annotation] = {}
    for number, entry in enumerate(content["images"], start=1):
        with collecting(issues, file, f"image {number}"):
            size = None
            if entry.get("width") and entry.get("height"):
                size = as_size(entry["width"], entry["height"])
            key, name = int(entry["id"]), entry["file_name"]
            if key in images:
                raise ValueError(f"the id {key} is another image's")
            images[key] = Annotation(file, name, size)
    return images


def _splits(folder: Path) -> dict[str, Path]:
    """Maps splits to their files."""
    words = '"images"', '"annotations"', '"categories"'
    files = [
        file
        for place in (folder / "annotations", folder)
        for file in with_words(place, ".json", *words, without="segments_info")
        if not file.name.startswith(_NO_MASKS)
    ]
    for task in _TASKS:
        if any(file.name.startswith(task) for file in files):
            chosen = [file for file in files if file.name.startswith(task)]
            return {file.stem.removeprefix(task): file for file in chosen}
    return {"" if file.stem in _WHOLE else file.stem: file for file in files}


def _read(
    content: dict[str, Any],
    names: dict[int, str],
    file: Path,
    issues: list[Issue],
) -> list[Annotation]:
    images = image_entries(content, file, issues)
    entries = content["annotations"]
    crowds: dict[int, list[tuple[str, Shape]]] = {}
    boxes = 0
    for number, entry in enumerate(entries, start=1):
        with collecting(issues, file, f"annotation {number}"):
            key, category = int(entry["image_id"]), int(entry["category_id"])
            if key not in images:
                raise ValueError(f"there is no image {key}")
            if not entry.get("segmentation"):
                boxes += 1
                continue
            if category not in names:
                raise ValueError(f"there is no category {category}")
            name, image = names[category], images[key]
            shapes = list(_shapes(entry["segmentation"], image.size))
            if entry.get("iscrowd"):
                crowd = crowds.setdefault(key, [])
                crowd += [(LABELME_IGNORE, shape) for shape in shapes]
            else:
                image.shapes.extend((name, shape) for shape in shapes)
    if boxes:
        text = f"{boxes} of {len(entries)} annotations have no segmentation: "
        text += "boxes are not masks"
        if boxes == len(entries):
            raise ValueError(
                f"`annotations` must have segmentations, but {text}. "
                f"Received: annotations={str(file)!r}"
            )
        issues.append(Issue(f"{file}: {text}", (str(file),)))
    if crowds:
        count = sum(map(len, crowds.values()))
        text = f"{file}: {count} crowd regions (iscrowd) are ignored"
        issues.append(Issue(text, (str(file),), is_warning=True))
    for key, crowd in crowds.items():
        images[key].shapes[:0] = crowd
    return list(images.values())


def _shapes(segmentation: Any, size: tuple[int, int] | None) -> Iterator[Shape]:
    if isinstance(segmentation, list):
        # Some tools write a single polygon without a list around it.
        flat = not isinstance(segmentation[0], list)
        for values in [segmentation] if flat else segmentation:
            yield polygon(values)
        return
    height, width = segmentation["size"]
    own = as_size(width, height)
    if size not in (None, own):
        raise ValueError(
            f"run lengths of {width}x{height} must be of the image's size, "
            f"{size[0]}x{size[1]}"
        )
    counts = segmentation["counts"]
    yield Bitmap(decode_coco, counts, own)
