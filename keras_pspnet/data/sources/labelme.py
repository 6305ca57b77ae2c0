"""labelme JSON: a file of shapes for each image.

Shapes are drawn in the order of the file, as labelme's own converter does:
polygons, rectangles, circles, masks, and also lines (10 pixels wide) and points
(with a radius of 5 pixels). A hole is a shape of the background class, or part
of a mask. `__ignore__` is 255. Shapes of type "points", which have no region,
are skipped with a warning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_pspnet.data.image_files import files_in
from keras_pspnet.data.sources.annotations import (
    Annotation,
    as_size,
    choose_split,
    collecting,
    list_annotations,
    read_json,
    with_words,
)
from keras_pspnet.data.sources.classes import find_classes
from keras_pspnet.data.sources.image_finder import ImageFinder
from keras_pspnet.data.sources.listing import Issue, Listing
from keras_pspnet.data.sources.shapes import (
    Bitmap,
    PillowShape,
    Shape,
    decode_png,
    points_of,
    polygon,
)
from keras_pspnet.labels import LabelSet

NAME = "labelme JSON"

_FOLDERS = ("", "annotations", "labels", "json", "images")
# Width of a line and radius of a point in labelme's converter, in pixels.
_LINE_WIDTH, _POINT_RADIUS = 10, 5


def is_source(folder: Path, split: str | None) -> bool:
    """Tells whether there are labelme files."""
    return split is None and bool(_folders(folder))


def list_samples(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists the images that have shapes.

    Args:
        folder: Folder with the files, or with `annotations`, `labels`,
            `json` or `images` that has them.
        split: None, since labelme has no splits.
        labels: As in `find_classes`; labelme's classes are sorted by name.

    Returns:
        The pairs and their issues.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If there is a split, or the classes do not fit.
    """
    choose_split([""], split, NAME, folder)
    issues: list[Issue] = []
    places = _folders(folder)
    annotations = [
        annotation
        for place in places
        for file in files_in(place, (".json",))
        for annotation in _read(file, issues)
    ]
    names = sorted({name for each in annotations for name, _ in each.shapes})
    classes = find_classes(folder, names, labels)
    finder = ImageFinder(folder, *places)
    return list_annotations(NAME, classes, annotations, finder, issues)


def _folders(folder: Path) -> list[Path]:
    places = [folder / name for name in _FOLDERS]
    words = '"shapes"', '"imagePath"'
    return [place for place in places if with_words(place, ".json", *words)]


def _read(file: Path, issues: list[Issue]) -> Iterator[Annotation]:
    """Reads a file; yields nothing for other JSON files."""
    with collecting(issues, file, "the file"):
        content = read_json(file)
        if not isinstance(content, dict) or "shapes" not in content:
            return
        shapes: list[tuple[str, Shape]] = []
        size = None
        if content.get("imageWidth") and content.get("imageHeight"):
            size = as_size(content["imageWidth"], content["imageHeight"])
        for number, entry in enumerate(content["shapes"], start=1):
            with collecting(issues, file, f"shape {number}"):
                if not isinstance(entry["label"], str):
                    raise TypeError("the label must be a string")
                shapes.append((entry["label"], _shape(entry)))
        yield Annotation(file, content["imagePath"], size, shapes)


def _shape(entry: dict[str, Any]) -> Shape:
    kind = entry.get("shape_type") or "polygon"
    points = points_of(entry["points"])
    if kind in ("polygon", "oriented_rectangle"):
        return PillowShape("polygon", polygon(points).points)
    if kind in ("line", "linestrip") and len(points) > 1:
        return PillowShape("line", points, _LINE_WIDTH)
    if kind == "point" and len(points) == 1:
        return _circle(points[0], _POINT_RADIUS)
    if len(points) == 2:
        if kind == "circle":
            return _circle(points[0], math.dist(*points))
        low, high = points.min(axis=0), points.max(axis=0)
        if kind == "rectangle":
            return PillowShape("rectangle", np.stack([low, high]))
        if kind == "mask":
            left, top = points[0].astype(int).tolist()
            right, bottom = points[1].astype(int).tolist()
            size = right - left + 1, bottom - top + 1
            return Bitmap(decode_png, entry["mask"], size, (left, top))
    raise ValueError(
        f"labelme's converter does not draw a shape of type {kind!r} with "
        f"{len(points)} points"
    )


def _circle(center: np.ndarray, radius: float) -> PillowShape:
    return PillowShape("ellipse", np.stack([center - radius, center + radius]))
