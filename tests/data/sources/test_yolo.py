"""Tests of YOLO segmentation."""

import numpy as np
import pytest
from annotation_trees import SQUARE, mask_of, write_image
from data_trees import full, names, write_array, write_own, write_text

from keras_pspnet.data import load

LINE = " ".join(f"{x / 10} {y / 8}" for x, y in SQUARE)
CONFIG = "path: .\ntrain: images/train\nval: images/val\nnames:\n"
NAMES = "  0: cat\n  1: dog\n"


def write_yolo(folder, config: str = CONFIG + NAMES, **lines: str) -> None:
    """A tree of the images a (train) and b (val)."""
    for name, split in (("a", "train"), ("b", "val")):
        write_image(folder / "images" / split / f"{name}.png")
        if name in lines:
            path = folder / "labels" / split / f"{name}.txt"
            write_text(path, lines[name])
    if config:
        write_text(folder / "data.yaml", config)


def texts(data) -> str:
    return "\n".join(map(str, data.issues))


def test_polygons_in_parts_of_the_image(tmp_path) -> None:
    write_yolo(tmp_path, a=f"0 0 0 1 0 1 1 0 1\n\n1 {LINE}\n", b="")
    data = load(tmp_path, "train")
    assert data.labels.names == ("background", "cat", "dog")
    np.testing.assert_array_equal(data[0][1], mask_of(2, 1))
    # An image with an empty file, or none, is background.
    config = "train: images\nnames: [cat, dog]\n"
    write_yolo(tmp_path / "all", config, a=f"1 {LINE}", b="")
    data = load(tmp_path / "all")
    assert not data[1][1].any()
    assert "warning: 1 of 2 images have no shapes" in texts(data)
    with pytest.raises(ValueError, match="one of 'train', 'val' for the YOLO"):
        load(tmp_path)
    with pytest.raises(ValueError, match="Received: split='test'"):
        load(tmp_path, "test")


@pytest.mark.parametrize(
    "train",
    [
        "train: ../images/train",
        "train: images/train/a.png",
        "train: [images/train/a.png]",
        "train: list.txt",
        "train: /somewhere/else/images/train",
    ],
)
def test_where_images_are(tmp_path, train) -> None:
    write_yolo(tmp_path, f"{train}\nnames: [cat, dog]", a=f"1 {LINE}")
    write_text(tmp_path / "list.txt", "data/images/train/a.png\n")
    data = load(tmp_path)
    assert names(data) == ["a"]
    np.testing.assert_array_equal(data[0][1], mask_of(2))


@pytest.mark.parametrize(
    "val", ["../valid/images", "/x/valid/images", "C:\\valid\\images"]
)
def test_no_other_split_takes_the_place_of_one(tmp_path, val) -> None:
    write_image(tmp_path / "train" / "images" / "a.png")
    write_image(tmp_path / "images" / "b.png")
    write_text(tmp_path / "train" / "labels" / "a.txt", f"1 {LINE}")
    config = f"train: ../train/images\nval: {val}\nnames: [cat, dog]"
    write_text(tmp_path / "data.yaml", config)
    with pytest.raises(ValueError, match=r"images' of data.yaml is not in"):
        load(tmp_path, "val")
    # Only splits that are there are offered.
    assert names(load(tmp_path)) == ["a"]
    with pytest.raises(ValueError, match="must be one of 'train' for"):
        load(tmp_path, "test")


def test_paths_start_from_a_folder_that_is_named(tmp_path) -> None:
    write_yolo(tmp_path / "deep" / "in", "", a=f"1 {LINE}")
    config = "path: ../deep/in\ntrain: images/train\nnames: [cat, dog]"
    write_text(tmp_path / "data.yaml", config)
    assert names(load(tmp_path)) == ["a"]


def test_without_yaml(tmp_path) -> None:
    write_yolo(tmp_path, "", a=f"1 {LINE}", b=f"0 {LINE}")
    write_text(tmp_path / "classes.txt", "cat\ndog\n")
    np.testing.assert_array_equal(load(tmp_path, "train")[0][1], mask_of(2))
    flat = tmp_path / "images" / "flat"
    write_image(flat / "images" / "a.png")
    write_text(flat / "labels" / "a.txt", f"0 {LINE}")
    with pytest.raises(ValueError, match="in data.yaml or in classes.txt"):
        load(flat)
    write_text(flat / "classes.txt", "cat\n")
    np.testing.assert_array_equal(load(flat)[0][1], mask_of())


def test_names_above_the_folders_of_splits(tmp_path) -> None:
    write_image(tmp_path / "train" / "images" / "a.png")
    write_text(tmp_path / "train" / "labels" / "a.txt", f"1 {LINE}")
    write_text(tmp_path / "classes.txt", "cat\ndog\n")
    data = load(tmp_path, "train")
    np.testing.assert_array_equal(data[0][1], mask_of(2))
    assert data.labels.names == ("background", "cat", "dog")


def test_names_of_label_files(tmp_path) -> None:
    for name in ("A.png", "b.jpg", "c.png"):
        write_image(tmp_path / "images" / name)
    for name in ("A.TXT", "b.jpg.txt", "c.txt", "d.txt"):
        write_text(tmp_path / "labels" / name, f"\ufeff1 {LINE}")
    write_text(tmp_path / "labels" / "classes.txt", "cat\ndog\n")
    data = load(tmp_path)
    assert [pair[1].any() for pair in data] == [True, False, True]
    alone = tmp_path / "labels" / "b.jpg.txt"
    text = "warning: 2 label files have no image of their name, the first is "
    assert f"{text}{alone}" in texts(data)


def test_what_is_near_to_images_and_masks(tmp_path) -> None:
    for name in ("a.jpg", "a_flip.jpg"):
        write_image(tmp_path / "images" / name)
        write_text(tmp_path / "labels" / f"{name[:-4]}.txt", f"0 {LINE}")
    write_text(tmp_path / "classes.txt", "cat\n")
    (tmp_path / "masks").mkdir()
    data = load(tmp_path)
    assert (data.form, len(data)) == ("YOLO segmentation", 2)
    write_array(tmp_path / "masks" / "a.png", full(1))
    write_array(tmp_path / "masks" / "a_flip.png", full(1))
    write_text(tmp_path / "labels.txt", "x\ny\n")
    assert load(tmp_path).form == "images and masks"


def test_labels_beside_masks_are_not_read(tmp_path) -> None:
    write_own(tmp_path, a=full(1))
    write_text(tmp_path / "labels" / "a.txt", f"0 {LINE}")
    write_text(tmp_path / "labels.txt", "x\ny\n")
    np.testing.assert_array_equal(load(tmp_path)[0][1], full(1))


def test_boxes_and_keypoints_are_no_masks(tmp_path) -> None:
    write_yolo(tmp_path, a="1 0.5 0.5 0.2 0.2\n")
    with pytest.raises(ValueError, match="boxes are not masks.*line 1 of"):
        load(tmp_path, "train")
    write_yolo(tmp_path, a=f"1 0.5 0.5 0.2 0.2\n1 {LINE}")
    with pytest.raises(ValueError, match="1 lines are boxes, the first is"):
        load(tmp_path, "train")
    write_yolo(tmp_path, CONFIG + NAMES + "kpt_shape: [3, 3]\n")
    with pytest.raises(ValueError, match="keypoints .kpt_shape. are not masks"):
        load(tmp_path, "train")


def test_what_is_wrong_is_listed(tmp_path) -> None:
    lines = f"1 {LINE}\n7 {LINE}\n0.5 {LINE}\n1 0.1 0.2 0.3 0.4\n"
    lines += "1 1 2 3\n1 a b c d e f\n1 0 0 1 0\n1 nan 0 1 0 1 1\n"
    lines += "1 1.5 1.5 1.7 1.5 1.7 1.7\n\n0 0 0 1 0\n0 0 0\n"
    config = "train: [images/train, ../../x, images/c.png]\nnames: [cat, dog]"
    write_yolo(tmp_path, config, a=lines)
    data = load(tmp_path, strict=False)
    found = texts(data)
    for text in (
        "line 2: there is no class 7",
        "line 3: there is no class 0.5",
        "3 lines are boxes, the first is line 4 of",
        "line 6: could not convert string to float: 'a'",
        "line 8: coordinates must be within",
        "a shape of 'dog' lies outside of",
        "line 5: points must be pairs",
        "line 12 is skipped, for a polygon must have at least three points",
        "'../../x' of data.yaml is not in",
        "'images/c.png' of data.yaml is not in",
    ):
        assert text in found, text
    np.testing.assert_array_equal(data[0][1], mask_of(2))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("train: x\nnames: !!python/object/apply:os.system [ls]", "plain YAML"),
        ("train: [\nnames: x", "plain YAML"),
        ("train: x\nnames:\n  a: b", "`names` must be the classes"),
        ("train: x\nnames: []", "`names` must be the classes"),
        ("train: x\nnames: [[a]]", "`names` must be the classes"),
        ("train: x\nnames: a\n#" + "x" * 2**20, "more than 1048576 bytes"),
        ("train: x\nnames: " + "[" * 1_500, "plain YAML"),
    ],
)
def test_yaml_that_is_wrong(tmp_path, config, message) -> None:
    write_yolo(tmp_path, config, a=f"1 {LINE}")
    with pytest.raises(ValueError, match=message):
        load(tmp_path, "train")


def test_aliases_do_not_multiply(tmp_path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for k in range(1, 20):
        lines.append(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]")
    config = "\n".join([*lines, "train: *a19", "names: *a19"])
    write_yolo(tmp_path, config, a=f"1 {LINE}")
    with pytest.raises(ValueError, match="`names` must be the classes"):
        load(tmp_path, "train")
