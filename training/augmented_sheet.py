"""What a recipe trains on: `python -m training.augmented_sheet RECIPE`.

    python -m training.augmented_sheet scenes
    python -m training.augmented_sheet aerial --data-dir dubai

Draws the first crops of the run beside their labels: are they still pictures,
and are the labels where they belong?
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_pspnet.files import writing_atomically
from keras_pspnet.labels import LabelSet
from keras_pspnet.visualization.colors import IGNORED, class_colors
from keras_pspnet.visualization.legend import (
    Entry,
    cell_size,
    fitting_size,
    legend,
    stack,
    table,
    text_size,
)
from keras_pspnet.visualization.segmentation import Segmentation

from .train import load_recipe, open_data

_CROPS = 24
_CROPS_IN_A_ROW = 3
_STRIPE = (255, 255, 255)


def main() -> int:
    """Draws the sheet of a recipe.

    Returns:
        Exit status 0.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--output", type=Path, default=Path("augmented.png"))
    options = parser.parse_args()
    recipe = load_recipe(options.recipe)
    batches = open_data(recipe, options.data_dir).training_batches(0)
    sheet = augmented_sheet(batches, recipe.labels)
    with writing_atomically(options.output) as stream:
        sheet.save(stream, "PNG")
    print(options.output)
    return 0


def augmented_sheet(
    batches: Iterable[tuple[Any, Any]], labels: LabelSet
) -> Image.Image:
    """Lays out the first crops of some batches, each beside its labels.

    Args:
        batches: Images, float32 (B, H, W, 3) in 0..255, and their masks,
            uint8 (B, H, W).
        labels: Classes and colours.

    Returns:
        An RGB picture of at most 24 crops; ignored pixels are striped.
    """
    panels: list[Image.Image] = []
    present: set[int] = set()
    for image, mask in _first(batches, _CROPS):
        height, width = mask.shape
        cell = cell_size(height, width)
        crop = np.rint(image).astype("uint8")
        overlay = Segmentation(crop, mask, labels).overlay()
        # Not by colour alone: VOC's background is as black.
        overlay[(mask == labels.ignore_label) & _stripes(mask.shape)] = _STRIPE
        panels += [
            Image.fromarray(panel).resize(
                fitting_size(height, width, cell), Image.Resampling.NEAREST
            )
            for panel in (crop, overlay)
        ]
        present.update(np.unique(mask).tolist())
    columns = 2 * _CROPS_IN_A_ROW
    # The last row is full, so that none is cut short.
    panels += [Image.new("RGB", (1, 1), "white")] * (-len(panels) % columns)
    rows = [
        panels[start : start + columns]
        for start in range(0, len(panels), columns)
    ]
    sheet = table(("crop", "labels") * _CROPS_IN_A_ROW, rows, (), cell)
    colors = class_colors(labels).tolist()
    entries = [
        Entry(labels.names[index], tuple(colors[index]))
        for index in sorted(present - {labels.ignore_label})
    ]
    if labels.ignore_label in present:
        entries.append(Entry("ignored (striped)", IGNORED))
    key = legend(entries, sheet.width, text_size(sheet.width))
    return stack([sheet, key], sheet.width)


def _stripes(size: tuple[int, int]) -> np.ndarray:
    """Which pixels are on diagonal stripes, a quarter of them all."""
    width = max(round(max(size) / 120), 1)
    rows, columns = np.indices(size)
    return (rows + columns) // width % 4 == 0


def _first(
    batches: Iterable[tuple[Any, Any]], count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first pairs of image and mask."""
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for images, masks in batches:
        pairs += zip(np.asarray(images), np.asarray(masks), strict=True)
        if len(pairs) >= count:
            break
    return pairs[:count]


if __name__ == "__main__":
    sys.exit(main())
