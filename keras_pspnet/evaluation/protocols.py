"""The evaluation protocols of the field, each exact and with its name.

A score without its protocol says little: the same weights give another mean
IoU where images are resized, cut into windows or flipped in another way.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_pspnet.data import RGB
from keras_pspnet.evaluation.reference_resize import (
    matlab_resize,
    opencv_resize,
)
from keras_pspnet.inference import (
    Predictor,
    as_uint8,
    check_scales,
    check_window,
    make_plan,
    mean_of_windows,
    predict_plan,
    softmax,
)
from keras_pspnet.utils import as_integers, check_choice

_LONGEST = (512, 1, "the longest side, a positive integer,")
# The base that is used for VOC and ADE20K, of how many numbers it is, and what
# they are. For Cityscapes it is (2048, 1024) in mmsegmentation and 2048 in the
# other two, with windows of 713.
_BASES: dict[str, tuple[Any, int, str]] = {
    "plain": (None, 0, "None"),
    "mmseg": ((2048, 512), 2, "(longest, shortest) side"),
    "semseg": _LONGEST,
    "caffe": _LONGEST,
}
NAMES = tuple(_BASES)
_WINDOW = 473


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How every image of a set is looked at.

    Args:
        name: Whose protocol it is.
        scales: Sizes relative to `base` (for "plain", to the image's).
        flip: Whether flipped images count as well.
        window: Side of sliding windows, None for whole images.
        base: Longest side before scaling, or (longest, shortest) within
            which an image is fitted, or None where it is not resized.
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
        name: `"plain"`: images as they are. `"mmseg"`: whole images
            inside (2048, 512), their logits resized to the original;
            windows average logits; several views average probabilities.
            `"semseg"`: longest side 512, windows of 473, probabilities of
            every window and its flipped one averaged. `"caffe"`: longest
            side 513, logits of every window and its flipped one added
            before the softmax, MATLAB's antialiased resizing.
        scales: Sizes whose probabilities are averaged; the sources' multi
            scale results are of (0.5, 0.75, 1, 1.25, 1.5, 1.75).
        flip: Whether to flip as well; None does as the source: always in
            semseg and caffe, never in plain and mmseg.
        window: Side of windows; None is whole images in plain and mmseg,
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
    check_choice("flip", flip, (None, True, False))
    scales = check_scales(scales)
    window = check_window(window)
    if name in ("semseg", "caffe"):
        window = window or _WINDOW
        flip = True if flip is None else flip
    base = _check_base(name, base)
    return Protocol(name, scales, bool(flip), window, base)


def _check_base(name: str, base: Any) -> Any:
    default, count, rule = _BASES[name]
    if base is None:
        return default
    several = isinstance(base, list | tuple | np.ndarray)
    sides = as_integers(base if several else (base,))
    if (
        sides is None
        or len(sides) != count
        or list(sides) != sorted(sides, reverse=True)
    ):
        raise ValueError(
            f"`base` must be {rule} for protocol={name!r}. "
            f"Received: base={base!r}"
        )
    return sides if count == 2 else sides[0]


def predict_mask(
    predictor: Predictor, image: np.ndarray, protocol: Protocol
) -> np.ndarray:
    """Segments one image as a protocol has it.

    Args:
        predictor: What computes the logits.
        image: RGB uint8 (H, W, 3), or float32 in 0..255; or other bands.
        protocol: From `make_protocol`.

    Returns:
        uint8 (H, W) class ids.
    """
    if protocol.name == "plain":
        return _mean_of_views(predictor, image, protocol)
    # The sources read RGB of 8 bits alone.
    is_rgb = image.shape[-1] == RGB
    image = as_uint8(image) if is_rgb else image.astype("float32")
    size = image.shape[:2]
    if protocol.name == "mmseg":
        return _mean_of_views(
            predictor,
            image,
            protocol,
            opencv_resize,
            sizes=[mmseg_size(size, protocol.base, s) for s in protocol.scales],
            align_corners=predictor.align_corners,
        )
    one_scale = _semseg if protocol.name == "semseg" else _caffe
    total = np.zeros((*size, predictor.labels.num_classes), "float32")
    for scale in protocol.scales:
        total += one_scale(predictor, image, scale * protocol.base, protocol)
    return total.argmax(axis=-1).astype("uint8")


def _mean_of_views(
    predictor: Predictor,
    image: np.ndarray,
    protocol: Protocol,
    resize_image: Any = None,
    **geometry: Any,
) -> np.ndarray:
    plan = make_plan(
        image.shape[:2],
        predictor.labels.num_classes,
        protocol.scales,
        protocol.flip,
        protocol.window,
        **geometry,
    )
    return predict_plan(predictor, image, plan, resize_image=resize_image)[0]


def mmseg_size(
    size: tuple[int, ...], base: Any, scale: float = 1.0
) -> tuple[int, int]:
    """Returns the (height, width) to which mmsegmentation resizes an image.

    Args:
        size: (height, width) of the image.
        base: (longest, shortest) side within which it is fitted.
        scale: Both are multiplied by it.
    """
    longest, shortest = (int(side * scale) for side in base)
    factor = min(longest / max(size), shortest / min(size))
    height, width = (max(1, int(side * factor + 0.5)) for side in size)
    return height, width


# === semseg and Caffe: squares of one size, each flipped as well ===


def _semseg(
    predictor: Predictor, image: np.ndarray, side: float, protocol: Protocol
) -> np.ndarray:
    """Returns the probabilities of one scale, (H, W, C)."""
    size = _with_longest(image.shape[:2], round(side))
    # OpenCV resizes floats here: semseg reads images as such.
    seen = opencv_resize(image.astype("float32"), size)
    window = protocol.window or _WINDOW
    top, left = (max(window - each, 0) // 2 for each in size)

    def score(crops: np.ndarray) -> np.ndarray:
        scores = softmax(predictor.logits(crops))
        if protocol.flip:
            flipped = softmax(predictor.logits(crops[:, :, ::-1]))
            scores = (scores + flipped[:, :, ::-1]) / 2
        return scores

    padded = _pad(seen, window, (top, left), predictor.fill)
    scores = mean_of_windows(padded, window, score)
    scores = scores[top : top + size[0], left : left + size[1]]
    return opencv_resize(scores, image.shape[:2])


def _caffe(
    predictor: Predictor, image: np.ndarray, side: float, protocol: Protocol
) -> np.ndarray:
    """Returns the probabilities of one scale, (H, W, C)."""
    longest = round(side) + 1
    size = _with_longest(image.shape[:2], longest, np.float32)
    seen = matlab_resize(image, size)
    window, fill = protocol.window or _WINDOW, predictor.fill
    if longest > window:
        # Padded while they are still of 8 bits; a single window is not.
        fill = tuple(float(int(value + 0.5)) for value in fill)

    def score(crops: np.ndarray) -> np.ndarray:
        logits = predictor.logits(crops)
        if protocol.flip:
            flipped = predictor.logits(crops[:, :, ::-1])
            logits = logits + flipped[:, :, ::-1]
        return softmax(logits)

    padded = _pad(seen, window, (0, 0), fill)
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


def _pad(
    image: np.ndarray, window: int, before: Sequence[int], fill: Any
) -> np.ndarray:
    """Pads to at least a window, float32."""
    height, width = image.shape[:2]
    sides = max(height, window), max(width, window)
    padded = np.empty((*sides, image.shape[-1]), "float32")
    padded[:] = fill
    padded[before[0] : before[0] + height, before[1] : before[1] + width] = (
        image
    )
    return padded
