"""Tests of what all forms of annotations have in common."""

import os
import pickle
import re

import numpy as np
import pytest
from annotation_trees import (
    SQUARE,
    coco,
    flat,
    labelme_shape,
    write_image,
    write_json,
    write_labelme,
)
from data_trees import (
    full,
    names,
    row,
    write_array,
    write_noise,
    write_own,
    write_text,
)
from PIL import Image

from keras_pspnet.data import check, load
from keras_pspnet.data.images import image_size, read_image
from keras_pspnet.data.sources.classes import find_classes
from keras_pspnet.data.sources.find import list_source
from keras_pspnet.data.sources.image_finder import ImageFinder
from keras_pspnet.labels import named_labels

# === Finding images ===


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder, with images inside and one outside."""
    monkeypatch.chdir(tmp_path)
    for path in ("in/a.png", "in/images/b.png", "in/site/c.png", "out.png"):
        write_image(tmp_path / path)
    for place in ("in/site", "in/other"):
        write_image(tmp_path / place / "twice.png")
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.png", "a.png"),
        ("./a.png", "a.png"),
        ("b.png", "images/b.png"),
        ("images/b.png", "images/b.png"),
        ("images\\b.png", "images/b.png"),
        ("C:\\Users\\me\\images\\b.png", "images/b.png"),
        ("/home/me/in/a.png", "a.png"),
        ("../in/a.png", "a.png"),
        ("c.png", "site/c.png"),
        ("site/twice.png", "site/twice.png"),
        ("twice.png", None),
        ("../out.png", None),
        ("images/../../out.png", None),
        ("/etc/passwd", None),
        ("images", None),
        ("", None),
        ("a\0.png", None),
        (None, None),
        (["a.png"], None),
        ("x/" * 50_000 + "a.png", None),
    ],
)
def test_where_images_are_found(tree, name, found) -> None:
    want = None if found is None else tree / found
    assert ImageFinder(tree).find(name) == want


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("caf\u00e9 1.PNG", "images/cafe\u0301 1.png"),
        ("images/Cafe\u0301 1.png", "images/cafe\u0301 1.png"),
        ("cafe%CC%81%201.png", "images/cafe\u0301 1.png"),
        ("B.PNG", "images/b.png"),
        ("Site/c.png", None),
        ("e.PNG", None),
        ("../OUT.png", None),
        ("site/../../OUT.png", None),
    ],
)
def test_names_that_are_alike(tree, name, found) -> None:
    write_image(tree / "images" / "cafe\u0301 1.png")
    for each in ("e.png", "E.png"):
        write_image(tree / each)
    want = None if found is None else tree / found
    assert ImageFinder(tree).find(name) == want


@pytest.mark.parametrize("name", ["other/c.png", "/home/me/other/c.png"])
def test_folders_are_not_exchanged(tree, name) -> None:
    assert ImageFinder(tree).find(name) is None


@pytest.mark.parametrize(
    ("split", "splits", "found"),
    [
        ("train2017", ("train2017",), None),
        ("fold1", ("fold1", "val2017"), None),
        ("val2017", ("val2017",), "val2017/d.png"),
        ("", (), "val2017/d.png"),
    ],
)
def test_folders_of_other_splits(tree, split, splits, found) -> None:
    write_image(tree / "val2017" / "d.png")
    finder = ImageFinder(tree, split=split, splits=splits)
    assert finder.find("d.png") == (found and tree / found)


def test_relative_folders(tree, monkeypatch) -> None:
    monkeypatch.chdir(tree)
    finder = ImageFinder(type(tree)("."))
    write_image(type(tree)("F.png"))
    assert finder.find("f.png") == type(tree)("F.png")
    assert str(finder.find("b.png")) == os.path.join("images", "b.png")
    assert finder.find("../out.png") is None


def test_links_of_the_folders_owner_are_followed(tree) -> None:
    (tree / "images" / "d.png").symlink_to(tree.parent / "out.png")
    assert ImageFinder(tree).find("d.png") == tree / "images" / "d.png"


# === Classes ===


def test_classes_of_the_tool(tmp_path) -> None:
    found = find_classes(tmp_path, ["b", "a", "b", "__ignore__"], None)
    assert found.labels.names == ("background", "b", "a")
    assert found.labels.name == tmp_path.name
    assert (found.outside, found.values["__ignore__"]) == (0, 255)
    own = find_classes(tmp_path, ["b", "Unlabeled", "a"], None)
    assert own.labels.names == ("Unlabeled", "b", "a")
    bare = find_classes(tmp_path, ["b", "a"], None, background=False)
    assert (bare.labels.names, bare.outside) == (("b", "a"), 255)


def test_classes_that_are_given(tmp_path) -> None:
    labels = named_labels(["a", "_background_"])
    assert find_classes(tmp_path, ["b"], labels).outside == 1
    assert find_classes(tmp_path, ["b"], named_labels(["a"])).outside == 255
    # Beside the folder of a split.
    write_text(tmp_path / "labels.txt", "a\nbackground\nb\n")
    found = find_classes(tmp_path / "train", ["b"], None)
    assert (found.labels.names, found.outside) == (("a", "background", "b"), 1)
    assert found.origin == str(tmp_path / "labels.txt")


def test_too_few_or_too_many_classes(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"1 to 255 .*256 in name_or_dir"):
        find_classes(tmp_path, map(str, range(255)), None)
    with pytest.raises(ValueError, match=r"1 to 255 .*0 in name_or_dir"):
        find_classes(tmp_path, [], None, background=False)


# === Forms ===


def test_the_form_is_said(tmp_path) -> None:
    write_labelme(tmp_path, "a", labelme_shape("cat", SQUARE))
    assert list_source(tmp_path, None, None).form == "labelme JSON"
    write_json(tmp_path / "coco.json", coco({"segmentation": [flat(SQUARE)]}))
    assert list_source(tmp_path, None, None).form == "COCO JSON"


def test_folders_of_masks_stay_what_they_are(tmp_path) -> None:
    write_own(tmp_path, a=full(1))
    write_text(tmp_path / "labels.txt", "x\ny\n")
    write_text(tmp_path / "notes.json", "{}")
    assert list_source(tmp_path, None, None).form == "images and masks"


def test_a_folder_of_none_of_the_forms(tmp_path) -> None:
    for split in (None, "train"):
        with pytest.raises(FileNotFoundError, match="none of VOC tree, COCO"):
            list_source(tmp_path, split, None)


def test_classes_of_the_folder_above_are_said(tmp_path) -> None:
    write_text(tmp_path / "labels.txt", "cat\ndog\n")
    write_labelme(tmp_path / "set", "a", labelme_shape("cat", SQUARE))
    data = load(tmp_path / "set")
    file = tmp_path / "labels.txt"
    assert data.form == f"labelme JSON (classes of {file})"
    assert [str(issue) for issue in data.issues] == [
        f"warning: no background in {file}: pixels outside of all shapes are "
        "ignored"
    ]
    write_text(file, "background\ncat\n")
    assert not load(tmp_path / "set").issues


def test_images_without_annotation_are_said(tmp_path) -> None:
    write_labelme(tmp_path, "a", labelme_shape("cat", SQUARE))
    write_image(tmp_path / "b.png")
    write_image(tmp_path / "c.png")
    write_image(tmp_path / "elsewhere" / "d.png")
    assert [str(issue) for issue in load(tmp_path).issues] == [
        f"warning: 2 images in {tmp_path} have no annotation and are left "
        f"out, the first is {tmp_path / 'b.png'}"
    ]


def test_splits_may_share_a_folder_of_images(tmp_path) -> None:
    for split, name in ("train", "a.png"), ("val", "b.png"):
        content = coco({"segmentation": [flat(SQUARE)]})
        content["images"][0]["file_name"] = name
        write_json(tmp_path / f"instances_{split}.json", content)
        write_image(tmp_path / "images" / name)
    assert not load(tmp_path, "train").issues
    write_image(tmp_path / "images" / "train" / "c.png")
    write_image(tmp_path / "images" / "train" / "a.png")
    issues = load(tmp_path, "train").issues
    assert ["1 images in" in issue.text for issue in issues] == [True]


def test_shapes_of_larger_images(tmp_path) -> None:
    inside = [[0, 0], [10.4, 0], [10.4, 8.3], [-0.4, 8.3]]
    write_labelme(tmp_path, "a", labelme_shape("cat", inside))
    assert not load(tmp_path).issues
    for corner in ([10.6, 1], [-0.6, 1], [1, 8.5], [1, -0.5]):
        shape = labelme_shape("cat", [[1, 1], [4, 4], corner])
        write_labelme(tmp_path, "a", shape, shape, imageWidth=None)
        issues = load(tmp_path).issues
        assert "warning: 2 shapes pass the edges" in str(issues[0])
        assert "in 10x8 of" in str(issues[0])
        assert len(issues) == 1


def test_nothing_that_can_be_read(tmp_path) -> None:
    write_text(tmp_path / "a.json", '{"shapes": [], "imagePath": 1')
    found = [issue.text for issue in load(tmp_path, strict=False).issues]
    assert (
        found[-1] == f"{tmp_path}: no image that is in the folder has a shape"
    )


@pytest.mark.parametrize("size", [10**400, -1, 1e999, "x"])
def test_sizes_that_no_image_has(tmp_path, size) -> None:
    write_labelme(tmp_path, "a", imageWidth=size)
    (issue, *_) = load(tmp_path, strict=False).issues
    assert re.search(
        r"a.json: the file: .*(width and|infinity|'x')", str(issue)
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_encodings_of_json(tmp_path, encoding) -> None:
    write_labelme(tmp_path, "a", labelme_shape("cat", SQUARE))
    path = tmp_path / "a.json"
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    assert names(load(tmp_path)) == ["a"]


def test_all_of_it_can_be_checked_and_sent(tmp_path) -> None:
    write_labelme(tmp_path, "a", labelme_shape("cat", SQUARE))
    data = load(tmp_path, cache_bytes=10**6)
    assert check(data) == []
    data.check_pairs()
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy[0][1] > 0, data[0][1] > 0)
    assert names(copy) == ["a"]


def test_warnings_do_not_stop_training(tmp_path) -> None:
    write_labelme(tmp_path, "a", labelme_shape("cat", SQUARE))
    write_labelme(tmp_path, "b")
    data = load(tmp_path)
    assert [issue.is_warning for issue in data.issues] == [True]
    assert data.issues[0] in check(data)


def test_what_is_drawn_or_listed_as_255_is_meant(tmp_path) -> None:
    """No object stands at 255 where the annotation says so."""
    drawn = tmp_path / "drawn"
    write_labelme(drawn, "a", labelme_shape("__ignore__", SQUARE))
    write_labelme(drawn, "b", labelme_shape("cat", SQUARE))
    data = load(drawn)
    del data.samples[1]
    listed = tmp_path / "listed"
    write_noise(listed / "images/a.png")
    write_array(listed / "masks/a.png", row(0, 255))
    write_text(listed / "labels.txt", "land 0\nfield 7\nignore 255\n")
    for each in (data, load(listed)):
        assert set(np.unique(each[0][1])) == {0, 255}
        assert all(issue.is_warning for issue in check(each))
        each.check_binary()
        each.check_pairs()


@pytest.mark.parametrize("form", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_sizes_are_those_of_upright_images(tmp_path, form, orientation) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{form}"
    Image.new("RGB", (10, 20)).save(path, exif=exif)
    width, height = image_size(path)
    assert read_image(path).shape == (height, width, 3)
    assert (width == 20) == (orientation == 6)


def test_sizes_of_images(tmp_path) -> None:
    write_image(tmp_path / "a.png")
    assert image_size(tmp_path / "a.png") == (10, 8)
    with pytest.raises(OSError, match="nothing.png"):
        image_size(tmp_path / "nothing.png")
