"""VOC's split `trainaug`: its own masks and those of SBD."""

from __future__ import annotations

from pathlib import Path

from keras_pspnet.data.image_files import IMAGE_SUFFIXES, MASK_SUFFIXES
from keras_pspnet.data.sources.encodings import Encoding
from keras_pspnet.data.sources.listing import (
    Issue,
    Listing,
    Sample,
    find_files,
    list_file,
    pair_names,
    read_names,
)
from keras_pspnet.data.sources.sbd import SBD_FILES, SBD_SOURCE, scipy_io
from keras_pspnet.labels import VOC

VOC_LISTS = "ImageSets/Segmentation"


def list_trainaug(
    encoding: Encoding, folder: Path, split: str, root: Path
) -> Listing:
    """Lists `trainaug`: the images of VOC's train and of SBD, except VOC's val.

    VOC's own masks take precedence over SBD's, which have no outlines. In the
    published sets, these are 1,464 images of VOC's train and 9,118 more of
    SBD's train and val.

    Args:
        encoding: Encoding of the masks.
        folder: Folder of VOC.
        split: `"trainaug"`.
        root: Folder of SBD, or one with SBD beside VOC.

    Returns:
        The pairs and their issues.

    Raises:
        FileNotFoundError: If SBD is missing.
        ImportError: If SciPy is needed and not installed.
        OSError: If a folder or list cannot be read.
        ValueError: If a list is missing.
    """
    lists = folder / VOC_LISTS
    issues: list[Issue] = []
    train = read_names(list_file("voc", lists, "train"), issues)
    val = set(read_names(list_file("voc", lists, "val"), issues))
    images = find_files(folder / "JPEGImages", IMAGE_SUFFIXES, issues)
    own = folder / "SegmentationClass"
    converted = folder / "SegmentationClassAug"
    listed_in = str(lists)
    if converted.is_dir():
        place = converted
        more = find_files(converted, MASK_SUFFIXES, issues)
        names = set(more)
    else:
        sbd = _find_sbd(folder, root)
        scipy_io()
        place = sbd / "cls"
        listed_in += f" or {sbd}"
        more = find_files(place, (".mat",), issues)
        images = find_files(sbd / "img", IMAGE_SUFFIXES, issues) | images
        names = {
            name
            for split in ("train", "val")
            for name in read_names(list_file("sbd", sbd, split), issues)
        }
    masks = find_files(own, MASK_SUFFIXES, issues)
    # If an image of VOC's train lacks its own mask, do not silently use SBD's.
    # Converted masks are fine, since they include VOC's.
    chosen = dict(more)
    for name in train:
        if name in masks:
            chosen[name] = masks[name]
        elif place != converted:
            chosen.pop(name, None)
    wanted = sorted((names | set(train)) - val)
    places = str(folder / "JPEGImages"), f"{own} or {place}"
    pairs = pair_names(wanted, images, chosen, places, issues, listed_in)
    samples = [Sample(*pair, encoding) for pair in pairs]
    return Listing(VOC, samples, issues)


def _find_sbd(folder: Path, root: Path) -> Path:
    bases = (root, root / "VOCdevkit", folder)
    inner = ("benchmark_RELEASE/dataset", "VOCaug/dataset", "")
    for base in bases:
        for place in inner:
            if all((base / place / part).is_dir() for part in ("img", "cls")):
                return base / place
    raise FileNotFoundError(
        "`root` must be a folder that holds SBD beside VOC for "
        f"split='trainaug' ({inner[0]} beside VOCdevkit, with "
        f"{SBD_FILES}), or VOC2012 must hold SegmentationClassAug. "
        f"{SBD_SOURCE} Received: root={str(root)!r}"
    )
