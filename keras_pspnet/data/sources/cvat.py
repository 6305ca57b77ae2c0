"""CVAT XML, for images and for video: one file for a task or project.

Shapes are drawn by `z_order`, then in the order of the file. Polygons, boxes
and ellipses (also rotated) and masks are drawn. Holes are part of a mask, or
shapes with the background label. Lines, points and skeletons are skipped with a
warning. In video, a shape is drawn in each frame that lists it without
`outside`.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.etree.ElementTree import Element

from keras_pspnet.data.image_files import IMAGE_SUFFIXES, files_in
from keras_pspnet.data.sources.annotations import (
    Annotation,
    as_size,
    choose_split,
    collecting,
    has_split,
    list_annotations,
    with_words,
)
from keras_pspnet.data.sources.classes import find_classes
from keras_pspnet.data.sources.image_finder import ImageFinder
from keras_pspnet.data.sources.listing import Issue, Listing
from keras_pspnet.data.sources.runs import decode_cvat
from keras_pspnet.data.sources.shapes import (
    Bitmap,
    Polygon,
    Shape,
    ellipse,
    polygon,
    rectangle,
    rotated,
)
from keras_pspnet.data.sources.xml_files import child_text, read_xml
from keras_pspnet.labels import LabelSet

NAME = "CVAT XML"

_WORDS = "<annotations>", "<meta>"
_WHOLE = "annotations"
_DRAWN = "polygon", "box", "ellipse", "mask"
_NOT_DRAWN = "polyline", "points", "skeleton", "cuboid"
# Labels that only shapes without an area have.
_NO_AREA = *_NOT_DRAWN, "tag"


def is_source(folder: Path, split: str | None) -> bool:
    """Tells whether there is a file of CVAT for a split."""
    return has_split(_splits(folder), split)


def list_samples(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists the images of a file.

    Args:
        folder: Folder with the file.
        split: A subset in the file, or the name of the file (`train.xml`).
        labels: As in `find_classes`; CVAT's classes are in the order of the
            task.

    Returns:
        The pairs and their issues.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If there is no such split, the file is not CVAT XML, or
            the classes do not fit.
    """
    splits = _splits(folder)
    split = choose_split(splits, split, NAME, folder)
    file = splits[split]
    root = read_xml(file)
    issues: list[Issue] = []
    names = [
        child_text(label, "name")
        for label in root.iterfind("meta//labels/label")
        if label.find("parent") is None
        and label.findtext("type", "any") not in _NO_AREA
    ]
    classes = find_classes(folder, names, labels)
    places = [folder / "images" / split, folder / split]
    finder = ImageFinder(folder, *places, split=split, splits=splits)
    skipped: Counter[str] = Counter()
    if root.find("track") is None:
        subset = split if split in _subsets(file) else None
        annotations = [
            _read_image(entry, file, skipped, issues)
            for entry in root.iterfind("image")
            if subset is None or entry.get("subset") == subset
        ]
    else:
        annotations = _read_frames(root, folder, file, skipped, issues)
    for kind, count in skipped.items():
        text = f"{file}: {count} shapes are of type {kind!r}, which has no "
        text += "area: they are skipped"
        issues.append(Issue(text, (str(file),), is_warning=True))
    return list_annotations(NAME, classes, annotations, finder, issues)


def _splits(folder: Path) -> dict[str, Path]:
    """Maps splits to their files."""
    found: dict[str, Path] = {}
    for file in with_words(folder, ".xml", *_WORDS):
        name = "" if file.stem == _WHOLE else file.stem
        subsets = _subsets(file)
        found |= dict.fromkeys(subsets if len(subsets) > 1 else [name], file)
    return found


def _subsets(file: Path) -> list[str]:
    """Finds the subsets of a project without parsing the file."""
    pattern = re.compile(rb'<image [^<>]*\bsubset="([^"<>]+)"')
    found = dict.fromkeys(pattern.findall(file.read_bytes()))
    return [name.decode(errors="replace") for name in found]


def _read_image(
    entry: Element, file: Path, skipped: Counter[str], issues: list[Issue]
) -> Annotation:
    """Reads an `<image>`."""
    name = entry.get("name", "")
    layers: list[tuple[int, str, Shape]] = []
    size = None
    with collecting(issues, file, f"image {name!r}"):
        size = as_size(entry.attrib["width"], entry.attrib["height"])
    for number, child in enumerate(entry, start=1):
        if child.tag in _NOT_DRAWN:
            skipped[child.tag] += 1
        elif child.tag in _DRAWN:
            where = f"shape {number} of image {name!r}"
            with collecting(issues, file, where):
                layers.append(_layer(child, child.get("label", "")))
    return _in_order(Annotation(file, name, size), layers)


def _read_frames(
    root: Element,
    folder: Path,
    file: Path,
    skipped: Counter[str],
    issues: list[Issue],
) -> list[Annotation]:
    """Reads the `<track>`s of a video whose frames are in `images`."""
    frames: dict[int, list[tuple[int, str, Shape]]] = {}
    for track in root.iterfind("track"):
        for child in track:
            where = f"track {track.get('id')}, frame {child.get('frame')}"
            if child.get("outside") == "1":
                continue
            if child.tag in _NOT_DRAWN:
                skipped[child.tag] += 1
            elif child.tag in _DRAWN:
                with collecting(issues, file, where):
                    layers = frames.setdefault(int(child.attrib["frame"]), [])
                    layers.append(_layer(child, track.get("label", "")))
    size = None
    with collecting(issues, file, "<original_size>"):
        size = as_size(
            child_text(root, "meta//original_size/width"),
            child_text(root, "meta//original_size/height"),
        )
    place = folder / "images"
    images = files_in(place, IMAGE_SUFFIXES) if place.is_dir() else []
    names = {
        int(image.stem.removeprefix("frame_")): image.name
        for image in images
        if image.stem.removeprefix("frame_").isdecimal()
    }
    return [
        _in_order(
            Annotation(file, names.get(key, f"frame_{key:06}.png"), size),
            frames.get(key, []),
        )
        for key in sorted(names.keys() | frames.keys())
    ]


def _in_order(
    annotation: Annotation, layers: list[tuple[int, str, Shape]]
) -> Annotation:
    layers = sorted(layers, key=lambda layer: layer[0])
    annotation.shapes.extend((name, shape) for _, name, shape in layers)
    return annotation


def _layer(entry: Element, name: str) -> tuple[int, str, Shape]:
    if not name:
        raise ValueError("the label must not be empty")
    return int(entry.get("z_order", 0)), name, _shape(entry)


def _shape(entry: Element) -> Shape:
    def number(name: str) -> float:
        return float(entry.attrib[name])

    if entry.tag == "mask":
        size = as_size(number("width"), number("height"))
        corner = int(number("left")), int(number("top"))
        return Bitmap(decode_cvat, entry.attrib["rle"], size, corner)
    shape: Polygon
    if entry.tag == "polygon":
        points = entry.attrib["points"].split(";")
        return polygon([list(map(float, xy.split(","))) for xy in points])
    if entry.tag == "box":
        shape = rectangle(*map(number, ("xtl", "ytl", "xbr", "ybr")))
    else:
        shape = ellipse(*map(number, ("cx", "cy", "rx", "ry")))
    return rotated(shape, float(entry.get("rotation", 0)))
