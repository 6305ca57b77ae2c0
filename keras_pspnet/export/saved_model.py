"""SavedModel: what tensorflow_model_server loads."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_pspnet.export.signature import ServingModule
from keras_pspnet.files import check_absent
from keras_pspnet.inference import network_size, predict_masks
from keras_pspnet.model import PSPNet

# An odd size, so that nothing rounds away unseen.
_CHECK_SIZE = (65, 97)


def write_saved_model(
    model: keras.Model, folder: str | os.PathLike[str]
) -> None:
    """Does the work of `keras_pspnet.export_saved_model`, documented there.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        folder: Folder to make.
    """
    folder = Path(folder)
    check_absent(folder)
    if isinstance(model, PSPNet):
        model = model.inference_model()
    folder.parent.mkdir(parents=True, exist_ok=True)
    module = ServingModule(model)
    # A name that is no number, which servers take for a version.
    parent = tempfile.mkdtemp(prefix=".export-", dir=folder.parent)
    try:
        written = os.path.join(parent, "model")
        tf.saved_model.save(
            module,
            written,
            signatures={
                "serving_default": module.predict_bytes,
                "predict_array": module.predict_array,
            },
        )
        _compare(model, written)
        os.rename(written, folder)
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def _compare(model: keras.Model, written: str) -> None:
    """Raises RuntimeError unless the export gives the model's masks."""
    size = network_size(model) or _CHECK_SIZE
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3))
    images = images.astype("float32")
    predict = tf.saved_model.load(written).signatures["predict_array"]
    masks = predict(images=tf.constant(images))["mask"].numpy()
    # Ties aside, rounding of two compilations may move single pixels.
    agreement = float((masks == predict_masks(model, images)).mean())
    if agreement < 0.9999:
        raise RuntimeError(
            "the exported model must give the model's masks. Received: "
            f"equal pixels {agreement:.2%}"
        )
