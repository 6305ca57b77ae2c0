"""Measures how well the masks of adjacent photographs agree.

    python -m training.label_agreement dubai

The photographs of each area of the `aerial` data form a grid of 3x3 without
gaps, and seem to be labeled one by one. On both sides of the line between two
of them, the ground is almost the same. The script compares the classes there,
and for reference those of two lines at the same distance in one photograph.

It prints the IoU of one side's classes with the other's. The areas count as
in the validation split, by their pixels. The error of the mean is its standard
deviation over draws of the lines with replacement.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

import keras_pspnet as kp
from keras_pspnet.data import load
from keras_pspnet.labels import AERIAL
from keras_pspnet.metrics import confusion_matrix

_SIDE = 3
# Distances in pixels, of lines in one photograph.
_DISTANCES = (1, 2)
_DRAWS = 300
_CLASSES = AERIAL.num_classes
_FILE = re.compile(r"tile(\d+)_(\d+)_(\d)(\d)")

Photo = tuple[np.ndarray, np.ndarray]


class Line(NamedTuple):
    """Two lines of pixels that are side by side.

    Args:
        area: Number of the area.
        correlation: Of their brightness, -1..1.
        confusion: Pixels of both classes, int32 (C, C).
    """

    area: int
    correlation: float
    confusion: np.ndarray


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="train/ and val/ of the set")
    folder = parser.parse_args().folder
    val = read_photos(folder, "val")
    shares = area_shares(val)
    photos = dict(sorted((read_photos(folder, "train") | val).items()))
    kinds = {"across photographs": list(across(photos))}
    for distance in _DISTANCES:
        kinds[f"{distance} px apart in one"] = list(within(photos, distance))
    print(f"{'':<20} lines  corr.  {'  '.join(AERIAL.names)}  mean IoU")
    for name, lines in kinds.items():
        draws = np.random.default_rng(0).integers(
            len(lines), size=(_DRAWS, len(lines))
        )
        means = [
            scores([lines[k] for k in draw], shares).mean_iou for draw in draws
        ]
        found = scores(lines, shares)
        ious = "  ".join(
            f"{iou:{len(name)}.3f}"
            for name, iou in zip(AERIAL.names, found.iou, strict=True)
        )
        correlation = np.median([line.correlation for line in lines])
        print(
            f"{name:<20} {len(lines):5}  {correlation:5.2f}  {ious}  "
            f"{found.mean_iou:.3f} ± {np.std(means):.3f}"
        )
    return 0


def read_photos(folder: Path, split: str) -> dict[tuple[int, int], Photo]:
    """Assembles the photographs from their crops.

    Args:
        folder: Folder of the data.
        split: Split to read; each photograph is in one.

    Returns:
        (area, number from 1) -> brightness, float64 (H, W), and classes,
        uint8 (H, W).
    """
    crops: dict[tuple[int, int], dict[tuple[int, int], Photo]]
    crops = defaultdict(dict)
    data = load(folder, split, labels=AERIAL)
    for index, sample in enumerate(data.samples):
        found = _FILE.fullmatch(Path(sample.image).stem)
        if found is None:
            raise ValueError(
                "`folder` must hold images named tileA_PPP_RC. Received: "
                f"{sample.image}"
            )
        area, number, row, column = map(int, found.groups())
        image, mask = data[index]
        gray = image.mean(axis=-1)
        crops[area, number][row, column] = gray, mask
    return {key: _assemble(parts) for key, parts in sorted(crops.items())}


def _assemble(parts: dict[tuple[int, int], Photo]) -> Photo:
    rows, columns = np.max(list(parts), axis=0) + 1
    gray, mask = (
        np.block(
            [[parts[r, c][k] for c in range(columns)] for r in range(rows)]
        )
        for k in (0, 1)
    )
    return gray, mask


def area_shares(photos: dict[tuple[int, int], Photo]) -> dict[int, float]:
    """Returns the share of each area in the labeled pixels."""
    pixels: dict[int, int] = defaultdict(int)
    for (area, _), (_, mask) in photos.items():
        pixels[area] += int((mask < _CLASSES).sum())
    total = sum(pixels.values())
    return {area: count / total for area, count in pixels.items()}


def across(photos: dict[tuple[int, int], Photo]) -> Iterator[Line]:
    """Compares the outermost pixels of adjacent photographs."""
    for (area, number), photo in photos.items():
        row, column = divmod(number - 1, _SIDE)
        right, below = (area, number + 1), (area, number + _SIDE)
        if column + 1 < _SIDE and right in photos:
            yield _compare(area, photo, photos[right], -1, 0)
        if row + 1 < _SIDE and below in photos:
            yield _compare(
                area, _transposed(photo), _transposed(photos[below]), -1, 0
            )


def within(
    photos: dict[tuple[int, int], Photo], distance: int
) -> Iterator[Line]:
    """Compares lines in the middle of photographs, in both directions."""
    for (area, _), photo in photos.items():
        for each in (photo, _transposed(photo)):
            middle = each[0].shape[1] // 2
            yield _compare(area, each, each, middle, middle + distance)


def _transposed(photo: Photo) -> Photo:
    return photo[0].T, photo[1].T


def _compare(area: int, one: Photo, other: Photo, x: int, y: int) -> Line:
    """Compares column x of a photograph with column y of another."""
    length = min(len(one[0]), len(other[0]))
    grays = one[0][:length, x], other[0][:length, y]
    first, second = one[1][:length, x], other[1][:length, y]
    labeled = (first < _CLASSES) & (second < _CLASSES)
    confusion = confusion_matrix(first[labeled], second[labeled], _CLASSES)
    return Line(
        area,
        float(np.corrcoef(*grays)[0, 1]),
        keras.ops.convert_to_numpy(confusion),
    )


def scores(lines: list[Line], shares: dict[int, float]) -> kp.Scores:
    """Scores one side against the other, with both as the ground truth.

    Args:
        lines: The lines.
        shares: Weight of each area.
    """
    total = np.zeros((_CLASSES, _CLASSES))
    for area, share in shares.items():
        counts = np.zeros_like(total)
        for line in lines:
            if line.area == area:
                counts += line.confusion
        if counts.any():
            total += share * (counts + counts.T) / counts.sum()
    return kp.Scores(np.rint(1e6 * total).astype(np.int64), AERIAL)


if __name__ == "__main__":
    sys.exit(main())
