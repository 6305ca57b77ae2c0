"""Every export beside the model it was made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np

from keras_pspnet.inference import network_size, predict_logits

# Greatest difference over greatest logit, and least share of pixels with the
# same class. Random weights put classes closer together than trained ones.
LIMITS = {
    "float32": (1e-5, 0.999),
    "float16": (1e-2, 0.98),
    "bfloat16": (5e-2, 0.97),
    "dynamic": (2e-1, 0.90),
    "int8": (5e-1, 0.80),
}
# Odd sizes, so that nothing rounds away unseen.
_SIZES = ((65, 97), (113, 64), (48, 48))
_IMAGES = 2


class ExportError(RuntimeError):
    """An export does not give the logits of its model."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What one image measured.

    Args:
        size: (height, width) of the image.
        difference: Greatest |difference| over greatest |logit|.
        agreement: Share of pixels with the same class.
    """

    size: tuple[int, int]
    difference: float
    agreement: float


@dataclasses.dataclass(frozen=True)
class Parity:
    """How far an export is from its model.

    Args:
        exported: What was exported, such as `"SavedModel"`.
        precision: Its precision, a key of `LIMITS`.
        rows: One for each image.
    """

    exported: str
    precision: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether all rows are within the limits of the precision."""
        most, least = LIMITS[self.precision]
        # Written so that NaN fails.
        return all(
            row.difference <= most and row.agreement >= least
            for row in self.rows
        )

    def __str__(self) -> str:
        most, least = LIMITS[self.precision]
        lines = [
            f"{self.exported}, {self.precision}: at most {most:g} of the "
            f"greatest logit, at least {least:.2%} of the pixels",
            f"{'image':>12} {'difference':>11} {'same class':>11}",
        ]
        lines += [
            f"{f'{row.size[0]}x{row.size[1]}':>12} {row.difference:>11.1e} "
            f"{row.agreement:>11.3%}"
            for row in self.rows
        ]
        return "\n".join(lines)


def compare(
    model: keras.Model,
    run: Callable[[list[np.ndarray]], list[np.ndarray]],
    exported: str,
    precision: str,
    images: Sequence[np.ndarray],
) -> Parity:
    """Runs an export beside its model and refuses what differs.

    Args:
        model: The model, with one output.
        run: Runs the export: a list of float32 images (1, H, W, 3) in
            0..255 to their logits (1, H, W, C).
        exported: What to call it.
        precision: Key of `LIMITS`.
        images: Images (1, H, W, 3) to compare on.

    Returns:
        What was measured.

    Raises:
        ExportError: If it is not within the limits; the table is in it.

    Examples:
        >>> from keras_pspnet.export.verify import compare, default_images
        >>> def run(images):
        ...     return [net.predict_on_batch(image) for image in images]
        >>> images = default_images(net)
        >>> compare(net, run, "itself", "float32", images).passed
        True
    """
    rows = tuple(
        _row(image.shape[1:3], got, predict_logits(model, image))
        for image, got in zip(images, run(list(images)), strict=True)
    )
    parity = Parity(exported, precision, rows)
    if not parity.passed:
        raise ExportError(
            f"the exported model must give the model's logits.\n{parity}"
        )
    return parity


def default_images(model: keras.Model) -> list[np.ndarray]:
    """Makes float32 images (1, H, W, 3) in 0..255 that a model takes."""
    own = network_size(model)
    return [
        image[None]
        for index, size in enumerate(_SIZES if own is None else (own,))
        for image in sample_images(size, seed=index)
    ]


def _row(size: tuple[int, int], got: np.ndarray, want: np.ndarray) -> Row:
    if got.shape != want.shape:
        return Row(size, float("nan"), 0.0)
    scale = max(float(np.abs(want).max()), 1e-30)
    return Row(
        size,
        float(np.abs(got - want).max()) / scale,
        float((got.argmax(-1) == want.argmax(-1)).mean()),
    )


def sample_images(size: tuple[int, int], seed: int) -> np.ndarray:
    """Makes images with large regions, edges and texture.

    Args:
        size: (height, width).
        seed: Of the random numbers.

    Returns:
        float32 (2, H, W, 3) in 0..255.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    patches = rng.uniform(0, 255, (_IMAGES, 5, 6, 3))
    rows = np.arange(height) * 5 // height
    columns = np.arange(width) * 6 // width
    images = patches[:, rows][:, :, columns]
    images = images + np.linspace(-30, 30, width)[None, None, :, None]
    images = images + rng.normal(0, 12, images.shape)
    return np.clip(images, 0, 255).astype("float32")
