"""Windows that slide over pictures, and rows of scores as they get finished.

Nothing here holds the scores of a whole picture: a picture of 100 megapixels
with 21 classes would need 8 GB of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

# Windows that a network sees at once.
BATCH = 4

Scorer = Callable[[np.ndarray], np.ndarray]
Crop = Callable[[int, int, int, int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where windows stand.

    Args:
        size: (height, width) of what they cover.
        window: (height, width) of each, at most `size`.
        stride: Distance (down, across) between neighbours; those at the
            bottom and on the right end at the border and so overlap more.
    """

    size: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int]

    @property
    def tops(self) -> list[int]:
        """First row of each row of windows."""
        return _starts(self.size[0], self.window[0], self.stride[0])

    @property
    def lefts(self) -> list[int]:
        """First column of each column of windows."""
        return _starts(self.size[1], self.window[1], self.stride[1])


def grid(size: tuple[int, ...], window: int) -> Grid:
    """Places windows every two thirds of their side, rounded up.

    Args:
        size: (height, width) of the picture.
        window: Side; no window is larger than the picture.

    Returns:
        The grid of all three evaluation protocols.
    """
    # 2 * window / 3 rounded up, without the error of a float.
    stride = -(-2 * window // 3)
    sides = min(window, size[0]), min(window, size[1])
    return Grid((size[0], size[1]), sides, (stride, stride))


def _starts(size: int, window: int, stride: int) -> list[int]:
    count = max(-(-(size - window) // stride), 0) + 1
    return [min(index * stride, size - window) for index in range(count)]


def slide(
    crop: Crop,
    score: Scorer,
    grid: Grid,
    classes: int,
    columns: tuple[int, int] | None = None,
    done: Callable[[int], Any] = lambda count: None,
) -> Iterator[np.ndarray]:
    """Averages the scores of windows, and gives rows that are finished.

    Args:
        crop: Gives the picture's rows top..bottom and columns left..right,
            float32 (h, w, 3), as `crop(top, bottom, left, right)`.
        score: Scores crops (B, h, w, 3): float32 (B, h, w, C).
        grid: Where the windows stand.
        classes: Number of classes C.
        columns: The first column that is wanted, and the one after the last;
            windows that touch none of them are not computed.
        done: Called with the number of windows whenever some are computed.

    Yields:
        float32 (rows, columns, C), from the top to the bottom.
    """
    first, last = columns or (0, grid.size[1])
    height, width = grid.window
    lefts = [
        left for left in grid.lefts if left < last and left + width > first
    ]
    # How many windows cover a pixel is a product of rows and columns.
    across = _coverage(lefts, width, grid.size[1])[first:last]
    down = _coverage(grid.tops, height, grid.size[0])
    tops = [*grid.tops, grid.size[0]]
    total = np.zeros((height, last - first, classes), "float32")
    for top, following in zip(tops[:-1], tops[1:], strict=True):
        for start in range(0, len(lefts), BATCH):
            batch = lefts[start : start + BATCH]
            scores = score(
                np.stack(
                    [
                        crop(top, top + height, left, left + width)
                        for left in batch
                    ]
                )
            )
            for left, one in zip(batch, scores, strict=True):
                begin, end = max(left, first), min(left + width, last)
                total[:, begin - first : end - first] += one[
                    :, begin - left : end - left
                ]
            done(len(batch))
        # No window below reaches these rows.
        finished = following - top
        counts = down[top:following, None, None] * across[None, :, None]
        yield total[:finished] / counts
        total[:-finished] = total[finished:].copy()
        total[-finished:] = 0


def _coverage(starts: Sequence[int], window: int, size: int) -> np.ndarray:
    counts = np.zeros(size, "float32")
    for start in starts:
        counts[start : start + window] += 1
    return counts


def count_windows(grid: Grid, strips: Sequence[tuple[int, int]]) -> int:
    """Counts the windows that `slide` computes for strips of columns.

    Args:
        grid: Where the windows stand.
        strips: First column and the one after the last of each strip.
    """
    width = grid.window[1]
    across = sum(
        left < last and left + width > first
        for first, last in strips
        for left in grid.lefts
    )
    return across * len(grid.tops)


@dataclasses.dataclass(frozen=True)
class Axis:
    """Bilinear resizing along one axis, of which parts can be had.

    Args:
        size: Number of samples.
        out_size: Number of samples after resizing.
        align_corners: True puts the first and last samples of both on each
            other, False uses half-pixel centres.
    """

    size: int
    out_size: int
    align_corners: bool = False

    def needed(self, first: int, last: int) -> tuple[int, int]:
        """Tells which samples some of the resized ones are made of.

        Args:
            first: The first sample after resizing.
            last: The one after the last.

        Returns:
            The first sample that is read, and the one after the last.
        """
        if self.size == self.out_size:
            return first, last
        # Before the centre of the first sample there is nothing but it.
        low = math.floor(max(self._where(first), 0))
        high = math.floor(max(self._where(last - 1), 0)) + 2
        return low, min(high, self.size)

    def resize(
        self, samples: np.ndarray, axis: int, first: int, last: int
    ) -> np.ndarray:
        """Computes some of the resized samples.

        Args:
            samples: float32; along the axis, those that `needed` names.
            axis: Which axis, 0 or 1.
            first: The first sample after resizing.
            last: The one after the last.

        Returns:
            float32, `last - first` samples along the axis.
        """
        if self.size == self.out_size:
            return samples
        where = np.clip(self._where(np.arange(first, last)), 0, self.size - 1)
        before = where.astype("int64")
        after = np.minimum(before + 1, self.size - 1)
        weight = (where - before).astype("float32")
        weight = weight.reshape([-1] + [1] * (samples.ndim - 1 - axis))
        low = self.needed(first, last)[0]
        result = np.take(samples, before - low, axis)
        difference = np.take(samples, after - low, axis)
        difference -= result
        difference *= weight
        result += difference
        return result

    def _where(self, index: Any) -> Any:
        if self.align_corners:
            return index * ((self.size - 1) / max(self.out_size - 1, 1))
        return (index + 0.5) * (self.size / self.out_size) - 0.5


def upsample(
    rows: Iterable[np.ndarray],
    axes: tuple[Axis, Axis],
    columns: tuple[int, int],
    bands: Sequence[tuple[int, int]],
) -> Iterator[np.ndarray]:
    """Resizes finished rows, as they come, to bands of rows of another size.

    Args:
        rows: Blocks (r, n, C) of scores from the top to the bottom, of the
            columns that are needed.
        axes: How the height is resized, and the width.
        columns: The columns that are wanted after resizing, the first and
            the one after the last.
        bands: The rows that are wanted after resizing, likewise, downwards.

    Yields:
        float32 (rows, columns, C) of each band.
    """
    blocks = iter(rows)
    held, start = next(blocks), 0
    for band in bands:
        low, high = axes[0].needed(*band)
        pieces = [held[low - start :]]
        end = start + len(held)
        while end < high:
            block = next(blocks)
            # Between bands of a smaller size, rows are left out.
            pieces.append(block[max(low - end, 0) :])
            end += len(block)
        held = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        start = low
        part = axes[0].resize(held[: high - low], 0, *band)
        yield axes[1].resize(part, 1, *columns)


def resize(
    scores: np.ndarray, size: tuple[int, int], align_corners: bool = False
) -> np.ndarray:
    """Resizes scores or a picture, bilinear without antialiasing.

    Args:
        scores: float32 (h, w, C).
        size: (height, width).
        align_corners: As of `Axis`.

    Returns:
        float32 (height, width, C); the same array if it has the size.
    """
    if scores.shape[:2] == tuple(size):
        return scores
    down, across = (
        Axis(side, out_side, align_corners)
        for side, out_side in zip(scores.shape[:2], size, strict=True)
    )
    above, below = down.needed(0, size[0])
    before, after = across.needed(0, size[1])
    rows = down.resize(scores[above:below, before:after], 0, 0, size[0])
    return across.resize(rows, 1, 0, size[1])


def split(size: int, step: int) -> list[tuple[int, int]]:
    """Cuts 0..size into parts of a length, the last one perhaps shorter.

    Args:
        size: What is cut.
        step: Length of the parts.

    Returns:
        The first of each part, and the one after the last.
    """
    return [(first, min(first + step, size)) for first in range(0, size, step)]
