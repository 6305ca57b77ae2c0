"""Segments one image of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import keras
import numpy as np
from keras import ops
from PIL import Image

from keras_pspnet.data import (
    MAX_PIXELS,
    RGB,
    Source,
    image_georeference,
    image_windows,
)
from keras_pspnet.inference.predictor import Predictor, as_predictor
from keras_pspnet.inference.resize import Span, axes_of
from keras_pspnet.inference.sliding_window import RowBuffer, slide
from keras_pspnet.inference.views import (
    Plan,
    Strip,
    check_scales,
    check_single_view,
    check_window,
    columns_in,
    make_plan,
    scaled,
)
from keras_pspnet.utils import as_integer, check_choice, check_rule
from keras_pspnet.utils.plausibility import ImageRange
from keras_pspnet.visualization import Segmentation, as_rgb

# Default for the longest side of an image that the network sees whole.
MAX_SIDE = 1024


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
    show_bands: Sequence[int] | None = None,
) -> Segmentation:
    """Segments one image.

    Args:
        model: A `PSPNet`, its `inference_model()`, or a `Predictor`.
        image: Path, encoded bytes, or RGB array (H, W, 3) in 0..255; for a
            model of other bands (H, W, bands), see
            `keras_pspnet.data.read_image`.
        scales: Average the class probabilities over these scales of the
            image.
        flip: Whether to average over the flipped image as well.
        window: Side of square windows that slide over the image. Neighbors
            overlap by a third, and their logits are averaged. Memory then
            grows only with the pixels of the image and its mask. None takes
            the whole image at once.
        max_side: Longer images are downscaled to this side for the network,
            which bounds its memory and time; None keeps their size.
            `"auto"` is 1024 for whole images and None with windows. The
            mask always has the size of the image.
        max_pixels: Files with more pixels are refused before decoding.
        confidence: Whether to keep the probability of each pixel's class.
        verbose: Whether to show a progress bar over the windows.
        show_bands: Which bands the result shows, see
            `keras_pspnet.visualization.as_rgb`.

    Returns:
        The image, its mask (H, W) uint8 of class ids, the class names, and
        the georeference of a GeoTIFF.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not an image, an argument is out of range, or an
            argument requires logits and the model's file computes masks.

    Warns:
        DataWarning: If the values of an array seem to be scaled to 0..1.

    Examples:
        >>> result = kp.segment(model, "photo.jpg", scales=(0.75, 1), flip=True)
        >>> result.mask.shape, result.mask.dtype
        ((96, 128), dtype('uint8'))
        >>> result.save("out.png")
    """
    scales = check_scales(scales)
    check_choice("flip", flip, (True, False))
    window = check_window(window)
    max_side = check_max_side(max_side, window)
    predictor = as_predictor(model)
    if predictor.gives_masks:
        check_single_view(scales, flip, window, confidence)
    georeference = None
    with image_windows(image, max_pixels, predictor.bands) as opened:
        # Windows of a file are sliced as arrays are.
        pixels = cast(np.ndarray, opened)
        if isinstance(image, np.ndarray):
            seen = ImageRange(predictor.fill)
            seen.add(pixels)
            seen.warn("`image`")
        else:
            georeference = image_georeference(image)
        shown = pixels if predictor.bands != RGB else as_uint8(pixels)
        shown = as_rgb(shown, show_bands)
        shrunk = shrink(pixels, max_side)
        plan = make_plan(
            shrunk.shape[:2],
            predictor.labels.num_classes,
            scales,
            flip,
            window,
            size=pixels.shape[:2],
        )
        mask, certainty = predict_plan(
            predictor, shrunk, plan, confidence, verbose
        )
    return Segmentation(shown, mask, predictor.labels, certainty, georeference)


def predict_masks(
    model: keras.Model | Predictor, images: np.ndarray
) -> np.ndarray:
    """Computes the masks of a batch: the class of the greatest logit.

    Args:
        model: A `PSPNet`, its `inference_model()`, or a `Predictor`.
        images: (B, H, W, bands), RGB in 0..255.

    Returns:
        uint8 (B, H, W).

    Examples:
        >>> from keras_pspnet.inference.segment import predict_masks
        >>> predict_masks(model, images).shape
        (4, 33, 33)
    """
    return argmax(as_predictor(model).logits(images))


def predict_plan(
    predictor: Predictor,
    image: np.ndarray,
    plan: Plan,
    confidence: bool = False,
    verbose: bool = False,
    resize_image: Callable[[np.ndarray, tuple[int, int]], np.ndarray]
    | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Segments an image according to a plan.

    Args:
        predictor: Computes the logits.
        image: (H, W, bands), RGB in 0..255.
        plan: From `make_plan`.
        confidence: Whether to compute the second result.
        verbose: Whether to show a progress bar.
        resize_image: Resizes the image to the size of a view, as
            `resize_image(image, size)`; None is bilinear without
            antialiasing, window by window.

    Returns:
        The mask, uint8, and the probability of each pixel's class, float32,
        or None.
    """
    bar = keras.utils.Progbar(plan.windows, verbose=verbose, unit_name="window")
    images = []
    for view in plan.views:
        seen = resize_image(image, view.size) if resize_image else image
        images.append(seen[:, ::-1] if view.flipped else seen)
    mask = np.empty(plan.size, "uint8")
    certainty = np.empty(plan.size, "float32") if confidence else None
    for strip in plan.strips:
        views = [
            RowBuffer(slide(each, grid, predictor.logits, bar.add))
            for each, grid in zip(images, strip.grids, strict=True)
        ]
        for band in plan.bands:
            scores = _scores(plan, strip, band, views)
            here = np.s_[slice(*band), slice(*strip.columns)]
            mask[here] = argmax(scores)
            if certainty is not None:
                if not plan.average:
                    scores = softmax(scores / len(views))
                certainty[here] = scores.max(axis=-1) / scores.sum(axis=-1)
    return mask, certainty


def _scores(
    plan: Plan, strip: Strip, band: Span, views: Sequence[RowBuffer]
) -> np.ndarray:
    """Adds up the scores of the views for a band of a strip."""
    to_mask = axes_of(plan.seen, plan.size)
    rows = to_mask[0].needed(*band)
    total: Any = 0.0
    for view, buffer in zip(plan.views, views, strict=True):
        down, across = axes_of(view.size, plan.seen, plan.align_corners)
        scores = down.resize(buffer.read(*down.needed(*rows)), 0, *rows)
        columns = columns_in(view, plan.seen[1], strip.seen)
        scores = across.resize(scores, 1, *columns)
        if plan.average:
            scores = softmax(scores)
        total = total + (scores[:, ::-1] if view.flipped else scores)
    total = to_mask[0].resize(total, 0, *band)
    return to_mask[1].resize(total, 1, *strip.columns)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turns logits (..., C) into probabilities.

    Args:
        logits: float32.
    """
    # The backend uses all cores, NumPy only one.
    return ops.convert_to_numpy(ops.softmax(ops.convert_to_tensor(logits)))


def argmax(scores: np.ndarray) -> np.ndarray:
    """Returns the class with the greatest of scores (..., C), uint8.

    Args:
        scores: float32.
    """
    best = ops.argmax(ops.convert_to_tensor(scores), axis=-1)
    return ops.convert_to_numpy(best).astype("uint8")


def shrink(image: np.ndarray, max_side: int | None) -> np.ndarray:
    """Downscales an image to a longest side, keeping its aspect ratio.

    Args:
        image: (H, W, bands), RGB in 0..255.
        max_side: The longest side, None for any.

    Returns:
        The image itself if it is small enough; otherwise uint8 (h, w, 3), or
        float32 (h, w, bands) for other than 3 bands.
    """
    longest = max(image.shape[:2])
    if max_side is None or longest <= max_side:
        return image
    height, width = scaled(image.shape[:2], max_side / longest)

    # Pillow averages over the pixels that become one.
    def smaller(pixels: np.ndarray) -> np.ndarray:
        bilinear = Image.Resampling.BILINEAR
        opened = Image.fromarray(pixels)
        return np.asarray(opened.resize((width, height), bilinear))

    if image.shape[-1] == RGB:
        return smaller(as_uint8(image))
    bands = np.moveaxis(image[:], -1, 0).astype("float32")
    return np.stack([smaller(band) for band in bands], axis=-1)


def as_uint8(image: np.ndarray) -> np.ndarray:
    """Rounds an image's values, in 0..255, to bytes.

    Args:
        image: (H, W, 3).
    """
    if image.dtype == np.uint8:
        return image
    return np.clip(np.round(image), 0, 255).astype("uint8")


def image_errors() -> tuple[type[Exception], ...]:
    """Returns the errors of `segment` that the image can cause."""
    errors: tuple[type[Exception], ...] = (ValueError, OSError, MemoryError)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Raised if an image is too large for the memory.
        errors += (tf.errors.ResourceExhaustedError,)
    return errors


def check_max_side(max_side: Any, window: int | None) -> int | None:
    """Checks `max_side` and resolves `"auto"`.

    Args:
        max_side: As in `segment`.
        window: Likewise.

    Returns:
        The side in pixels, None for any.

    Raises:
        ValueError: If it is neither a positive integer, None nor `"auto"`.
    """
    if isinstance(max_side, str) and max_side == "auto":
        return MAX_SIDE if window is None else None
    number = as_integer(max_side)
    rule = "be a positive integer, None or 'auto'"
    kept = max_side is None or number is not None
    check_rule("max_side", max_side, rule, kept)
    return number
