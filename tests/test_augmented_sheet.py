"""Tests of the sheet of training crops: each stands beside its own labels."""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from keras_pspnet.training import augmented_sheet as program
from PIL import Image

from keras_pspnet.labels import LabelSet

LABELS = LabelSet("two", ("left", "right"), ((255, 0, 0), (0, 0, 255)))
# Of six columns of square crops: cells of 320x320 and gaps of 8, below a line
# of titles and above lines of captions.
TOP, PITCH, COLUMN = 82, 371, 328


def batches(size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches without end of grey crops, each lighter than the one before."""
    for first in itertools.count(0, size):
        greys = 4 * np.arange(first, first + size, dtype="float32") + 0.3
        images = np.broadcast_to(greys[:, None, None, None], (size, 16, 16, 3))
        masks = np.zeros((size, 16, 16), "uint8")
        masks[:, :, 8:] = 1
        masks[:, 12:] = 255
        yield images, masks


def cell(sheet: Image.Image, row: int, column: int) -> np.ndarray:
    left, top = 8 + column * COLUMN, TOP + row * PITCH
    return np.asarray(sheet)[top : top + 320, left : left + 320]


def test_each_crop_stands_beside_its_labels() -> None:
    sheet = program.augmented_sheet(batches(5), LABELS)
    assert sheet.width == 6 * COLUMN + 8
    for k in range(24):
        row, column = divmod(2 * k, 6)
        grey = 4 * k
        assert (cell(sheet, row, column) == grey).all()
        overlay = cell(sheet, row, column + 1)
        for place, color in (
            ((100, 60), LABELS.colors[0]),
            ((100, 260), LABELS.colors[1]),
        ):
            want = 0.45 * grey + 0.55 * np.array(color)
            np.testing.assert_allclose(overlay[place], want, atol=1)
        # Every fourth ignored pixel is white, on diagonals.
        pixels = overlay[10::20, 10::20]
        rows, columns = np.indices((16, 16))
        stripes = (rows >= 12) & ((rows + columns) % 4 == 0)
        np.testing.assert_array_equal((pixels == 255).all(-1), stripes)
        # The first of the rows is a line between regions.
        dark = ~stripes & (rows > 12)
        np.testing.assert_allclose(pixels[dark], 0.45 * grey, atol=1)


def test_a_short_run_fills_a_part_of_a_row() -> None:
    images, masks = next(batches(4))
    sheet = program.augmented_sheet([(images, masks)], LABELS)
    assert (cell(sheet, 1, 0) == 12).all()
    assert (cell(sheet, 1, 2) == 255).all()
    # A legend of two classes and what is ignored, below two rows.
    assert 0 < sheet.height - TOP - 2 * PITCH < PITCH


def test_the_program_draws_what_a_recipe_trains_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    recipe = tmp_path / "small.py"
    recipe.write_text(
        "from keras_pspnet.training.recipes.scenes import RECIPE\n"
        "RECIPE = RECIPE.shrunk()\n"
    )
    output = tmp_path / "sheet.png"
    arguments = ["augmented_sheet", str(recipe), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert program.main() == 0
    assert capsys.readouterr().out == f"{output}\n"
    sheet = Image.open(output)
    # Four steps of four crops: six rows of three, the last one short.
    assert sheet.height > TOP + 6 * PITCH
    assert np.unique(cell(sheet, 0, 0)).size > 20
    assert not np.array_equal(cell(sheet, 0, 0), cell(sheet, 0, 1))
