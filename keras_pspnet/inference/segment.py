"""From one picture of any size to its mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from PIL import Image

from keras_pspnet.data import MAX_PIXELS, Source, read_image
from keras_pspnet.inference.predictor import Predictor, as_network
from keras_pspnet.inference.sliding_window import (
    Axis,
    Crop,
    Scorer,
    count_windows,
    grid,
    resize,
    slide,
    split,
    upsample,
)
from keras_pspnet.visualization import Segmentation

# Longest side of pictures that the network sees whole, unless told otherwise.
MAX_SIDE = 1024
# Bytes of scores that are resized, normalised and compared at a time, and
# those that rows of windows may take together.
_BAND_BYTES = 2**25
_WINDOW_BYTES = 2**30


@dataclasses.dataclass(frozen=True)
class View:
    """One way to look at a picture.

    Args:
        size: (height, width) to which it is resized.
        flipped: Whether left and right change places.
    """

    size: tuple[int, int]
    flipped: bool = False


def segment(
    model: keras.Model | Predictor,
    image: Source,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    window: int | None = None,
    max_side: int | str | None = "auto",
    max_pixels: int = MAX_PIXELS,
    confidence: bool = False,
    verbose: bool = False,
) -> Segmentation:
    """Segments one picture.

    Args:
        model: A `PSPNet`, its `inference_model()`, or a `Predictor`.
        image: Path, encoded bytes, or RGB array (H, W, 3) in 0..255.
        scales: The class probabilities at these sizes, relative to the
            picture's, are averaged.
        flip: Whether mirrored pictures are averaged in as well.
        window: Side of square windows that slide over the picture, a third
            of each shared with its neighbour, their logits averaged; None
            is the whole picture at once. With windows, memory does not grow
            with the picture beyond its pixels and its mask.
        max_side: Longer pictures are shrunk for the network, which then
            needs memory and time for this size only; None never shrinks.
            `"auto"` is 1024 for whole pictures and None with windows. The
            mask has the picture's own size in any case.
        max_pixels: Files with more pixels are refused before decoding.
        confidence: Whether to keep the probability of each pixel's class.
        verbose: Whether to show a progress bar over the windows.

    Returns:
        The picture, its mask (H, W) uint8 of class ids, and the class names.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a picture, or an argument is out of range.

    Examples:
        >>> result = kp.segment(model, "photo.jpg", scales=(0.75, 1), flip=True)
        >>> result.mask.shape, result.mask.dtype
        ((96, 128), dtype('uint8'))
        >>> result.save("out.png")
    """
    scales = check_scales(scales)
    check_window(window)
    max_side = _check_max_side(max_side, window)
    picture = read_image(image, max_pixels)
    network = as_network(model)
    seen = shrink(picture, max_side)
    views = views_of(seen.shape[:2], scales, flip)
    mask, certainty = mask_of_views(
        network, seen, views, window, picture.shape[:2], confidence, verbose
    )
    shown = picture
    if shown.dtype != np.uint8:
        shown = np.clip(np.round(picture), 0, 255).astype("uint8")
    return Segmentation(shown, mask, network.labels, certainty)


def image_errors() -> tuple[type[Exception], ...]:
    """Returns the errors of `segment` that a picture can be at fault for."""
    faults: tuple[type[Exception], ...] = (ValueError, OSError, MemoryError)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # How it says that a picture is too large for the memory.
        faults += (tf.errors.ResourceExhaustedError,)
    return faults


def views_of(
    size: tuple[int, int], scales: Sequence[float], flip: bool
) -> list[View]:
    """Lists the views of a picture.

    Args:
        size: (height, width) of the picture.
        scales: Sizes relative to it.
        flip: Whether every size is also seen mirrored.
    """
    return [
        View((_scaled(size[0], scale), _scaled(size[1], scale)), flipped)
        for scale in scales
        for flipped in ((False, True) if flip else (False,))
    ]


def _scaled(side: int, scale: float) -> int:
    return max(1, round(side * scale))


def predict_masks(
    model: keras.Model | Predictor, images: np.ndarray
) -> np.ndarray:
    """Computes the masks of a batch, each class id of greatest logit.

    Args:
        model: A `PSPNet`, its `inference_model()`, or a `Predictor`.
        images: RGB (B, H, W, 3) in 0..255.

    Returns:
        uint8 (B, H, W).

    Examples:
        >>> from keras_pspnet.inference.segment import predict_masks
        >>> predict_masks(model, images).shape
        (4, 33, 33)
    """
    network = as_network(model)
    size = images.shape[1:3]
    masks = np.empty((len(images), *size), "uint8")
    for mask, logits in zip(masks, network(images), strict=True):
        axes = axes_of(logits.shape[:2], size)
        columns = (0, size[1])
        first, last = axes[1].needed(*columns)
        for band in bands_of(size, logits.shape[-1]):
            rows = [logits[:, first:last]]
            (part,) = upsample(rows, axes, columns, [band])
            mask[band[0] : band[1]] = argmax(part)
    return masks


def mask_of_views(
    network: Predictor,
    image: np.ndarray,
    views: Sequence[View],
    window: int | None,
    size: tuple[int, ...] | None = None,
    confidence: bool = False,
    verbose: bool = False,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Segments a picture by the mean of its views.

    Args:
        network: What computes the logits.
        image: RGB (H, W, 3) in 0..255.
        views: How it is looked at. Only one, of the picture's own size,
            needs no probabilities: the greatest logit has the greatest.
        window: Side of the windows, None for whole views.
        size: (height, width) of the mask; None is the picture's.
        confidence: Whether to compute the second result.
        verbose: Whether to show a progress bar.

    Returns:
        The mask, uint8, and the probability of each pixel's class, float32,
        or None.
    """
    size = image.shape[:2] if size is None else size
    classes = network.labels.num_classes
    seen = image.shape[:2]
    one_view = list(views) == [View(seen)]
    strips = [(0, size[1])]
    if window is not None:
        strips = _strips(views, window, size, classes)
    bands = bands_of(size, classes)
    axes = axes_of(seen, size)
    done = _progress(views, window, strips, axes[1], verbose)
    mask = np.empty(size, "uint8")
    certainty = np.empty(size, "float32") if confidence else None
    for strip in strips:
        columns = axes[1].needed(*strip)
        rows = _mean_rows(network, image, views, window, columns, done)
        found = upsample(rows, axes, strip, bands)
        for (first, last), scores in zip(bands, found, strict=True):
            here = np.s_[first:last, strip[0] : strip[1]]
            mask[here] = argmax(scores)
            if certainty is not None:
                if one_view:
                    scores = softmax(scores)
                certainty[here] = scores.max(axis=-1) / scores.sum(axis=-1)
    return mask, certainty


def _mean_rows(
    network: Predictor,
    image: np.ndarray,
    views: Sequence[View],
    window: int | None,
    columns: tuple[int, int],
    done: Callable[[int], Any],
) -> Iterator[np.ndarray]:
    """Yields rows of one plain view's logits, or of summed probabilities."""
    size = image.shape[:2]
    if list(views) == [View(size)]:
        yield from _view_rows(network, image, views[0], window, columns, done)
        return
    bands = bands_of(size, network.labels.num_classes)
    streams = []
    for view in views:
        wanted = _columns_of(view, size[1], columns)
        axes = axes_of(view.size, size)
        part = axes[1].needed(*wanted)
        rows = _view_rows(network, image, view, window, part, done)
        streams.append(upsample(rows, axes, wanted, bands))
    for bands_of_views in zip(*streams, strict=True):
        yield sum_of_views(views, bands_of_views)


def _columns_of(
    view: View, width: int, columns: tuple[int, int]
) -> tuple[int, int]:
    """Returns where a picture's columns are in a view of it."""
    first, last = columns
    return (width - last, width - first) if view.flipped else columns


def sum_of_views(
    views: Sequence[View], logits: Sequence[np.ndarray]
) -> np.ndarray:
    """Adds the probabilities of all views of the same pixels.

    Args:
        views: The views.
        logits: Of each view float32 (h, w, C).

    Returns:
        float32 (h, w, C).
    """
    total = np.zeros(logits[0].shape, "float32")
    for view, each in zip(views, logits, strict=True):
        scores = softmax(each)
        total += scores[:, ::-1] if view.flipped else scores
    return total


def _view_rows(
    network: Predictor,
    image: np.ndarray,
    view: View,
    window: int | None,
    columns: tuple[int, int],
    done: Callable[[int], Any],
) -> Iterator[np.ndarray]:
    """Yields rows of logits of some columns of one view."""
    source = image[:, ::-1] if view.flipped else image
    down, across = axes_of(source.shape[:2], view.size)

    def crop(top: int, bottom: int, left: int, right: int) -> np.ndarray:
        above, below = down.needed(top, bottom)
        before, after = across.needed(left, right)
        part = source[above:below, before:after].astype("float32")
        part = down.resize(part, 0, top, bottom)
        return across.resize(part, 1, left, right)

    score = network_scorer(network)
    classes = network.labels.num_classes
    yield from rows_of(score, crop, view.size, window, classes, columns, done)


def rows_of(
    score: Scorer,
    crop: Crop,
    size: tuple[int, ...],
    window: int | None,
    classes: int,
    columns: tuple[int, int] | None = None,
    done: Callable[[int], Any] = lambda count: None,
) -> Iterator[np.ndarray]:
    """Yields finished rows of scores of a whole picture or of windows.

    Args:
        score: Scores crops (B, h, w, 3): float32 (B, h, w, C).
        crop: Gives parts of the picture, see `slide`.
        size: (height, width) of the picture.
        window: Side of the windows, None for the whole picture at once.
        classes: Number of classes C.
        columns: See `slide`.
        done: Called with the number of windows whenever some are computed.

    Yields:
        float32 (rows, columns, C), from the top to the bottom.
    """
    if window is not None:
        places = grid(size, window)
        yield from slide(crop, score, places, classes, columns, done)
        return
    first, last = columns or (0, size[1])
    scores = score(crop(0, size[0], 0, size[1])[None])[0]
    done(1)
    yield scores[:, first:last]


def network_scorer(network: Predictor) -> Scorer:
    """Returns what gives a network's logits at the size of its pictures.

    Args:
        network: One whose own size may be another.
    """

    def score(crops: np.ndarray) -> np.ndarray:
        logits = network(crops)
        if logits.shape[:3] == crops.shape[:3]:
            return logits
        return np.stack([resize(each, crops.shape[1:3]) for each in logits])

    return score


def axes_of(
    size: tuple[int, ...],
    out_size: tuple[int, ...],
    align_corners: bool = False,
) -> tuple[Axis, Axis]:
    """Returns how height and width are resized.

    Args:
        size: (height, width).
        out_size: (height, width) after resizing.
        align_corners: As of `Axis`.
    """
    return (
        Axis(size[0], out_size[0], align_corners),
        Axis(size[1], out_size[1], align_corners),
    )


def bands_of(size: tuple[int, ...], classes: int) -> list[tuple[int, int]]:
    """Cuts a picture into bands of rows whose scores take 32 MiB.

    Args:
        size: (height, width).
        classes: Number of classes.

    Returns:
        The first row of each band, and the one after the last.
    """
    return split(size[0], max(1, _BAND_BYTES // (4 * size[1] * classes)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turns logits (..., C) into probabilities.

    Args:
        logits: float32.
    """
    # The backend computes on all cores, NumPy on one.
    return ops.convert_to_numpy(ops.softmax(ops.convert_to_tensor(logits)))


def argmax(scores: np.ndarray) -> np.ndarray:
    """Returns the class of the greatest of scores (..., C), uint8.

    Args:
        scores: float32.
    """
    best = ops.argmax(ops.convert_to_tensor(scores), axis=-1)
    return ops.convert_to_numpy(best).astype("uint8")


def shrink(image: np.ndarray, max_side: int | None) -> np.ndarray:
    """Shrinks a picture to a longest side, keeping its ratio.

    Args:
        image: RGB (H, W, 3) in 0..255.
        max_side: The longest side, None for any.

    Returns:
        The picture itself if it is not longer, or else uint8 (h, w, 3).
    """
    longest = max(image.shape[:2])
    if max_side is None or longest <= max_side:
        return image
    height, width = (
        _scaled(side, max_side / longest) for side in image.shape[:2]
    )
    shown = image
    if shown.dtype != np.uint8:
        shown = np.clip(np.round(image), 0, 255).astype("uint8")
    # Pillow averages over the pixels that fall together.
    small = Image.fromarray(shown).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    return np.asarray(small)


def _strips(
    views: Sequence[View],
    window: int,
    size: tuple[int, ...],
    classes: int,
) -> list[tuple[int, int]]:
    """Cuts a picture into columns whose rows of windows fit into memory."""
    each = sum(
        4 * classes * min(window, view.size[0]) * view.size[1] for view in views
    )
    strips = -(-each // _WINDOW_BYTES)
    # Windows on the border of two strips are computed for both: narrow
    # strips would be nothing but borders.
    narrowest = max(4 * window * size[1] // view.size[1] for view in views)
    return split(size[1], max(-(-size[1] // strips), narrowest))


def _progress(
    views: Sequence[View],
    window: int | None,
    strips: Sequence[tuple[int, int]],
    across: Axis,
    verbose: bool,
) -> Callable[[int], Any]:
    if not verbose:
        return lambda count: None
    total = len(views)
    if window is not None:
        total = sum(
            count_windows(
                grid(view.size, window),
                [
                    Axis(view.size[1], across.size).needed(
                        *_columns_of(view, across.size, across.needed(*strip))
                    )
                    for strip in strips
                ],
            )
            for view in views
        )
    return keras.utils.Progbar(total, unit_name="window").add


def check_scales(scales: Any) -> tuple[float, ...]:
    """Returns scales as floats.

    Args:
        scales: What a caller gave.

    Raises:
        ValueError: Unless they are numbers from 0.1 to 10, at least one.
    """
    try:
        values = tuple(float(scale) for scale in scales)
    except (TypeError, ValueError):
        values = ()
    if not values or not all(0.1 <= value <= 10 for value in values):
        raise ValueError(
            "`scales` must be a sequence of numbers from 0.1 to 10. "
            f"Received: scales={scales!r}"
        )
    return values


def check_window(window: Any) -> None:
    """Refuses windows that are no side of a square.

    Args:
        window: What a caller gave.

    Raises:
        ValueError: Unless it is an integer of at least 16, or None.
    """
    if window is not None and (type(window) is not int or window < 16):
        raise ValueError(
            "`window` must be an integer of at least 16 or None. "
            f"Received: window={window!r}"
        )


def _check_max_side(max_side: Any, window: int | None) -> int | None:
    if max_side == "auto":
        return MAX_SIDE if window is None else None
    if max_side is not None and (type(max_side) is not int or max_side < 1):
        raise ValueError(
            "`max_side` must be a positive integer, None or 'auto'. "
            f"Received: max_side={max_side!r}"
        )
    return max_side
