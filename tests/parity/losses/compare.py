"""Compares the losses of keras_pspnet with what PyTorch's are.

    python compare.py FOLDER

`torch_peer.py` made the folder. Prints one row for each loss and example, and
fails if a value or a gradient misses its bound.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from keras_pspnet import losses

# Relative to the value, and to the greatest gradient.
BOUND = 1e-13
WEIGHTS = [0.5, 2.0, 1.0, 3.0, 0.25]
LOSSES = {
    "cross-entropy, smoothed (torch)": losses.SegmentationLoss(
        label_smoothing=0.1
    ),
    "cross-entropy, class weights (mmsegmentation)": losses.SegmentationLoss(
        class_weight=WEIGHTS
    ),
    "Dice (smp)": losses.Dice(),
    "Dice, smooth (smp)": losses.Dice(smooth=2.0),
    "Tversky (smp)": losses.Tversky(0.2, 0.7, 1.3),
    "Focal (smp)": losses.Focal(),
    "Focal, alpha (smp)": losses.Focal(1.5, 0.25),
    "Lovasz (smp)": losses.Lovasz(),
    "Lovasz (mmsegmentation)": losses.Lovasz(),
    "OHEM (mmsegmentation)": losses.Ohem(0.4, 300),
}


def main() -> int:
    """Compares all; 1 if a row misses its bound."""
    good = True
    print(f"{'loss':<46} {'shape':<12} {'value':>9} {'gradient':>9}")
    for path in sorted(Path(sys.argv[1]).glob("*.npz")):
        file = dict(np.load(path))
        logits = tf.constant(file["logits"].transpose(0, 2, 3, 1))
        for name, loss in LOSSES.items():
            with tf.GradientTape() as tape:
                tape.watch(logits)
                value = loss(file["masks"], logits)
            gradient = tape.gradient(value, logits).numpy()
            want = file[f"{name}/value"]
            wanted = file[f"{name}/gradient"].transpose(0, 2, 3, 1)
            off = abs(float(value) - want) / abs(want)
            bent = np.abs(gradient - wanted).max() / np.abs(wanted).max()
            fits = off <= BOUND and bent <= BOUND
            good &= bool(fits)
            shape = "x".join(map(str, file["masks"].shape))
            print(
                f"{name:<46} {shape:<12} {off:>9.1e} {bent:>9.1e} "
                f"{'' if fits else 'FAILS'}"
            )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
