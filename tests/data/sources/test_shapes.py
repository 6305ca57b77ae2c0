"""Tests of shapes against Matplotlib's and Pillow's, and of their limits."""

import math
import pickle

import numpy as np
import pytest
from annotation_trees import png_base64
from matplotlib.path import Path as MatplotlibPath
from PIL import Image, ImageDraw

from keras_pspnet.data.sources.drawing import Drawing
from keras_pspnet.data.sources.runs import decode_coco
from keras_pspnet.data.sources.shapes import (
    Bitmap,
    PillowShape,
    TooFewPointsError,
    decode_png,
    ellipse,
    polygon,
    rectangle,
    rotated,
)

RNG = np.random.default_rng(3)


def drawn(*shapes, size=(30, 20)):
    """Draws shapes as classes 1, 2, ..."""
    values = tuple((shape, k) for k, shape in enumerate(shapes, start=1))
    return Drawing("a.png", size, values, 0).read("a.json")


def star(corners: int, size=(30, 20)) -> np.ndarray:
    """A polygon that does not cross itself, and reaches out of the image."""
    angles = np.sort(RNG.uniform(0, 2 * math.pi, corners))
    radii = RNG.uniform(2, 16, corners)
    offsets = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return offsets * radii[:, None] + RNG.uniform(5, 15, 2)


def test_a_polygon_holds_the_centres_of_its_pixels() -> None:
    rows, columns = np.mgrid[:20, :30]
    centers = np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5
    seen = 0
    for corners in [3, 4, 5, 8, 20] * 8:
        points = star(corners)
        want = MatplotlibPath(points, closed=False).contains_points(centers)
        found = drawn(polygon(points))
        np.testing.assert_array_equal(found.ravel(), want)
        seen += int(want.sum())
    assert seen > 1000


def test_rectangles_cover_their_pixels_and_no_more() -> None:
    found = drawn(rectangle(3, 2, 7, 5))
    want = np.zeros((20, 30), np.uint8)
    want[2:5, 3:7] = 1
    np.testing.assert_array_equal(found, want)
    # Neighbors share no pixel and leave none.
    left, right = (
        drawn(rectangle(0, 0, 7.3, 20)),
        drawn(rectangle(7.3, 0, 30, 20)),
    )
    np.testing.assert_array_equal(left + right, 1)


def test_what_a_polygon_crosses_twice_is_outside() -> None:
    # A ring by a cut from the outer square to the inner one and back.
    outer = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
    inner = [[3, 3], [3, 7], [7, 7], [7, 3], [3, 3]]
    want = np.zeros((20, 30), np.uint8)
    want[:10, :10] = 1
    want[3:7, 3:7] = 0
    found = drawn(polygon(outer + inner))
    np.testing.assert_array_equal(found, want)


def test_later_shapes_lie_on_top() -> None:
    found = drawn(rectangle(0, 0, 9, 9), rectangle(4, 4, 12, 12))
    assert found[4, 4] == 2
    assert found[3, 3] == 1


def test_relative_polygons_have_the_size_of_the_image(tmp_path) -> None:
    path = tmp_path / "a.jpg"
    # Stored on its side: the upright image is 20 wide and 10 high.
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (10, 20)).save(path, exif=exif)
    shape = polygon([0.5, 0, 1, 0, 1, 1, 0.5, 1], relative=True)
    found = Drawing(str(path), None, ((shape, 1),), 0).read("a.txt")
    assert found.shape == (10, 20)
    np.testing.assert_array_equal(found[:, :10], 0)
    np.testing.assert_array_equal(found[:, 10:], 1)


def test_ellipses_have_their_area_and_turns_keep_it() -> None:
    shape = ellipse(100, 80, 60, 30)
    area = drawn(shape, size=(200, 160)).sum()
    assert area == pytest.approx(math.pi * 60 * 30, rel=0.005)
    upright = drawn(ellipse(100, 80, 30, 60), size=(200, 160))
    np.testing.assert_array_equal(
        drawn(rotated(shape, 90), size=(200, 160)), upright
    )


def test_turns_are_clockwise() -> None:
    # About its first corner, a bar to the right becomes one downwards.
    found = drawn(rotated(rectangle(10, 5, 16, 7), 90, (10, 5)))
    np.testing.assert_array_equal(found, drawn(rectangle(8, 5, 10, 11)))


@pytest.mark.parametrize("kind", ["polygon", "rectangle", "ellipse", "line"])
def test_pillow_shapes_are_what_pillow_draws(kind) -> None:
    points = np.array([[3.7, 2.2], [20.9, 11.4]])
    if kind == "polygon":
        points = star(7)
    want = Image.new("1", (30, 20))
    pen = ImageDraw.Draw(want)
    corners = list(map(tuple, points))
    if kind == "line":
        pen.line(corners, fill=1, width=10)
    else:
        getattr(pen, kind)(corners, fill=1, outline=1)
    found = drawn(PillowShape(kind, points, 10))
    np.testing.assert_array_equal(found, np.array(want))


def test_bitmaps_lie_at_their_corner_and_may_stick_out() -> None:
    text = png_base64(np.array([[1, 0, 9], [0, 1, 1]], np.uint8))
    found = drawn(Bitmap(decode_png, text, (3, 2), (-1, 4)))
    want = np.zeros((20, 30), np.uint8)
    want[4, 1] = want[5, :2] = 1
    np.testing.assert_array_equal(found, want)


def test_drawings_can_be_sent_to_other_processes() -> None:
    shapes = polygon(star(5)), Bitmap(decode_coco, [300, 300], (30, 20))
    drawing = Drawing("a.png", (30, 20), tuple((s, 1) for s in shapes), 0)
    copy = pickle.loads(pickle.dumps(drawing))
    np.testing.assert_array_equal(copy.read("a"), drawing.read("a"))


# === Errors ===


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 2], [3, 4]], "at least three points, not 2"),
        ([], "at least three points, not 0"),
        ([1, 2, 3, 4, 5], "pairs of x and y"),
        ([[1, 2, 3]] * 3, "pairs of x and y"),
        ([1, 2, 3, 4, 5, math.nan], "within 2.14748e"),
        ([1, 2, 3, 4, 5, math.inf], "within 2.14748e"),
        ([1, 2, 3, 4, 5, 1e300], "within 2.14748e"),
        (["a"] * 6, "could not convert"),
    ],
)
def test_what_is_no_polygon(values, message) -> None:
    with pytest.raises(ValueError, match=message):
        polygon(values)


def test_stray_clicks_are_an_error_of_their_own() -> None:
    with pytest.raises(TooFewPointsError):
        polygon([[1, 2], [3, 4]])


def test_canvases_have_a_limit() -> None:
    with pytest.raises(ValueError, match=r"1 to 89478485 .*100000x100000"):
        drawn(size=(100_000, 100_000))
    with pytest.raises(ValueError, match=r"Received: -3x4 in mask='a.json'"):
        drawn(size=(-3, 4))


def test_outlines_have_a_limit() -> None:
    # A few bytes a point, and all columns for each.
    zigzag = np.zeros((20_000, 2))
    zigzag[::2, 0] = 9_000
    with pytest.raises(
        ValueError, match="cross at most 4194304 columns in all"
    ):
        drawn(polygon(zigzag), size=(9_000, 9))
    for points in (zigzag, np.array([[-2e9, -2e9], [2e9, 2e9]])):
        for kind in ("polygon", "ellipse", "line"):
            with pytest.raises(ValueError, match="an outline must be at most"):
                drawn(PillowShape(kind, points, 10), size=(9_000, 9))


def test_far_polygons_cost_nothing() -> None:
    found = drawn(polygon([[-2e9, -2e9], [2e9, -2e9], [0, 2e9]]))
    np.testing.assert_array_equal(found, 1)
    assert not drawn(polygon([[100, 1], [200, 1], [150, 9]])).any()


@pytest.mark.parametrize(
    ("encoded", "size", "message"),
    [
        (png_base64(np.ones((2, 2), np.uint8)), (3, 2), "3x2 .*not 2x2"),
        ("not base64", (2, 2), "shape 1 of mask='a.json'"),
        ("aGVsbG8=", (2, 2), "must be drawn|an index mask"),
        (
            "",
            (10**6, 10**6),
            "1 to 600 pixels, as its image has, not 1000000x1000000",
        ),
        ("", (-1, -1), "not -1x-1"),
        ("", (0, 4), "not 0x4"),
    ],
)
def test_bitmaps_that_cannot_be_drawn(encoded, size, message) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(Bitmap(decode_png, encoded, size))


def test_corners_beyond_all_integers() -> None:
    text = png_base64(np.ones((2, 2), np.uint8))
    with pytest.raises(ValueError, match="must have shapes that can be drawn"):
        drawn(Bitmap(decode_png, text, (2, 2), (10**30, 0)))
