"""LabelMe XML: the files of MIT's web tool, one for each image.

Objects are drawn in the order of the file; deleted ones are skipped. An object
is a polygon, or a region (`<segm>`): a PNG file in `Masks` of the size of the
image, nonzero inside the region. Only such files can have holes.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from keras_pspnet.data.image_files import files_in
from keras_pspnet.data.sources.annotations import (
    Annotation,
    as_size,
    choose_split,
    collecting,
    list_annotations,
    with_words,
)
from keras_pspnet.data.sources.classes import find_classes
from keras_pspnet.data.sources.image_finder import ImageFinder
from keras_pspnet.data.sources.listing import Issue, Listing
from keras_pspnet.data.sources.shapes import (
    Bitmap,
    Shape,
    decode_png,
    polygon,
)
from keras_pspnet.data.sources.xml_files import child_text, read_xml
from keras_pspnet.labels import LabelSet

NAME = "LabelMe XML"

_FOLDERS = ("", "Annotations", "annotations")
_WORDS = "<annotation>", "<filename>", "<object>"
# Box files of other tools start in the same way.
_BOXES = "<bndbox>"


def is_source(folder: Path, split: str | None) -> bool:
    """Tells whether there are LabelMe files."""
    return split is None and bool(_folders(folder))


def list_samples(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists the images that have a file.

    Args:
        folder: Folder with the files, or with `Annotations` that has them.
        split: None, since LabelMe has no splits.
        labels: As in `find_classes`; LabelMe's classes are sorted by name.

    Returns:
        The pairs and their issues.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If there is a split, or the classes do not fit.
    """
    choose_split([""], split, NAME, folder)
    issues: list[Issue] = []
    places = _folders(folder)
    finder = ImageFinder(folder, *places, folder / "Images")
    masks = ImageFinder(folder, folder / "Masks")
    annotations = []
    for place in places:
        for file in files_in(place, (".xml",)):
            with collecting(issues, file, "the file"):
                root = read_xml(file)
                if root.tag == "annotation":
                    annotations.append(_read(file, root, masks, issues))
    names = sorted({name for each in annotations for name, _ in each.shapes})
    classes = find_classes(folder, names, labels)
    return list_annotations(NAME, classes, annotations, finder, issues)


def _folders(folder: Path) -> list[Path]:
    places = [folder / name for name in _FOLDERS]
    return [
        place
        for place in places
        if with_words(place, ".xml", *_WORDS, without=_BOXES)
    ]


def _read(
    file: Path, root: Element, masks: ImageFinder, issues: list[Issue]
) -> Annotation:
    size = None
    if root.find("imagesize") is not None:
        size = as_size(
            child_text(root, "imagesize/ncols"),
            child_text(root, "imagesize/nrows"),
        )
    shapes: list[tuple[str, Shape]] = []
    for number, entry in enumerate(root.iter("object"), start=1):
        if entry.findtext("deleted", "0").strip() == "1":
            continue
        with collecting(issues, file, f"object {number}"):
            name = child_text(entry, "name")
            shapes.append((name, _shape(entry, masks, size)))
    return Annotation(file, child_text(root, "filename"), size, shapes)


def _shape(
    entry: Element, masks: ImageFinder, size: tuple[int, int] | None
) -> Shape:
    if entry.find("segm") is None:
        points = entry.iterfind("polygon/pt")
        corners = [
            (float(child_text(pt, "x")), float(child_text(pt, "y")))
            for pt in points
        ]
        return polygon(corners)
    name = child_text(entry, "segm/mask")
    path = masks.find(name)
    if path is None:
        raise ValueError(f"the mask {name!r} is not in the folder")
    if size is None:
        raise ValueError("a mask must have an <imagesize>")
    return Bitmap(decode_png, path, size)
