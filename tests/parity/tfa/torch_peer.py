"""Writes what PyTorch's SGD, OpenCV and mmsegmentation make of given values.

    python torch_peer.py FOLDER

`compare.py` computes the same with keras_pspnet. The calls of OpenCV are
those of semseg's transforms.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "mmseg"))
import peer  # noqa: F401  (stands in for compiled operators on import)
from mmseg.datasets.transforms import transforms
from mmseg.datasets.transforms.transforms import PhotoMetricDistortion

STEPS = 12
SHAPES = ((3, 3, 8, 16), (16,), (16, 5))
# Rate, weight decay, whether the rate falls.
RUNS = ((0.01, 1e-4, True), (0.1, 0.05, True), (0.1, 0.05, False))
# Height and width of image, scaled image, and crop.
CUTS = (
    ((375, 500), (562, 750), (473, 473)),
    ((375, 500), (281, 375), (473, 473)),
    ((375, 501), (188, 251), (473, 473)),
    ((120, 90), (240, 180), (97, 113)),
)
# Brightness, contrast, saturation, hue in degrees, whether contrast is first.
DISTORTIONS = (
    (-32.0, 1.0, 1.0, 0.0, True),
    (20.0, 1.5, 1.0, 0.0, True),
    (20.0, 0.5, 1.0, 0.0, False),
    (0.0, 1.0, 0.5, 0.0, True),
    (0.0, 1.0, 1.5, 0.0, True),
    (0.0, 1.0, 1.0, -36.0, True),
    (0.0, 1.0, 1.0, 24.0, True),
    (25.0, 1.3, 1.4, 34.0, True),
    (-15.0, 0.7, 0.6, -20.0, False),
)


def sgd(rate: float, decay: float, falls: bool) -> dict[str, np.ndarray]:
    """Runs PyTorch's SGD in float64 with gradients drawn beforehand."""
    rng = np.random.default_rng(0)
    rates = [
        rate * (1 - step / STEPS) ** 0.9 if falls else rate
        for step in range(STEPS)
    ]
    found = {"rates": np.array(rates), "decay": np.array(decay)}
    weights = []
    for index, shape in enumerate(SHAPES):
        found[f"start{index}"] = rng.normal(0, 1, shape).astype("float32")
        found[f"gradients{index}"] = rng.normal(0, 1, (STEPS, *shape)).astype(
            "float32"
        )
        start = torch.from_numpy(found[f"start{index}"].astype("float64"))
        weights.append(torch.nn.Parameter(start.clone()))
    optimizer = torch.optim.SGD(
        weights, lr=rate, momentum=0.9, weight_decay=decay
    )
    trace: list[list[np.ndarray]] = [[] for _ in weights]
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = rates[step]
        for index, weight in enumerate(weights):
            gradient = found[f"gradients{index}"][step].astype("float64")
            weight.grad = torch.from_numpy(gradient)
        optimizer.step()
        for index, weight in enumerate(weights):
            trace[index].append(weight.detach().numpy().copy())
    for index, values in enumerate(trace):
        found[f"weights{index}"] = np.stack(values)
    return found


def smooth_image(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws a uint8 image without single-pixel noise, and large labels."""
    rng = np.random.default_rng(height * 1000 + width)
    small = rng.uniform(0, 255, (height // 16 + 2, width // 16 + 2, 3))
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    labels = rng.integers(0, 150, (height // 20 + 1, width // 20 + 1))
    mask = labels.repeat(20, axis=0).repeat(20, axis=1)[:height, :width]
    return np.clip(image, 0, 255).astype("uint8"), mask.astype("uint8")


def chain(
    image: np.ndarray,
    mask: np.ndarray,
    scaled: tuple[int, int],
    crop: tuple[int, int],
    start: tuple[int, int],
) -> dict[str, np.ndarray]:
    """Scales, blurs, mirrors, pads around the middle and crops."""
    mean = [0.485 * 255, 0.456 * 255, 0.406 * 255]
    size = scaled[::-1]
    image = cv2.resize(np.float32(image), size, interpolation=cv2.INTER_LINEAR)
    nearest = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    exact = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
    found = {}
    for name, array, value in (
        ("cropped", image, mean),
        ("nearest", nearest, 255),
        ("exact", exact, 255),
    ):
        array = cv2.flip(array, 1)
        missing = [max(c - s, 0) for c, s in zip(crop, scaled, strict=True)]
        top, left = (each // 2 for each in missing)
        array = cv2.copyMakeBorder(
            array,
            top,
            missing[0] - top,
            left,
            missing[1] - left,
            cv2.BORDER_CONSTANT,
            value=value,
        )
        found[name] = array[
            start[0] : start[0] + crop[0], start[1] : start[1] + crop[1]
        ]
    found["blurred"] = cv2.GaussianBlur(found["cropped"], (5, 5), 0)
    return found


class Draws:
    """Stands in for numpy.random: gives what it was told, in order."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def randint(self, *_: int) -> int:
        """Returns the next value as an integer."""
        return int(self.values.pop(0))

    def uniform(self, *_: float) -> float:
        """Returns the next value."""
        return self.values.pop(0)


def distorted(
    image: np.ndarray,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    first: bool,
) -> np.ndarray:
    """Distorts an RGB image with mmsegmentation's class."""
    contrasted = [1.0, contrast]
    draws = [1.0, brightness, float(first)]
    draws += contrasted if first else []
    draws += [float(saturation != 1)] + [saturation] * (saturation != 1)
    draws += [float(hue != 0)] + [hue / 2] * (hue != 0)
    draws += [] if first else contrasted
    transforms.random = Draws(draws)
    results = {"img": image[..., ::-1].copy()}
    found = PhotoMetricDistortion().transform(results)["img"][..., ::-1]
    if draws:
        raise RuntimeError(f"{len(draws)} draws were not used")
    return found


def main() -> None:
    """Writes a file for every case."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for index, run in enumerate(RUNS):
        np.savez(folder / f"sgd_{index}.npz", **sgd(*run))
    for index, (size, scaled, crop) in enumerate(CUTS):
        image, mask = smooth_image(*size)
        # Somewhere off the corner, where there is room.
        start = tuple(
            max(s - c, 0) // 3 for s, c in zip(scaled, crop, strict=True)
        )
        np.savez(
            folder / f"cut_{index}.npz",
            image=image,
            mask=mask,
            scaled=scaled,
            crop=crop,
            start=start,
            **chain(image, mask, scaled, crop, start),
        )
    image, _ = smooth_image(200, 300)
    for index, values in enumerate(DISTORTIONS):
        np.savez(
            folder / f"distort_{index}.npz",
            image=image,
            values=np.array(values),
            distorted=distorted(image, *values),
        )


if __name__ == "__main__":
    main()
