"""Compares losses on a rare class.

    python -m training.rare_class --output runs/rare_class

Trains a small network with one loss after the other, on procedural scenes
with boats on only 0.3 % of the pixels, and scores it on ordinary scenes, with
boats on 4 %. The seeds set weights, order and scenes.

The output folder holds a file for each finished run, from which the same
command resumes, and the table `rare_class.md`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_pspnet as kp
from keras_pspnet.data import scene_arrays
from keras_pspnet.labels import SCENES
from keras_pspnet.losses import Ohem, PixelLoss, SegmentationLoss, named_losses
from keras_pspnet.utils import write_atomically

SEEDS = (0, 1, 2)
SIZE = (64, 96)
RARE = SCENES.names.index("boat")
SHARE = 0.003
DRAWN, TRAIN, VAL = 900, 512, 200
BATCH, EPOCHS = 8, 10
# Name -> loss, and class weights.
LOSSES: dict[str, tuple[Callable[[], PixelLoss], Any]] = {
    "cross-entropy": (SegmentationLoss, None),
    "cross-entropy, balanced classes": (SegmentationLoss, "balanced"),
    "cross-entropy + Dice": (
        lambda: named_losses({"cross_entropy": 1, "dice": 1}),
        None,
    ),
    "cross-entropy + Lovasz": (
        lambda: named_losses({"cross_entropy": 1, "lovasz": 1}),
        None,
    ),
    # The hardest eighth of each image.
    "OHEM": (lambda: Ohem(min_kept=SIZE[0] * SIZE[1] // 8), None),
}


def training_scenes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws scenes, and drops most of those with the rare class."""
    images, masks = scene_arrays(0, DRAWN, SIZE, seed)
    pixels = (masks == RARE).sum((1, 2))
    without, having = np.flatnonzero(pixels == 0), np.flatnonzero(pixels)
    most = SHARE * TRAIN * SIZE[0] * SIZE[1]
    few = having[np.cumsum(pixels[having]) <= most]
    kept = np.concatenate([few, without])[:TRAIN]
    return images[kept], masks[kept]


def run(name: str, seed: int) -> kp.Scores:
    """Trains and scores one network."""
    loss, class_weight = LOSSES[name]
    keras.utils.set_random_seed(seed)
    model = kp.PSPNet(
        SCENES.num_classes, "resnet18", width=1 / 8, labels=SCENES
    )
    model.compile(loss=loss(), learning_rate=0.05)
    images, masks = training_scenes(seed)
    model.fit(
        images,
        masks,
        batch_size=BATCH,
        epochs=EPOCHS,
        class_weight=class_weight,
        verbose=0,
    )
    pairs = zip(*scene_arrays(DRAWN, VAL, SIZE, seed), strict=True)
    return kp.evaluate(model, list(pairs), verbose=False)


def table(results: dict[str, list[kp.Scores]]) -> str:
    """Returns a Markdown table of mean and standard deviation over seeds."""
    measures: dict[str, Callable[[kp.Scores], float]] = {
        "IoU of boats": lambda scores: scores.iou[RARE],
        "recall": lambda scores: scores.accuracy[RARE],
        "precision": lambda scores: scores.precision[RARE],
        "mean IoU": lambda scores: scores.mean_iou,
    }
    lines = [f"| loss | {' | '.join(measures)} |", "|---" * 5 + "|"]
    for name, found in results.items():
        cells = []
        for measure in measures.values():
            values = [100 * np.nan_to_num(measure(each)) for each in found]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.1f} ± {spread:.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Runs the missing runs, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("runs/rare_class"))
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[kp.Scores]] = {name: [] for name in LOSSES}
    for seed in SEEDS:
        for index, name in enumerate(LOSSES):
            path = output / f"{index}-{seed}.json"
            if not path.exists():
                run(name, seed).save(path)
            results[name].append(kp.Scores.load(path))
            print(f"seed {seed}, {name}: {results[name][-1].mean_iou:.3f}")
    text = table(results)
    write_atomically(output / "rare_class.md", text.encode())
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
