"""Tests of keras_pspnet.callbacks.tensorboard, by TensorFlow's own reader."""

import io
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from event_reading import events
from PIL import Image

from keras_pspnet.callbacks.tensorboard import EventFile

Event = tf.compat.v1.Event


def test_scalars_and_pictures_are_read_back(tmp_path):
    file = EventFile(tmp_path / "logs")
    file.scalars(7, {"train/loss": 0.25, "val/mean_iou": np.float32(0.5)})
    pixels = np.arange(36, dtype="uint8").reshape(3, 4, 3)
    file.image(8, "sheet", Image.fromarray(pixels))
    # Whoever watches sees them before the run is over.
    _, _, scalars, picture = events(tmp_path / "logs")
    assert scalars.step == 7
    assert {v.tag: v.simple_value for v in scalars.summary.value} == {
        "train/loss": 0.25,
        "val/mean_iou": 0.5,
    }
    assert picture.step == 8
    (value,) = picture.summary.value
    assert value.tag == "sheet"
    assert (value.image.height, value.image.width) == (3, 4)
    with Image.open(io.BytesIO(value.image.encoded_image_string)) as decoded:
        np.testing.assert_array_equal(decoded, pixels)
    file.close()


def test_a_file_starts_as_readers_expect(tmp_path):
    EventFile(tmp_path, first_step=51).close()
    version, start = events(tmp_path)
    assert version.file_version == "brain.Event:2"
    session = tf.compat.v1.SessionLog
    # What tells readers to drop later steps of older files.
    assert (start.step, start.session_log.status) == (51, session.START)


def test_parts_of_a_run_have_files_of_their_own(tmp_path):
    for part in (1, 2):
        file = EventFile(tmp_path)
        file.scalars(part, {"loss": part})
        file.close()
    steps = [event.step for event in events(tmp_path) if event.summary.value]
    assert steps == [1, 2]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="`folder` must be writable.*file/logs'"):
        EventFile(tmp_path / "file" / "logs")


def test_it_needs_no_tensorboard(tmp_path):
    code = (
        "import sys\n"
        # To Python, what is None in there is not installed.
        "sys.modules['tensorboard'] = None\n"
        "from keras_pspnet.callbacks.tensorboard import EventFile\n"
        f"file = EventFile({str(tmp_path)!r})\n"
        "file.scalars(1, {'loss': 2.0})\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    assert events(tmp_path)[-1].summary.value[0].simple_value == 2.0
