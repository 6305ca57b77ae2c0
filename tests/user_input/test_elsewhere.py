"""The same inputs on several replicas, on JAX, from files, and in exports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_trees import row, write_own, write_text
from small import small
from support import ON_JAX

import keras_pspnet as kp
from keras_pspnet.data import load
from keras_pspnet.data.augment.augmentation import train_augmentation
from keras_pspnet.data.pipeline import training_dataset
from keras_pspnet.export import saved_model

pytestmark = [pytest.mark.long, pytest.mark.user_input]

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, 9, 9, 3)).astype("uint8")
MASKS = RNG.integers(0, 2, (8, 9, 9)).astype("uint8")


def test_replicas_count_all_images(two_replicas):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(
        (IMAGES.astype("float32") / 255, MASKS * np.uint8(255))
    ).batch(4)
    with two_replicas.scope():
        model = small(classes=2, eager=False)
    with pytest.warns(kp.DataWarning) as caught:
        model.fit(data, verbose=0)
    texts = " ".join(str(each.message) for each in caught)
    assert "8 images" in texts and "8 of 8 masks" in texts


HELPERS = Path(__file__).parents[1] / "helpers"
# What a process with Keras on JAX does; it prints JSON on its last line.
PROGRAM = """
import json, warnings
import keras
import numpy as np
import keras_pspnet as kp
from small import small

rng = np.random.default_rng(0)
x = rng.integers(0, 256, (4, 9, 9, 3)).astype("float32")
y = rng.integers(0, 2, (4, 9, 9)).astype("uint8")


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(2 * index, 2 * index + 2)
        return self.x[part], self.y[part]


model = small(classes=2)


def told(*data):
    model.compile()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            history = model.fit(*data, verbose=0).history
        except ValueError as error:
            return str(error)
    found = [str(w.message) for w in caught if w.category is kp.DataWarning]
    return found or history["loss"][0]


print(json.dumps([
    told(x, y / 255),
    told(x, y * np.uint8(255)),
    told(Batches(x / 255, y * np.uint8(255))),
    str(told(Batches(x, y / np.float32(255)))),
]))
"""


@pytest.mark.slow
def test_jax():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **ON_JAX, "PYTHONPATH": str(HELPERS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    fractions, binary, stream, loss = json.loads(done.stdout.splitlines()[-1])
    assert "labels must be whole numbers" in fractions
    assert "two classes must be 0 and 1" in binary
    small_images, objects = stream
    assert "4 images" in small_images and "4 of 4 masks" in objects
    # Compiled code cannot raise.
    assert loss == "nan"


@pytest.mark.parametrize("how", ["label", "gone"])
def test_a_faulty_file_in_fit(tmp_path, how):
    write_own(tmp_path, **{f"m{k}": row(0, 1) for k in range(4)})
    write_text(tmp_path / "labels.txt", "sky\nroad\n")
    data = load(tmp_path)
    bad = tmp_path / "masks/m2.png"
    if how == "label":
        write_own(tmp_path, m2=row(0, 9))
        error, kind = "`mask` must hold labels within 0..1.*label 9", ValueError
    else:
        bad.unlink()
        error, kind = "`mask` must be", FileNotFoundError
    crops = train_augmentation((9, 9))
    with pytest.raises(kind, match=f"^{error}.*{bad}") as raised:
        small(classes=2, eager=False).fit(
            training_dataset(data, crops, 2, total_steps=2), verbose=0
        )
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "max_side"),
    [
        ({}, 1024),
        ({"window": np.int64(65)}, None),
        ({"window": 65, "max_side": 300}, 300),
        ({"max_side": None}, None),
    ],
)
def test_an_export_shrinks_images_as_segment_does(
    tmp_path, monkeypatch, arguments, max_side
):
    seen = []

    def write(model, folder, precision, options, *_):
        seen.append(options)

    monkeypatch.setattr(saved_model, "write_saved_model", write)
    model = kp.PSPNet(3, "resnet18", width=1 / 16, aux=False)
    kp.export_saved_model(model, tmp_path / "1", **arguments)
    (options,) = seen
    assert options.max_side == max_side
    assert options.window == arguments.get("window")
