"""Tests of runs that are killed: they end with the weights of those that
are not, bit for bit.

The short form kills at chosen places; `make slow` at 50 random moments.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras_pspnet.training import checkpoints
from keras_pspnet.training.checkpoints import newest

from keras_pspnet import load_pretrained

pytestmark = pytest.mark.resume

PROGRAM = Path(__file__).with_name("killed_run.py")
LAST_STEP = 12
# Kills in a row, each of the run that goes on from the one before. What is
# there after each is the checkpoint that the next one takes.
KILLS = (
    ("step", 2, None),
    ("written", 1, None),
    ("renamed", 2, 4),
    ("evaluate", 1, 7),
    ("step", 1, 7),
)


def launch(output: Path, *plan: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    environment.pop("TF_CONFIG", None)
    return subprocess.run(
        [sys.executable, os.fspath(PROGRAM), os.fspath(output), *plan],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a run that nobody disturbs."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    done = launch(output)
    assert done.returncode == 0, done.stderr
    return output


def test_killed_runs_end_with_the_same_weights(whole, tmp_path) -> None:
    output = tmp_path / "killed"
    for where, count, step in KILLS:
        done = launch(output, where, str(count))
        assert done.returncode == -signal.SIGKILL, done.stderr
        kept = newest(output / "checkpoints")
        assert (None if kept is None else kept.step) == step, (where, count)
    done = launch(output)
    assert done.returncode == 0, done.stderr
    same_run(output, whole)
    assert not [
        each for each in os.listdir(output / "checkpoints") if each[0] == "."
    ]


def test_a_cut_checkpoint_costs_steps_and_nothing_else(whole, tmp_path) -> None:
    output = tmp_path / "cut"
    done = launch(output, "renamed", "3")
    assert done.returncode == -signal.SIGKILL, done.stderr
    last = checkpoints.path_of(output / "checkpoints", 7)
    last.write_bytes(last.read_bytes()[:1000])
    done = launch(output)
    assert done.returncode == 0, done.stderr
    assert "the one before is taken" in done.stderr
    same_run(output, whole)


def same_run(output: Path, whole: Path) -> None:
    got, wanted = (newest(folder / "checkpoints") for folder in (output, whole))
    assert got is not None and wanted is not None
    assert got.step == wanted.step == LAST_STEP
    for name, array in wanted.tensors.items():
        np.testing.assert_array_equal(got.tensors[name], array, err_msg=name)
    assert got.digest == wanted.digest
    for name in ("history.csv", "best/model.safetensors"):
        assert (output / name).read_bytes() == (whole / name).read_bytes()
    models = [
        load_pretrained(folder / "model").get_weights()
        for folder in (output, whole)
    ]
    for a, b in zip(*models, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_run_that_is_compared_learns(whole) -> None:
    # Equal weights would say little of a run that changes none.
    first, last = (
        checkpoints.read(path).tensors
        for path in reversed(checkpoints.listed(whole / "checkpoints"))
    )
    changed = [
        name
        for name in first
        if name.endswith("kernel")
        and not np.array_equal(first[name], last[name])
    ]
    assert len(changed) > 20
    rows = (whole / "history.csv").read_text().splitlines()
    assert len(rows) == 4
