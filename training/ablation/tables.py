"""The paper's tables 1, 2 and 4: its networks, rows and scores; ours beside."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from keras_pspnet.training.recipe import Recipe

MEASURES = ("mean IoU", "pixel accuracy")


class Scored(NamedTuple):
    """Scores of one network, in percent."""

    mean_iou: float
    pixel_accuracy: float


# Network -> seed -> scores of its run.
Results = dict[str, dict[int, Scored]]


@dataclasses.dataclass(frozen=True)
class Network:
    """One network of the tables.

    Args:
        paper: The paper's scores, on ADE20K's validation split at one scale.
        bin_sizes: See `PSPNet`.
        pooling: See `PSPNet`.
        reduce: See `PSPNet`.
        aux_weight: See `Recipe`.
        flip: See `Recipe`. Of the paper's data augmentation, scenes use
            flips alone: they are drawn at all sizes.
    """

    paper: Scored
    bin_sizes: tuple[int, ...] = ()
    pooling: str = "average"
    reduce: bool = True
    aux_weight: float = 0.4
    flip: bool = True

    def recipe(self, recipe: Recipe, seed: int) -> Recipe:
        """Returns the run of this network in the setting of a recipe."""
        changes = dataclasses.asdict(self)
        del changes["paper"]
        return dataclasses.replace(recipe, seed=seed, **changes)


_ALL = (1, 2, 3, 6)
NETWORKS = {
    "plain": Network(Scored(34.28, 76.35), aux_weight=0.0, flip=False),
    "aux_0": Network(Scored(35.82, 77.07), aux_weight=0.0),
    "aux_0.3": Network(Scored(37.01, 77.87), aux_weight=0.3),
    "baseline": Network(Scored(37.23, 78.01)),
    "aux_0.6": Network(Scored(37.09, 77.84), aux_weight=0.6),
    "aux_0.9": Network(Scored(36.99, 77.87), aux_weight=0.9),
    "b1_max": Network(Scored(39.94, 79.46), (1,), "max", False),
    "b1_ave": Network(Scored(40.07, 79.52), (1,), "average", False),
    "b1236_max": Network(Scored(40.18, 79.45), _ALL, "max", False),
    "b1236_ave": Network(Scored(41.07, 79.97), _ALL, "average", False),
    "b1236_max_dr": Network(Scored(40.87, 79.61), _ALL, "max", True),
    "b1236_ave_dr": Network(Scored(41.68, 80.04), _ALL, "average", True),
}

# Title -> what the row is called -> network.
TABLES = {
    "Table 1: the pyramid": {
        "baseline": "baseline",
        "B1 + MAX": "b1_max",
        "B1 + AVE": "b1_ave",
        "B1236 + MAX": "b1236_max",
        "B1236 + AVE": "b1236_ave",
        "B1236 + MAX + DR": "b1236_max_dr",
        "B1236 + AVE + DR": "b1236_ave_dr",
    },
    "Table 2: weight of the auxiliary loss": {
        "without": "aux_0",
        "0.3": "aux_0.3",
        "0.4": "baseline",
        "0.6": "aux_0.6",
        "0.9": "aux_0.9",
    },
    "Table 4: one part after the other": {
        "baseline": "plain",
        "+ DA": "aux_0",
        "+ DA + AL": "baseline",
        "+ DA + AL + PSP": "b1236_ave_dr",
    },
}

# Pairs of rows that differ in one respect: what changes -> from, to.
COMPARISONS = {
    "B1 + MAX, to the baseline": ("baseline", "b1_max"),
    "B1 + AVE, to the baseline": ("baseline", "b1_ave"),
    "B1 to B1236, MAX": ("b1_max", "b1236_max"),
    "B1 to B1236, AVE": ("b1_ave", "b1236_ave"),
    "MAX to AVE, B1": ("b1_max", "b1_ave"),
    "MAX to AVE, B1236": ("b1236_max", "b1236_ave"),
    "MAX to AVE, B1236 + DR": ("b1236_max_dr", "b1236_ave_dr"),
    "DR, B1236 + MAX": ("b1236_max", "b1236_max_dr"),
    "DR, B1236 + AVE": ("b1236_ave", "b1236_ave_dr"),
    "auxiliary loss, 0 to 0.3": ("aux_0", "aux_0.3"),
    "auxiliary loss, 0.3 to 0.4": ("aux_0.3", "baseline"),
    "auxiliary loss, 0.4 to 0.6": ("baseline", "aux_0.6"),
    "auxiliary loss, 0.6 to 0.9": ("aux_0.6", "aux_0.9"),
    "DA": ("plain", "aux_0"),
    "AL, 0 to 0.4": ("aux_0", "baseline"),
    "PSP": ("baseline", "b1236_ave_dr"),
}


class Estimate(NamedTuple):
    """A mean over seeds, how far it can be trusted, and how many they are.

    `error` is NaN for a single seed.
    """

    value: float
    error: float
    seeds: int


def spread(runs: dict[int, Scored], measure: int) -> Estimate | None:
    """Returns a network's mean and the standard deviation over its seeds.

    Args:
        runs: Seed -> scores.
        measure: Index in `MEASURES`.

    Returns:
        The deviation is that of a sample: sum of squares / (n - 1). None
        without runs.
    """
    values = np.array([scores[measure] for scores in runs.values()])
    if not values.size:
        return None
    deviation = values.std(ddof=1) if values.size > 1 else math.nan
    return Estimate(float(values.mean()), float(deviation), values.size)


def difference(
    before: dict[int, Scored], after: dict[int, Scored], measure: int
) -> Estimate | None:
    """Returns how much better a network is, and the standard error of that.

    The same seed means the same scenes, so that networks are compared seed
    by seed: the scenes' share in the spread drops out.

    Args:
        before: Seed -> scores.
        after: Seed -> scores of the other network.
        measure: Index in `MEASURES`.

    Returns:
        Mean of the differences of the seeds that both have, and their
        deviation / sqrt(n); None if they have none.
    """
    found = spread(
        {
            seed: Scored(*np.subtract(after[seed], before[seed]))
            for seed in before
            if seed in after
        },
        measure,
    )
    if found is None:
        return None
    return found._replace(error=found.error / math.sqrt(found.seeds))


def verdict(ours: Estimate, paper: float) -> str:
    """Says how a difference of ours compares with the paper's.

    Args:
        ours: See `difference`.
        paper: The paper's difference.

    Returns:
        "agrees" if the signs do, else "differs"; with a remark where ours is
        not beyond twice its standard error.
    """
    word = "agrees" if ours.value * paper > 0 else "differs"
    if ours.seeds == 1:
        return f"{word}, one seed"
    if not abs(ours.value) > 2 * ours.error:
        return f"{word}, within 2 SE"
    return word
