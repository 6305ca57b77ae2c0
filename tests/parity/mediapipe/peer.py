"""Segments with MediaPipe what this package exports.

    python export.py FOLDER
    python peer.py FOLDER

`export.py` writes the files and the masks of this package. Prints the share
of pixels with the same class, and fails if they or the labels differ.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import (
    ImageSegmenter,
    ImageSegmenterOptions,
)

# The last digits of logits decide a pixel or two between two classes.
LEAST = 0.9999


def main(folder: Path) -> bool:
    """Prints a row for each file, and returns whether all are the same."""
    pixels = np.load(folder / "image.npy")
    image = mp.Image(image_format=mp.ImageFormat.SRGB, data=pixels)
    names = (folder / "labels.txt").read_text().split("\n")
    files = sorted(folder.glob("*.tflite"))
    passed = bool(files)
    for path in files:
        options = ImageSegmenterOptions(
            base_options=BaseOptions(model_asset_path=str(path)),
            output_category_mask=True,
            output_confidence_masks=False,
        )
        with ImageSegmenter.create_from_options(options) as segmenter:
            labels = list(segmenter.labels)
            # A copy: the memory is the segmenter's.
            mask = segmenter.segment(image).category_mask.numpy_view().copy()
        wanted = np.load(path.with_suffix(".npy"))
        same = (mask.reshape(wanted.shape) == wanted).mean()
        print(f"{path.stem:<16} {same:.3%}, labels {labels == names}")
        passed &= labels == names and same >= LEAST
    return passed


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1])) else 1)
