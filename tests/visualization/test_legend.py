"""Tests of visualization.legend: nothing is clipped, all in its place."""

import numpy as np
import pytest

from keras_pspnet.visualization.legend import (
    legend,
    percent,
    text_size,
)

RED, BLUE = (200, 0, 0), (0, 0, 200)


def has(image, color):
    return (np.asarray(image) == color).all(axis=-1)


@pytest.mark.parametrize("width", [320, 500, 1000, 5000])
@pytest.mark.parametrize("letters", [1, 9, 26])
def test_legend_keeps_its_margins(width, letters):
    entries = [(f"{index}{'e' * letters}  99.9%", RED) for index in range(7)]
    image = legend(entries, width)
    columns = np.nonzero(~has(image, (255, 255, 255)).all(axis=0))[0]
    size = text_size(width)
    assert columns[0] >= size and columns[-1] <= width - size


def test_no_small_share_looks_like_none():
    texts = [percent(share) for share in (1, 0.1234, 0.001, 0.0009)]
    assert texts == ["100.0%", "12.3%", "0.1%", "<0.1%"]
