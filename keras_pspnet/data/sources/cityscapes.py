"""Cityscapes: a folder for each city, and several masks for each image."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from keras_pspnet.data.image_files import IMAGE_SUFFIXES, MASK_SUFFIXES
from keras_pspnet.data.sources.encodings import Encoding, plain_encoding
from keras_pspnet.data.sources.listing import (
    Issue,
    Listing,
    Sample,
    find_files,
    pair_names,
)
from keras_pspnet.labels import CITYSCAPES


def list_cityscapes(
    encoding: Encoding, folder: Path, split: str, root: Path
) -> Listing:
    """Lists a split.

    Args:
        encoding: What the values of labelIds masks mean.
        folder: The set's own folder.
        split: `"train"`, `"val"` or `"test"`.
        root: The folder that was given.

    Returns:
        The pairs, and what is wrong with them.

    Raises:
        OSError: If a folder cannot be read.
    """
    issues: list[Issue] = []
    places = folder / "leftImg8bit" / split, folder / "gtFine" / split
    (images,) = _in_cities(places[0], IMAGE_SUFFIXES, ("_leftImg8bit",), issues)
    ids, train_ids = _in_cities(
        places[1],
        MASK_SUFFIXES,
        ("_gtFine_labelIds", "_gtFine_labelTrainIds"),
        issues,
    )
    # Where a picture has both, the original ones stay.
    masks = train_ids | ids
    names = sorted(images.keys() | masks.keys())
    where = str(places[0]), f"{places[1]} (*_gtFine_labelIds.png)"
    pairs = pair_names(names, images, masks, where, issues)
    trained = plain_encoding(CITYSCAPES, "Cityscapes")
    samples = [
        Sample(
            *pair,
            trained if "labelTrainIds" in Path(pair[1]).stem else encoding,
        )
        for pair in pairs
    ]
    return Listing(CITYSCAPES, samples, issues)


def _in_cities(
    folder: Path,
    suffixes: Collection[str],
    endings: Sequence[str],
    issues: list[Issue],
) -> list[dict[str, Path]]:
    """Finds the files of each ending, by what their names have before it."""
    found: list[dict[str, Path]] = [{} for _ in endings]
    for city in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        for stem, path in find_files(city, suffixes, issues).items():
            for files, ending in zip(found, endings, strict=True):
                if not stem.endswith(ending):
                    continue
                other = files.setdefault(stem.removesuffix(ending), path)
                if other != path:
                    text = f"{other} and {path} are two files of one name"
                    issues.append(Issue(text, (str(other), str(path))))
    return found
