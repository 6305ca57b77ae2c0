"""Event files for TensorBoard, written without TensorBoard.

TensorFlow 2.21 no longer installs the `tensorboard` package, without which
`tf.summary` and `keras.callbacks.TensorBoard` write nothing. The format is
TensorFlow's own: a file of records, each an `Event`.
"""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from keras_pspnet.callbacks.validation_scores import ValidationScores
from keras_pspnet.data import RGB
from keras_pspnet.inference import model_labels, predict_masks
from keras_pspnet.models import RestoredCallback
from keras_pspnet.utils import naming_errors
from keras_pspnet.utils.types import Logs
from keras_pspnet.visualization import as_rgb, comparison_sheet

Pair = tuple[np.ndarray, np.ndarray]

# The version of the format, for readers.
_VERSION = "brain.Event:2"


class EventLog(RestoredCallback):
    """Writes TensorBoard's event files at the end of every epoch.

    The scalars are plotted over the steps of the run: `train/...` and
    `val/...` are Keras's logs, `train/learning_rate` is the learning rate of
    the next step, and `iou/...` is the IoU of each class by name.
    `predictions` is a sheet of images, their ground truth and the model's
    predictions. Viewing the files requires the `tensorboard` package; writing
    them does not.

    Args:
        folder: Folder of the files, created if necessary. A resumed run adds
            a file, which replaces the later steps of older files.
        validation: The callback that computes the IoU of classes, earlier in
            the list. With it, sheets are drawn whenever it has new scores,
            otherwise at the end of every epoch.
        pairs: uint8 images (H, W, 3), or (H, W, bands), and their masks
            (H, W) for the sheet.

    Raises:
        OSError: From `fit`, if the folder cannot be written.

    Examples:
        >>> log = kp.callbacks.EventLog("logs", pairs=pairs[:2])
        >>> history = net.fit(images, masks, callbacks=[log], verbose=0)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        validation: ValidationScores | None = None,
        pairs: Sequence[Pair] = (),
    ) -> None:
        super().__init__()
        self._folder = folder
        self._validation = validation
        self._pairs = pairs
        self._writer: Any = None

    def on_fit_restored(self, epoch: int) -> None:
        import tensorflow as tf

        self._proto = tf.compat.v1
        with naming_errors("folder", self._folder):
            Path(self._folder).mkdir(parents=True, exist_ok=True)
        # Readers order files by name.
        name = f"events.out.tfevents.{time.time_ns():020d}"
        self._writer = tf.io.TFRecordWriter(os.path.join(self._folder, name))
        self._write(file_version=_VERSION)
        # Makes TensorBoard drop this step and later ones from older files:
        # the part of the run that was lost.
        session = self._proto.SessionLog
        self._write(
            step=self.model.global_step + 1,
            session_log=session(status=session.START),
        )

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        numbers = {_tag(name): value for name, value in (logs or {}).items()}
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        numbers["train/learning_rate"] = float(rate)
        scores = None if self._validation is None else self._validation.scores
        if scores is not None:
            for name, iou in zip(scores.labels.names, scores.iou, strict=True):
                numbers[f"iou/{name}"] = iou
        value = self._proto.Summary.Value
        values = [
            value(tag=tag, simple_value=float(number))
            for tag, number in numbers.items()
            if not math.isnan(number)
        ]
        if self._pairs and (scores is not None or self._validation is None):
            sheet = prediction_sheet(self.model, self._pairs)
            values.append(value(tag="predictions", image=self._image(sheet)))
        self._write(
            step=self.model.global_step,
            summary=self._proto.Summary(value=values),
        )

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _image(self, image: Image.Image) -> Any:
        stream = io.BytesIO()
        image.save(stream, "PNG")
        return self._proto.Summary.Image(
            height=image.height,
            width=image.width,
            colorspace=3,
            encoded_image_string=stream.getvalue(),
        )

    def _write(self, **fields: Any) -> None:
        event = self._proto.Event(wall_time=time.time(), **fields)
        self._writer.write(event.SerializeToString())
        # For live viewing, and in case the process is killed.
        self._writer.flush()


def prediction_sheet(model: keras.Model, pairs: Sequence[Pair]) -> Image.Image:
    """Draws images, their ground truth, a model's predictions, and the errors.

    Args:
        model: A `PSPNet`, or another Keras model that maps images to logits.
        pairs: At least one pair of a uint8 image (H, W, 3) and its mask
            (H, W), of any size. `keras_pspnet.visualization.as_rgb` converts
            images with other bands.

    Returns:
        An RGB image, see `keras_pspnet.visualization.comparison_sheet`.

    Examples:
        >>> from keras_pspnet.callbacks import prediction_sheet
        >>> prediction_sheet(model, pairs[:2]).save("sheet.png")
    """
    return comparison_sheet(
        [
            image if image.shape[-1] == RGB else as_rgb(image)
            for image, _ in pairs
        ],
        [mask for _, mask in pairs],
        [predict_masks(model, image[None])[0] for image, _ in pairs],
        model_labels(model),
    )


def _tag(name: str) -> str:
    if name.startswith("val_"):
        return f"val/{name.removeprefix('val_')}"
    return f"train/{name}"
