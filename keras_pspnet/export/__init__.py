"""Exports of a model for production."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras

from keras_pspnet.layers import check_choice
from keras_pspnet.model import PSPNet

if TYPE_CHECKING:
    from keras_pspnet.export.verify import Parity

PRECISIONS = ("float32", "bfloat16")


def export_saved_model(
    model: keras.Model,
    folder: str | os.PathLike[str],
    precision: str = "float32",
    *,
    max_side: int | None = 1024,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    window: int | None = None,
    max_pixels: int | None = None,
    batch_sizes: Sequence[int] = (1,),
) -> Parity:
    """Exports a SavedModel: preprocessing, network and masks in one graph.

    The auxiliary branch is left out, batch normalisation is folded into the
    convolutions, and the weights are constants. `serving_default` and
    `scores` take JPEG or PNG files, `predict_array`, `predict_uint8`,
    `probabilities` and `logits` take arrays; see
    `keras_pspnet.export.signature.ServingModule`. The export is run in a
    process of its own beside the model before it gets its name, so that a
    server that watches the folder's parent never sees a half-written or
    wrong one. `assets.extra/` holds warm-up requests for
    tensorflow_model_server and `pspnet.json`: class names, versions, the
    weights' hash, parity.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        folder: Folder to make; for tensorflow_model_server its name is the
            version, as in `"models/pspnet/1"`.
        precision: `"float32"`, or `"bfloat16"` for the convolutions.
        max_side: See `keras_pspnet.segment`.
        scales: Likewise.
        flip: Likewise.
        window: Side of windows that slide over the picture, None for the
            whole picture at once.
        max_pixels: Encoded pictures with more are answered with the status
            TOO_LARGE; None is 89 million.
        batch_sizes: Numbers of pictures of the warm-up requests: a server's
            `allowed_batch_sizes`.

    Returns:
        How far the export is from the model; `print` shows a table.

    Raises:
        FileExistsError: If the folder exists.
        OSError: If it cannot be written.
        RuntimeError: If the export gives other logits than the model.
        ValueError: If an argument is out of range, or Keras does not run on
            TensorFlow.
    """
    _check_backend("export_saved_model")
    check_choice("precision", precision, PRECISIONS)
    sizes = tuple(batch_sizes)
    if not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(
            "`batch_sizes` must hold positive integers. "
            f"Received: batch_sizes={batch_sizes!r}"
        )
    # TensorFlow is imported where it is used, not with the package.
    from keras_pspnet.export.saved_model import write_saved_model
    from keras_pspnet.export.signature import MAX_PIXELS, ServingOptions

    options = ServingOptions(
        max_side=max_side,
        scales=tuple(scales),
        flip=flip,
        window=window,
        max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
    )
    return write_saved_model(
        _inference_model(model), folder, precision, options, sizes
    )


def _inference_model(model: keras.Model) -> keras.Model:
    return model.inference_model() if isinstance(model, PSPNet) else model


def _check_backend(function: str) -> None:
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"`{function}` must run with KERAS_BACKEND=tensorflow. "
            f"Received: backend={keras.backend.backend()!r}"
        )
