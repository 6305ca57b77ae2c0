"""Saves the model after every epoch, to resume from."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import keras

from keras_pspnet.callbacks.stop_on_nan import check_weights_finite
from keras_pspnet.utils import check_writable
from keras_pspnet.utils.types import Logs


class Checkpoint(keras.callbacks.Callback):
    """Saves the model with its optimizer after every epoch, to resume from.

    If the run is killed during a save, the previous file remains.
    `keras.saving.load_model` reads the file; the model's `global_step` is the
    number of steps taken.

    Args:
        path: The `.keras` file.

    Raises:
        NonFiniteError: From `fit`, if a weight is NaN or infinite; the file
            stays as it was.
        OSError: From `fit`, if the file cannot be written.

    Examples:
        >>> keep = kp.callbacks.Checkpoint("last.keras")
        >>> history = net.fit(images, masks, callbacks=[keep], verbose=0)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = Path(path)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        check_writable(self._path)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        check_weights_finite(self.model, self.model.weights)
        with tempfile.TemporaryDirectory(dir=self._path.parent) as folder:
            # Keras chooses the format by the suffix.
            written = os.path.join(folder, "model.keras")
            self.model.save(written)
            os.replace(written, self._path)
