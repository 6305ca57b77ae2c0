"""Tests of visualization.legend: nothing is clipped, all in its place."""

import numpy as np
import pytest
from PIL import Image

from keras_pspnet.visualization.legend import (
    Entry,
    cell_size,
    color_bar,
    fitting_size,
    legend,
    stack,
    table,
    text_size,
)

RED, BLUE = (200, 0, 0), (0, 0, 200)
WHITE = (255, 255, 255)


def has(picture, color):
    return (np.asarray(picture) == color).all(axis=-1)


def drawn_columns(picture):
    """First and last column that is not paper."""
    columns = np.nonzero(~has(picture, WHITE).all(axis=0))[0]
    return columns[0], columns[-1]


def test_text_grows_with_the_sheet_within_limits():
    assert [text_size(width) for width in (1, 320, 960, 4000, 10**5)] == [
        13,
        13,
        20,
        83,
        96,
    ]


def test_stack_centres():
    red = Image.new("RGB", (10, 4), RED)
    blue = Image.new("RGB", (20, 6), BLUE)
    sheet = stack([red, blue], 20)
    assert sheet.size == (20, 10)
    assert has(sheet, RED)[:4, 5:15].all() and has(sheet, RED).sum() == 40
    assert has(sheet, BLUE)[4:].all()


def test_legend_puts_short_entries_beside_each_other():
    entries = [Entry("a", RED), Entry("b", BLUE)]
    wide, narrow = legend(entries, 300, 13), legend(entries, 60, 13)
    assert wide.height < narrow.height
    rows = [
        np.nonzero(has(wide, color).any(axis=1))[0] for color in (RED, BLUE)
    ]
    np.testing.assert_array_equal(*rows)
    columns = [
        np.nonzero(has(narrow, color).any(axis=0))[0] for color in (RED, BLUE)
    ]
    np.testing.assert_array_equal(*columns)


@pytest.mark.parametrize("width", [320, 500, 1000, 5000])
@pytest.mark.parametrize("letters", [1, 9, 40, 300])
def test_legend_keeps_its_margins(width, letters):
    size = text_size(width)
    entries = [
        Entry(f"{index}" + "m" * letters, RED, "99.9%") for index in range(7)
    ]
    left, right = drawn_columns(legend(entries, width, size))
    assert left >= size and right <= width - size


def test_legend_shortens_the_name_and_not_the_share():
    short = Entry("m" * 24 + "…", RED, "12.3%")
    long = Entry("m" * 90, RED, "12.3%")
    for letters in range(10, 25):
        short = Entry("m" * letters + "…", RED, "12.3%")
        if legend([short], 320, 13) == legend([long], 320, 13):
            break
    else:
        pytest.fail("no shortened name looks like the legend")
    assert legend([Entry("m" * 90, RED)], 320, 13) != legend([long], 320, 13)


def test_one_long_name_does_not_widen_the_others_beyond_the_legend():
    entries = [Entry("short", BLUE), Entry("m" * 200, RED)]
    picture = legend(entries, 400, 13)
    assert has(picture, RED).any() and has(picture, BLUE).any()


def test_color_bar_shows_the_whole_range():
    bar = np.asarray(color_bar("confidence", "mean 0.50", 400, 16))
    colors = bar[27 + 8, 16:384]
    assert colors[0].tolist() == [68, 1, 84]
    assert colors[-1].tolist() == [253, 231, 37]
    assert (np.diff(colors.astype(int).sum(axis=-1)) >= 0).mean() > 0.9
    left, right = drawn_columns(Image.fromarray(bar))
    assert (left, right) == (16, 383)
    # Five numbers below it.
    dark = (bar[27 + 16 + 8 :].sum(axis=-1) < 300).any(axis=0)
    assert dark[:30].any() and dark[370:].any() and dark[180:220].any()


@pytest.mark.parametrize(
    ("size", "cell"),
    [
        ((480, 640), (320, 240)),
        ((640, 480), (240, 320)),
        ((3000, 4000), (320, 240)),
        ((32, 32), (320, 320)),
        ((1, 5000), (320, 160)),
        ((5000, 1), (160, 320)),
    ],
)
def test_cells_have_the_ratio_of_pictures_within_limits(size, cell):
    assert cell_size(*size) == cell


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((480, 640), (320, 240)),
        ((640, 640), (240, 240)),
        ((24, 32), (320, 240)),
        ((1, 5000), (320, 8)),
        ((5000, 1), (8, 240)),
    ],
)
def test_pictures_fill_a_cell(size, fitted):
    assert fitting_size(*size, (320, 240)) == fitted


def test_table_places_pictures_and_captions():
    red, blue = (
        Image.new("RGB", (200, height), color)
        for height, color in ((160, RED), (100, BLUE))
    )
    rows = [[red, blue], [blue, red]]
    sheet = table(("one", "two"), rows, ("first", "second"), (200, 160))
    # A line of titles; cells with gaps of 8 and captions of 11 points.
    top, pitch = 26, 160 + 16 + 8
    assert sheet.size == (2 * 208 + 8, top + 2 * pitch)
    reds = has(sheet, RED)
    assert reds[top : top + 160, 8:208].all()
    assert reds[top + pitch : top + pitch + 160, 216:416].all()
    assert reds.sum() == 2 * 160 * 200
    blues = has(sheet, BLUE)
    assert blues[top + 30 : top + 130, 216:416].all()
    for row in range(2):
        caption = sheet.crop(
            (0, top + row * pitch + 160, 424, top + (row + 1) * pitch)
        )
        left, right = drawn_columns(caption)
        assert left > 216 and right < 416
        assert abs(left + right - (216 + 416)) <= 2


def test_captions_fit_below_the_narrowest_cells():
    cell = cell_size(5000, 1)
    caption = "mIoU 0.99   accuracy 100.0%"
    row = [Image.new("RGB", cell, RED)] * 4
    sheet = table(("a", "b", "c", "d"), [row], [caption], cell)
    bare = table(("a", "b", "c", "d"), [row], [""], cell)
    changed = (np.asarray(sheet) != np.asarray(bare)).any(axis=(0, 2))
    columns = np.nonzero(changed)[0]
    assert columns[0] > 8 + 3 * 168 and columns[-1] < 8 + 3 * 168 + 160
