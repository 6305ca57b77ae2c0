"""From one picture of any size to its mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from PIL import Image

from keras_pspnet.data.decode import Source, read_image
from keras_pspnet.labels import LabelSet, generic_labels
from keras_pspnet.layers import InputNormalization
from keras_pspnet.sampling import interpolation_matrix, resize
from keras_pspnet.visualize import Segmentation

# Rows of a mask that are enlarged at a time, so that the logits of a large
# photograph with many classes never exist all at once.
_ROWS = 64


def segment(
    model: keras.Model,
    image: Source,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    max_side: int | None = 1024,
) -> Segmentation:
    """Segments one picture.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        image: Path, encoded bytes, or RGB array (H, W, 3) in 0..255.
        scales: The class probabilities at these sizes, relative to the
            picture's, are averaged.
        flip: Whether mirrored pictures are averaged in as well.
        max_side: Longer pictures are shrunk for the network, which then
            needs memory and time for this size only; None never shrinks.
            The mask has the picture's own size in any case.

    Returns:
        The picture, its mask (H, W) uint8 of class ids, and the class names.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a picture, or an argument is out of range.

    Example:
        >>> result = segment(load_pretrained("aerial"), "photo.jpg")
        >>> result.save("out.png")
    """
    scales = check_scales(scales)
    if max_side is not None and (type(max_side) is not int or max_side < 1):
        raise ValueError(
            "`max_side` must be a positive integer or None. "
            f"Received: max_side={max_side!r}"
        )
    picture = read_image(image)
    scores = _mean_scores(model, _shrink(picture, max_side), scales, flip)
    mask = _argmax_at(scores, picture.shape[:2])
    shown = np.clip(np.round(picture), 0, 255).astype("uint8")
    return Segmentation(shown, mask, model_labels(model))


def model_labels(model: keras.Model) -> LabelSet:
    """Returns the model's class names, or made-up ones where it has none."""
    labels = getattr(model, "labels", None)
    return labels or generic_labels(main_output(model.output).shape[-1])


def main_output(outputs: Any) -> Any:
    """Returns the logits that count: `main` of two outputs, or the only."""
    return outputs["main"] if isinstance(outputs, dict) else outputs


def network_size(model: keras.Model) -> tuple[int, int] | None:
    """Returns the (height, width) a model was built for, None for any."""
    height, width = model.inputs[0].shape[1:3]
    return None if height is None or width is None else (height, width)


def fill_color(model: keras.Model) -> tuple[float, ...]:
    """Returns the colour of padding: what normalisation turns into zeros.

    Args:
        model: A `PSPNet`, or its `inference_model()`.

    Returns:
        R, G, B in 0..255; black where the model does not normalise.
    """
    for layer in model.layers:
        if isinstance(layer, InputNormalization):
            return layer.mean
    return (0.0, 0.0, 0.0)


def predict_logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Computes the main logits at the network's own resolution.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        images: RGB (B, H, W, 3) in 0..255. Where the network was built for
            another size, they are resized to fit inside, keeping their
            ratio, and padded with the mean colour.

    Returns:
        float32 (B, h, w, C), the logits of the images without padding: h
        and w are H and W, or what fits inside the network's size.

    Raises:
        ValueError: If the images have another shape.
    """
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[-1] != 3 or 0 in shape:
        raise ValueError(
            "`images` must be RGB images of shape (B, H, W, 3). "
            f"Received: images of shape {shape}"
        )
    x = ops.convert_to_tensor(images, dtype="float32")
    size = network_size(model)
    height, width = shape[1:3]
    if size is not None and size != (height, width):
        factor = min(size[0] / height, size[1] / width)
        height = min(max(1, round(height * factor)), size[0])
        width = min(max(1, round(width * factor)), size[1])
        missing = ((0, size[0] - height), (0, size[1] - width))
        fill = ops.convert_to_tensor(fill_color(model), dtype="float32")
        x = resize(x, (height, width)) - fill
        x = ops.pad(x, ((0, 0), *missing, (0, 0))) + fill
    logits = main_output(model.predict_on_batch(ops.convert_to_numpy(x)))
    logits = logits[:, :height, :width]
    # A model built for several replicas computes the whole batch on each,
    # and Keras joins their results.
    return np.asarray(logits, dtype="float32")[: shape[0]]


def predict_masks(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Computes the masks of a batch, each class id of greatest logit.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        images: RGB (B, H, W, 3) in 0..255.

    Returns:
        uint8 (B, H, W).
    """
    return np.stack(
        [
            _argmax_at(logits, images.shape[1:3])
            for logits in predict_logits(model, images)
        ]
    )


def _mean_scores(
    model: keras.Model, image: np.ndarray, scales: tuple[float, ...], flip: bool
) -> np.ndarray:
    """Returns logits of one view, or mean probabilities of several."""
    if scales == (1.0,) and not flip:
        return predict_logits(model, image[None])[0]
    size = image.shape[:2]
    total = 0.0
    for scale in scales:
        sides = tuple(max(1, round(side * scale)) for side in size)
        view = np.asarray(
            resize(ops.convert_to_tensor(image[None], "float32"), sides)
        )
        views = [view, view[:, :, ::-1]] if flip else [view]
        for mirrored, each in enumerate(views):
            logits = ops.convert_to_tensor(predict_logits(model, each))
            probabilities = np.asarray(ops.softmax(resize(logits, size)))[0]
            if mirrored:
                probabilities = probabilities[:, ::-1]
            total = total + probabilities
    return np.asarray(total, dtype="float32")


def _shrink(image: np.ndarray, max_side: int | None) -> np.ndarray:
    longest = max(image.shape[:2])
    if max_side is None or longest <= max_side:
        return image
    factor = max_side / longest
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    shown = Image.fromarray(np.clip(np.round(image), 0, 255).astype("uint8"))
    # Pillow averages over the pixels that fall together.
    return np.asarray(shown.resize((width, height), Image.Resampling.BILINEAR))


def _argmax_at(scores: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Enlarges (h, w, C) scores to a size and takes the best class of each."""
    height, width, _ = scores.shape
    if (height, width) == tuple(size):
        return scores.argmax(axis=-1).astype("uint8")
    columns = np.asarray(interpolation_matrix(width, size[1]))
    rows = np.asarray(interpolation_matrix(height, size[0]))
    wide = columns @ scores
    mask = np.empty(size, dtype="uint8")
    for top in range(0, size[0], _ROWS):
        part = np.tensordot(rows[top : top + _ROWS], wide, axes=1)
        mask[top : top + _ROWS] = part.argmax(axis=-1)
    return mask


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
