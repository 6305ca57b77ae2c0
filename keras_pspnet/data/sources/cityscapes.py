"""Cityscapes: a folder for each city, and several files for each image."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from keras_pspnet.data.image_files import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    files_in,
)
from keras_pspnet.data.sources.encodings import Encoding
from keras_pspnet.data.sources.listing import (
    Issue,
    Listing,
    Sample,
    by_stem,
    pair_names,
)
from keras_pspnet.labels import CITYSCAPES


def list_cityscapes(
    encoding: Encoding, folder: Path, split: str, root: Path
) -> Listing:
    """Lists a split.

    Args:
        encoding: Encoding of the labelIds masks.
        folder: Folder of the set.
        split: `"train"`, `"val"` or `"test"`.
        root: Folder given by the user.

    Returns:
        The pairs and their issues.

    Raises:
        OSError: If a folder cannot be read.
    """
    issues: list[Issue] = []
    places = folder / "leftImg8bit" / split, folder / "gtFine" / split
    image_files = _in_cities(places[0], IMAGE_SUFFIXES)
    mask_files = _in_cities(places[1], MASK_SUFFIXES)
    images = by_stem(image_files, issues, "_leftImg8bit")
    masks = by_stem(mask_files, issues, "_gtFine_labelIds")
    names = sorted(images.keys() | masks.keys())
    where = str(places[0]), f"{places[1]} (*_gtFine_labelIds.png)"
    pairs = pair_names(names, images, masks, where, issues)
    samples = [Sample(*pair, encoding) for pair in pairs]
    return Listing(CITYSCAPES, samples, issues)


def _in_cities(folder: Path, suffixes: Collection[str]) -> list[Path]:
    cities = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    return [file for city in cities for file in files_in(city, suffixes)]
