"""Tests of visualization.legend: nothing is clipped, all in its place."""

import numpy as np
import pytest
from PIL import Image

from keras_pspnet.visualization.legend import (
    legend,
    percent,
    shorten,
    stack,
    text_size,
)

RED, BLUE = (200, 0, 0), (0, 0, 200)


def has(image, color):
    return (np.asarray(image) == color).all(axis=-1)


def test_text_grows_with_the_sheet_within_limits():
    sizes = [text_size(width) for width in (1, 320, 960, 4000, 10**5)]
    assert sizes == [13, 13, 20, 83, 96]


def test_stack_centres():
    red = Image.new("RGB", (10, 4), RED)
    blue = Image.new("RGB", (20, 6), BLUE)
    sheet = stack([red, blue], 20)
    assert sheet.size == (20, 10)
    assert has(sheet, RED)[:4, 5:15].all() and has(sheet, RED).sum() == 40
    assert has(sheet, BLUE)[4:].all()


def test_legend_puts_short_entries_beside_each_other():
    entries = [("a", RED), ("b", BLUE)]
    wide, narrow = legend(entries, 300), legend(entries, 60)
    assert wide.height < narrow.height
    for image, axis in ((wide, 1), (narrow, 0)):
        red, blue = (
            np.nonzero(has(image, color).any(axis=axis))[0]
            for color in (RED, BLUE)
        )
        np.testing.assert_array_equal(red, blue)


@pytest.mark.parametrize("width", [320, 500, 1000, 5000])
@pytest.mark.parametrize("letters", [1, 9, 26])
def test_legend_keeps_its_margins(width, letters):
    entries = [(f"{index}{'e' * letters}  99.9%", RED) for index in range(7)]
    image = legend(entries, width)
    columns = np.nonzero(~has(image, (255, 255, 255)).all(axis=0))[0]
    size = text_size(width)
    assert columns[0] >= size and columns[-1] <= width - size


def test_long_names_end_in_an_ellipsis():
    assert shorten("n" * 28) == "n" * 28
    assert shorten("n" * 200) == "n" * 27 + "…"


def test_no_small_share_looks_like_none():
    texts = [percent(share) for share in (1, 0.1234, 0.001, 0.0009)]
    assert texts == ["100.0%", "12.3%", "0.1%", "<0.1%"]
