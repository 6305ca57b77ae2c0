"""Compares this package's protocols with the peer's predictions.

    python protocol_compare.py FOLDER

`protocol_peer.py`, here or in `../paddle`, made the folder. Prints one row
for each network, protocol and set of images, and fails if any row misses a
bound: predictions pixel by pixel, scores over the set.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from keras_pspnet import PSPNet, convert_file, evaluate
from keras_pspnet.data.images import read_image, read_mask
from keras_pspnet.evaluation import Confusion, Scores
from keras_pspnet.evaluation.protocols import make_protocol, predict_mask
from keras_pspnet.evaluation.reference_resize import opencv_resize
from keras_pspnet.inference.predictor import as_predictor

# At least this share of equal pixels, at most this difference of any score.
AGREEMENT = 0.9999
# In sets of few pixels, so many may be ties that another CPU breaks otherwise.
TIES = 5
SCORE_BOUND = 1e-4
# Rounding of float32 in numbers up to 255.
RESIZED_BOUND = 1e-4
SCORES = {
    "mIoU": "mean_iou",
    "mAcc": "mean_accuracy",
    "aAcc": "pixel_accuracy",
    "IoU": "iou",
    "Acc": "accuracy",
}


@functools.cache
def model_of(path: Path) -> PSPNet:
    """Reads the peer's checkpoint once."""
    return convert_file(path)


def masks_of(folder: Path) -> dict[str, np.ndarray]:
    """Returns the peer's predictions by the names of the images."""
    with np.load(folder / "masks.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def equal_share(
    first: dict[str, np.ndarray], second: dict[str, np.ndarray]
) -> float:
    """Returns how many of the pixels of common images are the same."""
    names = first.keys() & second.keys()
    equal = sum(np.count_nonzero(first[name] == second[name]) for name in names)
    return equal / sum(first[name].size for name in names)


def counts(
    model: PSPNet,
    pairs: dict[str, tuple[np.ndarray, np.ndarray]],
    masks: dict[str, np.ndarray],
) -> np.ndarray:
    """Returns the confusion matrix of predictions, given image and truth."""
    confusion = Confusion(as_predictor(model).labels.num_classes)
    for name, (_, truth) in pairs.items():
        confusion.add(truth, masks[name])
    return confusion.counts


def check(row: dict[str, Any], folder: Path, others: list[Path]) -> bool:
    """Prints one row; returns whether it keeps its bounds.

    Args:
        row: The peer's description.
        folder: Where its predictions are.
        others: Rows of the same network and set by other protocols, none of
            which may pass for this one.
    """
    root = folder.parents[1]
    (weights,) = (root / "networks" / row["network"]).glob("*.p*")
    model = model_of(weights)
    settings = {
        "scales": row["ratios"],
        "flip": row["flip"],
        "window": row["window"],
        "base": row["base"],
    }
    protocol = make_protocol(row["protocol"], **settings)
    network = as_predictor(model)
    want = masks_of(folder)
    data = root / "sets" / row["set"]
    pairs = {
        name: (
            read_image(data / "images" / f"{name}.png"),
            read_mask(data / "masks" / f"{name}.png"),
        )
        for name in want
    }
    have = {
        name: predict_mask(network, image, protocol)
        for name, (image, _) in pairs.items()
    }
    agreement = equal_share(have, want)
    nearest = max(
        (equal_share(have, masks_of(other)) for other in others), default=0.0
    )
    scores = evaluate(model, list(pairs.values()), row["protocol"], **settings)
    counted = True
    least = AGREEMENT
    if row.get("few_pixels"):
        least = 1 - TIES / sum(mask.size for mask in want.values())
        # One tie in a small class would exceed the bound: its scores are
        # compared over the same masks, and ours with the counts of our own.
        counted = np.array_equal(scores.confusion, counts(model, pairs, have))
        scores = Scores(counts(model, pairs, want), network.labels)
    difference = max(
        np.nanmax(np.abs(np.array(row["scores"][theirs]) - value))
        if np.array_equal(np.isnan(row["scores"][theirs]), np.isnan(value))
        else np.inf
        for theirs, ours in SCORES.items()
        if theirs in row["scores"]
        for value in [getattr(scores, ours)]
    )
    classes = len(np.unique(np.concatenate([m.ravel() for m in want.values()])))
    fits = (
        agreement >= least
        and counted
        and difference <= SCORE_BOUND
        and nearest < least
        and classes >= 3
    )
    base = "x".join(map(str, np.atleast_1d(row["base"])))
    views = f"{len(row['ratios'])}{' flip' if row['flip'] else ''}"
    print(
        f"{row['network']:<15} {row['set']:<6} "
        f"{base:>9} {row['window'] or 'whole':>6} "
        f"{views:>6} {sum(mask.size for mask in want.values()):>8} "
        f"{agreement:>9.4%} {nearest:>7.1%} {row['scores']['mIoU']:>9.5f} "
        f"{difference:>7.0e} {classes:>8} {'' if fits else 'FAILS'}",
        flush=True,
    )
    return bool(fits)


def check_resized(path: Path) -> bool:
    """Prints how resizing alone compares; returns whether it is the same."""
    differences: dict[str, list[float]] = {}
    with np.load(path) as arrays:
        for name in arrays.files:
            number, _, kind = name.partition("_")
            if kind == "from":
                want = arrays[f"{number}_to"]
                have = opencv_resize(arrays[name], want.shape[:2])
                difference = np.abs(have.astype("float64") - want).max()
                key = f"{want.shape[2]} channels of {want.dtype}"
                differences.setdefault(key, []).append(float(difference))
    good = True
    for key, each in differences.items():
        bound = 0.0 if key.endswith("uint8") else RESIZED_BOUND
        fits = max(each) <= bound
        good &= fits
        print(
            f"resizing of {key}: {len(each)} sizes, greatest difference "
            f"{max(each):.1e} of 255{'' if fits else '  FAILS'}",
            flush=True,
        )
    return good


def main() -> int:
    """Compares all rows.

    Returns:
        Exit status: 1 if a row misses a bound, or there is none.
    """
    folder = Path(sys.argv[1])
    resized = folder / "resized.npz"
    same = not resized.exists() or check_resized(resized)
    print(
        f"{'network':<15} {'set':<6} {'base':>9} {'window':>6} {'views':>6} "
        f"{'pixels':>8} {'equal':>9} {'nearest':>7} {'mIoU':>9} "
        f"{'scores':>7} {'classes':>8}"
    )
    rows = {
        path.parent: json.loads(path.read_text())
        for path in sorted((folder / "rows").glob("*/row.json"))
    }
    results = [
        check(
            row,
            place,
            [
                other
                for other, theirs in rows.items()
                if other != place
                and (theirs["network"], theirs["set"])
                == (row["network"], row["set"])
            ],
        )
        for place, row in rows.items()
    ]
    print(f"{sum(results)} of {len(results)} protocols within their bounds")
    return 0 if same and results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
