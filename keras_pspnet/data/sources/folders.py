"""Somebody's own data: folders of pictures and masks, and a file of names."""

from __future__ import annotations

from pathlib import Path

from keras_pspnet.data.images import IMAGE_SUFFIXES, MASK_SUFFIXES
from keras_pspnet.data.sources.encodings import class_pairs, plain_encoding
from keras_pspnet.data.sources.label_files import LABEL_FILE, read_label_file
from keras_pspnet.data.sources.listing import (
    Issue,
    Listing,
    find_files,
    lossy_masks,
    make_listing,
)
from keras_pspnet.labels import LabelSet


def list_folder(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists pairs of pictures and masks that have the same name.

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
        origin = f"the label set {labels.name!r}"
        colors = tuple(class_pairs(labels))
    elif path.is_file():
        origin = str(path)
        labels, colors = read_label_file(path, folder.resolve().name)
    else:
        raise FileNotFoundError(
            f"`name_or_dir` must hold {LABEL_FILE}, with the name of a class "
            "in each line, or `labels` must be a LabelSet. Received: "
            f"name_or_dir={str(folder)!r}, labels=None"
        )
    issues: list[Issue] = []
    encoding = plain_encoding(labels, origin, colors)
    pictures = find_files(images, IMAGE_SUFFIXES, issues)
    encoded = {
        name: (mask, encoding)
        for name, mask in find_files(masks, MASK_SUFFIXES, issues).items()
    }
    return make_listing(
        labels,
        sorted(pictures.keys() | encoded.keys()),
        pictures,
        encoded,
        (str(images), str(masks)),
        issues + lossy_masks(masks),
    )


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
