"""VGG VIA JSON: one file of regions, from VIA 1 or 2.

The file is a project (`via_project_*.json`) or an export of its annotations
(`via_region_data.json`). Regions are drawn in the order of the file: polygons,
rectangles, circles and ellipses, without holes. Points and lines are skipped
with a warning. The class is the value of the only attribute of the regions, or
of the one called class, label, name, type, object or category. Without any
attribute, all regions are "object".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keras_pspnet.data.sources.annotations import (
    Annotation,
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
    Shape,
    ellipse,
    polygon,
    rectangle,
    rotated,
)
from keras_pspnet.labels import LabelSet

NAME = "VGG VIA JSON"

_PROJECT = "_via_img_metadata"
_USUAL = "class", "label", "name", "type", "object", "category"
_ONLY_CLASS = "object"
_NO_AREA = "point", "polyline"


def is_source(folder: Path, split: str | None) -> bool:
    """Tells whether there is a VIA file."""
    return split is None and bool(_files(folder))


def list_samples(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists the images of a file.

    Args:
        folder: Folder with the file.
        split: None, since VIA has no splits.
        labels: As in `find_classes`; VIA's classes are sorted by name.

    Returns:
        The pairs and their issues.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If a split is given, there are several files or several
            attributes to choose from, or the classes do not fit.
    """
    choose_split([""], split, NAME, folder)
    files = _files(folder)
    if len(files) > 1:
        raise ValueError(
            f"`name_or_dir` must hold one file of {NAME}. Received: "
            f"{', '.join(file.name for file in files)} in "
            f"name_or_dir={str(folder)!r}"
        )
    file = files[0]
    content = read_json(file)
    issues: list[Issue] = []
    skipped: Counter[str] = Counter()
    entries: list[tuple[str, list[dict[str, Any]]]] = []
    with collecting(issues, file, "the file"):
        for key, entry in content.get(_PROJECT, content).items():
            with collecting(issues, file, f"image {key[:80]!r}"):
                entries.append((entry["filename"], _regions(entry)))
    attribute = _class_attribute(entries, file)
    annotations = []
    for name, regions in entries:
        annotation = Annotation(file, name)
        annotations.append(annotation)
        for number, region in enumerate(regions, start=1):
            where = f"region {number} of {name!r}"
            with collecting(issues, file, where):
                outline = region["shape_attributes"]
                if outline["name"] in _NO_AREA:
                    skipped[outline["name"]] += 1
                    continue
                kind = _class_of(region, attribute)
                annotation.shapes.append((kind, _shape(outline)))
    issues += [
        Issue(
            f"{file}: {count} regions are of type {kind!r}, which has no "
            "area: they are skipped",
            (str(file),),
            is_warning=True,
        )
        for kind, count in skipped.items()
    ]
    names = sorted({name for each in annotations for name, _ in each.shapes})
    classes = find_classes(folder, names, labels)
    finder = ImageFinder(folder)
    return list_annotations(NAME, classes, annotations, finder, issues)


def _files(folder: Path) -> list[Path]:
    words = '"filename"', '"regions"', '"file_attributes"'
    return with_words(folder, ".json", *words)


def _regions(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the regions of an image; in VIA 1 they are numbered."""
    regions = entry["regions"]
    values = regions.values() if isinstance(regions, dict) else regions
    return [dict(region) for region in values]


def _class_attribute(
    entries: Iterable[tuple[str, list[dict[str, Any]]]], file: Path
) -> str | None:
    """Finds the attribute that is the class; None without attributes."""
    counts = Counter(
        name
        for _, regions in entries
        for region in regions
        for name in region.get("region_attributes") or ()
    )
    usual = [name for name in counts if name.casefold() in _USUAL]
    found = list(counts) if len(counts) == 1 else usual
    if not counts:
        return None
    if len(found) != 1:
        raise ValueError(
            f"`annotations` must have one region attribute, or one called "
            f"{', '.join(_USUAL)}, for the class. Received: "
            f"{', '.join(map(repr, counts))} in annotations={str(file)!r}"
        )
    return found[0]


def _class_of(region: dict[str, Any], attribute: str | None) -> str:
    if attribute is None:
        return _ONLY_CLASS
    value = region["region_attributes"][attribute]
    if isinstance(value, dict):
        # Checkboxes: keep the checked ones.
        chosen = [name for name, is_set in value.items() if is_set]
        value = chosen[0] if len(chosen) == 1 else None
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{attribute!r} must be one class")
    return value.strip()


def _shape(outline: dict[str, Any]) -> Shape:
    kind = outline["name"]
    if kind == "polygon":
        xs, ys = outline["all_points_x"], outline["all_points_y"]
        return polygon(list(zip(xs, ys, strict=True)))
    if kind == "rect":
        x, y = outline["x"], outline["y"]
        return rectangle(x, y, x + outline["width"], y + outline["height"])
    if kind == "circle":
        return ellipse(outline["cx"], outline["cy"], *[outline["r"]] * 2)
    if kind == "ellipse":
        radii = outline["rx"], outline["ry"]
        shape = ellipse(outline["cx"], outline["cy"], *radii)
        return rotated(shape, math.degrees(outline.get("theta") or 0))
    raise ValueError(f"a region of type {kind!r} is not supported")
