"""Scores with mmsegmentation's IoUMetric what `metric_cases.py` wrote.

    python metric.py FOLDER

Prints one row for each file, and fails if any score differs. The peer adds
its counts up in float32, so that scores differ in their last digits.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import peer  # noqa: F401  (stands in for compiled operators on import)
import torch
from mmengine.logging import MMLogger
from mmseg.evaluation import IoUMetric

BOUND = 1e-6
NAMES = ("IoU", "Acc", "mIoU", "mAcc", "aAcc", "Dice", "Precision", "Recall")


def samples_of(mask: np.ndarray, prediction: np.ndarray) -> list[dict]:
    """Returns images (B, H, W) and predictions as the peer takes them."""
    return [
        {
            "gt_sem_seg": {"data": torch.from_numpy(label[None])},
            "pred_sem_seg": {"data": torch.from_numpy(guess[None])},
        }
        for label, guess in zip(mask, prediction, strict=True)
    ]


def scores_of(samples: list[dict], classes: int) -> dict:
    """Returns the peer's scores by its own names, and as it prints them."""
    metric = IoUMetric()
    metric.dataset_meta = {"classes": [f"class {i}" for i in range(classes)]}
    for sample in samples:
        metric.process({}, [sample])
    areas = [sum(each) for each in zip(*metric.results, strict=True)]
    kinds = ["mIoU", "mDice", "mFscore"]
    exact = IoUMetric.total_area_to_metrics(*areas, metrics=kinds)
    return {
        **exact,
        "mIoU": np.nanmean(exact["IoU"]),
        "mAcc": np.nanmean(exact["Acc"]),
        "printed": metric.evaluate(len(samples)),
    }


def difference(have: np.ndarray, want: np.ndarray) -> float:
    """Returns the greatest difference; infinity where one alone is NaN."""
    if (np.isnan(have) != np.isnan(want)).any():
        return float("inf")
    return float(np.nanmax(np.abs(have - want)))


def main() -> int:
    """Compares all files.

    Returns:
        Exit status: 1 if a score differs, or there are no files.
    """
    folder = Path(sys.argv[1])
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    good = []
    for path in sorted(folder.glob("*.npz"), key=lambda path: int(path.stem)):
        with np.load(path) as ours:
            classes = len(ours["IoU"])
            samples = samples_of(ours["mask"], ours["prediction"])
            peers = scores_of(samples, classes)
            differences = {
                name: difference(ours[name], peers[name]) for name in NAMES
            }
            # Percent, rounded to two digits.
            rounding = max(
                abs(100 * float(ours[name]) - peers["printed"][name])
                for name in ("mIoU", "mAcc", "aAcc")
            )
            absent = int(np.isnan(ours["IoU"]).sum())
        good.append(
            max(differences.values()) <= BOUND and rounding <= 0.005 + BOUND
        )
        row = "  ".join(
            f"{key} {each:.1e}" for key, each in differences.items()
        )
        print(
            f"{classes:3} classes, {absent} absent:  {row}"
            f"{'' if good[-1] else '  FAILS'}",
            flush=True,
        )
    print(f"{sum(good)} of {len(good)} sets of scores within {BOUND}")
    return 0 if good and all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
