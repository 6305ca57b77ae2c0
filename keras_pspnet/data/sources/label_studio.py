"""Label Studio JSON: one file of tasks.

For each task, the annotation marked as ground truth is read, or else the first
that was not canceled. Tasks without an annotation are left out. Regions are
drawn in order: polygons, rectangles and ellipses (also rotated) and brushes.
Only brushes can have holes. Regions without a class or an area are skipped with
a warning.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

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
from keras_pspnet.data.sources.listing import Issue, Listing
from keras_pspnet.data.sources.runs import decode_label_studio
from keras_pspnet.data.sources.shapes import (
    Bitmap,
    Shape,
    ellipse,
    points_of,
    polygon,
    rectangle,
    rotated,
)
from keras_pspnet.data.sources.xml_files import read_xml
from keras_pspnet.labels import LabelSet

NAME = "Label Studio JSON"

# Suffix of results that give a region its classes.
_TAGS = "labels"
_KINDS = "polygonlabels", "rectanglelabels", "ellipselabels", "brushlabels"
# Number of characters that Label Studio puts before the names of uploads, along
# with a dash.
_PREFIX = 8


def is_source(folder: Path, split: str | None) -> bool:
    """Tells whether there is a file of Label Studio."""
    return has_split(_splits(folder), split)


def list_samples(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists the images of a file.

    Args:
        folder: Folder with the file, and optionally the labeling
            configuration as an XML file.
        split: Name of the file, or None for the only one.
        labels: As in `find_classes`; Label Studio's classes are in the order
            of the configuration, or else sorted by name.

    Returns:
        The pairs and their issues.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If there is no such split, the file is not Label Studio's,
            or the classes do not fit.
    """
    splits = _splits(folder)
    split = choose_split(splits, split, NAME, folder)
    file = splits[split]
    tasks = read_json(file)
    if not isinstance(tasks, list):
        raise ValueError(
            "`annotations` must be Label Studio's list of tasks. Received: "
            f"annotations={str(file)!r}"
        )
    issues: list[Issue] = []
    finder = ImageFinder(folder, split=split, splits=splits)
    skipped: Counter[str] = Counter()
    annotations = []
    for number, task in enumerate(tasks, start=1):
        with collecting(issues, file, f"task {number}"):
            result = _result(task, skipped)
            if result is None:
                continue
            annotation = Annotation(file, _image(task, finder), _size(result))
            annotations.append(annotation)
            tags = _tags(result)
            for region in result:
                where = f"task {number}, region {region.get('id')!r}"
                with collecting(issues, file, where):
                    annotation.shapes.extend(_shapes(region, tags, skipped))
    used = {name for each in annotations for name, _ in each.shapes}
    names = [*_configured(folder), *sorted(used)]
    classes = find_classes(folder, names, labels)
    issues += [
        Issue(f"{file}: {count} {what}", (str(file),), is_warning=True)
        for what, count in skipped.items()
    ]
    return list_annotations(NAME, classes, annotations, finder, issues)


def _splits(folder: Path) -> dict[str, Path]:
    words = '"annotations"', '"result"', '"data"', '"original_width"'
    files = with_words(folder, ".json", *words)
    return {file.stem: file for file in files}


def _configured(folder: Path) -> list[str]:
    """Returns the classes of the labeling configuration, if there is one."""
    for file in with_words(folder, ".xml", "<View", "toName", "<Label"):
        root = read_xml(file)
        if root.tag == "View":
            lists = (*_KINDS, _TAGS)
            kinds = (e for e in root.iter() if e.tag.lower() in lists)
            labels = (label for kind in kinds for label in kind.iter("Label"))
            names = [label.get("value", "") for label in labels]
            return list(filter(None, names))
    return []


def _result(
    task: dict[str, Any], skipped: Counter[str]
) -> list[dict[str, Any]] | None:
    """Returns the regions of the annotation to read; None if there is none."""
    valid = [a for a in task["annotations"] if not a.get("was_cancelled")]
    if not valid:
        skipped["tasks have no annotation that was submitted: left out"] += 1
        return None
    valid.sort(key=lambda annotation: not annotation.get("ground_truth"))
    if len(valid) > 1:
        skipped["annotations are second ones of their images: skipped"] += (
            len(valid) - 1
        )
    result: list[dict[str, Any]] = valid[0]["result"]
    return result


def _tags(result: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Returns the classes that are separate results, by region id."""
    drawn = {
        region.get("id")
        for region in result
        if f"{region.get('type')}{_TAGS}" in _KINDS
    }
    return {
        region["id"]: region["value"][_TAGS]
        for region in result
        if region.get("type") == _TAGS and region.get("id") in drawn
    }


def _size(result: list[dict[str, Any]]) -> tuple[int, int] | None:
    for region in result:
        if "original_width" in region:
            return as_size(region["original_width"], region["original_height"])
    return None


def _image(task: dict[str, Any], finder: ImageFinder) -> str:
    """Returns the name of a task's image in the folder."""
    data = task["data"]
    address = data.get("image") or next(
        value for value in data.values() if isinstance(value, str)
    )
    parts = urlsplit(address)
    # Files on the server's disk are /data/local-files/?d=PATH.
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    for name in filter(None, (task.get("file_upload"), path)):
        plain = name.rpartition("/")[2]
        prefix, _, rest = plain.partition("-")
        without = rest if len(prefix) == _PREFIX else plain
        for candidate in name, without:
            if finder.find(candidate):
                return str(candidate)
    return str(task.get("file_upload") or path)


def _shapes(
    region: dict[str, Any], tags: dict[str, list[str]], skipped: Counter[str]
) -> list[tuple[str, Shape]]:
    kind = region.get("type")
    if kind == _TAGS and region.get("id") in tags:
        return []
    # <Polygon> and <Labels> have two results where <PolygonLabels> has one.
    is_tagged = f"{kind}{_TAGS}" in _KINDS and region.get("id") in tags
    kind = f"{kind}{_TAGS}" if is_tagged else kind
    if kind not in _KINDS:
        skipped[f"results are of type {kind!r}, not regions: skipped"] += 1
        return []
    if region.get("image_rotation"):
        raise ValueError("image_rotation must be 0: turn the image itself")
    value = region["value"]
    names = tags[region["id"]] if is_tagged else value[kind]
    if len(names) != 1 or not isinstance(names[0], str):
        raise ValueError("a region must have one class")
    return [(names[0], _shape(kind, value, region))]


def _shape(kind: str, value: dict[str, Any], region: dict[str, Any]) -> Shape:
    width, height = _size([region]) or (0, 0)
    if kind == "brushlabels":
        # As a list, since bytes(number) would be that many zeros.
        packed = bytes(list(value["rle"]))
        return Bitmap(decode_label_studio, packed, (width, height))
    # All other coordinates are in percent of the image.
    scale = width / 100, height / 100
    if kind == "polygonlabels":
        return polygon(points_of(value["points"]) * scale)
    x, y = value["x"] * scale[0], value["y"] * scale[1]
    angle = float(value.get("rotation") or 0)
    if kind == "ellipselabels":
        radii = value["radiusX"] * scale[0], value["radiusY"] * scale[1]
        return rotated(ellipse(x, y, *radii), angle)
    right = x + value["width"] * scale[0]
    bottom = y + value["height"] * scale[1]
    # Rectangles rotate around their first corner.
    return rotated(rectangle(x, y, right, bottom), angle, (x, y))
