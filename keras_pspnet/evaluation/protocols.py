"""The evaluation protocols of the field, each exact and with its name.

A score without its protocol says little: the same weights give another mean
IoU where pictures are resized, cut into windows or mirrored in another way.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_pspnet.evaluation.reference_resize import (
    matlab_resize,
    opencv_resize,
)
from keras_pspnet.inference import (
    Predictor,
    View,
    argmax,
    axes_of,
    bands_of,
    check_scales,
    check_window,
    mask_of_views,
    network_scorer,
    rows_of,
    softmax,
    sum_of_views,
    upsample,
    views_of,
)
from keras_pspnet.utils import check_choice

NAMES = ("plain", "mmseg", "semseg", "caffe")
# What the sources use for VOC and ADE20K; for Cityscapes it is (2048, 1024)
# in mmsegmentation and 2048 in the other two, with windows of 713.
_BASE_SIDE = 512
_BASE_SIDES = (2048, 512)
_WINDOW = 473


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How every picture of a set is looked at.

    Args:
        name: Whose protocol it is.
        scales: Sizes relative to `base` (for "plain", to the picture's).
        flip: Whether mirrored pictures count as well.
        window: Side of sliding windows, None for whole pictures.
        base: Longest side before scaling, or (longest, shortest) within
            which a picture is fitted, or None where it is not resized.
    """

    name: str
    scales: tuple[float, ...]
    flip: bool
    window: int | None
    base: Any

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings for a report."""
        return dataclasses.asdict(self)


def make_protocol(
    name: str = "plain",
    scales: Sequence[float] = (1.0,),
    flip: bool | None = None,
    window: int | None = None,
    base: int | Sequence[int] | None = None,
) -> Protocol:
    """Fills in what a protocol's source does by default.

    Args:
        name: `"plain"`: pictures as they are. `"mmseg"`: whole pictures
            inside (2048, 512), their logits resized to the original;
            windows average logits; several views average probabilities.
            `"semseg"`: longest side 512, windows of 473, probabilities of
            every window and its mirror image averaged. `"caffe"`: longest
            side 513, logits of every window and its mirror image added
            before the softmax, MATLAB's antialiased resizing.
        scales: Sizes whose probabilities are averaged; the sources' multi
            scale results are of (0.5, 0.75, 1, 1.25, 1.5, 1.75).
        flip: Whether to mirror as well; None does as the source: always in
            semseg and caffe, never in plain and mmseg.
        window: Side of windows; None is whole pictures in plain and mmseg,
            473 in semseg and caffe.
        base: Longest side, or in mmseg (longest, shortest).

    Returns:
        The protocol.

    Raises:
        ValueError: If an argument is out of range, or not for this protocol.

    Examples:
        >>> from keras_pspnet.evaluation.protocols import make_protocol
        >>> make_protocol("semseg")
        Protocol(name='semseg', scales=(1.0,), flip=True, window=473, base=512)
    """
    check_choice("protocol", name, NAMES)
    scales = check_scales(scales)
    check_window(window)
    by_side = name in ("semseg", "caffe")
    if by_side:
        window = window or _WINDOW
    return Protocol(
        name,
        scales,
        by_side if flip is None else bool(flip),
        window,
        _check_base(name, base),
    )


def _check_base(name: str, base: Any) -> Any:
    if base is None:
        return {"plain": None, "mmseg": _BASE_SIDES}.get(name, _BASE_SIDE)
    sides = tuple(base) if isinstance(base, list | tuple) else (base,)
    count = {"plain": 0, "mmseg": 2}.get(name, 1)
    if (
        len(sides) != count
        or not all(type(side) is int and side > 0 for side in sides)
        or list(sides) != sorted(sides, reverse=True)
    ):
        rule = {
            "plain": "must be None",
            "mmseg": "must be (longest, shortest) side",
        }.get(name, "must be the longest side, a positive integer,")
        raise ValueError(
            f"`base` {rule} for protocol={name!r}. Received: base={base!r}"
        )
    return sides if count == 2 else sides[0]


def predict_mask(
    network: Predictor, image: np.ndarray, protocol: Protocol
) -> np.ndarray:
    """Segments one picture as a protocol has it.

    Args:
        network: What computes the logits.
        image: RGB uint8 (H, W, 3), or float32 in 0..255.
        protocol: From `make_protocol`.

    Returns:
        uint8 (H, W) class ids.
    """
    if protocol.name == "plain":
        views = views_of(image.shape[:2], protocol.scales, protocol.flip)
        return mask_of_views(network, image, views, protocol.window)[0]
    if image.dtype != np.uint8:
        image = np.clip(np.round(image), 0, 255).astype("uint8")
    if protocol.name == "mmseg":
        return _mmseg(network, image, protocol)
    one_scale = _semseg if protocol.name == "semseg" else _caffe
    window = protocol.window or _WINDOW
    total = np.zeros((*image.shape[:2], network.labels.num_classes), "float32")
    for scale in protocol.scales:
        side = scale * protocol.base
        total += one_scale(network, image, side, window, protocol.flip)
    return argmax(total)


# === mmsegmentation ===


def _mmseg(
    network: Predictor, image: np.ndarray, protocol: Protocol
) -> np.ndarray:
    size = image.shape[:2]
    bands = bands_of(size, network.labels.num_classes)
    views = [
        View(mmseg_size(size, protocol.base, scale), flipped)
        for scale in protocol.scales
        for flipped in ((False, True) if protocol.flip else (False,))
    ]
    streams = [_mmseg_logits(network, image, view, protocol) for view in views]
    mask = np.empty(size, "uint8")
    for (first, last), of_views in zip(
        bands, zip(*streams, strict=True), strict=True
    ):
        scores = of_views[0]
        # The greatest logit has the greatest probability.
        if len(views) > 1:
            scores = sum_of_views(views, of_views)
        mask[first:last] = argmax(scores)
    return mask


def mmseg_size(
    size: tuple[int, ...], base: Any, scale: float = 1.0
) -> tuple[int, int]:
    """Returns the (height, width) to which mmsegmentation resizes a picture.

    Args:
        size: (height, width) of the picture.
        base: (longest, shortest) side within which it is fitted.
        scale: Both are multiplied by it.
    """
    longest, shortest = (int(side * scale) for side in base)
    factor = min(longest / max(size), shortest / min(size))
    height, width = (max(1, int(side * factor + 0.5)) for side in size)
    return height, width


def _mmseg_logits(
    network: Predictor, image: np.ndarray, view: View, protocol: Protocol
) -> Iterator[np.ndarray]:
    """Yields bands of logits at the picture's own size."""
    size = image.shape[:2]
    seen = opencv_resize(image, view.size)
    if view.flipped:
        seen = seen[:, ::-1]
    classes = network.labels.num_classes
    axes = axes_of(view.size, size, network.align_corners)
    columns = (0, size[1])
    rows = rows_of(
        network_scorer(network),
        cropper(seen),
        view.size,
        protocol.window,
        classes,
        axes[1].needed(*columns),
    )
    return upsample(rows, axes, columns, bands_of(size, classes))


def cropper(image: np.ndarray) -> Any:
    """Returns a function that cuts float32 parts out of a picture.

    Args:
        image: (H, W, 3).
    """

    def crop(top: int, bottom: int, left: int, right: int) -> np.ndarray:
        return image[top:bottom, left:right].astype("float32")

    return crop


# === semseg and Caffe: squares of one size, mirrored each ===


def _semseg(
    network: Predictor, image: np.ndarray, side: float, window: int, flip: bool
) -> np.ndarray:
    """Returns the probabilities of one scale, (H, W, C)."""
    size = image.shape[:2]
    longest = round(side)
    # OpenCV resizes floats here: semseg reads pictures as such.
    seen = opencv_resize(
        image.astype("float32"),
        _with_longest(size, longest),
    )
    before = [max(window - each, 0) // 2 for each in seen.shape[:2]]
    padded = _pad(seen, window, before, network.fill)

    def score(crops: np.ndarray) -> np.ndarray:
        logits = network_scorer(network)
        scores = softmax(logits(crops))
        if flip:
            flipped = softmax(logits(crops[:, :, ::-1]))
            scores = (scores + flipped[:, :, ::-1]) / 2
        return scores

    scores = _windows(score, padded, window, network.labels.num_classes)
    scores = scores[
        before[0] : before[0] + seen.shape[0],
        before[1] : before[1] + seen.shape[1],
    ]
    return opencv_resize(scores, size)


def _caffe(
    network: Predictor, image: np.ndarray, side: float, window: int, flip: bool
) -> np.ndarray:
    """Returns the probabilities of one scale, (H, W, C)."""
    size = image.shape[:2]
    longest = round(side) + 1
    seen = matlab_resize(image, _with_longest(size, longest, np.float32))
    fill = network.fill
    if longest > window:
        # Padded while they are still of 8 bits; a single window is not.
        fill = tuple(float(int(value + 0.5)) for value in fill)
    padded = _pad(seen, window, (0, 0), fill)

    def score(crops: np.ndarray) -> np.ndarray:
        run = network_scorer(network)
        logits = run(crops)
        if flip:
            logits = logits + run(crops[:, :, ::-1])[:, :, ::-1]
        return softmax(logits)

    scores = _windows(score, padded, window, network.labels.num_classes)
    scores = scores[: seen.shape[0], : seen.shape[1]]
    scores = matlab_resize(scores, size)
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


def _pad(
    image: np.ndarray, window: int, before: Sequence[int], fill: Any
) -> np.ndarray:
    """Pads to at least a window, float32."""
    height, width = image.shape[:2]
    padded = np.empty((max(height, window), max(width, window), 3), "float32")
    padded[:] = fill
    padded[before[0] : before[0] + height, before[1] : before[1] + width] = (
        image
    )
    return padded


def _windows(
    score: Any, image: np.ndarray, window: int, classes: int
) -> np.ndarray:
    """Returns the averaged scores (H, W, C) of all windows."""
    rows = rows_of(score, cropper(image), image.shape[:2], window, classes)
    return np.concatenate(list(rows))
