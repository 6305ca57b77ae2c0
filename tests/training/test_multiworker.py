"""Two processes that train together, through the command line.

They are what two machines are: each has its part of TF_CONFIG and a folder
that they share. What they end with is compared with one process of two
replicas; `make slow` also compares with one process alone, which adds in
another order.
"""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from forked import Forked, command
from ports import free_port
from support import distance

from keras_pspnet.training import checkpoints

pytestmark = [pytest.mark.long, pytest.mark.multiworker]

STEPS = 5
# Seconds after which a silent worker is lost.
TIMEOUT = 10
# One process and two differ by the order of sums.
TOLERANCE = 1e-5
RECIPE = f"""
import itertools
import os
import signal

import keras
import tensorflow as tf

from keras_pspnet.backbones import BLOCKS
from keras_pspnet.callbacks import StopOnNaN
from keras_pspnet.labels import SCENES
from keras_pspnet import PSPNet

from keras_pspnet.training import recipe

# Deep networks take long to trace.
BLOCKS[18] = (1, 1, 1, 1)
# To make the graphs fast would take longer than to run them.
tf.config.optimizer.set_experimental_options({{"disable_meta_optimizer": True}})


class Recipe(recipe.Recipe):
    def model(self):
        model = PSPNet(
            self.labels.num_classes,
            "resnet18",
            (*self.crop, 3),
            width=self.width,
            dropout=0.5,
            labels=self.labels,
        )
        # Large enough that the first layers learn something in a few steps;
        # with much larger ones the order of sums alone would change 1e-5.
        for name in ("head_classifier", "aux_classifier"):
            kernel = model.get_layer(name).kernel
            value = keras.random.normal(kernel.shape, stddev=0.05, seed=5)
            kernel.assign(value)
        return model


RECIPE = Recipe(
    name="tiny",
    labels=SCENES,
    backbone="resnet18",
    width=1 / 16,
    crop=(33, 41),
    fixed_size=True,
    batch_size=4,
    steps={STEPS},
    steps_per_epoch={STEPS},
    # The first normalizations amplify rounding: at 0.005, to 2e-5 in 5 steps.
    learning_rate=0.001,
    scenes=(12, 2),
    evaluations=1,
    checkpoint_steps=2,
)

if "REPLICAS" in os.environ:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu,
        [tf.config.LogicalDeviceConfiguration()] * int(os.environ["REPLICAS"]),
    )

if "KILLED_AFTER" in os.environ:
    steps = itertools.count(1)
    on_batch_end = StopOnNaN.on_train_batch_end

    def end(self, batch, logs=None):
        on_batch_end(self, batch, logs)
        if next(steps) == int(os.environ["KILLED_AFTER"]):
            os.kill(os.getpid(), signal.SIGKILL)

    StopOnNaN.on_train_batch_end = end
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Holds the recipe and the outputs."""
    folder = tmp_path_factory.mktemp("multiworker")
    (folder / "recipe.py").write_text(RECIPE)
    return folder


def launch(folder: Path, name: str, **environment: str) -> Forked:
    return Forked(
        command,
        *("train", os.fspath(folder / "recipe.py")),
        *("--output", os.fspath(folder / name)),
        *("--worker-timeout", str(TIMEOUT)),
        environment=environment,
    )


def launch_two(
    folder: Path, name: str, victim: int | None = None, steps: int = 0
) -> list[Forked]:
    """Starts both, of whom one may die after some steps."""
    port = free_port()
    workers = [f"127.0.0.1:{port}", f"127.0.0.1:{port + 10}"]
    return [
        launch(
            folder,
            name,
            TF_CONFIG=json.dumps(
                {
                    "cluster": {"worker": workers},
                    "task": {"type": "worker", "index": index},
                }
            ),
            **({"KILLED_AFTER": str(steps)} if index == victim else {}),
        )
        for index in range(2)
    ]


def succeed(*processes: Forked) -> None:
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.close()


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, np.ndarray]:
    """What one process ends with."""
    succeed(launch(folder, "alone"))
    return tensors(folder / "alone")


@pytest.fixture(scope="module")
def replicas(folder: Path) -> dict[str, np.ndarray]:
    """What one process ends with that halves every batch."""
    succeed(launch(folder, "replicas", REPLICAS="2"))
    return tensors(folder / "replicas")


def tensors(output: Path) -> dict[str, np.ndarray]:
    last = checkpoints.newest(output / "checkpoints")
    assert last is not None
    assert last.step == STEPS
    return last.tensors


def assert_near(
    got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]
) -> None:
    assert got.keys() == wanted.keys()
    assert any("moving_variance" in name for name in wanted)
    assert any("momentum" in name for name in wanted)
    distances = {
        name: distance(got[name], value) for name, value in wanted.items()
    }
    assert not {
        name: value
        for name, value in distances.items()
        if not value <= TOLERANCE
    }


def assert_equal(
    got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]
) -> None:
    assert_near(got, wanted)
    for name, value in wanted.items():
        # The epoch's sums until a checkpoint are the first replica's from then
        # on, and so are added in another order.
        if not name.startswith("metrics/"):
            np.testing.assert_array_equal(got[name], value, err_msg=name)


def lose(folder: Path, name: str, victim: int, steps: int) -> None:
    """Starts both, of whom one is killed and the other one ends."""
    workers = launch_two(folder, name, victim, steps)
    try:
        assert workers[victim].wait(timeout=300) == -signal.SIGKILL
        died = time.monotonic()
        _, errors = workers[1 - victim].communicate(timeout=300)
        assert time.monotonic() - died < 30
        assert workers[1 - victim].returncode == 75
    finally:
        for worker in workers:
            worker.close()
    assert "Traceback" not in errors
    line = errors.splitlines()[-1]
    assert f"Lost worker {victim} (127.0.0.1:" in line
    assert "Run the same command on all workers to resume." in line
    kept = checkpoints.newest(folder / name / "checkpoints")
    assert kept is not None
    assert kept.step == 2


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_two_processes_equal_one_though_one_was_killed(
    folder, replicas, victim: int
) -> None:
    name = f"two{victim}"
    lose(folder, name, victim, steps=3)
    shutil.copytree(folder / name, folder / f"fewer{victim}")
    succeed(*launch_two(folder, name))
    assert_equal(tensors(folder / name), replicas)
    succeed(launch(folder, f"fewer{victim}"))
    assert_near(tensors(folder / f"fewer{victim}"), replicas)


@pytest.mark.slow
def test_two_processes_go_on_with_what_one_began(folder, alone) -> None:
    killed = launch(folder, "more", KILLED_AFTER="3")
    assert killed.wait(timeout=300) == -signal.SIGKILL
    killed.close()
    succeed(*launch_two(folder, "more"))
    assert_near(tensors(folder / "more"), alone)
