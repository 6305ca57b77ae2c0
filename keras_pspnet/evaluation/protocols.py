"""The evaluation protocols of the field, each exact and with its name.

A score without its protocol says little: the same weights give another mean
IoU where images are resized, cut into windows or flipped in another way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_pspnet.data import RGB
from keras_pspnet.evaluation.reference_resize import opencv_resize
from keras_pspnet.evaluation.squares import caffe_scores, pad, semseg_scores
from keras_pspnet.inference import (
    Predictor,
    as_uint8,
    check_scales,
    check_window,
    make_plan,
    predict_plan,
)
from keras_pspnet.utils import as_integers, check_choice

_LONGEST = (512, 1, "the longest side, a positive integer,")
# The base that is used for VOC and ADE20K, of how many numbers it is, and what
# they are. For Cityscapes it is (2048, 1024) in mmsegmentation, and 2048 with
# windows of 713 in semseg and Caffe. PaddleSeg pads VOC alone; images of
# Cityscapes are larger than its base.
_BASES: dict[str, tuple[Any, int, str]] = {
    "plain": (None, 0, "None"),
    "mmseg": ((2048, 512), 2, "(longest, shortest) side"),
    "semseg": _LONGEST,
    "caffe": _LONGEST,
    "paddleseg": (512, 1, "the padded side, a positive integer,"),
}
NAMES = tuple(_BASES)
_WINDOW = 473
# PaddleSeg's gray, whatever the mean that its configuration subtracts.
_GRAY = (127.5,) * RGB


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How every image of a set is looked at.

    Args:
        name: Whose protocol it is.
        scales: Sizes relative to `base` (for "plain", to the image's).
        flip: Whether flipped images count as well.
        window: Side of sliding windows, None for whole images.
        base: Longest side before scaling, or (longest, shortest) within
            which an image is fitted, or the side to which smaller images are
            padded, or None.
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
            `"paddleseg"`: images as they are, smaller ones padded to
            512 x 512 with gray at the bottom and on the right; logits of
            windows and of several views averaged.
        scales: Sizes that are averaged; the sources' multi-scale results are
            of (0.5, 0.75, 1, 1.25, 1.5, 1.75), PaddleSeg's of scales that it
            does not name.
        flip: Whether to flip as well; None does as the source: always in
            semseg and caffe, never in the others.
        window: Side of windows; None is 473 in semseg and caffe, whole
            images in the others.
        base: Longest side; in mmseg (longest, shortest); in paddleseg the
            side to which smaller images are padded, where 1 pads none.

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
    if protocol.name == "paddleseg":
        if min(size) < protocol.base:
            fill = _GRAY if is_rgb else predictor.fill
            image = pad(image, protocol.base, fill)
        mask = _mean_of_views(
            predictor,
            image,
            protocol,
            sizes=[_scaled(image.shape[:2], s) for s in protocol.scales],
            of_logits=True,
        )
        return mask[: size[0], : size[1]]
    one_scale = semseg_scores if protocol.name == "semseg" else caffe_scores
    total = np.zeros((*size, predictor.labels.num_classes), "float32")
    for scale in protocol.scales:
        total += one_scale(
            predictor,
            image,
            scale * protocol.base,
            protocol.window or _WINDOW,
            protocol.flip,
        )
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
    return _scaled(size, min(longest / max(size), shortest / min(size)))


def _scaled(size: tuple[int, ...], factor: float) -> tuple[int, int]:
    """Multiplies a (height, width), halves rounded up."""
    height, width = (max(1, int(side * factor + 0.5)) for side in size)
    return height, width
