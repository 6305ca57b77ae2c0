"""Data sets by name or folder, as pairs of images and class masks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from keras_pspnet.data.images import named, read_image
from keras_pspnet.data.sources.encodings import Encoding, read_encoded
from keras_pspnet.data.sources.folders import (
    label_file_encoding,
    label_set_encoding,
    list_folder,
    list_pairs,
)
from keras_pspnet.data.sources.listing import (
    FilePair,
    Listing,
    Sample,
    check_complete,
)
from keras_pspnet.data.sources.published import DATASETS, list_dataset
from keras_pspnet.labels import IGNORE_LABEL, LabelSet
from keras_pspnet.utils.plausibility import BinaryMasks

Pair = tuple[np.ndarray, np.ndarray]


class SegmentationData:
    """Reads the pairs of a data set by index; made by `load`.

    Each is an image, uint8 `(H, W, 3)`, and its mask, uint8 `(H, W)` of
    classes 0..C-1, and 255 where there is no truth.

    Args:
        listing: The pairs.
        cache_bytes: Decoded pairs are kept up to this many bytes, and are
            read-only then.
    """

    def __init__(self, listing: Listing, cache_bytes: int = 0) -> None:
        self.samples = listing.samples
        self.issues = listing.issues
        # Whatever the files say, the masks of this object hold 255.
        self.labels = dataclasses.replace(
            listing.labels, ignore_label=IGNORE_LABEL
        )
        self.num_classes = self.labels.num_classes
        self.ignore_label = IGNORE_LABEL
        self._room = cache_bytes
        self._kept: dict[int, Pair] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Pair:
        """Reads one pair.

        Raises:
            IndexError: If there is no such pair.
            OSError: If a file cannot be opened.
            ValueError: If a file cannot be decoded, the sizes differ, or the
                mask holds a value without a meaning.
        """
        sample = self.samples[index]
        index %= len(self)
        if index in self._kept:
            return self._kept[index]
        pair = read_pair(sample.image, sample.mask, sample.encoding)
        size = sum(array.nbytes for array in pair)
        if size <= self._room:
            self._room -= size
            for array in pair:
                array.setflags(write=False)
            self._kept[index] = pair
        return pair

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def files(self, index: int) -> tuple[str, str]:
        """Returns the paths of a pair's image and mask."""
        sample = self.samples[index]
        return sample.image, sample.mask

    def check_binary(self) -> None:
        """Reads masks of two classes until one shows class 1.

        Raises:
            OSError: If a file cannot be opened.
            ValueError: If none does and 255 stands in its place, or a mask
                cannot be decoded or holds a value without a meaning.
        """
        if self.num_classes != 2:
            return
        seen = BinaryMasks()
        for sample in self.samples:
            seen.add(read_encoded(sample.mask, sample.encoding))
            if seen.with_object:
                return
        seen.check(f"masks such as {self.samples[0].mask!r}")

    def check_pairs(self) -> None:
        """Reads every pair, to find a wrong one before long work starts.

        Raises:
            OSError: If a file cannot be opened.
            ValueError: If one cannot be decoded, the sizes differ, a mask
                holds a value without a meaning, none has any truth, or two
                classes are given as 0 and 255.
        """
        self.check_binary()
        ground_truth = False
        for _, mask in self:
            ground_truth = ground_truth or bool((mask != IGNORE_LABEL).any())
        if len(self) and not ground_truth:
            raise ValueError(
                "`mask` must have pixels that are not ignored in at least one "
                f"of the split. Received: {self.samples[0].mask!r} and "
                f"{len(self) - 1} more without"
            )


def load(
    name_or_dir: str | os.PathLike[str],
    split: str | None = None,
    root: str | os.PathLike[str] | None = None,
    *,
    labels: LabelSet | None = None,
    cache_bytes: int = 0,
    strict: bool = True,
) -> SegmentationData:
    """Opens a split of a data set on disk.

    Published sets have names, and lie as their archives unpack:

    - `"voc"`: VOCdevkit/VOC2012 with the splits of its
      ImageSets/Segmentation, and `"trainaug"`: VOC's train, and all other
      images that SBD has masks of, but for those of VOC's val (10,582 in
      the published sets). SBD's masks are taken from
      VOC2012/SegmentationClassAug where there is such a folder (as PNG
      files), else from benchmark_RELEASE/dataset beside VOCdevkit, whose .mat
      files need SciPy (`pip install keras-pspnet[sbd]`).
    - `"cityscapes"`: leftImg8bit and gtFine, with labelIds masks, mapped to
      the 19 classes of the benchmark; `"train"`, `"val"`. The masks of
      `"test"` are blank.
    - `"ade20k"`: ADEChallengeData2016, the 150 classes of the scene parsing
      benchmark; `"train"`, `"val"`.
    - `"camvid"`: the 11 classes of SegNet's distribution (train, trainannot,
      ...); `"train"`, `"val"`, `"test"`.
    - `"oxford_iiit_pet"`: images and annotations/trimaps; `"trainval"`,
      `"test"`. The classes are pet, background and outline.

    Own data is a folder of `images` and `masks`, or of `train/images`,
    `train/masks` and so on for each split, with masks named as their
    images (a.jpg and a.png), and the names of the classes in `labels.txt`:
    see `read_label_file` of keras_pspnet.data.sources. Masks are either
    index masks (grey or palette files), of classes from 0, and 255 where
    there is no truth; or 8-bit RGB files in PNG, of the exact colours that
    `labels.txt` lists.

    Args:
        name_or_dir: Name of a published set, or folder of own data.
        split: Which part; for own data the name of its folder, or None.
        root: For published sets, the folder itself or the one it was
            unpacked in.
        labels: For own data without `labels.txt`, or in its place: the
            classes, and the colours of coloured masks. Pixels of
            `labels.ignore_label` come out as 255.
        cache_bytes: Decoded pairs are kept up to this many bytes, and are
            read-only then.
        strict: Whether to raise if an image or mask is missing, a name
            occurs twice, or there is no pair at all. Otherwise such pairs are
            left out, and `keras_pspnet.data.check` tells which.

    Returns:
        The pairs: `len(data)`, `data[i]`, iteration, `data.labels`,
        `data.files(i)`.

    Raises:
        FileNotFoundError: If a folder, or `labels.txt`, is missing; for
            published sets, tells where to get them.
        ImportError: If masks are MATLAB files and SciPy is not installed.
        OSError: If a folder or list cannot be read.
        ValueError: If a name or split is unknown, `labels.txt` is wrong, or
            by `strict`.

    Examples:
        >>> from keras_pspnet.data import load
        >>> data = load("data", "train")  # has images, masks, labels.txt
        >>> image, mask = data[0]
        >>> image.shape, mask.shape, data.labels.names[:2]
        ((100, 75, 3), (100, 75), ('sky', 'grass'))
    """
    name = os.fspath(name_or_dir)
    if isinstance(name_or_dir, str) and name in DATASETS:
        if root is None:
            raise ValueError(
                f"`root` must be the folder that holds {name!r}. "
                "Received: root=None (a folder of own data of that name is "
                f"{os.path.join('.', name)!r})"
            )
        if labels is not None:
            raise ValueError(
                f"`labels` must be None for {name!r}, which has its own. "
                f"Received: labels={labels.name!r}"
            )
        if split is None:
            raise ValueError(
                f"`split` must be a string for {name!r}, 'train' for "
                "instance. Received: split=None"
            )
        listing = list_dataset(name, split, Path(root))
    elif root is not None:
        raise ValueError(
            f"`name_or_dir` must be one of {', '.join(DATASETS)} where `root` "
            f"is given. Received: name_or_dir={name!r}, "
            f"root={os.fspath(root)!r}"
        )
    elif not os.path.isdir(name):
        raise FileNotFoundError(
            "`name_or_dir` must be an existing folder of own data, or one of "
            f"{', '.join(DATASETS)}. Received: name_or_dir={name!r}"
        )
    else:
        listing = list_folder(Path(name), split, labels)
    if strict:
        check_listing(listing, split, name)
    return SegmentationData(listing, cache_bytes)


def check_listing(listing: Listing, split: str | None, name: str) -> None:
    """Checks that nothing was wrong in listing a split.

    Args:
        listing: The pairs.
        split: The split.
        name: Name or folder of the set.

    Raises:
        ValueError: If something was.
    """
    if listing.issues:
        raise ValueError(
            f"`split` must be complete, but {listing.issues[0]} (1 of "
            f"{len(listing.issues)} issues; keras_pspnet.data.check(load(..., "
            f"strict=False)) lists all). Received: split={split!r} of {name!r}"
        )


def pair_folders(
    images_dir: str | os.PathLike[str], masks_dir: str | os.PathLike[str]
) -> list[FilePair]:
    """Pairs the images of one folder with the masks of another by name.

    Args:
        images_dir: Folder of images.
        masks_dir: Folder of masks named like their images.

    Returns:
        The paths of every image and its mask, sorted by name.

    Raises:
        OSError: If a folder cannot be read.
        ValueError: If an image has no mask, a mask no image, a name occurs
            twice, or there is no pair.
    """
    folders = {"images_dir": images_dir, "masks_dir": masks_dir}
    for argument, folder in folders.items():
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"`{argument}` must be a folder that exists. "
                f"Received: {argument}={os.fspath(folder)!r}"
            )
    pairs, issues = list_pairs(Path(images_dir), Path(masks_dir))
    check_complete(issues)
    return pairs


def label_pairs(
    pairs: Sequence[FilePair],
    labels: LabelSet,
    ignore_label: int | None = None,
    label_file: Path | None = None,
) -> SegmentationData:
    """Opens pairs to score a model on.

    Args:
        pairs: Paths of images and masks, as of `pair_folders`.
        labels: The model's classes, and the colours of coloured masks.
        ignore_label: Label to ignore besides 255; it may be a class. None
            is `labels.ignore_label`. Its pixels come out as 255.
        label_file: A `labels.txt` whose colours stand in for those of
            `labels`.

    Returns:
        The pairs.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it lists other classes.
    """
    encoding = label_set_encoding(labels, ignore_label)
    if label_file is not None:
        listed, encoding = label_file_encoding(
            label_file, label_file.name, ignore_label
        )
        _check_classes(listed, labels, label_file)
    samples = [Sample(*pair, encoding) for pair in pairs]
    return SegmentationData(Listing(labels, samples, []))


def read_pair(
    image: str | os.PathLike[str] | bytes,
    mask: str | os.PathLike[str] | bytes,
    encoding: Encoding,
) -> Pair:
    """Reads an image and its mask, and checks that they fit.

    Args:
        image: Path of the image, or the bytes of the file.
        mask: Path of the mask, likewise.
        encoding: What the mask's values and colours mean.

    Returns:
        The image, uint8 `(H, W, 3)`, and its classes and 255, uint8 `(H, W)`.

    Raises:
        OSError: If a file cannot be opened.
        ValueError: If a file cannot be decoded, the sizes differ, or the mask
            holds a value without a meaning.
    """
    pixels, classes = read_image(image), read_encoded(mask, encoding)
    issue = size_issue(pixels, classes, named(image), named(mask))
    if issue:
        raise ValueError(issue)
    return pixels, classes


def size_issue(
    pixels: np.ndarray, classes: np.ndarray, image: str, mask: str
) -> str:
    """Tells how the sizes of an image and its mask differ.

    Args:
        pixels: The image, `(H, W, 3)`.
        classes: The mask, `(H, W)`.
        image: What errors call the image.
        mask: What errors call the mask.

    Returns:
        An error message, or "" if they do not differ.
    """
    (height, width), (rows, columns) = pixels.shape[:2], classes.shape
    if (height, width) == (rows, columns):
        return ""
    hint = ""
    if (height, width) == (columns, rows):
        # Cameras note how they were held; images are read upright.
        hint = "; has the mask been drawn before the picture was turned?"
    return (
        "`mask` must have the size of its picture. Received: "
        f"mask={mask} of {columns}x{rows}, image={image} of "
        f"{width}x{height}{hint}"
    )


def _check_classes(listed: LabelSet, labels: LabelSet, path: Path) -> None:
    """Refuses a file of other classes, or of the same in another order."""
    names = listed.names
    reordered = sorted(names) == sorted(labels.names) and names != labels.names
    if listed.num_classes != labels.num_classes or reordered:
        raise ValueError(
            f"`{path.name}` must list the {labels.num_classes} classes of the "
            f"model in their order: {', '.join(labels.names)}. Received: "
            f"{', '.join(names)} in {path.name}={str(path)!r}"
        )
