"""OpenCV and PyTorch's side of `input.py`, which starts this file."""

from __future__ import annotations

import argparse
import random
from typing import Any

import numpy as np
from comparison import Run, serve
from input import BATCH, engines_of, parse, use_cores

FILL = (123.675, 116.28, 103.53)
IGNORE = 255


def change(
    image: np.ndarray, mask: np.ndarray, size: int, draw: random.Random
) -> tuple[np.ndarray, np.ndarray]:
    """Scales, rotates, blurs, flips, pads and crops, in semseg's order.

    Args:
        image: uint8 (H, W, 3).
        mask: uint8 (H, W).
        size: Side of the crop.
        draw: Random number generator.

    Returns:
        uint8 (size, size, 3) and uint8 (size, size).
    """
    import cv2

    factor = draw.uniform(0.5, 2.0)
    scale = {"dsize": None, "fx": factor, "fy": factor}
    image = cv2.resize(image, **scale, interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(mask, **scale, interpolation=cv2.INTER_NEAREST)
    height, width = mask.shape
    if draw.random() < 0.5:
        middle = (width / 2, height / 2)
        turn = cv2.getRotationMatrix2D(middle, draw.uniform(-10, 10), 1)
        where = (turn, (width, height))
        image = cv2.warpAffine(
            image, *where, flags=cv2.INTER_LINEAR, borderValue=FILL
        )
        mask = cv2.warpAffine(
            mask, *where, flags=cv2.INTER_NEAREST, borderValue=IGNORE
        )
    if draw.random() < 0.5:
        image = cv2.GaussianBlur(image, (5, 5), 0)
    if draw.random() < 0.5:
        image, mask = cv2.flip(image, 1), cv2.flip(mask, 1)
    down, along = max(size - height, 0), max(size - width, 0)
    if down or along:
        sides = (down // 2, down - down // 2, along // 2, along - along // 2)
        kind = cv2.BORDER_CONSTANT
        image = cv2.copyMakeBorder(image, *sides, kind, value=FILL)
        mask = cv2.copyMakeBorder(mask, *sides, kind, value=IGNORE)
    top = draw.randint(0, mask.shape[0] - size)
    left = draw.randint(0, mask.shape[1] - size)
    cut = slice(top, top + size), slice(left, left + size)
    return image[cut], mask[cut]


def loader_of(options: argparse.Namespace, workers: int) -> Any:
    """Returns a DataLoader that makes the batches of a round.

    Args:
        options: As `parse` gives them.
        workers: Number of worker processes; with 0, the loader makes the
            batches itself.
    """
    import cv2
    import torch
    from torch.utils.data import DataLoader, Dataset

    images = sorted((options.folder / "images").iterdir())
    masks = sorted((options.folder / "masks").iterdir())
    count = BATCH * options.steps

    class Pairs(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return count

        def __getitem__(self, index: int) -> tuple[Any, Any]:
            place = index % len(images)
            image = cv2.imread(str(images[place]), cv2.IMREAD_COLOR)
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            # This gives the luminance of a palette file, not its classes, at
            # the same cost.
            mask = cv2.imread(str(masks[place]), cv2.IMREAD_GRAYSCALE)
            image, mask = change(
                image, mask, options.size, random.Random(index)
            )
            return (
                torch.from_numpy(image.astype(np.float32)),
                torch.from_numpy(np.ascontiguousarray(mask)),
            )

    def calm(_: int = 0) -> None:
        # The workers run in parallel, not their threads.
        cv2.setNumThreads(0)
        torch.set_num_threads(1)

    if not workers:
        calm()

    return DataLoader(
        Pairs(),
        BATCH,
        shuffle=True,
        num_workers=workers,
        worker_init_fn=calm,
        # They stay alive between rounds.
        persistent_workers=workers > 0,
    )


def load(options: argparse.Namespace, workers: int) -> Run:
    """Returns a function that makes all batches of a round.

    Args:
        options: As `parse` gives them.
        workers: Number of worker processes; with 0, the loader makes the
            batches itself.

    Returns:
        A function that ignores its argument and returns the shapes of the
        last batch.
    """
    loader = loader_of(options, workers)

    def run(_: np.ndarray) -> np.ndarray:
        for batch in loader:
            images, masks = batch
        return np.array([*images.shape, *masks.shape])

    return run


def main() -> None:
    """Runs the role that the command line names."""
    options = parse()
    (cores,) = options.cores
    use_cores(cores)
    peer, _ = engines_of(cores)
    # On one core, a worker would only slow the loader down.
    workers = cores if cores > 1 else 0
    serve(peer, options.folder, cores, lambda *_: load(options, workers))


if __name__ == "__main__":
    main()
