"""Tests of folders of images and masks: where they lie and what they hold."""

import shlex
import subprocess

import numpy as np
import pytest
from data_trees import (
    first_label,
    full,
    names,
    row,
    write_array,
    write_noise,
    write_text,
)
from PIL import Image

from keras_pspnet.data import check, load
from keras_pspnet.labels import LabelSet

OWN = LabelSet("own", ("sky", "road"), ((0, 0, 255), (9, 9, 9)))


def write_pair(image, mask, value=0):
    write_noise(image)
    write_array(mask, full(value))


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", "masks"),
        ("image", "label"),
        ("Images", "Masks"),
        ("JPEGImages", "annotations"),
        ("imgs", "gts"),
        ("img", "gt"),
        ("images", "ground_truth"),
    ],
)
def test_names_of_the_folders(tmp_path, images, masks) -> None:
    write_pair(tmp_path / images / "a.jpg", tmp_path / masks / "a.png", 1)
    data = load(tmp_path, labels=OWN)
    assert first_label(data) == {"a": 1}
    assert data.form == "images and masks"


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("train/images", "train/masks"),
        ("images/train", "masks/train"),
        ("train", "train_masks"),
        ("train", "trainannot"),
        ("train", "train-labels"),
    ],
)
def test_where_a_split_lies(tmp_path, images, masks) -> None:
    folder = tmp_path / "set"
    write_pair(folder / images / "a.jpg", folder / masks / "a.png", 1)
    val = [each.replace("train", "val") for each in (images, masks)]
    write_pair(folder / val[0] / "b.jpg", folder / val[1] / "b.png")
    for place in (folder, tmp_path):
        write_text(place / "labels.txt", "sky\nroad\n")
        assert first_label(load(folder, "train")) == {"a": 1}
        assert first_label(load(folder, "val")) == {"b": 0}
        (place / "labels.txt").unlink()


def test_splits_are_not_thrown_together(tmp_path) -> None:
    for split in ("train", "val"):
        write_pair(
            tmp_path / "images" / split / "a.jpg",
            tmp_path / "masks" / split / "a.png",
        )
    with pytest.raises(
        ValueError, match=r"`split` must be one of 'train', 'val' "
    ):
        load(tmp_path, labels=OWN)


def test_folders_inside(tmp_path) -> None:
    for place, value in (("site1", 0), ("site2/north", 1)):
        write_pair(
            tmp_path / "images" / place / "a.JPG",
            tmp_path / "masks" / place / "a_mask.png",
            value,
        )
    write_noise(tmp_path / "images/.cache/a.jpg")
    (tmp_path / "images/site1/up").symlink_to(tmp_path / "images")
    data = load(tmp_path, labels=OWN)
    assert [mask[0, 0] for _, mask in data] == [0, 1]
    assert data.form == "images and masks (masks named *_mask)"


@pytest.mark.parametrize("mask", ["a.png", "a_mask.png"])
def test_one_folder_of_both(tmp_path, mask) -> None:
    for place in (tmp_path, tmp_path / "train", tmp_path / "deep" / "x" / "y"):
        write_pair(place / "a.jpg", place / mask, 1)
        write_noise(place / "b.jpg")
    for folder, split in ((tmp_path, None), (tmp_path, "train")):
        data = load(folder, split, labels=OWN, strict=False)
        assert set(first_label(data).values()) == {1}
        (issue, *_) = data.issues
        assert "b.jpg has no mask in" in str(issue)
    assert names(load(tmp_path / "deep", labels=OWN, strict=False)) == ["a"]


def test_a_folder_of_images_alone_is_none(tmp_path) -> None:
    write_noise(tmp_path / "a.jpg")
    write_noise(tmp_path / "b.png")
    write_text(tmp_path / "labels/a.txt", "0 0.5 0.5\n")
    with pytest.raises(FileNotFoundError, match="must hold images and masks"):
        load(tmp_path, labels=OWN)


def test_several_folders_of_masks_are_no_guess(tmp_path) -> None:
    write_pair(tmp_path / "images/a.jpg", tmp_path / "masks/a.png")
    write_text(tmp_path / "labels/a.txt", "a YOLO file\n")
    assert len(load(tmp_path, labels=OWN)) == 1
    write_array(tmp_path / "labels/a.png", full(0))
    with pytest.raises(
        ValueError, match="one folder of images and one of masks.*masks; .*lab"
    ):
        load(tmp_path, labels=OWN)


def test_masks_in_lossy_files(tmp_path) -> None:
    write_noise(tmp_path / "images/a.jpg")
    write_noise(tmp_path / "masks/site/a.jpg")
    with pytest.raises(
        ValueError, match=r"site/a\.jpg cannot be a mask.*lossy"
    ):
        load(tmp_path, labels=OWN)


# === Values ===


def test_value_maps(tmp_path) -> None:
    write_noise(tmp_path / "image/0.png")
    write_array(tmp_path / "label/0.png", row(0, 255, 128))
    write_text(
        tmp_path / "classes.txt", "background 0\nmembrane 255\nignore 128\n"
    )
    data = load(tmp_path)
    np.testing.assert_array_equal(data[0][1], row(0, 1, 255))
    assert data.labels.names == ("background", "membrane")
    assert check(data) == []
    data.check_pairs()
    swapped = {"membrane": 255, "background": [0, 128]}
    data = load(tmp_path, labels=swapped)
    np.testing.assert_array_equal(data[0][1], row(1, 0, 1))
    assert data.labels.name == tmp_path.name
    with pytest.raises(ValueError, match="within 255, as `labels` has th"):
        load(tmp_path, labels={"membrane": 255})[0]
    data = load(tmp_path, labels={"membrane": 255}, ignore_unknown=True)
    np.testing.assert_array_equal(data[0][1], row(255, 0, 255))


def test_a_published_set_has_its_own_classes(tmp_path) -> None:
    with pytest.raises(ValueError, match="`labels` must be None for 'voc'"):
        load("voc", "train", root=tmp_path, labels={"a": 0})


def test_two_classes_of_0_and_255_get_the_lines_to_write(tmp_path) -> None:
    write_noise(tmp_path / "images/a.png")
    write_array(tmp_path / "masks/a.png", row(0, 255))
    path = tmp_path / "labels.txt"
    write_text(path, "background\nmembrane\n")
    data = load(tmp_path)
    rule = "write the lines 'background 0' and 'membrane 255' into labels.txt"
    with pytest.raises(ValueError, match=rule) as caught:
        data.check_binary()
    assert rule in [each for each in map(str, check(data)) if rule in each][0]
    lines = str(caught.value).split("'")
    write_text(path, f"{lines[3]}\n{lines[5]}\n")
    data = load(tmp_path)
    data.check_binary()
    np.testing.assert_array_equal(data[0][1], row(0, 1))


def test_masks_are_looked_at_once_for_0_and_255(tmp_path, monkeypatch) -> None:
    for name in "ab":
        write_noise(tmp_path / f"images/{name}.png")
        write_array(tmp_path / f"masks/{name}.png", row(0, 1))
    data = load(tmp_path, labels=OWN)
    read = []
    encoding = type(data.samples[0].ground_truth)
    monkeypatch.setattr(
        encoding,
        "read",
        lambda *args, real=encoding.read: read.append(args[1]) or real(*args),
    )
    data.check_pairs()
    data.check_binary()
    data.check_binary()
    assert len(read) == 2


def test_check_sums_up_values_without_a_class(tmp_path) -> None:
    for name, mask in {"a": row(0, 7), "b": row(7, 7, 9), "c": row(1)}.items():
        write_noise(tmp_path / f"images/{name}.png")
        write_array(tmp_path / f"masks/{name}.png", mask)
    issues = check(load(tmp_path, labels=OWN))
    assert [len(each.files) for each in issues] == [1, 1, 2, 1]
    assert issues[2].text == (
        "2 masks hold values or colors without a class: 7 (28 pixels in 2 "
        "masks), 9 (8 pixels in 1 masks)"
    )


@pytest.mark.parametrize(
    ("masks", "lines"),
    [
        ([row(0, 255)], "class_0 0\nclass_1 255\n"),
        (
            [row(0, 1), row(255, 4)],
            "class_0 0\nclass_1 1\nclass_2 4\nignore 255\n",
        ),
        (
            [np.array([[(9, 8, 7), (0, 0, 255)]], np.uint8)],
            "class_0 0 0 255\nclass_1 9 8 7\n",
        ),
    ],
)
def test_without_classes_the_error_writes_the_file(
    tmp_path, masks, lines
) -> None:
    folder = tmp_path / "it's here"
    for k, mask in enumerate(masks):
        write_noise(folder / f"images/{k}.png", mask.shape[:2])
        write_array(folder / f"masks/{k}.png", mask)
    with pytest.raises(
        FileNotFoundError, match=r"must hold labels\.txt"
    ) as got:
        load(folder)
    text = str(got.value)
    assert "\n" not in text
    command = text[text.index("printf") : text.index(". Received")]
    assert shlex.split(command)[-1] == str(folder / "labels.txt")
    subprocess.run(["sh", "-c", command], check=True)
    assert (folder / "labels.txt").read_text() == lines
    assert load(folder).num_classes == lines.count("class_")


def test_soft_edges_are_no_classes(tmp_path) -> None:
    write_noise(tmp_path / "images/a.png", (10, 10))
    soft = np.arange(100, dtype=np.uint8).reshape(10, 10)
    write_array(tmp_path / "masks/a.png", soft)
    with pytest.raises(FileNotFoundError, match="hold 100 values.*resized"):
        load(tmp_path)
    # Pairs come first.
    (tmp_path / "masks/a.png").rename(tmp_path / "masks/b.png")
    with pytest.raises(
        FileNotFoundError, match=r"them; but .*/a\.png has no m"
    ):
        load(tmp_path)
    (tmp_path / "masks/b.png").rename(tmp_path / "masks/a.png")
    # Nothing to say where no mask can be read.
    (tmp_path / "masks/a.png").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"must name them\. Received"):
        load(tmp_path)


# === Sizes ===


def test_more_pixels_on_request(tmp_path, monkeypatch) -> None:
    # Pillow warns above its own limit, which is not asked.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    write_pair(tmp_path / "images/a.png", tmp_path / "masks/a.png")
    assert load(tmp_path, labels=OWN, max_pixels=24)[0][1].size == 24
    issues = check(load(tmp_path, labels=OWN, max_pixels=24))
    assert all(each.is_warning for each in issues)
    data = load(tmp_path, labels=OWN, max_pixels=23)
    with pytest.raises(
        ValueError, match="`image` must .*or `max_pixels` be la"
    ):
        data[0]
    found = [str(each) for each in check(data)]
    assert [each[:7] for each in found] == ["`image`", "`mask` "]
    assert all("at most 23 pixels" in each for each in found)
    Image.new("L", (5, 5)).save(tmp_path / "images/a.png")
    with pytest.raises(ValueError, match="at most 24 pixels"):
        load(tmp_path, labels=OWN, max_pixels=24)[0]
