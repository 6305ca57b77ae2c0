"""YOLO segmentation: a text file of polygons for each image.

A line is the index of a class and a polygon in shares of the image's width and
height. Later lines are on top. There are no holes: YOLO's tools join a hole to
the outer polygon by a line, and the result is one polygon. An image without a
text file, or with an empty one, is background. Lines with four numbers are
boxes, not masks; lines with four corners may be rotated boxes, and are drawn.
"""

from __future__ import annotations

import itertools
import operator
import re
import reprlib
from pathlib import Path
from typing import Any

from keras_pspnet.data.image_files import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    files_below,
    files_in,
)
from keras_pspnet.data.sources import folders
from keras_pspnet.data.sources.annotations import (
    Annotation,
    choose_split,
    collecting,
    has_split,
    list_annotations,
    with_words,
)
from keras_pspnet.data.sources.classes import find_classes
from keras_pspnet.data.sources.image_finder import ImageFinder, path_parts
from keras_pspnet.data.sources.listing import Issue, Listing
from keras_pspnet.data.sources.shapes import polygon
from keras_pspnet.labels import LabelSet
from keras_pspnet.utils import naming_errors

NAME = "YOLO segmentation"

_IMAGES, _LABELS = "images", "labels"
_NAMES = "classes.txt"
_SPLITS = "train", "val", "test"
_SPLIT_FOLDERS = "train", "val", "valid", "test"
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")
_MOST_YAML = 2**20
_BOX = 5


def is_source(folder: Path, split: str | None) -> bool:
    """Tells whether there is a `data.yaml`, or text files of polygons."""
    return has_split(_splits(folder), split)


def list_samples(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists the images of a split.

    Args:
        folder: Folder with `data.yaml`; or with `images`, `labels` and
            `classes.txt`.
        split: `"train"`, `"val"` or `"test"` of `data.yaml`, or a subfolder of
            `images` and `labels`.
        labels: As in `find_classes`; YOLO's classes are sorted by index.

    Returns:
        The pairs and their issues.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If there is no such split, `data.yaml` is invalid, there
            are only boxes or keypoints, or the classes do not fit.
    """
    splits = _splits(folder)
    config, file = _config(folder)
    if split not in splits:
        # For the error: `data.yaml` may name splits that are not there.
        finder = ImageFinder(folder, *_base(folder, config))
        there = {
            name: places
            for name, places in splits.items()
            if any(_find(each, finder) for each in _listed(places))
        }
        splits = there or splits
    split = choose_split(splits, split, NAME, folder)
    issues: list[Issue] = []
    names = _names(folder, config, file)
    places = [folder / _IMAGES / split, *_base(folder, config)]
    finder = ImageFinder(folder, *places, split=split, splits=splits)
    images = _images(folder, splits[split], finder, issues)
    boxes: list[str] = []
    files = _label_files(images, issues)
    annotations = [
        _read(image, files[image], names, boxes, issues) for image in images
    ]
    if boxes:
        text = f"{len(boxes)} lines are boxes, the first is {boxes[0]}"
        if not any(each.shapes for each in annotations):
            raise ValueError(
                "`name_or_dir` must have polygons, since boxes are not masks. "
                f"Received: name_or_dir={str(folder)!r}, where {text}"
            )
        issues.append(Issue(f"{text}: boxes are not masks", (str(folder),)))
    classes = find_classes(folder, names.values(), labels)
    return list_annotations(NAME, classes, annotations, finder, issues)


def _splits(folder: Path) -> dict[str, Any]:
    """Maps splits to their entries in `data.yaml` or to their folders."""
    config, _ = _config(folder)
    if config:
        return {key: config[key] for key in _SPLITS if config.get(key)}
    images, labels = folder / _IMAGES, folder / _LABELS
    if not images.is_dir() or not labels.is_dir() or _has_masks(folder):
        return {}
    texts = {file.stem for file in files_in(labels, (".txt",))}
    if texts:
        stems = {file.stem for file in files_in(images, IMAGE_SUFFIXES)}
        # If no names match, the images may include masks.
        is_ours = texts & stems or not folders.is_source(folder, None)
        return {"": _IMAGES} if is_ours else {}
    return {
        entry.name: f"{_IMAGES}/{entry.name}"
        for entry in sorted(images.iterdir())
        if (labels / entry.name).is_dir()
        and files_in(labels / entry.name, (".txt",))
    }


def _has_masks(folder: Path) -> bool:
    """Tells whether there are masks, beside which labels are only boxes."""
    return any(
        files_below(entry, {*IMAGE_SUFFIXES, *MASK_SUFFIXES})
        for entry in folder.iterdir()
        if entry.name.lower() in folders.MASK_FOLDERS and entry.is_dir()
    )


def _config(folder: Path) -> tuple[dict[str, Any], Path]:
    """Reads the YAML file; ({}, folder) if there is none."""
    import yaml

    files = with_words(folder, ".yaml", "names:")
    for file in files + with_words(folder, ".yml", "names:"):
        received = f"Received: data.yaml={str(file)!r}"
        with naming_errors("data.yaml", file, "readable"):
            content = file.read_bytes()[: _MOST_YAML + 1]
        try:
            if len(content) > _MOST_YAML:
                raise ValueError(f"more than {_MOST_YAML} bytes")
            config = yaml.safe_load(content)
        except (RecursionError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"`data.yaml` must be plain YAML ({reason}). {received}"
            ) from error
        if isinstance(config, dict) and any(map(config.get, _SPLITS)):
            if "kpt_shape" in config:
                raise ValueError(
                    "`data.yaml` must describe polygons, since keypoints "
                    f"(kpt_shape) are not masks. {received}"
                )
            return config, file
    return {}, folder


def _names(folder: Path, config: dict[str, Any], file: Path) -> dict[int, str]:
    """Returns the names of the classes by index."""
    names = config.get("names")
    # Look beside the labels, and above the folder of a split.
    for place in (folder, folder / _LABELS, folder.resolve().parent):
        path = place / _NAMES
        if names is None and path.is_file():
            file = path
            text = path.read_text(encoding="utf-8-sig", errors="replace")
            names = list(filter(None, map(str.strip, text.splitlines())))
    if isinstance(names, list):
        names = dict(enumerate(names))
    if (
        not isinstance(names, dict)
        or not names
        or not all(isinstance(key, int) for key in names)
        or not all(isinstance(name, str | int) for name in names.values())
    ):
        raise ValueError(
            "`names` must be the classes in their order, in data.yaml or in "
            f"{_NAMES}. Received: names={reprlib.repr(names)} in {str(file)!r}"
        )
    return {key: str(name) for key, name in sorted(names.items())}


def _images(
    folder: Path, places: Any, finder: ImageFinder, issues: list[Issue]
) -> list[Path]:
    """Lists the images of a split from folders, text files or paths."""
    images: list[Path] = []
    for place in _listed(places):
        path = _find(place, finder)
        if path is None:
            text = f"{reprlib.repr(place)} of data.yaml is not in {folder}"
            issues.append(Issue(text, (str(folder),)))
        elif path.is_dir():
            images += sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
            )
        elif path.suffix != ".txt":
            images.append(path)
        else:
            text = path.read_text(encoding="utf-8-sig", errors="replace")
            for line in filter(None, map(str.strip, text.splitlines())):
                image = finder.find(line)
                if image is None:
                    text = f"{path}: the image {line[:160]!r} is not in the "
                    issues.append(Issue(f"{text}folder", (str(path),)))
                else:
                    images.append(image)
    return images


def _listed(places: Any) -> list[Any]:
    return places if isinstance(places, list) else [places]


def _base(folder: Path, config: dict[str, Any]) -> list[Path]:
    """Returns the base folder of paths in `data.yaml`, if it has one."""
    return [folder.joinpath(*path_parts(config.get("path")))]


def _find(place: Any, finder: ImageFinder) -> Path | None:
    """Finds a folder or file of images by name."""
    parts = path_parts(place)
    is_absolute = _ABSOLUTE.match(str(place))
    for first in range(len(parts)):
        tail = "/".join(parts[first:])
        if path := finder.at(tail, is_folder=True) or finder.at(tail):
            return path
        # Drop folders of other machines, or the name of the folder itself.
        if not is_absolute and parts[first] != finder.folder.resolve().name:
            return None
        if parts[first].lower() in _SPLIT_FOLDERS:
            return None
    return None


def _label_files(images: list[Path], issues: list[Issue]) -> dict[Path, Path]:
    """Finds the text file of each image; warns about files without an image."""
    found: dict[Path, Path] = {}
    alone: list[Path] = []
    folder_of = operator.attrgetter("parent")
    ordered = sorted(images, key=folder_of)
    for folder, inside in itertools.groupby(ordered, folder_of):
        # The last folder of that name, as in YOLO's own loader.
        parts = list(folder.parts)
        if _IMAGES in parts:
            parts[len(parts) - 1 - parts[::-1].index(_IMAGES)] = _LABELS
        place = Path(*parts)
        files = files_in(place, (".txt",)) if place.is_dir() else []
        texts = {file.stem: file for file in files if file.name != _NAMES}
        for image in inside:
            found[image] = texts.get(image.stem, place / f"{image.stem}.txt")
        if place != folder:
            # A split may list only some images of a folder.
            stems = {file.stem for file in files_in(folder, IMAGE_SUFFIXES)}
            alone += [file for stem, file in texts.items() if stem not in stems]
    if alone:
        text = f"{len(alone)} label files have no image of their name, the "
        text += f"first is {alone[0]}"
        issues.append(Issue(text, (str(alone[0]),), is_warning=True))
    return found


def _read(
    image: Path,
    file: Path,
    names: dict[int, str],
    boxes: list[str],
    issues: list[Issue],
) -> Annotation:
    annotation = Annotation(file, str(image))
    if not file.is_file():
        return annotation
    with collecting(issues, file, "the file"):
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        for number, line in enumerate(lines, start=1):
            values = line.split()
            if not values:
                continue
            with collecting(issues, file, f"line {number}"):
                key, *corners = map(float, values)
                if len(values) == _BOX:
                    boxes.append(f"line {number} of {file}")
                    continue
                if key not in names:
                    raise ValueError(f"there is no class {values[0][:20]}")
                shape = polygon(corners, relative=True)
                annotation.shapes.append((names[int(key)], shape))
    return annotation
