"""Event files for TensorBoard, written without TensorBoard.

TensorFlow 2.21 no longer brings the `tensorboard` package, and `tf.summary`
and `keras.callbacks.TensorBoard` write nothing without it. The format is
TensorFlow's own: a file of records, each an `Event`.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from keras_pspnet.utils import naming_errors

# What readers of the format know the current version by.
_VERSION = "brain.Event:2"


class EventFile:
    """A new event file, in a folder that may hold those of earlier parts.

    Args:
        folder: Made if it does not exist.
        first_step: TensorBoard drops what older files of the folder say of
            this step and later ones: a part of the run that was lost.

    Raises:
        OSError: If the folder cannot be written.
    """

    def __init__(
        self, folder: str | os.PathLike[str], first_step: int = 0
    ) -> None:
        import tensorflow as tf

        self._proto = tf.compat.v1
        with naming_errors("folder", folder):
            Path(folder).mkdir(parents=True, exist_ok=True)
        # Readers take files in the order of their names.
        name = f"events.out.tfevents.{time.time_ns():020d}"
        self._writer = tf.io.TFRecordWriter(os.path.join(folder, name))
        self._write(file_version=_VERSION)
        session = self._proto.SessionLog
        self._write(step=first_step, session_log=session(status=session.START))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each of some curves.

        Args:
            step: Steps of the run so far.
            values: Tag -> value. TensorBoard groups tags by what stands
                before the first slash.
        """
        entry = self._proto.Summary.Value
        self._summary(
            step,
            [
                entry(tag=tag, simple_value=float(value))
                for tag, value in values.items()
            ],
        )

    def image(self, step: int, tag: str, picture: Image.Image) -> None:
        """Adds a picture.

        Args:
            step: Steps of the run so far.
            tag: Name of the row of pictures that it belongs to.
            picture: An RGB picture.
        """
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        summary = self._proto.Summary
        image = summary.Image(
            height=picture.height,
            width=picture.width,
            colorspace=3,
            encoded_image_string=stream.getvalue(),
        )
        self._summary(step, [summary.Value(tag=tag, image=image)])

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _summary(self, step: int, values: list[Any]) -> None:
        self._write(step=step, summary=self._proto.Summary(value=values))

    def _write(self, **fields: Any) -> None:
        event = self._proto.Event(wall_time=time.time(), **fields)
        self._writer.write(event.SerializeToString())
        # For those who watch, and in case that the process is killed.
        self._writer.flush()
