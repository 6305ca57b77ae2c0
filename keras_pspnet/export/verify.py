"""Compares every export with its model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np

from keras_pspnet.data import RGB
from keras_pspnet.inference import (
    network_size,
    normalization,
    num_bands,
    predict_logits,
)

# Greatest difference relative to the greatest logit, and least share of pixels
# with the same class. Logits of random weights are closer together than those
# of trained ones.
LIMITS = {
    "float32": (1e-5, 0.999),
    "float16": (1e-2, 0.98),
    # Measured: 95.7 % on a CPU without instructions for bfloat16.
    "bfloat16": (5e-2, 0.93),
    "dynamic": (2e-1, 0.90),
    # Measured: 79.1 % with a ResNet-50 of random 7-bit weights, 99 % with
    # trained networks.
    "int8": (5e-1, 0.75),
}
# Odd sizes, which expose errors of rounding.
_SIZES = ((65, 97), (113, 64), (48, 48))
_IMAGES = 2


class ExportError(RuntimeError):
    """An export whose logits differ from its model's."""


@dataclasses.dataclass(frozen=True)
class Row:
    """Comparison on images of one size.

    Args:
        size: (height, width) of the images.
        difference: Greatest |difference| relative to the greatest |logit|;
            None for masks.
        agreement: Share of pixels with the same class.
    """

    size: tuple[int, int]
    difference: float | None
    agreement: float


@dataclasses.dataclass(frozen=True)
class Parity:
    """Difference between an export and its model.

    Args:
        exported: Format of the export, such as `"SavedModel"`.
        precision: Its precision, a key of `LIMITS`.
        rows: A row for each image size.
    """

    exported: str
    precision: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether all rows are within the limits of the precision."""
        most, least = LIMITS[self.precision]
        # Phrased so that NaN fails.
        return all(
            (row.difference is None or row.difference <= most)
            and row.agreement >= least
            for row in self.rows
        )

    def __str__(self) -> str:
        most, least = LIMITS[self.precision]
        lines = [
            f"{self.exported}, {self.precision}: at most {most:g} of the "
            f"greatest logit, at least {least:.2%} of the pixels",
            f"{'size':>12} {'difference':>11} {'same class':>11}",
        ]
        for row in self.rows:
            size = f"{row.size[0]}x{row.size[1]}"
            difference = (
                "-" if row.difference is None else f"{row.difference:.1e}"
            )
            lines.append(f"{size:>12} {difference:>11} {row.agreement:>11.3%}")
        return "\n".join(lines)


def compare(
    model: keras.Model,
    run: Callable[[list[np.ndarray]], list[np.ndarray]],
    exported: str,
    precision: str,
    images: Sequence[np.ndarray],
) -> Parity:
    """Compares an export with its model, and refuses it if they differ.

    Args:
        model: The model, with one output.
        run: Runs the export: takes a list of float32 images (1, H, W, bands)
            and returns their logits (1, H, W, C) or masks (1, H, W).
        exported: Format of the export, for the table.
        precision: Key of `LIMITS`.
        images: Images (1, H, W, bands) to compare on.

    Returns:
        The measured differences.

    Raises:
        ExportError: If they exceed the limits; the message holds the table.

    Examples:
        >>> from keras_pspnet.export.verify import compare, default_images
        >>> def run(images):
        ...     return [net.predict_on_batch(image) for image in images]
        >>> images = default_images(net)
        >>> compare(net, run, "itself", "float32", images).passed
        True
    """
    pairs: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = {}
    for image, got in zip(images, run(list(images)), strict=True):
        pair = (got, predict_logits(model, image))
        pairs.setdefault(image.shape[1:3], []).append(pair)
    rows = tuple(
        _row(size, *zip(*each, strict=True)) for size, each in pairs.items()
    )
    parity = Parity(exported, precision, rows)
    if not parity.passed:
        raise ExportError(
            f"the export must give the same logits as its model.\n{parity}"
        )
    return parity


def default_images(model: keras.Model) -> list[np.ndarray]:
    """Makes float32 images (1, H, W, bands) that a model takes."""
    own = network_size(model)
    return [
        image[None]
        for index, size in enumerate(_SIZES if own is None else (own,))
        for image in sample_images(size, index, model)
    ]


def _row(
    size: tuple[int, int], got: Sequence[np.ndarray], want: Sequence[np.ndarray]
) -> Row:
    gives_masks = all(each.ndim == 3 for each in got)
    if any(
        a.shape != (b.shape[:-1] if gives_masks else b.shape)
        for a, b in zip(got, want, strict=True)
    ):
        return Row(size, float("nan"), 0.0)
    export, model = np.concatenate(got), np.concatenate(want)
    masks = export if gives_masks else export.argmax(-1)
    agreement = float((masks == model.argmax(-1)).mean())
    if gives_masks:
        return Row(size, None, agreement)
    scale = max(float(np.abs(model).max()), 1e-30)
    return Row(size, float(np.abs(export - model).max()) / scale, agreement)


def sample_images(
    size: tuple[int, int], seed: int, model: keras.Model | None = None
) -> np.ndarray:
    """Makes images with large regions, edges and texture.

    Args:
        size: (height, width).
        seed: Seed of the random numbers.
        model: Model that takes the images; None is one for RGB.

    Returns:
        float32 (2, H, W, bands): RGB in 0..255; other bands around the mean
        that the model expects.
    """
    bands = RGB if model is None else num_bands(model)
    rng = np.random.default_rng(seed)
    height, width = size
    patches = rng.uniform(0, 255, (_IMAGES, 5, 6, bands))
    rows = np.arange(height) * 5 // height
    columns = np.arange(width) * 6 // width
    images = patches[:, rows][:, :, columns]
    images = images + np.linspace(-30, 30, width)[None, None, :, None]
    images = images + rng.normal(0, 12, images.shape)
    images = np.clip(images, 0, 255)
    expected = None if model is None else normalization(model)
    if bands != RGB and expected is not None:
        mean, std = map(np.array, expected)
        # Two standard deviations on either side of the mean.
        images = mean + std * (images / 63.75 - 2)
    return images.astype("float32")
