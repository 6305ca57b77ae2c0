"""Tests of Label Studio JSON."""

import numpy as np
import pytest
from annotation_trees import (
    SQUARE,
    label_studio_task,
    mask_of,
    write_image,
    write_json,
)
from data_trees import names, write_text

from keras_pspnet.data import load

CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="label" toName="image">
<Label value="dog" background="red"/><Label value="cat"/>
</PolygonLabels></View>"""
PERCENT = [[x * 10, y * 12.5] for x, y in SQUARE]
# A brush of 10x8 pixels: the whole image, in one run of 320 values of 255.
WHOLE = int(
    f"{320:032b}"
    + "00111"
    + "1000" * 4
    + "1"
    + "00"
    + f"{319:09b}"
    + "1" * 8
    # Up to a whole byte.
    + "0" * 7,
    2,
)


def region(kind: str, label: str = "cat", **value) -> dict:
    return {"type": kind, "value": value | {kind: [label]}}


def square(label: str = "cat") -> dict:
    return region("polygonlabels", label, points=PERCENT)


def load_tasks(folder, *tasks, strict=True):
    write_image(folder / "images" / "a.png")
    write_json(folder / "export.json", tasks)
    return load(folder, strict=strict)


def load_regions(folder, *regions, strict=True):
    task = label_studio_task("/data/upload/1/0123abcd-a.png", *regions)
    return load_tasks(folder, task, strict=strict)


def texts(data) -> str:
    return "\n".join(map(str, data.issues))


@pytest.mark.parametrize(
    "drawn",
    [
        square(),
        region("rectanglelabels", x=20, y=12.5, width=40, height=50),
        region(
            "rectanglelabels", x=60, y=12.5, width=40, height=50, rotation=90
        ),
    ],
)
def test_polygons_and_rectangles(tmp_path, drawn) -> None:
    data = load_regions(tmp_path, drawn)
    assert data.labels.names == ("background", "cat")
    np.testing.assert_array_equal(data[0][1], mask_of())
    assert not data.issues


def test_brushes_and_ellipses(tmp_path) -> None:
    packed = list(WHOLE.to_bytes(10))
    whole = region("brushlabels", "dog", format="rle", rle=packed)
    disk = region("ellipselabels", x=90, y=87.5, radiusX=10, radiusY=12.5)
    data = load_regions(tmp_path, whole, square(), disk)
    want = mask_of(1, 2)
    want[6:, 8:] = 1
    np.testing.assert_array_equal(data[0][1], want)


def test_the_configuration_orders_the_classes(tmp_path) -> None:
    write_text(tmp_path / "config.xml", CONFIG)
    data = load_regions(tmp_path, square())
    assert data.labels.names == ("background", "dog", "cat")
    np.testing.assert_array_equal(data[0][1], mask_of(2))


@pytest.mark.parametrize(
    "address",
    [
        "a.png",
        "/data/local-files/?d=photos/images/a.png",
        "s3://bucket/some/a.png",
        "https://host/a.png?token=1",
        "/data/upload/7/0123abcd-a.png",
    ],
)
def test_addresses_of_images(tmp_path, address) -> None:
    task = label_studio_task(address, square())
    assert names(load_tasks(tmp_path, task)) == ["a"]


def test_one_annotation_of_an_image_counts(tmp_path) -> None:
    task = label_studio_task("a.png", square())
    result = task["annotations"][0]["result"]
    other = label_studio_task("a.png", square("dog"))["annotations"][0]
    cancelled = {"result": result, "was_cancelled": True}
    task["annotations"] = [cancelled, *task["annotations"], other]
    data = load_tasks(tmp_path, task)
    assert data.labels.names == ("background", "cat")
    assert "1 annotations are second ones" in texts(data)
    other["ground_truth"] = True
    assert load_tasks(tmp_path, task).labels.names == ("background", "dog")


def test_tasks_that_nobody_finished(tmp_path) -> None:
    """Skipped ones and new ones are no background."""
    for name in ("b.png", "c.png"):
        write_image(tmp_path / "images" / name)
    skipped = label_studio_task("b.png", square())
    skipped["annotations"][0]["was_cancelled"] = True
    new = label_studio_task("c.png") | {"annotations": []}
    data = load_tasks(
        tmp_path, label_studio_task("a.png", square()), skipped, new
    )
    assert names(data) == ["a"]
    text = "2 tasks have no annotation that was submitted: left out"
    assert text in texts(data)


def test_classes_that_are_results_of_their_own(tmp_path) -> None:
    """As <Labels> and <Polygon> write them."""
    write_text(tmp_path / "config.xml", CONFIG.replace("Polygon", ""))
    drawn = {"type": "polygon", "id": "x", "value": {"points": PERCENT}}
    tag = region("labels", "cat", points=PERCENT) | {"id": "x"}
    for pair in ((drawn, tag), (tag, drawn)):
        data = load_regions(tmp_path, *pair)
        assert data.labels.names == ("background", "dog", "cat")
        np.testing.assert_array_equal(data[0][1], mask_of(2))
        assert not data.issues
    other = tag | {"id": "y"}
    data = load_regions(tmp_path, square(), drawn, other, strict=False)
    assert "1 results are of type 'polygon', not regions" in texts(data)
    assert "1 results are of type 'labels', not regions" in texts(data)


def test_what_is_wrong_is_listed(tmp_path) -> None:
    turned = square() | {"image_rotation": 90}
    data = load_tasks(
        tmp_path,
        label_studio_task(
            "a.png",
            square(),
            turned,
            region("polygonlabels", points=[[1, 2], [3, 4]]),
            region("polygonlabels", points="x"),
            {"type": "polygonlabels", "value": {"points": PERCENT}},
            region("keypointlabels", x=1, y=2),
            region("rectanglelabels", x=1, y="2", width=1, height=1),
            square("cat") | {"value": {"polygonlabels": [3]}},
            square("cat") | {"value": {"polygonlabels": ["cat", "dog"]}},
            region(
                "polygonlabels", points=[[200, 200], [300, 200], [200, 300]]
            ),
        ),
        label_studio_task("b.png", square()),
        {"id": 3},
        4,
        strict=False,
    )
    found = texts(data)
    for text in (
        "task 1, region 'r1': image_rotation must be 0",
        "task 1, region 'r2' is skipped, for a polygon must have at least",
        "task 1, region 'r3': could not convert",
        "task 1, region 'r4': 'polygonlabels' is missing",
        "1 results are of type 'keypointlabels', not regions: skipped",
        "task 1, region 'r6': ",
        "task 1, region 'r7': a region must have one class",
        "task 1, region 'r8': a region must have one class",
        "a shape of 'cat' lies outside of",
        "the image 'b.png' is not in the folder",
        "task 3: 'annotations' is missing",
        "task 4: ",
    ):
        assert text in found, text
    np.testing.assert_array_equal(data[0][1], mask_of())


def test_brushes_of_another_size(tmp_path) -> None:
    brush = region("brushlabels", rle=list(WHOLE.to_bytes(10)))
    wide = brush | {"original_width": 11}
    with pytest.raises(ValueError, match="a brush of 11x8 must have four"):
        load_regions(tmp_path, wide)[0]
    huge = brush | {"original_width": 10**6, "original_height": 10**6}
    with pytest.raises(ValueError, match="1 to 89478485 pixels. Received"):
        load_regions(tmp_path, huge)[0]


def test_a_file_that_is_no_list(tmp_path) -> None:
    content = {"annotations": 1, "result": 2, "data": 3, "original_width": 4}
    write_json(tmp_path / "export.json", content)
    with pytest.raises(ValueError, match="Label Studio's list of tasks"):
        load(tmp_path)
