"""The same training on 1, 2 and 4 replicas gives the same variables."""

import numpy as np
import pytest
from forked import Forked
from replica_run import train_cases
from support import distance

pytestmark = [pytest.mark.long, pytest.mark.replicas]

SAME = ("pspnet", "small", "averaged", "dropout")
# One replica and many differ by what a batch in another order does.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What each case and number of replicas ended with."""
    folder = tmp_path_factory.mktemp("replicas")
    for replicas, cases in (
        (1, (*SAME, "other_seed")),
        (2, (*SAME, "local_statistics")),
        # It would take minutes to trace the whole network four times.
        (4, SAME[1:]),
    ):
        process = Forked(train_cases, replicas, folder, cases)
        assert process.wait(timeout=600) == 0, process.errors
        process.close()
    return {path.stem: dict(np.load(path)) for path in folder.iterdir()}


def distances(got, wanted):
    """Name -> largest difference of any replica, relative to the variable."""
    assert list(got) == list(wanted)
    return {name: distance(got[name], value) for name, value in wanted.items()}


@pytest.mark.parametrize(
    ("case", "replicas"),
    [(case, 2) for case in SAME] + [(case, 4) for case in SAME[1:]],
)
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
