"""Exports of a model for production."""

from __future__ import annotations

import os

import keras


def export_saved_model(
    model: keras.Model, folder: str | os.PathLike[str]
) -> None:
    """Exports a SavedModel with preprocessing, argmax and both signatures.

    `serving_default` takes JPEG or PNG files, `predict_array` takes arrays;
    see `keras_pspnet.export.signature.ServingModule`. The export is loaded
    and compared with the model before it gets its name, so that a server
    that watches the folder's parent never sees a half-written or wrong one.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        folder: Folder to make; for tensorflow_model_server its name is the
            version, as in `"models/pspnet/1"`.

    Raises:
        FileExistsError: If the folder exists.
        OSError: If it cannot be written.
        RuntimeError: If the export gives other masks than the model.
        ValueError: If Keras does not run on TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "`export_saved_model` must run with KERAS_BACKEND=tensorflow. "
            f"Received: backend={keras.backend.backend()!r}"
        )
    # TensorFlow is imported where it is used, not with the package.
    from keras_pspnet.export.saved_model import write_saved_model

    write_saved_model(model, folder)
