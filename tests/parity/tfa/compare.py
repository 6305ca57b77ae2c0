"""Compares keras_pspnet with what the two peers wrote.

    python compare.py FOLDER

`tfa_peer.py` and `torch_peer.py` made the folder. Prints one row for each
comparison, and fails if any misses its bound.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from keras_pspnet.data.augment.affine import (
    crop_positions,
    fill,
    flatten,
    place_crop,
    sample_pair,
)
from keras_pspnet.data.augment.photometric import distort, gaussian_blur
from keras_pspnet.optimizers import SGD


class Row(NamedTuple):
    """One number and the most that it may be."""

    name: str
    found: float
    bound: float


def rotations(file: dict[str, np.ndarray]) -> Iterator[Row]:
    """Compares with tfa.image.rotate, whose positions are float32."""
    size = file["mask"].shape
    for index, degrees in enumerate(file["degrees"]):
        angle = np.float64(np.float32(np.deg2rad(degrees)))
        placement = place_crop(
            tf.constant(size),
            tf.constant(size),
            tf.constant(angle),
            tf.constant([0, 0]),
            tf.constant(False),
        )
        flat = flatten(file["image"]), flatten(file["mask"])
        image, labels, _ = sample_pair(
            *flat, tf.constant(size), placement, size
        )
        rows, columns = crop_positions(placement, size)
        difference = np.abs(image - file[f"image{index}"]).max()
        name = f"rotate {size[0]}x{size[1]} by {degrees:g}"
        yield Row(f"{name}: values", difference, 0.03)
        # Where a position lies between two labels, rounding decides.
        tie = np.zeros(size, bool)
        for positions in (rows.numpy(), columns.numpy()):
            tie |= np.abs(positions % 1 - 0.5) < 1e-3
        unlike = (labels.numpy() != file[f"mask{index}"]) & ~tie
        yield Row(f"{name}: labels", unlike.mean(), 0)


def blurs(file: dict[str, np.ndarray]) -> Iterator[Row]:
    """Compares with tfa.image.gaussian_filter2d."""
    for index, (size, sigma) in enumerate(file["kernels"]):
        steps = np.arange(size) - size // 2
        kernel = np.exp(-(steps**2) / (2 * sigma**2))
        have = gaussian_blur(file["image"], tuple(kernel / kernel.sum()))
        difference = np.abs(have - file[f"image{index}"]).max()
        height, width = file["image"].shape[:2]
        name = f"blur {height}x{width} by {int(size)} of sigma {sigma:g}"
        yield Row(name, difference, 1e-3)


def cuts(file: dict[str, np.ndarray]) -> Iterator[Row]:
    """Compares with semseg's chain of cv2 calls."""
    size = file["mask"].shape
    scaled, crop = file["scaled"], tuple(file["crop"].tolist())
    start = file["start"] - np.maximum(crop - scaled, 0) // 2
    placement = place_crop(
        tf.constant(size),
        tf.constant(scaled, tf.int32),
        tf.constant(0.0, tf.float64),
        tf.constant(start, tf.int32),
        tf.constant(True),
    )
    flat = flatten(file["image"]), flatten(file["mask"])
    image, labels, inside = sample_pair(
        *flat, tf.constant(size), placement, crop
    )
    image = fill(image, inside)
    name = f"scale {size[0]}x{size[1]} to {scaled[0]}x{scaled[1]}"
    yield Row(f"{name}: values", np.abs(image - file["cropped"]).max(), 1e-3)
    yield Row(
        f"{name}: labels, of pixel centers",
        (labels.numpy() != file["exact"]).mean(),
        0,
    )
    # INTER_NEAREST takes the pixel of a corner: up to half a pixel aside.
    yield Row(
        f"{name}: labels, INTER_NEAREST",
        (labels.numpy() != file["nearest"]).mean(),
        0.1,
    )
    blurred = gaussian_blur(tf.constant(file["cropped"]))
    yield Row(f"{name}: blur", np.abs(blurred - file["blurred"]).max(), 1e-3)


def distortions(file: dict[str, np.ndarray]) -> Iterator[Row]:
    """Compares with mmsegmentation's, which rounds after every change."""
    *amounts, first = file["values"].tolist()
    pixels = tf.constant(file["image"], tf.float32)
    have = distort(pixels, *amounts, contrast_first=bool(first)).numpy()
    difference = np.abs(have - file["distorted"])
    name = "distort by " + " ".join(f"{amount:g}" for amount in amounts)
    yield Row(f"{name}: mean", difference.mean(), 1.5)
    yield Row(f"{name}: most", difference.max(), 10.0)


def model_of_sgd(
    file: dict[str, np.ndarray], index: int, rate_in_velocity: bool
) -> np.ndarray:
    """Returns weights after every step, of Caffe's rule or of PyTorch's."""
    weights = file[f"start{index}"].astype("float64")
    velocity = np.zeros_like(weights)
    trace = []
    for rate, gradient in zip(
        file["rates"], file[f"gradients{index}"], strict=True
    ):
        full = gradient + file["decay"] * weights
        if rate_in_velocity:
            velocity = 0.9 * velocity + rate * full
            weights = weights - velocity
        else:
            velocity = 0.9 * velocity + full
            weights = weights - rate * velocity
        trace.append(weights)
    return np.stack(trace)


def ours_of_sgd(
    file: dict[str, np.ndarray], as_pytorch: bool
) -> list[np.ndarray]:
    """Runs our SGD; as PyTorch's, the momentum falls with the rate."""
    count = sum(name.startswith("start") for name in file)
    variables = [keras.Variable(file[f"start{i}"]) for i in range(count)]
    optimizer = SGD(0.1, l2=float(file["decay"]))
    optimizer.build(variables)
    trace: list[list[np.ndarray]] = [[] for _ in variables]
    before = file["rates"][0]
    for step, rate in enumerate(file["rates"]):
        optimizer.learning_rate = rate
        if as_pytorch:
            optimizer.momentum = 0.9 * rate / before
        before = rate
        gradients = [file[f"gradients{i}"][step] for i in range(count)]
        optimizer.apply(list(map(tf.constant, gradients)), variables)
        for values, variable in zip(trace, variables, strict=True):
            values.append(variable.numpy())
    return [np.stack(values) for values in trace]


def sgd(file: dict[str, np.ndarray]) -> Iterator[Row]:
    """Compares with torch.optim.SGD and with Caffe's rule.

    Where the rate stands inside the velocity, a step is still as long as the
    rate was when its gradient came; PyTorch multiplies old steps by the new
    rate. The two agree at a constant rate. While it falls, PyTorch's rule is
    Caffe's with the momentum times the ratio of each rate to the one before.
    """
    falls = file["rates"][-1] < file["rates"][0]
    name = f"SGD of {file['rates'][0]:g}{' falling' if falls else ''}"
    name += f", decay {file['decay']:g}"
    plain, matched = (ours_of_sgd(file, matching) for matching in (False, True))
    rows: dict[str, list[float]] = {}
    for index, (ours, as_pytorch) in enumerate(
        zip(plain, matched, strict=True)
    ):
        theirs = file[f"weights{index}"]
        caffe, pytorch = (
            model_of_sgd(file, index, inside) for inside in (True, False)
        )
        for key, one, two in (
            ("PyTorch and its rule in NumPy", theirs, pytorch),
            ("ours and Caffe's rule in NumPy", ours, caffe),
            ("ours with PyTorch's momentum and PyTorch", as_pytorch, theirs),
            (
                "ours less PyTorch and the two rules' difference",
                ours - theirs,
                caffe - pytorch,
            ),
            ("ours and PyTorch", ours, theirs),
        ):
            # Of weights and steps that are both about 1.
            most = np.abs(one - two).max() / np.abs(theirs).max()
            rows.setdefault(key, []).append(most)
    for key, values in rows.items():
        bound = 1e-12 if "its rule" in key else 1e-6
        if key == "ours and PyTorch" and falls:
            # Printed to show what the place of the rate makes of a run.
            bound = float("inf")
        yield Row(f"{name}: {key}", max(values), bound)


KINDS = {
    "rotate": rotations,
    "blur": blurs,
    "cut": cuts,
    "distort": distortions,
    "sgd": sgd,
}


def main() -> int:
    """Compares all files.

    Returns:
        Exit status: 1 if a row misses its bound, or a kind has no files.
    """
    folder = Path(sys.argv[1])
    rows: list[Row] = []
    for kind, compare in KINDS.items():
        paths = sorted(folder.glob(f"{kind}_*.npz"))
        if not paths:
            print(f"no files of {kind}")
            return 1
        for path in paths:
            with np.load(path) as file:
                rows += compare(dict(file))
    for row in rows:
        end = "" if row.found <= row.bound else "  FAILS"
        print(f"{row.name:<82} {row.found:8.1e} of {row.bound:g}{end}")
    good = sum(row.found <= row.bound for row in rows)
    print(f"{good} of {len(rows)} within their bounds")
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
