"""Compares keras_pspnet with what annotation tools' converters drew.

    python compare.py FOLDER

`peer.py` made the folder. Prints one row for each form, and fails if any
misses its bound.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import keras_pspnet as kp

# Pixels that may differ, of all, and of those that have a neighbor of another
# class. pycocotools rounds corners of polygons to a fifth of a pixel, and
# follows outlines in such steps.
BOUNDS = {
    "coco polygons": (0.005, 0.05),
    "coco runs": (0, 0),
    "label studio brushes": (0, 0),
    "labelme": (0, 0),
}


def at_edges(mask: np.ndarray) -> np.ndarray:
    """Finds the pixels beside another class or the edge of the image."""
    padded = np.pad(mask.astype(int), 1, constant_values=-1)
    around = [
        padded[1 + y : padded.shape[0] - 1 + y, 1 + x : padded.shape[1] - 1 + x]
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    ]
    return np.any([each != mask for each in around], axis=0)


def compare(folder: Path, bounds: tuple[float, float]) -> bool:
    """Compares the masks of a folder; returns whether it is within bounds."""
    # Some polygons lie outside of their images.
    data = kp.data.load(folder, strict=False)
    unlike = total = edges = inner = 0
    for index, (_, mask) in enumerate(data):
        path = Path(data.files(index)[0]).with_suffix(".npy")
        want = np.load(path)
        differs, is_edge = mask != want, at_edges(want) | at_edges(mask)
        unlike += int(differs.sum())
        inner += int((differs & ~is_edge).sum())
        total += mask.size
        edges += int(is_edge.sum())
    shares = unlike / total, unlike / edges
    good = inner == 0 and all(np.less_equal(shares, bounds))
    print(
        f"{folder.name:<22} {len(data):3} masks: {shares[0]:.2%} of all "
        f"pixels differ, {shares[1]:.2%} of those at edges, {inner} elsewhere"
        f"{'' if good else '  FAILS'}"
    )
    return good


def main() -> int:
    """Compares all folders.

    Returns:
        Exit status: 1 if one misses its bounds.
    """
    folder = Path(sys.argv[1])
    good = [compare(folder / name, bounds) for name, bounds in BOUNDS.items()]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
