"""Recognizes the format of a data folder, and lists its pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from keras_pspnet.data.sources import (
    coco,
    cvat,
    folders,
    label_studio,
    labelme,
    labelme_xml,
    panoptic,
    via,
    voc,
    yolo,
)
from keras_pspnet.data.sources.listing import Listing, SplitError
from keras_pspnet.labels import LabelSet


class Source(Protocol):
    """A module that reads one format."""

    @property
    def NAME(self) -> str:
        """Usual name of the format, such as "COCO JSON"."""
        ...

    def is_source(self, folder: Path, split: str | None, /) -> bool:
        """Tells whether a folder has the format; reads no more than needed."""
        ...

    def list_samples(
        self, folder: Path, split: str | None, labels: LabelSet | None, /
    ) -> Listing:
        """Lists the pairs of a split.

        Args:
            folder: The folder.
            split: The split, or None.
            labels: Classes that replace those of the folder.

        Raises:
            OSError: If a file cannot be read.
            ValueError: If the files do not fit together.
        """
        ...


# The first source that recognizes a folder reads it.
SOURCES: tuple[Source, ...] = (
    voc,
    panoptic,
    coco,
    yolo,
    cvat,
    label_studio,
    via,
    labelme,
    labelme_xml,
    folders,
)


def list_source(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists the pairs of a user's data folder.

    Args:
        folder: The folder.
        split: The split, or None.
        labels: Classes that replace those of the folder.

    Returns:
        The pairs and their issues.

    Raises:
        FileNotFoundError: If the folder has none of the formats.
        OSError: If a folder or file cannot be read.
        ValueError: If the files do not fit together.
    """
    for source in SOURCES:
        if source.is_source(folder, split):
            return source.list_samples(folder, split, labels)
    if split is not None:
        # Some tools write a complete export into the folder of each split.
        for source in SOURCES:
            if source.is_source(folder / split, None):
                return source.list_samples(folder / split, None, labels)
        for source in SOURCES:
            # Its error lists the splits.
            if source is not folders and source.is_source(folder, None):
                return source.list_samples(folder, split, labels)
        raise _not_there(folder, split)
    splits = [
        entry.name
        for entry in sorted(folder.iterdir())
        if entry.is_dir()
        and any(
            source.is_source(entry, None)
            or source.is_source(folder, entry.name)
            for source in SOURCES
        )
    ]
    if not splits:
        raise _not_there(folder, split)
    if len(splits) > 1:
        raise SplitError(splits, split, repr(str(folder)))
    return list_source(folder, splits[0], labels)


def _not_there(folder: Path, split: str | None) -> FileNotFoundError:
    rule = "hold images and masks"
    if split:
        rule = f"hold {split}/images and {split}/masks for split={split!r}"
        if (folder / "images").is_dir():
            rule += "; split=None takes images and masks themselves"
    forms = [source.NAME for source in SOURCES if source is not folders]
    return FileNotFoundError(
        f"`name_or_dir` must {rule}. Received: name_or_dir={str(folder)!r}, "
        f"split={split!r}, which is none of {', '.join(forms)} either"
    )
