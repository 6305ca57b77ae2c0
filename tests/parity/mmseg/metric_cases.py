"""Writes masks, predictions and this package's scores of them.

    python metric_cases.py FOLDER

`metric.py` scores the same arrays with mmsegmentation.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from keras_pspnet.evaluation import Confusion, Scores
from keras_pspnet.labels import generic_labels

CLASSES = (2, 5, 19, 21, 150)


def write(folder: Path, classes: int) -> None:
    """Writes one case: images of which some classes are absent.

    Class 1 is in predictions alone, and class 2, where there is one, in
    neither; one image is ignored as a whole.
    """
    rng = np.random.default_rng(classes)
    mask, prediction = rng.integers(0, classes, (2, 6, 40, 50))
    mask[mask == 1] = 0
    mask[mask == 2] = 0
    prediction[prediction == 2] = 0
    prediction = np.where(rng.random(mask.shape) < 0.6, mask, prediction)
    mask[rng.random(mask.shape) < 0.2] = 255
    mask[3] = 255
    confusion = Confusion(classes)
    for pair in zip(mask, prediction, strict=True):
        confusion.add(*pair)
    scores = Scores(confusion.counts, generic_labels(classes))
    np.savez(
        folder / f"{classes}.npz",
        mask=mask.astype("uint8"),
        prediction=prediction.astype("uint8"),
        IoU=scores.iou,
        Acc=scores.accuracy,
        mIoU=scores.mean_iou,
        mAcc=scores.mean_accuracy,
        aAcc=scores.pixel_accuracy,
        Dice=scores.f1,
        Precision=scores.precision,
        Recall=scores.accuracy,
    )


def main() -> None:
    """Makes the files of all cases."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for classes in CLASSES:
        write(folder, classes)


if __name__ == "__main__":
    main()
