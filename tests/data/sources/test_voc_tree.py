"""Tests of VOC trees that are not VOC."""

import numpy as np
import pytest
from annotation_trees import SIZE, mask_of, write_image
from data_trees import names, write_array, write_palette, write_text

from keras_pspnet.data import load
from keras_pspnet.labels import VOC, LabelSet

LABEL_MAP = """# label:color_rgb:parts:actions
background:0,0,0::
sky, dark:0,0,128::
road:128,64,128:left,right:drive
"""


def write_tree(folder, mask: np.ndarray, **lists: str) -> None:
    """A tree of the images a and b, both with one mask."""
    for name in ("a", "b"):
        write_image(folder / "JPEGImages" / f"{name}.jpg")
        path = folder / "SegmentationClass" / f"{name}.png"
        (write_array if mask.ndim == 3 else write_palette)(path, mask)
    for split, text in lists.items():
        path = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
        write_text(path, text)


def test_vocs_own_classes(tmp_path) -> None:
    mask = mask_of(15)
    mask[0] = 255
    write_tree(tmp_path, mask, train="a\n", val="b\n")
    data = load(tmp_path, "val")
    assert data.labels.names == VOC.names
    assert names(data) == ["b"]
    np.testing.assert_array_equal(data[0][1], mask)
    with pytest.raises(ValueError, match="one of 'train', 'val' for the VOC"):
        load(tmp_path)
    colors = np.array([*VOC.colors, *[(224, 224, 192)] * 235], np.uint8)
    write_tree(tmp_path, colors[mask])
    np.testing.assert_array_equal(load(tmp_path, "val")[0][1], mask)


def test_a_label_map(tmp_path) -> None:
    colors = np.array([(0, 0, 0), (0, 0, 128), (128, 64, 128)], np.uint8)
    write_tree(tmp_path, colors[mask_of(2, 1)])
    write_text(tmp_path / "labelmap.txt", LABEL_MAP)
    data = load(tmp_path)
    assert data.labels.names == ("background", "sky, dark", "road")
    assert data.labels.colors[2] == (128, 64, 128)
    np.testing.assert_array_equal(data[1][1], mask_of(2, 1))


def test_classes_of_ones_own(tmp_path) -> None:
    write_tree(tmp_path, np.full((*SIZE, 3), (9, 8, 7), np.uint8))
    labels = LabelSet("own", ("a", "b"), ((1, 1, 1), (9, 8, 7)))
    np.testing.assert_array_equal(load(tmp_path, labels=labels)[0][1], 1)
    write_text(tmp_path / "labels.txt", "b 9 8 7\na 1 1 1\n")
    np.testing.assert_array_equal(load(tmp_path)[0][1], 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("road 1 2 3\n", "lines of name:red,green,blue::. Received: line 1"),
        ("road:1,2,300::\n", r"within 0\.\.255.*labelmap\.txt"),
        ("road:1,2,3::\nroad:1,2,4::\n", "must be different.*labelmap"),
        ("", "1 to 255 entries.*labelmap"),
    ],
)
def test_label_maps_that_are_wrong(tmp_path, text, message) -> None:
    write_tree(tmp_path, mask_of())
    write_text(tmp_path / "labelmap.txt", text)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_lists_of_what_is_not_there(tmp_path) -> None:
    write_tree(tmp_path, mask_of(), train="a\nc\n")
    with pytest.raises(ValueError, match="lists 'c', which has neither"):
        load(tmp_path, "train")
