"""semseg's and the Caffe code's protocols: square windows, each flipped too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_pspnet.evaluation.reference_resize import (
    matlab_resize,
    opencv_resize,
)
from keras_pspnet.inference import Predictor, mean_of_windows, softmax


def semseg_scores(
    predictor: Predictor,
    image: np.ndarray,
    side: float,
    window: int,
    flip: bool,
) -> np.ndarray:
    """Returns the probabilities of one scale, (H, W, C).

    Args:
        predictor: What computes the logits.
        image: RGB uint8 (H, W, 3), or float32 (H, W, bands).
        side: Longest side after resizing, in pixels.
        window: Side of the windows.
        flip: Whether every window is also seen flipped.
    """
    size = _with_longest(image.shape[:2], round(side))
    # OpenCV resizes floats here: semseg reads images as such.
    seen = opencv_resize(image.astype("float32"), size)
    top, left = (max(window - each, 0) // 2 for each in size)

    def score(crops: np.ndarray) -> np.ndarray:
        scores = softmax(predictor.logits(crops))
        if flip:
            flipped = softmax(predictor.logits(crops[:, :, ::-1]))
            scores = (scores + flipped[:, :, ::-1]) / 2
        return scores

    padded = pad(seen, window, predictor.fill, (top, left))
    scores = mean_of_windows(padded, window, score)
    scores = scores[top : top + size[0], left : left + size[1]]
    return opencv_resize(scores, image.shape[:2])


def caffe_scores(
    predictor: Predictor,
    image: np.ndarray,
    side: float,
    window: int,
    flip: bool,
) -> np.ndarray:
    """Returns the probabilities of one scale, (H, W, C).

    Args:
        predictor: What computes the logits.
        image: RGB uint8 (H, W, 3), or float32 (H, W, bands).
        side: One pixel less than the longest side after resizing.
        window: Side of the windows.
        flip: Whether every window is also seen flipped.
    """
    longest = round(side) + 1
    size = _with_longest(image.shape[:2], longest, np.float32)
    seen = matlab_resize(image, size)
    fill = predictor.fill
    if longest > window:
        # Padded while they are still of 8 bits; a single window is not.
        fill = tuple(float(int(value + 0.5)) for value in fill)

    def score(crops: np.ndarray) -> np.ndarray:
        logits = predictor.logits(crops)
        if flip:
            flipped = predictor.logits(crops[:, :, ::-1])
            logits = logits + flipped[:, :, ::-1]
        return softmax(logits)

    padded = pad(seen, window, fill)
    scores = mean_of_windows(padded, window, score)
    scores = matlab_resize(scores[: size[0], : size[1]], image.shape[:2])
    return scores / scores.sum(axis=-1, keepdims=True)


def _with_longest(
    size: tuple[int, ...], longest: int, number: Any = float
) -> tuple[int, int]:
    """Returns the (height, width) that has a longest side, keeping the ratio.

    Python's numbers round halves to the even side, MATLAB's single precision
    rounds them up.
    """
    height, width = size
    exact = number(longest) / number(max(size)) * number(min(size))
    other = round(exact) if number is float else math.floor(exact + 0.5)
    other = max(1, other)
    return (longest, other) if height > width else (other, longest)


def pad(
    image: np.ndarray, side: int, fill: Any, before: Sequence[int] = (0, 0)
) -> np.ndarray:
    """Pads an image where it is smaller than a square.

    Args:
        image: (H, W, bands).
        side: Of the square.
        fill: Color of the padding, a value for each band.
        before: Rows above and columns on the left of the image.

    Returns:
        float32, (H, W, bands) or larger.
    """
    height, width = image.shape[:2]
    sides = max(height, side), max(width, side)
    padded = np.empty((*sides, image.shape[-1]), "float32")
    padded[:] = fill
    padded[before[0] : before[0] + height, before[1] : before[1] + width] = (
        image
    )
    return padded
