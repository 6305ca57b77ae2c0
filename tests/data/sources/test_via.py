"""Tests of VGG VIA JSON."""

import math

import numpy as np
import pytest
from annotation_trees import (
    mask_of,
    via_file,
    via_region,
    via_square,
    write_image,
    write_json,
)
from data_trees import names

from keras_pspnet.data import load


def load_via(folder, content, strict=True):
    write_image(folder / "a.png")
    write_json(folder / "via_region_data.json", content)
    return load(folder, strict=strict)


def texts(data) -> str:
    return "\n".join(map(str, data.issues))


@pytest.mark.parametrize(
    "region",
    [
        via_square("cat"),
        via_region("cat", name="rect", x=2, y=1, width=4, height=4),
    ],
)
def test_regions(tmp_path, region) -> None:
    data = load_via(tmp_path, via_file(a=[region]))
    assert data.labels.names == ("background", "cat")
    np.testing.assert_array_equal(data[0][1], mask_of())


def test_circles_and_ellipses(tmp_path) -> None:
    disk = via_region("dog", name="circle", cx=9, cy=7, r=1)
    # Lying on its side, a quarter of a turn away.
    bar = via_region(
        "cat", name="ellipse", cx=4, cy=3, rx=1, ry=2, theta=math.pi / 2
    )
    want = np.zeros((8, 10), np.uint8)
    want[6:, 8:] = 2
    want[2:4, 2:6] = 1
    data = load_via(tmp_path, via_file(a=[disk, bar]))
    np.testing.assert_array_equal(data[0][1], want)


def test_projects_and_numbered_regions(tmp_path) -> None:
    content = via_file(a={"0": via_square("cat"), "1": via_square("dog")})
    for each in content, {"_via_img_metadata": content, "_via_settings": {}}:
        data = load_via(tmp_path, each)
        assert names(data) == ["a"]
        np.testing.assert_array_equal(data[0][1], mask_of(2))


def test_the_attribute_that_is_the_class(tmp_path) -> None:
    none = load_via(tmp_path, via_file(a=[via_square(None)]))
    assert none.labels.names == ("background", "object")
    region = via_square("cat")
    attributes = region["region_attributes"]
    attributes["animal"] = {"cat": False, "dog": True}
    boxes = load_via(tmp_path, via_file(a=[region]))
    assert boxes.labels.names == ("background", "dog")
    attributes["Label"] = "cow"
    usual = load_via(tmp_path, via_file(a=[region]))
    assert usual.labels.names == ("background", "cow")
    attributes["class"] = "cow"
    with pytest.raises(ValueError, match="one region attribute, or one called"):
        load_via(tmp_path, via_file(a=[region]))


def test_what_is_wrong_is_listed(tmp_path) -> None:
    short = via_region(
        "cat", name="polygon", all_points_x=[1, 2], all_points_y=[1, 2]
    )
    uneven = via_region(
        "cat", name="polygon", all_points_x=[1, 2, 3], all_points_y=[1, 2]
    )
    content = via_file(
        a=[
            via_square("cat"),
            short,
            uneven,
            via_region("cat", name="rect", x=1),
            via_region("cat", name="spiral"),
            via_region("cat", name="point", cx=1, cy=1),
            via_region("cat", name="circle", cx=99, cy=99, r=1),
            via_square(" "),
            {"region_attributes": {"animal": "cat"}},
        ],
        b=[],
        c=7,
    )
    content["d"] = {"filename": "../a.png"}
    data = load_via(tmp_path, content, strict=False)
    found = texts(data)
    for text in (
        "region 2 of 'a.png' is skipped, for a polygon must have at least",
        "region 3 of 'a.png': zip() argument 2 is shorter",
        "region 4 of 'a.png': 'y' is missing",
        "region 5 of 'a.png': a region of type 'spiral' is not supported",
        "1 regions are of type 'point', which has no area",
        "a shape of 'cat' lies outside of",
        "region 8 of 'a.png': 'animal' must be one class",
        "region 9 of 'a.png': 'shape_attributes' is missing",
        "the image 'b.png' is not in the folder",
        "image 'c.png123': ",
        "image 'd': 'regions' is missing",
    ):
        assert text in found, text
    np.testing.assert_array_equal(data[0][1], mask_of())


def test_several_files(tmp_path) -> None:
    write_json(tmp_path / "via_2.json", via_file(a=[via_square("cat")]))
    with pytest.raises(ValueError, match="one file of VGG VIA JSON. Received"):
        load_via(tmp_path, via_file(a=[via_square("cat")]))
