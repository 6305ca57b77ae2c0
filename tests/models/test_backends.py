"""The same network on another Keras backend, in a process of its own."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from support import ON_JAX

from keras_pspnet.models.pspnet import PSPNet

CLASSES = 3
SIDES = (33, 41)
STEPS = 3
ARGUMENTS = {
    "backbone": "resnet18",
    "width": 1 / 16,
    "bin_sizes": (1, 2),
    "dropout": 0.0,
    # Compiling the gradients of the backbone would take most of the time.
    "freeze": "backbone",
}

# What the other process does; it prints JSON on its last line.
PROGRAM = """
import json, sys
import numpy as np
import keras
from keras_pspnet.models.pspnet import PSPNet

imported = "tensorflow" in sys.modules
folder, arguments, classes = json.loads(sys.argv[1])
data = np.load(folder + "/data.npz")
model = PSPNet(classes, **arguments)
model.load_weights(folder + "/start.weights.h5")
np.savez(folder + "/logits.npz", **model.predict(data["x"], verbose=0))
model.compile(learning_rate=0.05)
fit = {"x": data["x"], "y": data["y"], "batch_size": 2, "shuffle": False}
model.fit(**fit, epochs=0, verbose=0)
lengths = [model.total_steps]
history = model.fit(**fit, verbose=0).history
lengths.append(model.total_steps)
try:
    model.fit(**fit, verbose=0)
except ValueError as error:
    beyond = str(error)
trained = "tensorflow" in sys.modules
model.save_weights(folder + "/end.weights.h5")
# Keras's own serialization imports TensorFlow on every backend.
model.save(folder + "/jax.keras")
try:
    model.fit(data["x"], data["y"] + np.uint8(classes), verbose=0)
except ValueError as error:
    refused = str(error)
print(json.dumps({
    "backend": keras.backend.backend(),
    "tensorflow": {"import": imported, "training": trained},
    "iterations": int(model.optimizer.iterations.numpy()),
    "history": {name: values[0] for name, values in history.items()},
    "refused": refused,
    "lengths": lengths,
    "beyond": beyond,
}))
"""


def make_model():
    model = PSPNet(CLASSES, **ARGUMENTS)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.name != "kernel":
            shift = rng.uniform(0, 0.5, variable.shape).astype("float32")
            variable.assign_add(shift)
    return model


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of a JAX process, its report and a TensorFlow model."""
    folder = tmp_path_factory.mktemp("backends")
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (2 * STEPS, *SIDES, 3)).astype("uint8")
    y = rng.integers(0, CLASSES, (2 * STEPS, *SIDES)).astype("uint8")
    y[::2, 3:30] = 255
    np.savez(folder / "data.npz", x=x, y=y)
    model = make_model()
    model.save_weights(folder / "start.weights.h5")
    arguments = json.dumps([str(folder), ARGUMENTS, CLASSES])
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, arguments],
        env={**os.environ, **ON_JAX},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout.splitlines()[-1])
    return folder, report, model, x, y


def test_jax_gives_the_logits_of_tensorflow(runs):
    folder, report, model, x, _ = runs
    assert report["backend"] == "jax"
    model.load_weights(folder / "start.weights.h5")
    wanted = model(x)
    got = np.load(folder / "logits.npz")
    assert sorted(got) == ["aux", "main"]
    for name in got:
        assert got[name].dtype == "float32"
        np.testing.assert_allclose(
            got[name],
            wanted[name],
            rtol=0,
            atol=1e-5 * np.abs(wanted[name]).max(),
        )


def test_jax_trains_as_tensorflow_does(runs):
    folder, report, model, x, y = runs
    model.load_weights(folder / "start.weights.h5")
    model.compile(learning_rate=0.05, run_eagerly=True)
    history = model.fit(x, y, batch_size=2, shuffle=False, verbose=0).history
    assert report["iterations"] == STEPS
    assert sorted(report["history"]) == sorted(history)
    for name, values in history.items():
        # A metric may see a pixel or two whose classes are nearly tied.
        tolerance = 1e-4 if "loss" in name else 1e-3
        assert report["history"][name] == pytest.approx(
            values[0], rel=tolerance
        )
    trained = keras.ops.convert_to_numpy(model.get_layer("head_conv").kernel)
    model.load_weights(folder / "end.weights.h5")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model.get_layer("head_conv").kernel),
        trained,
        atol=1e-4 * np.abs(trained).max(),
    )


def test_jax_does_not_import_tensorflow(runs):
    _, report, *_ = runs
    assert report["tensorflow"] == {"import": False, "training": False}


def test_jax_decays_over_the_fit_that_takes_steps(runs):
    _, report, *_ = runs
    assert report["lengths"] == [None, STEPS]
    assert "steps taken=3, steps requested=3" in report["beyond"]


def test_jax_refuses_bad_labels(runs):
    _, report, *_ = runs
    assert "`y` must hold labels 0..2" in report["refused"]


def test_model_saved_by_jax_loads_on_tensorflow(runs):
    folder, _, _, x, _ = runs
    loaded = keras.models.load_model(folder / "jax.keras")
    same = make_model()
    same.load_weights(folder / "end.weights.h5")
    np.testing.assert_array_equal(loaded(x)["main"], same(x)["main"])
    assert int(loaded.optimizer.iterations) == loaded.total_steps == STEPS
