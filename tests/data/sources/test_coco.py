"""Tests of COCO JSON and of COCO panoptic."""

import json

import numpy as np
import pytest
from annotation_trees import (
    INSIDE,
    SIZE,
    SQUARE,
    coco,
    flat,
    mask_of,
    write_image,
    write_json,
)
from data_trees import write_array, write_text

from keras_pspnet.data import load
from keras_pspnet.labels import named_labels

SQUARE_RUNS = [17, 4, 4, 4, 4, 4, 4, 4, 35]


def load_coco(folder, *annotations, strict=True, **more):
    """Loads the image a.png with these annotations."""
    write_image(folder / "a.png")
    write_json(folder / "annotations.json", coco(*annotations) | more)
    return load(folder, strict=strict)


def texts(data) -> str:
    return "\n".join(map(str, data.issues))


def test_polygons_and_run_lengths(tmp_path) -> None:
    far = [8, 0, 10, 0, 10, 2, 8, 2]
    want = mask_of()
    want[:2, 8:] = 1
    for segmentation in (
        [flat(SQUARE), far],
        {"size": [8, 10], "counts": [17, 4, 4, 4, 4, 4, 4, 4, 19, 2, 6, 2, 6]},
    ):
        data = load_coco(tmp_path, {"segmentation": segmentation})
        assert data.labels.names == ("background", "cat", "dog")
        np.testing.assert_array_equal(data[0][1], want)
    # Some tools do not put a single polygon in a list.
    data = load_coco(tmp_path, {"segmentation": flat(SQUARE)})
    np.testing.assert_array_equal(data[0][1], mask_of())


def test_categories_are_sorted_by_id(tmp_path) -> None:
    categories = [
        {"id": 90, "name": "zebra"},
        {"id": 2, "name": "apple"},
        {"id": 1, "name": "person"},
    ]
    square = {"segmentation": [flat(SQUARE)], "category_id": 90}
    data = load_coco(tmp_path, square, categories=categories)
    assert data.labels.names == ("background", "person", "apple", "zebra")
    np.testing.assert_array_equal(data[0][1], mask_of(3))


def test_crowds_are_ignored_below_objects(tmp_path) -> None:
    crowd = {
        "segmentation": {"size": [8, 10], "counts": [0, 80]},
        "iscrowd": 1,
    }
    square = {"segmentation": [flat(SQUARE)]}
    for order in (crowd, square), (square, crowd):
        data = load_coco(tmp_path, *order)
        np.testing.assert_array_equal(data[0][1], mask_of(1, 255))
        assert texts(data).endswith("1 crowd regions (iscrowd) are ignored")


def test_later_objects_lie_on_top(tmp_path) -> None:
    all_of_it = {"segmentation": [[0, 0, 10, 0, 10, 8, 0, 8]]}
    dog = {"segmentation": [flat(SQUARE)], "category_id": 4}
    data = load_coco(tmp_path, all_of_it, dog)
    np.testing.assert_array_equal(data[0][1], mask_of(2, 1))


def test_images_without_objects_are_background(tmp_path) -> None:
    square = {"segmentation": [flat(SQUARE)]}
    images = [*coco()["images"], {"id": 8, "file_name": "b.png"}]
    write_image(tmp_path / "b.png")
    data = load_coco(tmp_path, square, images=images)
    np.testing.assert_array_equal(data[1][1], 0)
    assert texts(data) == (
        "warning: 1 of 2 images have no shapes: all their pixels are "
        "'background'"
    )
    with pytest.raises(ValueError, match="no image that is in the folder has"):
        load_coco(tmp_path)


def test_splits_by_the_names_of_files(tmp_path) -> None:
    square = {"segmentation": [flat(SQUARE)]}
    for split in ("train2017", "val2017"):
        write_image(tmp_path / "images" / split / "a.png")
        path = tmp_path / "annotations" / f"instances_{split}.json"
        write_json(path, coco(square))
        path = tmp_path / "annotations" / f"captions_{split}.json"
        write_json(path, coco({"caption": "a cat"}))
    data = load(tmp_path, "val2017")
    assert data.files(0)[0] == str(tmp_path / "images/val2017/a.png")
    with pytest.raises(ValueError, match="'train2017', 'val2017' for the COCO"):
        load(tmp_path)
    with pytest.raises(ValueError, match="Received: split='test'"):
        load(tmp_path, "test")


def test_roboflows_folders(tmp_path) -> None:
    for split in ("train", "valid"):
        write_image(tmp_path / split / "a.png")
        path = tmp_path / split / "_annotations.coco.json"
        write_json(path, coco({"segmentation": [flat(SQUARE)]}))
    assert load(tmp_path, "valid").files(0)[0].endswith("valid/a.png")
    with pytest.raises(ValueError, match="one of 'train', 'valid' for"):
        load(tmp_path)


def test_classes_of_ones_own(tmp_path) -> None:
    square = {"segmentation": [flat(SQUARE)]}
    load_coco(tmp_path, square)
    labels = named_labels(["dog", "cat", "unlabeled"])
    data = load(tmp_path, labels=labels)
    np.testing.assert_array_equal(data[0][1], mask_of(1, 2))
    with pytest.raises(ValueError, match="'cat', which labels does not list"):
        load(tmp_path, labels=named_labels(["background", "dog"]))


def test_boxes_are_no_masks(tmp_path) -> None:
    box = {"bbox": [2, 1, 4, 4], "segmentation": []}
    with pytest.raises(ValueError, match="2 of 2 annotations .*not masks"):
        load_coco(tmp_path, box, {"bbox": [2, 1, 4, 4]})
    square = {"segmentation": [flat(SQUARE)]}
    with pytest.raises(ValueError, match="1 of 2 annotations have no segm"):
        load_coco(tmp_path, box, square)


def test_what_is_wrong_is_listed(tmp_path) -> None:
    images = coco()["images"]
    images += [{"id": 7, "file_name": "b.png"}, {"id": 8}]
    images += [{"id": k, "file_name": "/etc/x.png"} for k in (9, 10)]
    categories = [*coco()["categories"], {"id": 9}, {"id": 10, "name": " "}]
    categories.append({"id": 4, "name": "owl"})
    square = {"segmentation": [flat(SQUARE)]}
    data = load_coco(
        tmp_path,
        square,
        {"segmentation": [[1, 2, 3, 4]]},
        {"segmentation": [[1, 2, 3]]},
        {"segmentation": [[50, 50, 60, 50, 60, 60]]},
        square | {"category_id": 77},
        square | {"image_id": 78},
        {"segmentation": {"size": [9, 10], "counts": [90]}},
        {"segmentation": {"counts": [90]}},
        {"segmentation": "a polygon"},
        {"image_id": [7]},
        images=images,
        categories=categories,
        strict=False,
    )
    found = texts(data)
    for text in (
        "category 3: 'name' is missing",
        "category 4: the name must not be empty",
        "category 5: the id 4 is another category's",
        "image 2: the id 7 is another image's",
        "image 3: 'file_name' is missing",
        "the image '/etc/x.png' is not in the folder",
        "annotation 2 is skipped, for a polygon must have at least three",
        "annotation 3: points must be pairs",
        "a shape of 'cat' lies outside of",
        "annotation 5: there is no category 77",
        "annotation 6: there is no image 78",
        "annotation 7: run lengths of 10x9 must be of the image's size, 10x8",
        "annotation 8: 'size' is missing",
        "annotation 9: ",
        "annotation 10: ",
    ):
        assert text in found, text
    np.testing.assert_array_equal(data[0][1], mask_of())


def test_giant_run_lengths(tmp_path) -> None:
    big = 10**6
    images = [{"id": 7, "file_name": "a.png", "width": big, "height": big}]
    runs = {"size": [big, big], "counts": [0, big * big]}
    data = load_coco(tmp_path, {"segmentation": runs}, images=images)
    with pytest.raises(ValueError, match="1 to 89478485 pixels. Received"):
        data[0]
    # Without a declared size the image has its own, and the runs theirs.
    images = [{"id": 7, "file_name": "a.png"}]
    data = load_coco(tmp_path, {"segmentation": runs}, images=images)
    with pytest.raises(
        ValueError, match="1 to 80 pixels, as its image has, not 1000000x"
    ):
        data[0]


def test_few_bytes_that_stand_for_many_bitmaps(tmp_path) -> None:
    side = 1000
    size = {"width": side, "height": side}
    images = [{"id": 7, "file_name": "a.png"} | size]
    runs = {"size": [side, side], "counts": [0, side * side]}
    many = [{"segmentation": runs}] * 2000
    data = load_coco(tmp_path, *many, images=images)
    message = "at most 64 times the pixels of their image.*shape 81 of mask"
    with pytest.raises(ValueError, match=message):
        data.samples[0].ground_truth.read("mask")
    # As many small ones are no trouble.
    runs["counts"] = [500_500, 30, 970, 30, 498_470]
    data = load_coco(tmp_path, *many, images=images)
    assert data.samples[0].ground_truth.read("mask").sum() == 60


def test_truncated_and_foreign_json(tmp_path) -> None:
    load_coco(tmp_path, {"segmentation": [flat(SQUARE)]})
    path = tmp_path / "annotations.json"
    text = path.read_text()
    path.write_text(text[:-9])
    with pytest.raises(ValueError, match=r"complete JSON .*annotations\.json"):
        load(tmp_path)
    write_json(path, [json.loads(text)])
    with pytest.raises(ValueError, match="must have lists of images, annot"):
        load(tmp_path)


# === Panoptic ===


def segments(*entries) -> dict:
    info = [
        {"id": key, "category_id": category, "iscrowd": crowd}
        for key, category, crowd in entries
    ]
    content = coco(names=("cat", "sky", "road"))
    content["annotations"] = [
        {"image_id": 7, "file_name": "a.png", "segments_info": info}
    ]
    return content


def write_panoptic(folder, ids, content) -> None:
    write_image(folder / "val2017" / "a.png")
    colors = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1)
    path = folder / "annotations" / "panoptic_val2017" / "a.png"
    write_array(path, colors.astype(np.uint8))
    write_json(folder / "annotations" / "panoptic_val2017.json", content)


def test_panoptic_segments(tmp_path) -> None:
    ids = np.full(SIZE, 7)
    ids[INSIDE] = 3 + 256 * 2 + 65536 * 9
    ids[0] = 0
    ids[7] = 70_000
    content = segments((7, 4, 0), (590339, 3, 0), (70_000, 5, 1), (8, 5, 0))
    write_panoptic(tmp_path, ids, content)
    data = load(tmp_path)
    assert data.labels.names == ("cat", "sky", "road")
    want = mask_of(0, 1)
    want[0] = want[7] = 255
    np.testing.assert_array_equal(data[0][1], want)
    labels = named_labels(["road", "cat", "sky"])
    data = load(tmp_path, "val2017", labels=labels)
    assert data[0][1][2, 3] == 1
    assert not data.issues
    write_image(tmp_path / "val2017" / "b.png")
    (issue,) = load(tmp_path).issues
    assert "warning: 1 images in" in str(issue)


def test_what_is_wrong_with_panoptic(tmp_path) -> None:
    content = segments((7, 4, 0))
    write_panoptic(tmp_path, np.full(SIZE, 9), content)
    with pytest.raises(ValueError, match="the id 9, and 80 pixels of ids not"):
        load(tmp_path)[0]
    content["annotations"] += [
        {"image_id": 99, "file_name": "a.png", "segments_info": []},
        {"image_id": 7, "file_name": "../../b.png", "segments_info": []},
        {"image_id": 7, "file_name": "a.png", "segments_info": [{"id": 1}]},
        segments((7, 99, 0))["annotations"][0],
    ]
    write_panoptic(tmp_path, np.full(SIZE, 7), content)
    found = texts(load(tmp_path, strict=False))
    for text in (
        "annotation 2: 99 is missing",
        "annotation 3: '../../b.png' is not in the folder",
        "annotation 4: 'category_id' is missing",
        "annotation 5: there is no class of category 99",
    ):
        assert text in found, text
    write_text(tmp_path / "labels.txt", "cat\n")
    with pytest.raises(ValueError, match="there is no class of category 4"):
        load(tmp_path)
