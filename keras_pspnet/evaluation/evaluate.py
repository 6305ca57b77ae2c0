"""Scores a model over a whole data set, at the original image size."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_pspnet.data import RGB, SegmentationData
from keras_pspnet.evaluation.confusion import Confusion
from keras_pspnet.evaluation.protocols import make_protocol, predict_mask
from keras_pspnet.evaluation.scores import Scores
from keras_pspnet.inference import (
    Predictor,
    as_predictor,
    check_single_view,
)
from keras_pspnet.labels import IGNORE_LABEL, LabelSet
from keras_pspnet.losses import shape_hint
from keras_pspnet.models.compile_checks import ignored_by
from keras_pspnet.utils import check_rule
from keras_pspnet.utils.plausibility import (
    FRACTIONS,
    BinaryMasks,
    ImageRange,
    first_fraction,
    is_array,
    warn_of_one_class,
)
from keras_pspnet.utils.types import Tensor


def evaluate(
    model: keras.Model | Predictor,
    dataset: Iterable[tuple[Tensor, ...]],
    protocol: str = "plain",
    scales: Sequence[float] = (1.0,),
    flip: bool | None = None,
    window: int | None = None,
    base: int | Sequence[int] | None = None,
    ignore_label: int | None = None,
    shard: tuple[int, int] = (0, 1),
    verbose: bool = False,
) -> Scores:
    """Scores a model by one confusion matrix over a whole set.

    Args:
        model: A `PSPNet`, its `inference_model()`, or a `Predictor`.
        dataset: Pairs of an image (H, W, 3) and a mask (H, W), or of batches
            of them. Images are RGB in 0..255, or have the model's bands.
            Sizes may differ. An optional third item holds sample weights;
            pixels of weight 0 are skipped.
        protocol: `"plain"` for whole images at their own size, or `"mmseg"`,
            `"semseg"`, `"caffe"` or `"paddleseg"` to measure as these sources
            do; see `keras_pspnet.evaluation.protocols.make_protocol`.
        scales: Scales whose probabilities (paddleseg: logits) are averaged.
        flip: Whether to average over flipped images as well; None is the
            protocol's default.
        window: Side of sliding windows; None is the protocol's default.
        base: Size to resize images to; None is the protocol's default.
        ignore_label: Label that is never counted. None is the label that the
            model's loss ignores if it is within 0..255, else 255.
        shard: (index, count): predict only every count-th image, from the
            index-th on, though all are read. The scores of all shards add up
            to the scores of the set.
        verbose: Whether to show a progress bar.

    Returns:
        The scores over all valid pixels of the set.

    Raises:
        ValueError: If the set is empty, an image and its mask differ in size,
            a label is out of range or not a whole number, an image holds NaN,
            an argument is out of range or requires logits from a file that
            outputs masks, or a `SegmentationData` does not have the model's
            classes in the model's order.

    Warns:
        DataWarning: If images seem scaled to 0..1, objects seem to be marked
            255, or all ground truth is of one class.

    Examples:
        >>> scores = kp.evaluate(net, zip(images, masks))
        >>> scores.images, scores.pixels
        (4, 4356)
        >>> 0 <= scores.mean_iou <= 1
        True
    """
    _check_dataset(dataset, protocol)
    how = make_protocol(protocol, scales, flip, window, base)
    rule = "be (index, count) with 0 <= index < count"
    kept = np.shape(shard) == (2,) and 0 <= shard[0] < shard[1]
    check_rule("shard", shard, rule, kept)
    index, count = shard
    predictor = as_predictor(model)
    if predictor.gives_masks:
        check_single_view(how.scales, how.flip, how.window)
    check_classes(dataset, predictor.labels)
    if ignore_label is None:
        ignored = ignored_by(getattr(model, "_label_rule", None))
        # `Confusion` counts bytes, which cannot be -1.
        ignore_label = ignored if 0 <= ignored <= 255 else IGNORE_LABEL
    confusion = Confusion(predictor.labels.num_classes, ignore_label)
    length = operator.length_hint(dataset) or None
    bar = keras.utils.Progbar(length, verbose=verbose, unit_name="batch")
    total = 0
    seen, binary = ImageRange(predictor.fill), BinaryMasks()
    of_two = predictor.labels.num_classes == 2 and ignore_label == IGNORE_LABEL
    if isinstance(dataset, SegmentationData):
        of_two = of_two and dataset.binary_masks() is not None
    pairs = _batches(dataset, predictor, ignore_label)
    for batches, (images, masks) in enumerate(pairs, start=1):
        seen.add(images)
        seen.refuse_broken("`dataset`")
        if of_two:
            binary.add(masks)
        for image, mask in zip(images, masks, strict=True):
            if total % count == index:
                confusion.add(mask, predict_mask(predictor, image, how))
            total += 1
        bar.update(batches)
    if not confusion.images:
        raise ValueError(
            "`dataset` must hold images for every shard. "
            f"Received: {total} images, shard={shard}"
        )
    if length is None:
        bar.update(batches, finalize=True)
    seen.warn("`dataset`")
    if not binary.warn("`dataset`"):
        shown = np.flatnonzero(confusion.counts.any(axis=1)).tolist()
        warn_of_one_class("`dataset`", shown, confusion.images)
    return Scores(
        confusion.counts,
        predictor.labels,
        protocol={**how.to_dict(), "ignore_label": ignore_label},
        weights_sha256=predictor.weights_sha256(),
        images=confusion.images,
    )


def _check_dataset(dataset: Any, protocol: Any) -> None:
    """Refuses arrays instead of pairs, and masks of only 0 and 255."""
    if is_array(dataset) or not isinstance(protocol, str):
        raise ValueError(
            "`dataset` must yield pairs of image and mask: use "
            "zip(images, masks) for arrays. Received: "
            f"dataset of type {type(dataset).__name__}, "
            f"protocol of type {type(protocol).__name__}"
        )
    if isinstance(dataset, SegmentationData):
        dataset.check_binary()


def check_classes(dataset: Any, labels: LabelSet) -> None:
    """Refuses a set that does not have the model's classes in order.

    Args:
        dataset: As in `evaluate`; only a `SegmentationData` names its
            classes.
        labels: The classes of the model.

    Raises:
        ValueError: If the classes or their order differ.
    """
    if not isinstance(dataset, SegmentationData):
        return
    if not dataset.labels.has_classes_of(labels):
        raise ValueError(
            f"`dataset` must have the {labels.num_classes} classes of the "
            f"model in their order: {', '.join(labels.names)}. Received: "
            f"{', '.join(dataset.labels.names)}"
        )


def _batches(
    dataset: Iterable[Any], predictor: Predictor, ignore_label: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches of images and masks, checked."""
    num_classes, bands = predictor.labels.num_classes, predictor.bands
    kind = "RGB images" if bands == RGB else "images"
    for item in dataset:
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            raise ValueError(
                "`dataset` must yield pairs of image and mask, or triples "
                f"with sample weights. Received: {type(item).__name__}"
            )
        images, masks, *weights = (np.asarray(each) for each in item)
        if images.ndim == 3:
            images, masks = images[None], masks[None]
            weights = [each[None] for each in weights]
        if masks.ndim == 4 and masks.shape[-1] == 1:
            masks = masks[..., 0]
        if images.ndim != 4 or images.shape[-1] != bands:
            raise ValueError(
                f"`dataset` must hold {kind} of shape (H, W, {bands}). "
                f"Received: images of shape {images.shape}"
            )
        if images.shape[:3] != masks.shape:
            raise ValueError(
                "`dataset` must hold masks of their images' size"
                f"{shape_hint(masks.shape, num_classes)}. Received: "
                f"images {images.shape}, masks {masks.shape}"
            )
        fraction = first_fraction(masks)
        if fraction is not None:
            raise ValueError(
                f"`dataset`: {FRACTIONS}. Received: label {fraction:g}"
            )
        if np.issubdtype(masks.dtype, np.floating):
            masks = masks.astype(np.int64)
        for weight in weights:
            # As in `keras_pspnet.metrics`, a pixel counts once or not at all.
            weight = weight.reshape(*weight.shape[:3], *[1] * (3 - weight.ndim))
            masks = np.where(weight != 0, masks, ignore_label)
        yield images, masks
