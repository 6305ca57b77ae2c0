"""What the network says of a picture, and how far two answers agree."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_pspnet.inference import segment, shrink
from keras_pspnet.labels import LabelSet
from keras_pspnet.network import Network
from keras_pspnet.visualization.colors import WRONG
from keras_pspnet.visualization.segmentation import Segmentation

# Longest side of what is shown, in pixels. A result's own size is in the files.
VIEW_SIDE = 1280


@dataclasses.dataclass(frozen=True)
class Way:
    """How a picture is looked at, see `keras_pspnet.segment`.

    Args:
        scales: Sizes whose probabilities are averaged.
        flip: Whether mirrored pictures are averaged in as well.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __str__(self) -> str:
        sizes = ", ".join(f"{scale:g}" for scale in self.scales)
        word = "size" if len(self.scales) == 1 else "sizes"
        return f"{word} {sizes}{', mirrored too' if self.flip else ''}"


PLAIN = Way()


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """The result of a picture, whole and as small as it is shown.

    Args:
        way: How it was looked at.
        result: The picture, and its mask.
        view: The same at no more than `VIEW_SIDE`, with its confidence.
        confidence: Mean over all pixels, 0..1.
        seconds: How long the network took.
    """

    way: Way
    result: Segmentation
    view: Segmentation
    confidence: float
    seconds: float

    @property
    def nbytes(self) -> int:
        """What it takes in memory beside the picture."""
        assert self.view.confidence is not None
        arrays = (self.result.mask, self.view.mask, self.view.confidence)
        shown = 0 if self.view.image is self.result.image else 1
        return sum(each.nbytes for each in arrays) + (
            shown * self.view.image.nbytes
        )


def run(
    network: Network,
    picture: np.ndarray,
    way: Way,
    arguments: Mapping[str, Any],
) -> Run:
    """Segments a picture.

    Args:
        network: What segments.
        picture: RGB, uint8 (H, W, 3).
        way: How it is looked at.
        arguments: Further ones of `keras_pspnet.segment`.

    Returns:
        The result; its mask is that of `keras_pspnet.segment`.

    Raises:
        ValueError: If an argument is out of range.
    """
    start = time.perf_counter()
    found = segment(
        network,
        picture,
        scales=way.scales,
        flip=way.flip,
        confidence=True,
        **arguments,
    )
    seconds = time.perf_counter() - start
    assert found.confidence is not None
    return Run(
        way,
        # Of a large picture, the confidence would take more than all else.
        dataclasses.replace(found, confidence=None),
        _view(found),
        float(found.confidence.mean(dtype=np.float64)),
        seconds,
    )


def _view(found: Segmentation) -> Segmentation:
    """Shrinks a result to what fits a page; classes are picked, not mixed."""
    assert found.confidence is not None
    image = shrink(found.image, VIEW_SIDE)
    rows, columns = (
        (2 * np.arange(small) + 1) * side // (2 * small)
        for small, side in zip(image.shape[:2], found.mask.shape, strict=True)
    )
    picked = np.ix_(rows, columns)
    return Segmentation(
        image, found.mask[picked], found.labels, found.confidence[picked]
    )


def agreement(first: Run, second: Run) -> float:
    """Returns the share of pixels to which two runs give the same class.

    Args:
        first: One result.
        second: Another one of the same picture.
    """
    return float(np.mean(first.result.mask == second.result.mask))


def difference(first: Run, second: Run) -> np.ndarray:
    """Draws the dimmed picture, and in one strong colour where two differ.

    Args:
        first: One result.
        second: Another one of the same picture.

    Returns:
        RGB, uint8 (h, w, 3), of the size of their views.
    """
    grey = first.view.image.mean(axis=-1, keepdims=True) / 2 + 64
    shown = np.rint(grey).astype("uint8").repeat(3, axis=-1)
    shown[first.view.mask != second.view.mask] = WRONG
    return shown


def classes_of(result: Segmentation) -> Sequence[int]:
    """Lists the ids of the classes in a result, the largest first.

    Args:
        result: The result.
    """
    labels: LabelSet = result.labels
    return [labels.names.index(name) for name in result.areas()]
