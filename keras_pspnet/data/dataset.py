"""Data sets by name or folder, as pairs of images and class masks."""

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

    Each is an image, uint8 `(H, W, 3)` or `(H, W, bands)` as of `read_image`,
    and its mask, uint8 `(H, W)` of classes 0..C-1, and 255 where there is no
    truth.

    Args:
        listing: The pairs.
        cache_bytes: Decoded pairs are kept up to this many bytes, and are
            read-only then.
        max_pixels: Larger images and masks are refused.
        bands: Bands of the images.
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
        # Whatever the files say, the masks of this object hold 255.
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
                mask holds a value without a meaning.
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
        """Returns some of the pairs, by index, as a set of their own."""
        samples = [self.samples[index] for index in indices]
        listing = Listing(self.labels, samples, self.issues, self.form)
        return SegmentationData(
            listing, self._room, self.max_pixels, self.bands
        )

    def binary_masks(self) -> BinaryMasks | None:
        """Returns what counts masks whose class 1 may be 255 by mistake.

        None if there are not two classes, or what masks hold is listed or
        drawn, and so meant.
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
            ValueError: If none does and 255 stands in its place, or a mask
                cannot be decoded or holds a value without a meaning.
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
        """Reads every pair, to find a wrong one before long work starts.

        Args:
            track: Goes through the pairs, and may show progress.

        Raises:
            OSError: If a file cannot be opened.
            ValueError: If one cannot be decoded, the sizes differ, a mask
                holds a value without a meaning, none has any truth, or two
                classes are given as 0 and 255.
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

    Own data is a folder of images and one of masks, `images` and `masks` for
    instance, or such a pair for each split: `train/images` and
    `train/masks`, `images/train` and `masks/train`, or `train` and
    `train_masks`; or one folder of both. Masks are named as their images (a.jpg
    and a.png), in folders of the same names inside if there are any, or have
    a prefix or suffix that all of them have (a_mask.png); `data.form` says
    which was found. Masks are PNG, BMP, GIF or TIFF files of 1 to 16 bits:

    - classes from 0 (grey or palette), and 255 where there is no truth;
    - any other values, if `labels.txt` lists them; or
    - colors, exactly as `labels.txt` lists them.

    `labels.txt` or `classes.txt`, in the folder or the one above, names the
    classes: see `read_label_file` of
    keras_pspnet.data.sources.label_files.

    Or it is what an annotation tool exported: labelme JSON, LabelMe XML, COCO
    JSON, COCO panoptic, YOLO segmentation, CVAT XML, Label Studio JSON, VGG
    VIA JSON or a VOC tree. Without `labels.txt` class 0 is the background,
    and the classes of the tool follow.

    Args:
        name_or_dir: Name of a published set, or folder of own data.
        split: Which part; for own data the name of its folder, or None.
        root: For published sets, the folder itself or the one it was
            unpacked in.
        labels: For own data: the classes, and the colors of colored masks.
            A `labels.txt` of the same classes in the same order says what
            masks hold; without one, pixels of `labels.ignore_label` come out
            as 255. Or the path of another `labels.txt`. Or a mapping of
            names, class 0 first, to what masks hold: a value 0..65535, a
            color `(r, g, b)` or `"#rrggbb"`, or a list of such; `"ignore"`
            is 255: `{"background": 0, "membrane": 255, "ignore": [127, 128]}`.
        ignore_label: Label whose pixels come out as 255; it may be a class.
        ignore_unknown: Whether values and colors without a class become 255
            instead of an error.
        max_pixels: Larger images and masks are refused.
        cache_bytes: Decoded pairs are kept up to this many bytes, and are
            read-only then.
        strict: Whether to raise if an image or mask is missing, a name
            occurs twice, or there is no pair at all. Otherwise such pairs are
            left out, and `keras_pspnet.data.check` tells which.
        bands: Bands of the images, whose values are kept as they are stored;
            3 are RGB in 0..255: see `keras_pspnet.data.read_image`.

    Returns:
        The pairs: `len(data)`, `data[i]`, iteration, `data.labels`,
        `data.files(i)`, and `data.form`, what was recognized.

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
            "`name_or_dir` must be an existing folder of own data, or one of "
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
    """Checks that nothing was wrong in listing a split.

    Args:
        listing: The pairs.
        split: The split.
        name: Name or folder of the set.

    Raises:
        ValueError: If something was.
    """
    faults = [issue for issue in listing.issues if not issue.is_warning]
    if faults:
        raise ValueError(
            f"`split` must be complete, but {faults[0]} (1 of "
            f"{len(faults)} issues; keras_pspnet.data.check(load(..., "
            f"strict=False)) lists all). Received: split={split!r} of {name!r}"
        )
