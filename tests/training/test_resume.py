"""Tests of runs that are killed: they end with the weights of those that
are not, bit for bit.

The short form kills at chosen places; `make slow` also at 50 random moments.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from killed_runs import Runs, difference, kill_until_done

from keras_pspnet.training import checkpoints
from keras_pspnet.training.checkpoints import newest

pytestmark = [
    pytest.mark.long,
    pytest.mark.resume,
    pytest.mark.skipif(sys.platform == "win32", reason="no fork, no SIGKILL"),
]

LAST_STEP = 12
RANDOM_KILLS = int(os.environ.get("RANDOM_KILLS", "7"))
# Kills in a row, each of the run that goes on from the one before. What is
# there after each is the checkpoint that the next one takes.
KILLS = (
    ("written", 2, 3),
    ("renamed", 2, 7),
    ("evaluate", 1, 7),
)


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    runs = Runs()
    yield runs
    runs.close()


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory) -> tuple[Path, float]:
    """The folder of a run that nobody disturbs, and how long it worked."""
    output = tmp_path_factory.mktemp("whole")
    runs.start(output)
    runs.wait_for_work()
    began = time.monotonic()
    assert runs.wait() == 0, runs.log
    return output, time.monotonic() - began


def test_runs_killed_at_chosen_places_end_with_the_same_weights(
    runs, whole, tmp_path
) -> None:
    output = tmp_path / "killed"
    for where, count, step in KILLS:
        assert runs.finish(output, where, count) == -signal.SIGKILL, runs.log
        kept = newest(output / "checkpoints")
        assert kept is not None
        assert kept.step == step, (where, count)
        if where == "renamed":
            # A cut checkpoint costs steps and nothing else.
            last = checkpoints.path_of(output / "checkpoints", step)
            last.write_bytes(last.read_bytes()[:1000])
        if where == "evaluate":
            assert "the previous one used" in runs.log
    assert runs.finish(output) == 0, runs.log
    assert difference(output, whole[0]) == ""
    assert not [
        each for each in os.listdir(output / "checkpoints") if each[0] == "."
    ]


@pytest.mark.slow
def test_runs_killed_at_random_moments_end_with_the_same_weights(
    runs, whole, tmp_path
) -> None:
    draw = random.Random(0)
    met: list[str] = []
    for output, phases in kill_until_done(
        runs, tmp_path, draw, whole[1], RANDOM_KILLS
    ):
        met += phases
        assert difference(output, whole[0]) == "", met
    assert len(met) == RANDOM_KILLS
    # Not only those that had done nothing yet.
    assert len(met) - met.count("starting") >= RANDOM_KILLS // 2, met


def test_the_run_that_is_compared_learns(whole) -> None:
    # Equal weights would say little of a run that changes none.
    first, last = (
        checkpoints.read(path)
        for path in reversed(checkpoints.listed(whole[0] / "checkpoints"))
    )
    assert last.step == LAST_STEP
    changed = [
        name
        for name, array in first.tensors.items()
        if name.endswith("kernel")
        and not np.array_equal(array, last.tensors[name])
    ]
    assert len(changed) > 20
    rows = (whole[0] / "history.csv").read_text().splitlines()
    assert len(rows) == 4
