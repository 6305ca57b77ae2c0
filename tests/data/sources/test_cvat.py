"""Tests of CVAT XML, for images and for video."""

import numpy as np
import pytest
from annotation_trees import (
    INSIDE,
    SIZE,
    SQUARE,
    cvat,
    cvat_image,
    mask_of,
    write_image,
)
from data_trees import names, write_text

from keras_pspnet.data import load

POINTS = ";".join(f"{x:.2f},{y:.2f}" for x, y in SQUARE)


def shape(tag: str, label: str = "cat", **attributes) -> str:
    listed = " ".join(f'{k}="{v}"' for k, v in attributes.items())
    return f'<{tag} label="{label}" occluded="0" {listed}></{tag}>'


def load_cvat(folder, *shapes, strict=True):
    """Loads the image a.png with these shapes."""
    write_image(folder / "images" / "a.png")
    write_text(folder / "annotations.xml", cvat(cvat_image("a.png", *shapes)))
    return load(folder, strict=strict)


def texts(data) -> str:
    return "\n".join(map(str, data.issues))


@pytest.mark.parametrize(
    "drawn",
    [
        shape("polygon", points=POINTS),
        shape("box", xtl="2.0", ytl="1.0", xbr="6.0", ybr="5.0"),
        shape("box", xtl="2", ytl="1", xbr="6", ybr="5", rotation="90.0"),
        shape("mask", rle="0, 16", left=2, top=1, width=4, height=4),
    ],
)
def test_shapes(tmp_path, drawn) -> None:
    data = load_cvat(tmp_path, drawn)
    assert data.labels.names == ("background", "cat", "dog")
    np.testing.assert_array_equal(data[0][1], mask_of())
    assert not data.issues


def test_masks_have_holes_and_ellipses_are_round(tmp_path) -> None:
    ring = shape("mask", rle="0,5,2,2,2,5", left=2, top=1, width=4, height=4)
    disk = shape("ellipse", "dog", cx=9, cy=7, rx=1, ry=1, z_order=1)
    want = mask_of()
    want[2:4, 3:5] = [[0, 0], [1, 1]]
    # 0 5 | 2 2 | 2 5: rows of 4 pixels, from the first.
    flat = np.repeat([0, 1, 0, 1, 0, 1], [0, 5, 2, 2, 2, 5])
    want[1:5, 2:6] = flat.reshape(4, 4)
    want[6:8, 8:10] = 2
    np.testing.assert_array_equal(load_cvat(tmp_path, ring, disk)[0][1], want)


def test_z_order_comes_before_the_order_of_the_file(tmp_path) -> None:
    whole = {"xtl": 0, "ytl": 0, "xbr": 10, "ybr": 8}
    data = load_cvat(
        tmp_path,
        shape("polygon", "dog", points=POINTS, z_order=2),
        shape("box", "cat", **whole, z_order=-1),
        shape("box", "dog", **whole, z_order=-2),
    )
    np.testing.assert_array_equal(data[0][1], mask_of(2, 1))


def test_what_has_no_area_is_skipped(tmp_path) -> None:
    line = shape("polyline", points=POINTS)
    data = load_cvat(
        tmp_path, line, line, shape("polygon", points=POINTS), shape("points")
    )
    np.testing.assert_array_equal(data[0][1], mask_of())
    assert "warning: " in texts(data)
    assert "2 shapes are of type 'polyline', which has no area" in texts(data)
    assert "1 shapes are of type 'points'" in texts(data)


def test_labels_of_points_and_skeletons_are_no_classes(tmp_path) -> None:
    write_image(tmp_path / "images" / "a.png")
    text = cvat(cvat_image("a.png", shape("polygon", points=POINTS)))
    more = "<label><name>joint</name><type>points</type></label>"
    more += "<label><name>1</name><parent>joint</parent></label></labels>"
    write_text(tmp_path / "a.xml", text.replace("</labels>", more))
    assert load(tmp_path).labels.names == ("background", "cat", "dog")


def test_subsets_of_a_project(tmp_path) -> None:
    square = shape("polygon", points=POINTS)
    images = []
    for subset in ("Train", "Validation"):
        write_image(tmp_path / "images" / subset / "a.png")
        images.append(cvat_image("a.png", square, more=f'subset="{subset}"'))
    write_text(tmp_path / "annotations.xml", cvat(*images))
    data = load(tmp_path, "Validation")
    assert data.files(0)[0].endswith("images/Validation/a.png")
    assert len(data) == 1
    with pytest.raises(ValueError, match="'Train', 'Validation' for the CVAT"):
        load(tmp_path)


def test_files_named_after_splits(tmp_path) -> None:
    for split in ("train", "val"):
        write_image(tmp_path / "images" / f"{split}.png")
        image = cvat_image(f"{split}.png", shape("polygon", points=POINTS))
        write_text(tmp_path / f"{split}.xml", cvat(image))
    assert names(load(tmp_path, "val")) == ["val"]
    with pytest.raises(ValueError, match="one of 'train', 'val' for the CVAT"):
        load(tmp_path)


def test_video(tmp_path) -> None:
    def at(frame: int, outside: int = 0) -> str:
        more = {"frame": frame, "outside": outside, "points": POINTS}
        return shape("polygon", "", **more)

    track = f'<track id="0" label="dog">{at(2)}{at(4, 1)}{at(5)}</track>'
    height, width = SIZE
    size = f"<original_size><width>{width}</width><height>{height}</height>"
    text = cvat(track, size=size + "</original_size>")
    for frame in (2, 3, 4):
        write_image(tmp_path / "images" / f"frame_{frame:06}.PNG")
    write_text(tmp_path / "annotations.xml", text)
    data = load(tmp_path, strict=False)
    assert names(data) == ["frame_000002", "frame_000003", "frame_000004"]
    np.testing.assert_array_equal(data[0][1], mask_of(2))
    assert not data[1][1].any()
    assert not data[2][1].any()
    assert "'frame_000005.png' is not in the folder" in texts(data)
    assert "2 of 3 images have no shapes" in texts(data)


def test_what_is_wrong_is_listed(tmp_path) -> None:
    data = load_cvat(
        tmp_path,
        shape("polygon", points=POINTS),
        shape("polygon", "", points=POINTS),
        shape("polygon", "cow", points=POINTS),
        shape("polygon", points="1,2;3,4"),
        shape("polygon", points="1,2;3;4"),
        shape("polygon"),
        shape("box", xtl="nan", ytl=1, xbr=2, ybr=3),
        shape("mask", rle="0,9", left=2, top=1, width="x", height=4),
        shape("polygon", points="80,80;90,80;90,90"),
        strict=False,
    )
    found = texts(data)
    for text in (
        "shape 2 of image 'a.png': the label must not be empty",
        "1 shapes have the class 'cow', which",
        "shape 4 of image 'a.png' is skipped, for a polygon must have at",
        "shape 5 of image 'a.png': ",
        "shape 6 of image 'a.png': 'points' is missing",
        "shape 7 of image 'a.png': coordinates must be within",
        "shape 8 of image 'a.png': could not convert string to float: 'x'",
        "a shape of 'cat' lies outside of",
    ):
        assert text in found, text
    assert (data[0][1][INSIDE] == 255).all()


@pytest.mark.parametrize(
    ("rle", "size", "message"),
    [
        ("0,9", 4, "add up to the 16 pixels of the image, not 9"),
        ("0,9", 10**7, "1 to 80 pixels, as its image has, not 10000000x"),
        ("0,999999999999999999999999", 4, "must have shapes that can be"),
    ],
)
def test_masks_that_do_not_fit(tmp_path, rle, size, message) -> None:
    drawn = shape("mask", rle=rle, left=0, top=0, width=size, height=size)
    with pytest.raises(ValueError, match=message):
        load_cvat(tmp_path, drawn)[0]


def test_entities_and_truncated_files(tmp_path) -> None:
    load_cvat(tmp_path, shape("polygon", points=POINTS))
    path = tmp_path / "annotations.xml"
    text = path.read_text()
    bomb = '<!DOCTYPE a [<!ENTITY e "ha"><!ENTITY f "&e;&e;">]>\n<annotations>'
    path.write_text(text.replace("<annotations>", bomb, 1))
    with pytest.raises(ValueError, match="XML file without entities"):
        load(tmp_path)
    path.write_text(text[:-20])
    with pytest.raises(ValueError, match="complete XML .*annotations.xml"):
        load(tmp_path)
