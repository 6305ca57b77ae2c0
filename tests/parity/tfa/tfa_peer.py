"""Writes images, and what tensorflow-addons makes of them.

    python tfa_peer.py FOLDER

`compare.py` rotates and blurs the same images with keras_pspnet.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_addons as tfa  # noqa: E402

# It would advise against tracing a function for every size.
tf.get_logger().setLevel("ERROR")

SIZES = ((9, 13), (16, 16), (1, 7), (375, 500))
DEGREES = (0.0, 3.0, -7.5, 10.0, 45.0, 180.0)
BLURS = ((3, 0.8), (5, 1.1), (5, 2.0), (7, 1.0))


def rotations(image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Rotates an image and its mask by all angles.

    The image goes on beyond its edge as its edge is; the mask is 255 there.
    """
    found = {"image": image, "mask": mask, "degrees": np.array(DEGREES)}
    for index, degrees in enumerate(DEGREES):
        angle = np.float32(np.deg2rad(degrees))
        found[f"image{index}"] = tfa.image.rotate(
            image, angle, interpolation="bilinear", fill_mode="nearest"
        ).numpy()
        found[f"mask{index}"] = tfa.image.rotate(
            mask[..., None], angle, interpolation="nearest", fill_value=255.0
        ).numpy()[..., 0]
    return found


def blurs(image: np.ndarray) -> dict[str, np.ndarray]:
    """Smooths an image with all kernels."""
    found = {"image": image, "kernels": np.array(BLURS)}
    for index, (size, sigma) in enumerate(BLURS):
        found[f"image{index}"] = tfa.image.gaussian_filter2d(
            image, (size, size), sigma, padding="REFLECT"
        ).numpy()
    return found


def main() -> None:
    """Writes a file for every size of images."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for height, width in SIZES:
        rng = np.random.default_rng(height * 1000 + width)
        image = rng.uniform(0, 255, (height, width, 3)).astype("float32")
        mask = rng.integers(0, 150, (height, width)).astype("uint8")
        name = f"{height}x{width}.npz"
        np.savez(folder / f"rotate_{name}", **rotations(image, mask))
        if min(height, width) > 3:
            np.savez(folder / f"blur_{name}", **blurs(image))


if __name__ == "__main__":
    main()
