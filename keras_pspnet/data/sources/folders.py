"""Somebody's own data: folders of images and masks, and a file of names."""

from __future__ import annotations

from pathlib import Path

from keras_pspnet.data.image_files import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    files_in,
)
from keras_pspnet.data.sources.encodings import (
    Encoding,
    class_pairs,
    plain_encoding,
)
from keras_pspnet.data.sources.label_files import LABEL_FILE, read_label_file
from keras_pspnet.data.sources.listing import (
    FilePair,
    Issue,
    Listing,
    Sample,
    lossy_masks,
    pair_files,
)
from keras_pspnet.labels import LabelSet


def list_folder(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists pairs of images and masks that have the same name.

    Args:
        folder: Holds `images` and `masks`, or `SPLIT/images` and
            `SPLIT/masks`; and `labels.txt`, if `labels` is None.
        split: Folder of the split, or None.
        labels: Classes, and the colours of coloured masks.

    Returns:
        The pairs, and what is wrong with them.

    Raises:
        FileNotFoundError: If a folder or file is missing.
        OSError: If one cannot be read.
        ValueError: If `labels.txt` does not fit.
    """
    base = folder / split if split else folder
    images, masks = base / "images", base / "masks"
    if not (images.is_dir() and masks.is_dir()):
        raise _not_there(folder, split)
    path = folder / LABEL_FILE
    if labels is not None:
        encoding = label_set_encoding(labels)
    elif path.is_file():
        labels, encoding = label_file_encoding(path, folder.resolve().name)
    else:
        raise FileNotFoundError(
            f"`name_or_dir` must hold {LABEL_FILE}, with the name of a class "
            "in each line, or `labels` must be a LabelSet. Received: "
            f"name_or_dir={str(folder)!r}, labels=None"
        )
    pairs, issues = list_pairs(images, masks)
    samples = [Sample(*pair, encoding) for pair in pairs]
    return Listing(labels, samples, issues)


def list_pairs(images: Path, masks: Path) -> tuple[list[FilePair], list[Issue]]:
    """Lists the pairs of images and masks in two folders.

    Args:
        images: Folder of the images.
        masks: Folder of the masks.

    Returns:
        The pairs, and what is wrong with the folders.

    Raises:
        OSError: If a folder cannot be read.
    """
    issues = lossy_masks(masks)
    pairs = pair_files(
        files_in(images, IMAGE_SUFFIXES),
        files_in(masks, MASK_SUFFIXES),
        (str(images), str(masks)),
        issues,
    )
    return pairs, issues


def label_set_encoding(
    labels: LabelSet, ignore_label: int | None = None
) -> Encoding:
    """Makes the encoding of masks in the classes and colours of a label set.

    Args:
        labels: The classes.
        ignore_label: Label to ignore besides 255; it may be a class. None
            is `labels.ignore_label`.

    Returns:
        The encoding.
    """
    origin = f"the label set {labels.name!r}"
    return plain_encoding(labels, origin, class_pairs(labels), ignore_label)


def label_file_encoding(
    path: Path, name: str, ignore_label: int | None = None
) -> tuple[LabelSet, Encoding]:
    """Reads `labels.txt` and makes the encoding of the masks beside it.

    Args:
        path: The file.
        name: Name of the label set.
        ignore_label: As of `label_set_encoding`.

    Returns:
        The classes and the encoding.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it breaks a rule of `read_label_file`.
    """
    labels, colors = read_label_file(path, name)
    return labels, plain_encoding(labels, str(path), colors, ignore_label)


def _not_there(folder: Path, split: str | None) -> FileNotFoundError:
    rule = "hold images and masks"
    if split:
        rule = f"hold {split}/images and {split}/masks for split={split!r}"
        if (folder / "images").is_dir():
            rule += "; split=None takes images and masks themselves"
    elif (folder / "train" / "images").is_dir():
        rule += " for split=None; split='train' takes train/images"
    return FileNotFoundError(
        f"`name_or_dir` must {rule}. Received: name_or_dir={str(folder)!r}, "
        f"split={split!r}"
    )
