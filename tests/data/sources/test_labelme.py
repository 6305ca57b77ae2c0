"""Tests of labelme JSON and of LabelMe XML, the older tool's."""

import re

import numpy as np
import pytest
from annotation_trees import (
    INSIDE,
    SIZE,
    SQUARE,
    labelme_shape,
    mask_of,
    png_base64,
    write_image,
    write_json,
    write_labelme,
)
from data_trees import names, write_array, write_text
from PIL import Image, ImageDraw

from keras_pspnet.data import check, load


def converted(*shapes) -> np.ndarray:
    """What labelme's converter draws, by its documentation."""
    canvas = Image.new("L", SIZE[::-1])
    pen = ImageDraw.Draw(canvas)
    for value, kind, points in shapes:
        getattr(pen, kind)(points, outline=value, fill=value)
    return np.array(canvas)


def texts(data) -> str:
    return "\n".join(map(str, data.issues))


# === labelme ===


def test_shapes_lie_on_each_other_in_their_order(tmp_path) -> None:
    write_labelme(
        tmp_path,
        "a",
        labelme_shape("dog", SQUARE),
        labelme_shape("cat", [[5, 6], [3, 3]], "rectangle"),
    )
    write_labelme(tmp_path, "b")
    write_labelme(
        tmp_path, "c", labelme_shape("dog", [[4.2, 4.4], [4, 6]], "circle")
    )
    data = load(tmp_path)
    assert names(data) == ["a", "b", "c"]
    assert data.labels.names == ("background", "cat", "dog")
    square = [tuple(point) for point in SQUARE]
    want = converted((2, "polygon", square), (1, "rectangle", [(3, 3), (5, 6)]))
    np.testing.assert_array_equal(data[0][1], want)
    np.testing.assert_array_equal(data[1][1], 0)
    radius = np.hypot(0.2, 1.6)
    box = [4.2 - radius, 4.4 - radius, 4.2 + radius, 4.4 + radius]
    np.testing.assert_array_equal(data[2][1], converted((2, "ellipse", box)))
    assert texts(data).startswith("warning: 1 of 3 images have no shapes")


def test_masks_and_ignored_regions(tmp_path) -> None:
    part = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)
    shape = labelme_shape("cat", [[2, 3], [4, 4]], "mask")
    shape["mask"] = png_base64(part)
    ignored = labelme_shape("__ignore__", [[8, 0], [9, 7]], "rectangle")
    write_labelme(tmp_path, "a", shape, ignored)
    want = np.zeros(SIZE, np.uint8)
    want[3:5, 2:5] = part
    want[:, 8:] = 255
    data = load(tmp_path)
    np.testing.assert_array_equal(data[0][1], want)
    assert data.labels.names == ("background", "cat")


def test_a_background_of_ones_own_is_class_0(tmp_path) -> None:
    hole = [[3, 2], [4, 3]]
    write_labelme(
        tmp_path,
        "a",
        labelme_shape("Abc", SQUARE),
        labelme_shape("_background_", hole, "rectangle"),
    )
    data = load(tmp_path)
    assert data.labels.names == ("_background_", "Abc")
    assert data[0][1][2, 3] == 0
    assert data[0][1][1, 2] == 1


def test_images_beside_or_above_the_files(tmp_path) -> None:
    write_image(tmp_path / "images" / "x.png")
    write_labelme(
        tmp_path / "annotations",
        "a",
        labelme_shape("cat", SQUARE),
        imagePath="..\\images\\x.png",
    )
    assert names(load(tmp_path)) == ["x"]


def test_a_split_is_a_folder(tmp_path) -> None:
    write_labelme(tmp_path / "train", "a", labelme_shape("cat", SQUARE))
    assert names(load(tmp_path)) == ["a"]
    write_labelme(tmp_path / "val", "b", labelme_shape("cat", SQUARE))
    assert names(load(tmp_path, "val")) == ["b"]
    with pytest.raises(ValueError, match="one of 'train', 'val' for"):
        load(tmp_path)
    with pytest.raises(ValueError, match="must be one of None for the labelme"):
        load(tmp_path / "val", "test")


def test_labels_txt_counts(tmp_path) -> None:
    write_text(tmp_path / "labels.txt", "__ignore__\n_background_\ndog\ncat\n")
    write_labelme(tmp_path, "a", labelme_shape("cat", SQUARE))
    data = load(tmp_path)
    assert data.labels.names == ("_background_", "dog", "cat")
    assert set(np.unique(data[0][1])) == {0, 2}
    # Without a background, what is not drawn is not known.
    write_text(tmp_path / "labels.txt", "dog\ncat\n")
    assert set(np.unique(load(tmp_path)[0][1])) == {1, 255}


def test_other_classes_are_listed_and_ignored(tmp_path) -> None:
    write_text(tmp_path / "labels.txt", "background\ndog\n")
    cat = labelme_shape("cat", SQUARE)
    write_labelme(tmp_path, "a", cat, cat)
    with pytest.raises(ValueError, match=r"2 shapes have the class 'cat'"):
        load(tmp_path)
    data = load(tmp_path, strict=False)
    assert "labels.txt does not list" in texts(data)
    np.testing.assert_array_equal(data[0][1][INSIDE], 255)


def test_what_is_wrong_is_listed(tmp_path) -> None:
    write_labelme(
        tmp_path,
        "a",
        labelme_shape("cat", SQUARE),
        labelme_shape("cat", SQUARE[:2]),
        labelme_shape("cat", [[20, 20], [30, 30]], "rectangle"),
        labelme_shape("cat", [[1, 1]], "cube"),
        {"label": "cat", "shape_type": "polygon"},
        labelme_shape("", SQUARE) | {"label": 7},
    )
    (tmp_path / "b.json").write_text('{"shapes": [], "imagePath": "b.p')
    write_labelme(tmp_path, "c", imagePath="../../etc/passwd")
    write_labelme(tmp_path, "d", imagePath="a.png")
    data = load(tmp_path, strict=False)
    assert names(data) == ["a"]
    found = texts(data)
    for text in (
        "warning: .*a.json: shape 2 is skipped, for a polygon must have",
        "a.json: a shape of 'cat' lies outside of .*a.png",
        "a.json: shape 4: labelme's converter does not draw a shape of type "
        "'cube' with 1 points",
        "a.json: shape 5: 'points' is missing",
        "a.json: shape 6: the label must be a string",
        "b.json: the file: `annotations` must be a complete JSON file",
        "c.json: the image '../../etc/passwd' is not in the folder",
        "d.json: the image 'a.png' is named twice",
        "warning: 2 images in .* left out, the first is .*c.png",
    ):
        assert re.search(text, found), text
    assert len(data.issues) == 9
    np.testing.assert_array_equal(
        data[0][1] > 0,
        converted((1, "polygon", [tuple(point) for point in SQUARE])),
    )


def test_a_declared_size_that_is_not_the_images(tmp_path) -> None:
    write_labelme(tmp_path, "a", labelme_shape("cat", SQUARE), imageWidth=12)
    data = load(tmp_path)
    with pytest.raises(ValueError, match="12x8, image=.*10x8"):
        data[0]
    assert any("12x8" in str(issue) for issue in check(data))
    huge = {"imageWidth": 10**6, "imageHeight": 10**6}
    write_labelme(tmp_path, "a", labelme_shape("cat", SQUARE), **huge)
    with pytest.raises(ValueError, match="1 to 89478485 pixels"):
        load(tmp_path)[0]


def test_deep_json_is_one_error(tmp_path) -> None:
    text = '{"imagePath": "a", "shapes": ' + "[" * 100_000
    write_text(tmp_path / "a.json", text)
    with pytest.raises(ValueError, match="must be a complete JSON file"):
        load(tmp_path)


def test_more_classes_than_a_mask_can_hold(tmp_path) -> None:
    shapes = [labelme_shape(f"c{k}", SQUARE) for k in range(255)]
    write_labelme(tmp_path, "a", *shapes)
    with pytest.raises(ValueError, match="1 to 255 classes.*256 in"):
        load(tmp_path)


# === LabelMe XML ===


def point_list(points) -> str:
    pts = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in points)
    return f"<polygon><username>me</username>{pts}</polygon>"


def xml_object(name: str, inner: str, deleted: int = 0) -> str:
    return (
        f"<object><name>{name}</name><deleted>{deleted}</deleted>"
        f"{inner}</object>"
    )


def xml_file(*objects: str, image: str = "a.png") -> str:
    return (
        f"<annotation><filename>{image}</filename><folder>f</folder>"
        f"{''.join(objects)}<imagesize><nrows>8</nrows><ncols>10</ncols>"
        "</imagesize></annotation>"
    )


def test_labelme_xml(tmp_path) -> None:
    write_image(tmp_path / "a.png")
    region = np.zeros((*SIZE, 4), np.uint8)
    region[6:, :3, 0] = 255
    region[..., 3] = 255
    write_array(tmp_path / "Masks" / "a_mask_1.png", region)
    segm = "<segm><mask>a_mask_1.png</mask></segm>"
    text = xml_file(
        xml_object("dog", point_list(SQUARE)),
        xml_object("cat", point_list(SQUARE), deleted=1),
        xml_object("bus", segm),
    )
    write_text(tmp_path / "a.xml", text)
    data = load(tmp_path)
    assert data.labels.names == ("background", "bus", "dog")
    want = mask_of(2)
    want[6:, :3] = 1
    np.testing.assert_array_equal(data[0][1], want)


def test_what_is_wrong_with_labelme_xml(tmp_path) -> None:
    write_image(tmp_path / "a.png")
    text = xml_file(
        xml_object("dog", point_list(SQUARE)),
        xml_object("", point_list(SQUARE)),
        xml_object("cat", "<segm><mask>../../x.png</mask></segm>"),
        xml_object("cat", point_list([("a", 1), (2, 3), (3, 4)])),
    )
    write_text(tmp_path / "a.xml", text)
    write_text(tmp_path / "b.xml", text[:200])
    entity = '<!DOCTYPE a [<!ENTITY e "boom">]>'
    write_text(tmp_path / "c.xml", entity + text.replace("dog", "&e;"))
    found = texts(load(tmp_path, strict=False))
    for part in (
        "object 2: <name> must not be empty",
        "object 3: the mask '../../x.png' is not in the folder",
        "object 4: could not convert string to float: 'a'",
        "b.xml: the file: `annotations` must be a complete XML file",
        "c.xml: the file: `annotations` must be a complete XML file without",
    ):
        assert part in found
    assert len(found.splitlines()) == 5


def test_without_a_size_masks_of_labelme_xml_have_none(tmp_path) -> None:
    write_image(tmp_path / "a.png")
    write_array(tmp_path / "Masks" / "a.png", np.ones(SIZE, np.uint8))
    text = xml_file(
        xml_object("dog", point_list(SQUARE)),
        xml_object("dog", "<segm><mask>Masks/a.png</mask></segm>"),
    )
    text = re.sub("<imagesize>.*</imagesize>", "", text)
    write_text(tmp_path / "a.xml", text)
    data = load(tmp_path, strict=False)
    assert "object 2: a mask must have an <imagesize>" in texts(data)
    np.testing.assert_array_equal(data[0][1], mask_of())


def test_other_json_and_xml_is_no_source(tmp_path) -> None:
    write_json(tmp_path / "notes.json", {"shapes": "round"})
    write_text(tmp_path / "a.xml", "<annotation><bndbox/></annotation>")
    with pytest.raises(FileNotFoundError, match="none of VOC tree.*labelme"):
        load(tmp_path)
