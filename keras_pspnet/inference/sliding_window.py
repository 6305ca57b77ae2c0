"""Windows that slide over images, and rows of scores as they get finished.

Nothing here holds the scores of a whole image in windows: 100 megapixels with
21 classes would need 8 GB of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_pspnet.inference.resize import Span, resize

# Windows that a network sees at once.
BATCH = 4

Scorer = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where windows stand.

    Args:
        size: (height, width) of what they cover.
        window: (height, width) of each, at most `size`.
        tops: First row of each row of windows.
        lefts: First column of each column of windows.
        columns: The columns whose scores are wanted; all windows touch them.
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

    Those at the bottom and on the right end at the border and so overlap
    more, as in all evaluation protocols.

    Args:
        size: (height, width) of the image.
        window: Side; no window is larger than the image. None is one window
            that is the whole image.
        columns: The columns whose scores are wanted, None for all; windows
            that touch none of them are left out.
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
    # 2 * window / 3 rounded up, without the error of a float.
    stride = -(-2 * window // 3)
    last = max(size - window, 0)
    return (*range(0, last, stride), last)


def slide(
    image: np.ndarray,
    grid: Grid,
    score: Scorer,
    done: Callable[[int], Any] = lambda count: None,
) -> Iterator[np.ndarray]:
    """Averages the scores of windows, and gives rows that are finished.

    Args:
        image: (H, W, bands). Windows are cut out of it as resized to the grid's
            size, which it never is as a whole.
        grid: Where the windows stand.
        score: Scores crops, float32 (B, h, w, bands): float32 (B, h, w, C).
        done: Called with the number of windows whenever some are computed.

    Yields:
        float32 (rows, columns, C), from the top to the bottom.
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
        # It is the mean, of which no copy is needed.
        left = grid.lefts[0]
        yield scored(0, grid.lefts)[0, :, first - left : last - left]
        return
    # How many windows cover a pixel is a product of rows and columns.
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


def mean_of_windows(
    image: np.ndarray, window: int, score: Scorer
) -> np.ndarray:
    """Averages the scores of windows over a whole image.

    Args:
        image: (H, W, bands).
        window: Side of the windows.
        score: As of `slide`.

    Returns:
        float32 (H, W, C).
    """
    grid = place_windows(image.shape[:2], window)
    return np.concatenate(list(slide(image, grid, score)))


class RowBuffer:
    """Keeps of rows that come from top to bottom those that are still needed.

    Args:
        blocks: Blocks (r, n, C) of rows.
    """

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self._held = next(blocks)
        self._start = 0

    def read(self, first: int, last: int) -> np.ndarray:
        """Returns some rows; those above them are gone afterwards.

        Args:
            first: The first row, none above that of the call before.
            last: The one after the last.
        """
        pieces = [self._held[first - self._start :]]
        end = self._start + len(self._held)
        while end < last:
            block = next(self._blocks)
            # Between bands of a smaller size, rows are left out.
            pieces.append(block[max(first - end, 0) :])
            end += len(block)
        self._held = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        self._start = first
        return self._held[: last - first]
