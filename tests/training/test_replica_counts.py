"""The same training on 1, 2 and 4 replicas gives the same variables."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import distance

pytestmark = [pytest.mark.long, pytest.mark.replicas]

RUN = Path(__file__).parents[1] / "helpers" / "replica_run.py"
SAME = ("pspnet", "small", "dropout")
# One replica and many differ by what a batch in another order does.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What each case and number of replicas ended with."""
    folder = tmp_path_factory.mktemp("replicas")
    for replicas, more in (1, "other_seed"), (2, "local_statistics"), (4, ""):
        subprocess.run(
            [sys.executable, "-W", "ignore", RUN]
            + [str(replicas), str(folder), *SAME, *more.split()],
            check=True,
            cwd=RUN.parent.parent,
        )
    return {path.stem: dict(np.load(path)) for path in folder.iterdir()}


def distances(got, wanted):
    """Name -> largest difference of any replica, relative to the variable."""
    assert list(got) == list(wanted)
    return {name: distance(got[name], value) for name, value in wanted.items()}


@pytest.mark.parametrize("replicas", [2, 4])
@pytest.mark.parametrize("case", SAME)
def test_replicas_equal_one(runs, case, replicas):
    got, wanted = runs[f"{case}_{replicas}"], runs[f"{case}_1"]
    assert any("moving_variance" in name for name in wanted)
    assert any("momentum" in name for name in wanted)
    for name, value in got.items():
        assert name.startswith("start") or len(value) == replicas
    far = {
        name: value
        for name, value in distances(got, wanted).items()
        if not value <= TOLERANCE
    }
    assert not far


@pytest.mark.parametrize("case", SAME)
def test_something_was_learned(runs, case):
    found = runs[f"{case}_1"]
    starts = [name for name in found if name.startswith("start")]
    weights = {
        name: value[0]
        for name, value in found.items()
        if name.startswith("weight") and "moving" not in name
    }
    moved = [
        distance(found[start], end)
        for start, end in zip(starts, weights.values(), strict=True)
    ]
    assert min(moved) > TOLERANCE
    assert np.median(moved) > 30 * TOLERANCE


def test_dropout_drew_once_a_step(runs):
    for replicas in (1, 2, 4):
        (states,) = (
            value
            for name, value in runs[f"dropout_{replicas}"].items()
            if name.startswith("seed")
        )
        np.testing.assert_array_equal(states, [[1, 5]] * replicas)


def test_another_seed_is_far_away(runs):
    found = distances(runs["other_seed_1"], runs["dropout_1"])
    assert max(found.values()) > 1e3 * TOLERANCE


def test_local_statistics_are_far_away(runs):
    found = distances(runs["local_statistics_2"], runs["small_1"])
    assert max(found.values()) > 1e3 * TOLERANCE
