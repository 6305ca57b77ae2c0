"""Finds the classes of annotations, and their order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

from keras_pspnet.data.sources.label_files import (
    LABEL_FILE,
    LABELME_IGNORE,
    find_label_file,
    read_label_file,
)
from keras_pspnet.labels import IGNORE_LABEL, LabelSet, named_labels

# Usual names for pixels that belong to no other class.
_BACKGROUND = ("background", "_background_", "unlabeled")
_MOST = 255


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of a set of annotations.

    Args:
        labels: The classes.
        outside: The class of pixels outside of all shapes, or 255.
        origin: The source that lists the classes, for issues.
    """

    labels: LabelSet
    outside: int
    origin: str

    @property
    def values(self) -> Mapping[str, int]:
        """Maps every name that annotations may have to its class or 255."""
        indices = {name: k for k, name in enumerate(self.labels.names)}
        return {LABELME_IGNORE: IGNORE_LABEL} | indices


def find_classes(
    folder: Path,
    names: Iterable[str],
    labels: LabelSet | None,
    background: bool = True,
) -> Classes:
    """Finds the classes of annotations.

    They come from `labels`, or from a `labels.txt` in the folder or beside
    it. Pixels outside of all shapes then get the class called "background",
    "_background_" or "unlabeled", or 255 if there is none. Without either
    source, class 0 is the background, and the tool's classes follow.

    Args:
        folder: The data folder.
        names: The tool's classes in the tool's order, possibly repeated.
        labels: Classes that replace those of the folder.
        background: Whether to add a background if `names` has none.

    Returns:
        The classes.

    Raises:
        OSError: If `labels.txt` cannot be read.
        ValueError: If there are too many classes, or `labels.txt` is wrong.
    """
    name = folder.resolve().name
    path = find_label_file(folder, names=(LABEL_FILE,))
    if labels is not None:
        return Classes(labels, _outside(labels), "labels")
    # Other files, such as classes.txt, belong to the tool.
    if path is not None and path.name == LABEL_FILE:
        labels = read_label_file(path, name)[0]
        return Classes(labels, _outside(labels), str(path))
    listed = dict.fromkeys(names)
    listed.pop(LABELME_IGNORE, None)
    if background:
        first = next(filter(_is_background, listed), _BACKGROUND[0])
        listed = {first: None} | listed
    if not 1 <= len(listed) <= _MOST:
        raise ValueError(
            f"`name_or_dir` must have 1 to {_MOST} classes, background "
            f"included. Received: {len(listed)} in "
            f"name_or_dir={str(folder)!r}"
        )
    labels = dataclasses.replace(named_labels(list(listed)), name=name)
    outside = 0 if background else IGNORE_LABEL
    return Classes(labels, outside, str(folder))


def _outside(labels: LabelSet) -> int:
    found = map(_is_background, labels.names)
    return next((k for k, is_it in enumerate(found) if is_it), IGNORE_LABEL)


def _is_background(name: str) -> bool:
    return name.casefold() in _BACKGROUND
