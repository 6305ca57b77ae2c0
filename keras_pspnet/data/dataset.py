"""Loads data sets by name or folder, as pairs of images and class masks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from keras_pspnet.data.images import MAX_PIXELS, RGB
from keras_pspnet.data.pairs import Pair, read_pair
from keras_pspnet.data.sources.changes import ignore, replace_encoding
from keras_pspnet.data.sources.encodings import Encoding, plain_encoding
from keras_pspnet.data.sources.find import list_source
from keras_pspnet.data.sources.label_files import (
    MarkSpec,
    read_label_file,
    read_label_map,
)
from keras_pspnet.data.sources.listing import Listing
from keras_pspnet.data.sources.published import DATASETS, list_dataset
from keras_pspnet.labels import IGNORE_LABEL, LabelSet
from keras_pspnet.utils import check_integer
from keras_pspnet.utils.plausibility import MAP_FILES, BinaryMasks


class SegmentationData:
    """Reads the pairs of a data set by index; made by `load`.

    A pair is an image, uint8 `(H, W, 3)`, or `(H, W, bands)` as in
    `read_image`, and its mask, uint8 `(H, W)` with classes 0..C-1 and 255
    where there is no ground truth.

    Args:
        listing: The pairs.
        cache_bytes: Keep decoded pairs up to this many bytes; these arrays
            are read-only.
        max_pixels: Larger images and masks are refused.
        bands: Number of bands of the images.
    """

    def __init__(
        self,
        listing: Listing,
        cache_bytes: int = 0,
        max_pixels: int = MAX_PIXELS,
        bands: int = RGB,
    ) -> None:
        self.form = listing.form
        self.max_pixels = max_pixels
        self.bands = check_integer("bands", bands)
        self.samples = listing.samples
        self.issues = listing.issues
        # In this object's masks, ignored pixels are always 255.
        self.labels = dataclasses.replace(
            listing.labels, ignore_label=IGNORE_LABEL
        )
        self.num_classes = self.labels.num_classes
        self.ignore_label = IGNORE_LABEL
        self._room = cache_bytes
        self._kept: dict[int, Pair] = {}
        self._is_binary_checked = self.binary_masks() is None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Pair:
        """Reads one pair.

        Raises:
            IndexError: If there is no such pair.
            OSError: If a file cannot be opened.
            ValueError: If a file cannot be decoded, the sizes differ, or the
                mask holds a value without a class.
        """
        sample = self.samples[index]
        index %= len(self)
        if index in self._kept:
            return self._kept[index]
        pair = read_pair(
            sample.image,
            sample.mask,
            sample.ground_truth,
            self.max_pixels,
            self.bands,
        )
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

    def take(self, indices: Iterable[int]) -> SegmentationData:
        """Returns the pairs of these indices as a new set."""
        samples = [self.samples[index] for index in indices]
        listing = Listing(self.labels, samples, self.issues, self.form)
        return SegmentationData(
            listing, self._room, self.max_pixels, self.bands
        )

    def binary_masks(self) -> BinaryMasks | None:
        """Returns a counter for masks whose class 1 may be 255 by mistake.

        It is None if there are not exactly two classes, or if the mask values
        are listed or drawn and therefore intended.
        """
        holds_classes = any(
            isinstance(each.ground_truth, Encoding)
            and each.ground_truth.holds_classes
            and not each.ground_truth.lists_ignored
            for each in self.samples
        )
        if self.num_classes != 2 or not holds_classes:
            return None
        return BinaryMasks(remedy=MAP_FILES.format(*self.labels.names))

    def check_binary(self) -> None:
        """Reads masks of two classes until one shows class 1, but only once.

        Raises:
            OSError: If a file cannot be opened.
            ValueError: If none shows class 1 and some hold 255, or if a mask
                cannot be decoded or holds a value without a class.
        """
        seen = self.binary_masks()
        if self._is_binary_checked or seen is None:
            return
        for sample in self.samples:
            seen.add(sample.ground_truth.read(sample.mask, self.max_pixels))
            if seen.with_object:
                break
        self._check_binary(seen)

    def check_pairs(
        self, track: Callable[[Iterable[Pair]], Iterable[Pair]] = iter
    ) -> None:
        """Reads every pair, to find errors before the long work starts.

        Args:
            track: Iterates over the pairs, and may show progress.

        Raises:
            OSError: If a file cannot be opened.
            ValueError: If a file cannot be decoded, sizes differ, a mask
                holds a value without a class, no mask has ground truth, or
                two classes are stored as 0 and 255.
        """
        ground_truth = False
        seen = self.binary_masks()
        for _, mask in track(self):
            ground_truth = ground_truth or bool((mask != IGNORE_LABEL).any())
            if seen and not seen.with_object and not self._is_binary_checked:
                seen.add(mask)
        self._check_binary(seen)
        if len(self) and not ground_truth:
            raise ValueError(
                "`mask` must have pixels that are not ignored in at least one "
                f"of the split. Received: {self.samples[0].mask!r} and "
                f"{len(self) - 1} more without"
            )

    def _check_binary(self, seen: BinaryMasks | None) -> None:
        if seen and seen.masks:
            seen.check(f"masks such as {self.samples[0].mask!r}")
        self._is_binary_checked = True


def load(
    name_or_dir: str | os.PathLike[str],
    split: str | None = None,
    root: str | os.PathLike[str] | None = None,
    *,
    labels: LabelSet
    | Mapping[str, MarkSpec]
    | str
    | os.PathLike[str]
    | None = None,
    ignore_label: int | None = None,
    ignore_unknown: bool = False,
    max_pixels: int = MAX_PIXELS,
    cache_bytes: int = 0,
    strict: bool = True,
    bands: int = RGB,
) -> SegmentationData:
    """Opens a split of a data set on disk.

    Published sets have names, and keep the layout of their archives:

    - `"voc"`: VOCdevkit/VOC2012 with the splits in ImageSets/Segmentation.
      The split `"trainaug"` adds the images of SBD, except those of VOC's
      val (10,582 images in the published sets). SBD's masks come from the
      PNG files of VOC2012/SegmentationClassAug if it exists. Otherwise they
      come from benchmark_RELEASE/dataset beside VOCdevkit, whose .mat files
      need SciPy (`pip install keras-pspnet[sbd]`).
    - `"cityscapes"`: leftImg8bit and gtFine, with labelIds masks mapped to
      the 19 classes of the benchmark; `"train"`, `"val"`. The masks of
      `"test"` are blank.
    - `"ade20k"`: ADEChallengeData2016, with the 150 classes of the scene
      parsing benchmark; `"train"`, `"val"`.
    - `"camvid"`: the 11 classes of SegNet's distribution (train, trainannot,
      ...); `"train"`, `"val"`, `"test"`.
    - `"oxford_iiit_pet"`: images and annotations/trimaps; `"trainval"`,
      `"test"`. The classes are pet, background and outline.

    Your own data is a folder of images beside a folder of masks, such as
    `images` and `masks`; such a pair for each split, as `train/images` and
    `train/masks`, `images/train` and `masks/train`, or `train` and
    `train_masks`; or one folder with both. A mask has the name of its image
    (a.jpg and a.png), with a prefix or suffix if all masks have the same one
    (a_mask.png). Subfolders must have the same names on both sides.
    `data.form` says how the names were matched. Masks are PNG, BMP, GIF or
    TIFF files of 1 to 16 bits that hold

    - classes from 0 (gray or palette), and 255 where there is no ground
      truth;
    - any other values, if `labels.txt` lists them; or
    - colors, exactly as `labels.txt` lists them.

    `labels.txt` or `classes.txt`, in the folder or its parent, names the
    classes: see `keras_pspnet.data.sources.label_files.read_label_file`.

    The folder may also be the export of an annotation tool: labelme JSON,
    LabelMe XML, COCO JSON, COCO panoptic, YOLO segmentation, CVAT XML, Label
    Studio JSON, VGG VIA JSON or a VOC tree. Without `labels.txt`, class 0 is
    the background and the classes of the tool follow.

    Args:
        name_or_dir: Name of a published set, or folder of your own data.
        split: The split; for your own data the name of its folder, or None.
        root: For published sets, the folder of the set or the one that it was
            unpacked in.
        labels: For your own data, the classes, in one of three forms. A
            `LabelSet`: a `labels.txt` with the same classes in the same order
            says what the masks hold; without one, masks hold classes or the
            set's colors, and its `ignore_label` becomes 255. The path of
            another `labels.txt`. Or a mapping from names, class 0 first, to
            mask values: a value 0..65535, a color `(r, g, b)` or
            `"#rrggbb"`, or a list of these. `"ignore"` marks values to
            ignore: `{"background": 0, "membrane": 255, "ignore": [127, 128]}`.
        ignore_label: Label whose pixels become 255; it may be a class.
        ignore_unknown: Whether values and colors without a class become 255
            instead of an error.
        max_pixels: Larger images and masks are refused.
        cache_bytes: Keep decoded pairs up to this many bytes; these arrays
            are read-only.
        strict: Whether to raise if an image or mask is missing, a name
            occurs twice, or there is no pair at all. Otherwise such pairs are
            left out, and `keras_pspnet.data.check` lists them.
        bands: Number of bands of the images; 3 are RGB in 0..255, others keep
            their stored values: see `keras_pspnet.data.read_image`.

    Returns:
        The pairs: `len(data)`, `data[i]`, iteration, `data.labels`,
        `data.files(i)`, and the recognized format `data.form`.

    Raises:
        FileNotFoundError: If a folder or `labels.txt` is missing; for
            published sets, the message says where to get them.
        ImportError: If masks are MATLAB files and SciPy is not installed.
        OSError: If a folder or list cannot be read.
        ValueError: If a name or split is unknown, `labels.txt` is wrong, or
            `strict` finds a problem.

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
                "Received: root=None (for your own folder of that name, write "
                f"{os.path.join('.', name)!r})"
            )
        if labels is not None:
            raise ValueError(
                f"`labels` must be None for {name!r}, which has its own. "
                f"Received: labels={getattr(labels, 'name', labels)!r}"
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
            "`name_or_dir` must be an existing folder, or one of "
            f"{', '.join(DATASETS)}. Received: name_or_dir={name!r}"
        )
    elif labels is not None and not isinstance(labels, LabelSet):
        title = Path(name).resolve().name
        own, marks = (
            read_label_map(labels, title)
            if isinstance(labels, Mapping)
            else read_label_file(labels, title)
        )
        listing = list_source(Path(name), split, own)
        if marks:
            encoding = plain_encoding(own, "`labels`", marks)
            listing = replace_encoding(listing, "labels", lambda _: encoding)
    else:
        listing = list_source(Path(name), split, labels)
    listing = ignore(listing, ignore_label, ignore_unknown)
    if strict:
        check_listing(listing, split, name)
    return SegmentationData(listing, cache_bytes, max_pixels, bands)


def check_listing(listing: Listing, split: str | None, name: str) -> None:
    """Checks that a split was listed without errors.

    Args:
        listing: The pairs.
        split: The split.
        name: Name or folder of the set.

    Raises:
        ValueError: If there are errors.
    """
    faults = [issue for issue in listing.issues if not issue.is_warning]
    if faults:
        raise ValueError(
            f"`split` must be complete, but {faults[0]} (1 of "
            f"{len(faults)} issues; keras_pspnet.data.check(load(..., "
            f"strict=False)) lists all). Received: split={split!r} of {name!r}"
        )
