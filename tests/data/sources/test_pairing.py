"""Tests of pair_files: which image and mask belong together, by name."""

import unicodedata
from pathlib import PurePath

import pytest

from keras_pspnet.data import pair_files
from keras_pspnet.data.sources.pairing import split_folder

PLACES = ("i", "m")


def paired(images, masks):
    """Pairs, what was found common, and issues."""
    issues = []
    pairs, naming = pair_files(
        map(PurePath, images), map(PurePath, masks), PLACES, issues
    )
    return pairs, naming, [str(each) for each in issues]


@pytest.mark.parametrize(
    ("image", "mask", "naming"),
    [
        ("{}.jpg", "{}.png", ""),
        ("{}.JPG", "{}.TIF", ""),
        ("{}.jpg", "{}_mask.png", "masks named *_mask"),
        ("{}.png", "{}_L.png", "masks named *_L"),
        ("{}.jpg", "{}-labels.gif", "masks named *-labels"),
        ("{}.jpg", "{}.jpg.png", "masks named *.jpg"),
        ("{}.jpg", "mask_{}.png", "masks named mask_*"),
        ("{}_sat.jpg", "{}_mask.png", "images named *_sat and masks named"),
        ("image_{}.png", "gt_{}.png", "images named image_* and masks named"),
        ("image_{}.png", "image_{}_mask.png", "masks named *_mask"),
        ("{}_img.jpg", "{}_gt.png", "images named *_img and masks named *_gt"),
        ("city/{}_leftImg8bit.png", "city/{}_gtFine_labelIds.png", "images"),
        ("a/b/{}.jpg", "a/b/{}Mask.png", "masks named *Mask"),
    ],
)
@pytest.mark.parametrize(
    "names",
    [
        ("0001", "0002", "0011"),
        ("frankfurt_000000_000294", "frankfurt_000001_000294"),
        ("cat", "dog", "cat_2"),
        ("7",),
    ],
)
def test_common_prefixes_and_suffixes(image, mask, naming, names):
    pairs, found, issues = paired(
        [image.format(name) for name in reversed(names)],
        [mask.format(name) for name in names],
    )
    assert issues == []
    # In the order of the names.
    assert pairs == [
        (f"i/{image.format(name)}", f"m/{mask.format(name)}")
        for name in sorted(names)
    ]
    assert found.startswith(naming)
    assert bool(found) == bool(naming)


def test_same_names_in_two_folders_are_told_apart():
    pairs, _, issues = paired(["x/a.jpg", "y/a.jpg"], ["y/a.png", "x/a.png"])
    assert issues == []
    assert pairs == [("i/x/a.jpg", "m/x/a.png"), ("i/y/a.jpg", "m/y/a.png")]
    pairs, _, issues = paired(["x/a.jpg"], ["y/a.png"])
    assert pairs == []
    assert issues == [
        "i/x/a.jpg has no mask in m",
        "m/y/a.png has no image in i",
        "there is no pair of images in i and masks in m",
    ]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_match_in_any_unicode_form(forms):
    image, mask = (unicodedata.normalize(form, "café") for form in forms)
    assert image != mask
    pairs, _, issues = paired([f"{image}.jpg"], [f"{mask}.png"])
    assert (pairs, issues) == ([(f"i/{image}.jpg", f"m/{mask}.png")], [])
    _, _, issues = paired([f"{image}.jpg", f"{mask}.jpg"], [f"{mask}.png"])
    assert "are 2 files of one name" in issues[0]


def test_what_is_left_is_listed_and_not_paired_otherwise():
    pairs, naming, issues = paired(
        ["a.jpg", "b.jpg", "c.jpg", "e.jpg", "e.png"],
        ["a_mask.png", "b_mask.png", "d_mask.png", "e_mask.png"],
    )
    assert naming == "masks named *_mask"
    assert [image for image, _ in pairs] == ["i/a.jpg", "i/b.jpg"]
    assert issues == [
        "i/e.jpg and i/e.png are 2 files of one name",
        "i/c.jpg has no mask in m",
        "m/d_mask.png has no image in i",
    ]


@pytest.mark.parametrize("behind", ["", "_leftImg8bit"])
def test_several_masks_of_an_image_are_no_guess(behind):
    kinds = ("color", "instanceIds", "labelIds")
    pairs, _, issues = paired(
        [f"a_1{behind}.jpg", f"a_2{behind}.jpg"],
        [f"a_{number}_{kind}.png" for number in (1, 2) for kind in kinds],
    )
    assert pairs == []
    assert issues[0] == (
        f"i/a_1{behind}.jpg has no mask in m; candidates are a_1_color.png, "
        "a_1_instanceIds.png, a_1_labelIds.png: keep those of one kind there"
    )
    assert len(issues) == 2 + 6 + 1


def test_exact_names_come_before_shorter_ones():
    names = ["1", "2", "1_1", "2_1"]
    pairs, naming, issues = paired(
        [f"{name}.jpg" for name in names], ["1_1.png", "2_1.png"]
    )
    assert naming == ""
    assert pairs == [("i/1_1.jpg", "m/1_1.png"), ("i/2_1.jpg", "m/2_1.png")]
    assert len(issues) == 2


def test_large_sets_are_paired_in_full():
    # More than are looked at to find the suffix; the first have no image.
    pairs, naming, issues = paired(
        [f"{k}.jpg" for k in range(500, 2600)],
        [f"{k}_mask.png" for k in range(2600)],
    )
    assert naming == "masks named *_mask"
    assert (len(pairs), len(issues)) == (2100, 500)


@pytest.mark.parametrize(
    ("files", "masks"),
    [
        (["a.jpg", "a.png", "b.jpg", "b.png"], ["a.png", "b.png"]),
        (["a.jpg", "a_mask.png", "b.jpg"], ["a_mask.png"]),
        (["a.tif", "a_mask.tif", "b.tif"], ["a_mask.tif"]),
        (["x/1.tif", "x/1_mask.tif", "y/1.tif"], ["x/1_mask.tif"]),
        (["gt_a.png", "a.png"], ["gt_a.png"]),
        # Which of them counts is not known.
        (
            ["a.jpg", "a_color.png", "a_ids.png"],
            ["a_color.png", "a_ids.png"],
        ),
        # Colors beside the masks stay without one.
        (["a.jpg", "a.png", "a_color.png"], ["a.png"]),
        (["a.jpg", "b.png", "c.tif"], []),
        ([], []),
    ],
)
def test_one_folder_of_images_and_masks(files, masks):
    found = split_folder([PurePath(file) for file in files])
    assert [str(file) for file in found[1]] == masks
    others = [file for file in files if file not in masks]
    assert [str(file) for file in found[0]] == others
