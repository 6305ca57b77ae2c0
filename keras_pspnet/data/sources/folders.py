"""Folders of images and masks, with a file that names the classes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from keras_pspnet.data.image_files import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    files_below,
    files_in,
)
from keras_pspnet.data.sources.encodings import (
    Encoding,
    class_pairs,
    plain_encoding,
)
from keras_pspnet.data.sources.label_files import (
    LABEL_FILE,
    find_label_file,
    read_label_file,
)
from keras_pspnet.data.sources.listing import (
    FilePair,
    Issue,
    Listing,
    Sample,
    SplitError,
)
from keras_pspnet.data.sources.mask_values import suggest_labels
from keras_pspnet.data.sources.pairing import pair_files, split_folder
from keras_pspnet.labels import LabelSet

NAME = "images and masks"
# Usual names of the folders, in upper or lower case.
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit")
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "annot"),
    *("gts", "gt", "ground_truth", "gtfine"),
)
_SPLITS = {"train", "training", "val", "valid", "validation", "test"}
_SUFFIXES = {*IMAGE_SUFFIXES, *MASK_SUFFIXES}


def is_source(folder: Path, split: str | None) -> bool:
    """Tells whether there are folders of images and masks, or one with both."""
    return bool(_find_places(folder, split))


def list_samples(
    folder: Path, split: str | None, labels: LabelSet | None
) -> Listing:
    """Lists pairs of images and masks by their names, see `pair_files`.

    Args:
        folder: Contains a folder of images and one of masks, see
            `IMAGE_FOLDERS` and `MASK_FOLDERS`, or the files of both. For a
            split these are `SPLIT/images` and `SPLIT/masks`, `images/SPLIT`
            and `masks/SPLIT`, or `SPLIT` and `SPLIT_masks`. If `labels` is
            None, there must be a `labels.txt` in the folder or beside it.
        split: Folder of the split, or None.
        labels: Classes, and the colors of colored masks.

    Returns:
        The pairs and their issues.

    Raises:
        FileNotFoundError: If a folder or file is missing.
        OSError: If one cannot be read.
        ValueError: If `labels.txt` is wrong, or several folders match.
    """
    places = _find_places(folder, split)
    if len(places) != 1:
        shown = "; ".join(f"{images} and {masks}" for images, masks in places)
        raise ValueError(
            "`name_or_dir` must hold one folder of images and one of masks. "
            f"Received: name_or_dir={str(folder)!r} with {shown}"
        )
    splits = sorted(_SPLITS.intersection(_children(places[0][0])))
    if len(splits) > 1:
        raise SplitError(splits, split, repr(str(places[0][0])))
    pairs, issues, naming = list_pairs(*places[0])
    inside = [folder / split] if split else []
    found = find_encoding([*inside, folder], labels)
    if found is None:
        hint = suggest_labels([mask for _, mask in pairs], folder)
        if not pairs:
            hint = f"; but {issues[0]}"
        raise FileNotFoundError(
            f"`name_or_dir` must hold {LABEL_FILE}, with the name of a class "
            f"in each line, or `labels` must name them{hint}. Received: "
            f"name_or_dir={str(folder)!r}, labels=None"
        )
    labels, encoding = found
    samples = [Sample(*pair, encoding) for pair in pairs]
    form = f"{NAME} ({naming})" if naming else NAME
    return Listing(labels, samples, issues, form)


def list_pairs(
    images: Path, masks: Path
) -> tuple[list[FilePair], list[Issue], str]:
    """Lists the pairs of images and masks in two folders.

    Args:
        images: Folder of the images.
        masks: Folder of the masks; it may be the same.

    Returns:
        The pairs, the issues with the folders, and the common parts of names
        that `pair_files` found.

    Raises:
        OSError: If a folder cannot be read.
    """
    places = str(images), str(masks)
    image_files = _below(images)
    mask_files = _below(masks)
    if images == masks:
        image_files, mask_files = split_folder(image_files)
    issues = lossy_masks(masks, mask_files)
    pairs, naming = pair_files(
        [file for file in image_files if _ends_in(file, IMAGE_SUFFIXES)],
        [file for file in mask_files if _ends_in(file, MASK_SUFFIXES)],
        places,
        issues,
    )
    return pairs, issues, naming


def find_encoding(
    folders: Sequence[Path], labels: LabelSet | None
) -> tuple[LabelSet, Encoding] | None:
    """Finds the classes of mask files, and their encoding.

    Args:
        folders: Folders that may have a `labels.txt`, see `find_label_file`.
        labels: Classes. A `labels.txt` with the same classes says what masks
            hold; one with other classes is not used.

    Returns:
        The classes and the encoding; None if there are neither.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it breaks a rule of `read_label_file`.
    """
    path = find_label_file(*folders)
    if path is None:
        return None if labels is None else (labels, label_set_encoding(labels))
    listed, marks = read_label_file(path, folders[-1].resolve().name)
    if labels is not None and not listed.has_classes_of(labels):
        return labels, label_set_encoding(labels)
    labels = labels or listed
    return labels, plain_encoding(labels, str(path), marks)


def label_set_encoding(labels: LabelSet) -> Encoding:
    """Makes the encoding of masks with the classes or colors of a label set.

    Args:
        labels: The classes.

    Returns:
        The encoding.
    """
    origin = f"the label set {labels.name!r}"
    return plain_encoding(labels, origin, class_pairs(labels))


def check_label_file(
    labels: LabelSet, folder: str | os.PathLike[str], split: str | None
) -> None:
    """Refuses a `labels.txt` with other classes or in another order.

    Args:
        labels: The classes of a model or a run.
        folder: The data folder.
        split: The split, or None.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it lists other classes.
    """
    path = find_label_file(Path(folder, split or ""), names=(LABEL_FILE,))
    if path is None:
        return
    listed = read_label_file(path, path.name)[0]
    if not listed.has_classes_of(labels):
        raise ValueError(
            f"`{path.name}` must list the {labels.num_classes} classes of the "
            f"model in their order: {', '.join(labels.names)}. Received: "
            f"{', '.join(listed.names)} in {path.name}={str(path)!r}"
        )


def _find_places(folder: Path, split: str | None) -> list[tuple[Path, Path]]:
    """Finds folders of images and masks; several if it is ambiguous."""
    base = folder / split if split else folder
    inside = _children(base)
    images = [inside[name] for name in IMAGE_FOLDERS if name in inside]
    masks = [inside[name] for name in MASK_FOLDERS if name in inside]
    if split and not (images and masks):
        beside = _children(folder)
        names = [split.lower() + each for each in ("", "_", "-")]
        images = [
            beside[name] / split
            for name in IMAGE_FOLDERS
            if name in beside and (beside[name] / split).is_dir()
        ] or [base] * base.is_dir()
        masks = [
            *(beside[name] / split for name in MASK_FOLDERS if name in beside),
            *(
                beside[start + name]
                for name in MASK_FOLDERS
                for start in names
                if start + name in beside
            ),
        ]
    places = [
        (image, mask)
        for image in images
        for mask in masks
        if mask.is_dir() and _may_hold_masks(mask)
    ]
    if not places and base.is_dir():
        files = files_in(base, _SUFFIXES) or files_below(base, _SUFFIXES)
        places = [(base, base)] * bool(split_folder(files)[1])
    return places


def _children(folder: Path) -> dict[str, Path]:
    """Maps lower-case names to the subfolders."""
    if not folder.is_dir():
        return {}
    return {
        entry.name.lower(): entry
        for entry in sorted(folder.iterdir())
        if entry.is_dir()
    }


def _may_hold_masks(folder: Path) -> bool:
    """Tells whether a folder has image files, or no files yet."""
    is_empty = True
    for _, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if _ends_in(PurePath(name), _SUFFIXES):
                return True
            is_empty = is_empty and name.startswith(".")
    return is_empty


def _below(folder: Path) -> list[PurePath]:
    """Lists image and mask files, relative to their folder."""
    files = files_below(folder, _SUFFIXES)
    return [PurePath(file.relative_to(folder)) for file in files]


def _ends_in(file: PurePath, suffixes: Iterable[str]) -> bool:
    return file.suffix.lower() in suffixes


def lossy_masks(place: Path, masks: Iterable[PurePath]) -> list[Issue]:
    """Finds mask files whose format cannot hold a mask."""
    return [
        Issue(
            f"{place / file} cannot be a mask: masks must end in "
            f"{', '.join(MASK_SUFFIXES)}, since lossy files change indices",
            (str(place / file),),
        )
        for file in masks
        if not _ends_in(file, MASK_SUFFIXES)
    ]
