"""Slides windows over images and yields finished rows of scores.

The scores of a whole image are never in memory: 100 megapixels with 21 classes
would need 8 GB.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_pspnet.inference.resize import Span, resize

# Windows per batch.
BATCH = 4

Scorer = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Grid:
    """The positions of windows.

    Args:
        size: (height, width) of the area that they cover.
        window: (height, width) of each window, at most `size`.
        tops: First row of each row of windows.
        lefts: First column of each column of windows.
        columns: Columns whose scores are computed; all windows touch them.
    """

    size: tuple[int, int]
    window: tuple[int, int]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    columns: Span

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.tops) * len(self.lefts)


def place_windows(
    size: tuple[int, ...], window: int | None, columns: Span | None = None
) -> Grid:
    """Places windows every two thirds of their side, rounded up.

    The windows at the bottom and on the right end at the border, so they may
    overlap more, as in all evaluation protocols.

    Args:
        size: (height, width) of the image.
        window: Side of the windows, cut to the size of the image. None is
            one window, the whole image.
        columns: Columns whose scores are computed, None for all; windows that
            touch none of them are left out.
    """
    height, width = size
    window = window or max(size)
    first, last = columns or (0, width)
    lefts = tuple(
        left
        for left in _starts(width, window)
        if left < last and left + window > first
    )
    sides = min(window, height), min(window, width)
    return Grid(
        (height, width), sides, _starts(height, window), lefts, (first, last)
    )


def _starts(size: int, window: int) -> tuple[int, ...]:
    # 2 * window / 3 rounded up, in integers.
    stride = -(-2 * window // 3)
    last = max(size - window, 0)
    return (*range(0, last, stride), last)


def slide(
    image: np.ndarray,
    grid: Grid,
    score: Scorer,
    done: Callable[[int], Any] = lambda count: None,
) -> Iterator[np.ndarray]:
    """Averages the scores of windows, and yields finished rows.

    Args:
        image: (H, W, bands). Each window is resized from it to the scale of
            the grid; the image is never resized as a whole.
        grid: Positions of the windows.
        score: Scores crops: from float32 (B, h, w, bands) to float32
            (B, h, w, C).
        done: Called with the number of windows after each batch.

    Yields:
        float32 (rows, columns, C), from top to bottom.
    """
    first, last = grid.columns
    height, width = grid.window

    def scored(top: int, lefts: Sequence[int]) -> np.ndarray:
        rows = (top, top + height)
        crops = [
            resize(image, grid.size, rows, (left, left + width))
            for left in lefts
        ]
        scores = score(np.stack(crops))
        done(len(crops))
        return scores

    if grid.count == 1:
        # A single window is the mean already; do not copy it.
        left = grid.lefts[0]
        yield scored(0, grid.lefts)[0, :, first - left : last - left]
        return
    # The number of windows over a pixel is that of its row times its column.
    across = _coverage(grid.lefts, width, grid.size[1])[first:last]
    down = _coverage(grid.tops, height, grid.size[0])
    total: Any = None
    for top, following in zip(
        grid.tops, (*grid.tops[1:], grid.size[0]), strict=True
    ):
        for start in range(0, len(grid.lefts), BATCH):
            lefts = grid.lefts[start : start + BATCH]
            scores = scored(top, lefts)
            if total is None:
                shape = (height, last - first, scores.shape[-1])
                total = np.zeros(shape, "float32")
            for left, one in zip(lefts, scores, strict=True):
                begin, end = max(left, first), min(left + width, last)
                total[:, begin - first : end - first] += one[
                    :, begin - left : end - left
                ]
        # No later window reaches these rows.
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


def mean_of_windows(
    image: np.ndarray, window: int, score: Scorer
) -> np.ndarray:
    """Averages the scores of windows over a whole image.

    Args:
        image: (H, W, bands).
        window: Side of the windows.
        score: As in `slide`.

    Returns:
        float32 (H, W, C).
    """
    grid = place_windows(image.shape[:2], window)
    return np.concatenate(list(slide(image, grid, score)))


class RowBuffer:
    """Buffers rows that arrive from top to bottom, while they are needed.

    Args:
        blocks: Blocks (r, n, C) of rows.
    """

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self._held = next(blocks)
        self._start = 0

    def read(self, first: int, last: int) -> np.ndarray:
        """Returns a range of rows, and drops the rows above it.

        Args:
            first: The first row, not above that of the previous call.
            last: The one after the last.
        """
        pieces = [self._held[first - self._start :]]
        end = self._start + len(self._held)
        while end < last:
            block = next(self._blocks)
            # Skip rows between the bands of a smaller size.
            pieces.append(block[max(first - end, 0) :])
            end += len(block)
        self._held = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        self._start = first
        return self._held[: last - first]
