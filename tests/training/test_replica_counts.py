"""The same training on 1, 2 and 4 replicas gives the same variables."""

import functools

import numpy as np
import pytest
from forked import Forked
from replica_run import train_cases
from support import distance

pytestmark = [pytest.mark.long, pytest.mark.replicas]

SAME = ("small", "averaged", "dropout")
# One replica and many differ by what a batch in another order does.
TOLERANCE = 1e-5


def trained(folder, replicas, *cases):
    """What each case ended with."""
    process = Forked(train_cases, replicas, folder, cases)
    assert process.wait(timeout=600) == 0, process.errors
    process.close()
    return {
        case: dict(np.load(folder / f"{case}_{replicas}.npz")) for case in cases
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Tells what each case ended with on a number of replicas."""
    folder = tmp_path_factory.mktemp("replicas")
    more = {1: ["other_seed"], 2: ["local_statistics"], 4: []}
    return functools.cache(
        lambda replicas: trained(folder, replicas, *SAME, *more[replicas])
    )


def distances(got, wanted):
    """Name -> largest difference of any replica, relative to the variable."""
    assert list(got) == list(wanted)
    return {name: distance(got[name], value) for name, value in wanted.items()}


def assert_equal(got, wanted, replicas):
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


def assert_learned(found):
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


@pytest.mark.parametrize(
    "replicas", [2, pytest.param(4, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("case", SAME)
def test_replicas_equal_one(runs, case, replicas):
    assert_equal(runs(replicas)[case], runs(1)[case], replicas)


@pytest.mark.parametrize("case", SAME)
def test_something_was_learned(runs, case):
    assert_learned(runs(1)[case])


@pytest.mark.slow
def test_replicas_of_the_whole_network_equal_one(tmp_path):
    one, two = (trained(tmp_path, k, "pspnet")["pspnet"] for k in (1, 2))
    assert_equal(two, one, 2)
    assert_learned(one)


@pytest.mark.parametrize(
    "replicas", [1, 2, pytest.param(4, marks=pytest.mark.slow)]
)
def test_dropout_drew_once_a_step(runs, replicas):
    (states,) = (
        value
        for name, value in runs(replicas)["dropout"].items()
        if name.startswith("seed")
    )
    np.testing.assert_array_equal(states, [[1, 5]] * replicas)


def test_another_seed_is_far_away(runs):
    found = distances(runs(1)["other_seed"], runs(1)["dropout"])
    assert max(found.values()) > 1e3 * TOLERANCE


def test_local_statistics_are_far_away(runs):
    found = distances(runs(2)["local_statistics"], runs(1)["small"])
    assert max(found.values()) > 1e3 * TOLERANCE
