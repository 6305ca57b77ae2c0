"""Writes any data set as folders of images and index masks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from keras_pspnet.data.dataset import SegmentationData
from keras_pspnet.data.image_files import IMAGE_SUFFIXES
from keras_pspnet.data.images import read_image
from keras_pspnet.data.sources.label_files import (
    LABEL_FILE,
    parse_label_text,
)
from keras_pspnet.data.sources.listing import Issue
from keras_pspnet.labels import IGNORE_LABEL, LabelSet
from keras_pspnet.utils import (
    naming_errors,
    writing_atomically,
)
from keras_pspnet.visualization import Segmentation, as_rgb, index_image


def label_file_text(labels: LabelSet) -> str:
    """Returns the text of `labels.txt`: one class per line, with its color.

    For two classes it lists the values instead, since otherwise 255 in masks
    without class 1 would be taken for class 1.

    Args:
        labels: The classes.

    Returns:
        The text.

    Raises:
        ValueError: If the file cannot hold a name, because it starts with #
            or is "ignore".
    """
    marks = [f"#{bytes(color).hex()}" for color in labels.colors]
    lines = list(zip(labels.names, marks, strict=True))
    if labels.num_classes == 2:
        values = ["0", "1", str(IGNORE_LABEL)]
        lines = list(zip((*labels.names, "ignore"), values, strict=True))
    text = "".join(f"{name} {mark}\n" for name, mark in lines)
    names: tuple[str, ...] = ()
    with suppress(ValueError):
        parsed, _ = parse_label_text(text, labels.name, LABEL_FILE, LABEL_FILE)
        names = parsed.names
    if names != labels.names:
        raise ValueError(
            f"`labels` must have names that {LABEL_FILE} can hold: none may "
            "start with # or be 'ignore'. Received: "
            f"{', '.join(map(repr, labels.names))}"
        )
    return text


def write_pairs(
    data: SegmentationData, folder: str | os.PathLike[str]
) -> Iterator[Segmentation | Issue]:
    """Writes a data set to the folders `images` and `masks`, pair by pair.

    Images are copied unchanged if `load` can read their format. Masks become
    palette PNG files of class indices, in the colors of the classes, with 255
    for ignored pixels. Subfolders of the images are kept.

    Args:
        data: The pairs.
        folder: Parent folder of `images` and `masks`; existing files of the
            same names are replaced.

    Yields:
        For each pair the image and its mask, once they are written. If the
        pair has an error, nothing is written and the issue is yielded.

    Raises:
        OSError: If a file cannot be written.
    """
    root = os.path.commonpath(
        [Path(each.image).parent for each in data.samples]
    )
    written: dict[Path, str] = {}
    for index, sample in enumerate(data.samples):
        files = (sample.image, sample.mask)
        name = Path(sample.image).relative_to(root).with_suffix("")
        other = written.setdefault(name, sample.image)
        if other != sample.image:
            text = f"{sample.image} has the name of {other}"
            yield Issue(text, (other, sample.image))
            continue
        try:
            image, mask = data[index]
        except (OSError, ValueError) as error:
            yield Issue(str(error), files)
            continue
        _write_pair(Path(folder), name, sample.image, mask, data.labels)
        yield Segmentation(as_rgb(image), mask, data.labels)


def _write_pair(
    folder: Path, name: Path, image: str, mask: np.ndarray, labels: LabelSet
) -> None:
    suffix = Path(image).suffix
    copied = suffix.lower() in IMAGE_SUFFIXES
    image_file = folder / "images" / f"{name}{suffix if copied else '.png'}"
    mask_file = folder / "masks" / f"{name}.png"
    with naming_errors("output", folder):
        for file in (image_file, mask_file):
            file.parent.mkdir(parents=True, exist_ok=True)
    with writing_atomically(image_file) as stream:
        if copied:
            with open(image, "rb") as source:
                shutil.copyfileobj(source, stream)
        else:
            Image.fromarray(read_image(image)).save(stream, "PNG")
    with writing_atomically(mask_file) as stream:
        index_image(mask, labels).save(stream, "PNG")
