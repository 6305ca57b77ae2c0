"""Scores of a model over a whole data set, at the images' own size."""

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


def evaluate(
    model: keras.Model | Predictor,
    dataset: Iterable[tuple[Any, Any]],
    protocol: str = "plain",
    scales: Sequence[float] = (1.0,),
    flip: bool | None = None,
    window: int | None = None,
    base: int | Sequence[int] | None = None,
    ignore_label: int | None = None,
    shard: tuple[int, int] = (0, 1),
    verbose: bool = False,
) -> Scores:
    """Scores a model by one confusion matrix over a set.

    Args:
        model: A `PSPNet`, its `inference_model()`, or a `Predictor`.
        dataset: Pairs of image and mask, (H, W, 3) and (H, W), or of batches
            of them. Images are RGB 0..255, or have the model's bands. Sizes
            may differ. A third item is sample weights: pixels of weight 0 are
            left out.
        protocol: `"plain"`: whole images as they are; or `"mmseg"`,
            `"semseg"`, `"caffe"`, `"paddleseg"`, as these sources measure: see
            `keras_pspnet.evaluation.protocols.make_protocol`.
        scales: Sizes whose probabilities, in paddleseg logits, are averaged.
        flip: Whether flipped images count as well; None does as the
            protocol's source does.
        window: Side of sliding windows; None is the protocol's own.
        base: Size to which images are brought; None is the protocol's.
        ignore_label: Label that is never counted. None is the label that the
            model's loss ignores if it is within 0..255, else 255.
        shard: (index, count): only every count-th image, from the
            index-th, is predicted; all are read. The sum of the scores of
            all shards is the score of the set.
        verbose: Whether to show a progress bar.

    Returns:
        The scores over all valid pixels of the set.

    Raises:
        ValueError: If the set is empty, sizes of image and mask differ, a
            label is out of range or no whole number, an image holds NaN, an
            argument is out of range or wants logits of a file that gives
            masks, or a `SegmentationData` has other
            classes than the model, or the same in another order.

    Warns:
        DataWarning: If images seem scaled to 0..1 or objects marked 255, or
            all ground truth is of one class.

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
        # Scores are counted from bytes, which cannot be -1.
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
    """Refuses arrays where pairs are meant, and masks of 0 and 255."""
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
    """Refuses a set of other classes, or of the same reordered.

    Args:
        dataset: As of `evaluate`; only a `SegmentationData` names its classes.
        labels: The classes of the model.

    Raises:
        ValueError: If they differ.
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
    """Yields batches of images and of masks that fit them."""
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
            # As in Keras's metrics here, a pixel counts or does not.
            weight = weight.reshape(*weight.shape[:3], *[1] * (3 - weight.ndim))
            masks = np.where(weight != 0, masks, ignore_label)
        yield images, masks
