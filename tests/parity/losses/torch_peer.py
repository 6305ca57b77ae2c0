"""Writes what PyTorch's losses make of given logits and masks.

    python torch_peer.py FOLDER

The losses are those of segmentation_models_pytorch, mmsegmentation and torch
itself, in float64, with their gradients. `compare.py` computes the same with
keras_pspnet.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "mmseg"))
import peer  # noqa: F401  (stands in for compiled operators on import)


def _without_networks(name: str) -> types.ModuleType:
    """Stands in for a package whose networks need more than is installed."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    module = types.ModuleType(name)
    module.__path__ = list(spec.submodule_search_locations or [])
    return module


sys.modules["segmentation_models_pytorch"] = _without_networks(
    "segmentation_models_pytorch"
)

import segmentation_models_pytorch.losses as smp  # noqa: E402
from mmseg.models.losses import CrossEntropyLoss, LovaszLoss  # noqa: E402
from mmseg.structures import OHEMPixelSampler  # noqa: E402

CLASSES = 5
SHAPES = ((2, 33, 41), (1, 17, 65))
WEIGHTS = [0.5, 2.0, 1.0, 3.0, 0.25]


def example(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Logits (B, C, H, W) that know something, and masks (B, H, W)."""
    rng = np.random.default_rng(sum(shape))
    # The last class is in no mask.
    masks = rng.integers(0, CLASSES - 1, shape)
    logits = rng.normal(0, 2, (shape[0], CLASSES, *shape[1:]))
    logits += 2 * (np.arange(CLASSES)[:, None, None] == masks[:, None])
    masks[:, 3:7] = 255
    return logits, masks


def torch_smoothed(logits: Any, masks: Any) -> Any:
    return torch.nn.functional.cross_entropy(
        logits, masks, ignore_index=255, label_smoothing=0.1
    )


def mmseg_weighted(logits: Any, masks: Any) -> Any:
    # Its own mean looks the weight of 255 up, and fails.
    loss = CrossEntropyLoss(class_weight=WEIGHTS, reduction="sum")
    return loss(logits, masks, ignore_index=255) / (masks != 255).sum()


# Both Lovasz losses ask for float32 within, by `Tensor.float`.
IN_FLOAT64 = mock.patch.object(torch.Tensor, "float", torch.Tensor.double)


@IN_FLOAT64
def smp_lovasz(logits: Any, masks: Any) -> Any:
    loss = smp.LovaszLoss("multiclass", ignore_index=255, per_image=True)
    return loss(logits, masks)


@IN_FLOAT64
def mmseg_lovasz(logits: Any, masks: Any) -> Any:
    loss = LovaszLoss(per_image=True, reduction="mean")
    return loss(logits, masks, ignore_index=255)


def mmseg_ohem(logits: Any, masks: Any) -> Any:
    """One image at a time, over the pixels that are kept."""
    total, kept = 0.0, 0.0
    for image, mask in zip(logits, masks, strict=True):
        context = type("Context", (), {"ignore_index": 255})
        sampler = OHEMPixelSampler(context, thresh=0.4, min_kept=300)
        weight = sampler.sample(image[None].detach(), mask[None, None])
        losses = torch.nn.functional.cross_entropy(
            image[None], mask[None], ignore_index=255, reduction="none"
        )
        total = total + (losses * weight).sum()
        kept = kept + weight.sum()
    return total / kept


# What compare.py calls them.
LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "cross-entropy, smoothed (torch)": torch_smoothed,
    "cross-entropy, class weights (mmsegmentation)": mmseg_weighted,
    "Dice (smp)": smp.DiceLoss("multiclass", ignore_index=255),
    "Dice, smooth (smp)": smp.DiceLoss(
        "multiclass", ignore_index=255, smooth=2.0
    ),
    "Tversky (smp)": smp.TverskyLoss(
        "multiclass", ignore_index=255, alpha=0.2, beta=0.7, gamma=1.3
    ),
    "Focal (smp)": smp.FocalLoss("multiclass", ignore_index=255),
    "Focal, alpha (smp)": smp.FocalLoss(
        "multiclass", ignore_index=255, alpha=0.25, gamma=1.5
    ),
    "Lovasz (smp)": smp_lovasz,
    "Lovasz (mmsegmentation)": mmseg_lovasz,
    "OHEM (mmsegmentation)": mmseg_ohem,
}


def results(shape: tuple[int, int, int]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and arrays of one example."""
    logits, masks = example(shape)
    yield "logits", logits
    yield "masks", masks
    for name, loss in LOSSES.items():
        given = torch.tensor(logits, requires_grad=True)
        value = loss(given, torch.tensor(masks))
        value.backward()
        assert given.grad is not None
        yield f"{name}/value", value.detach().numpy()
        yield f"{name}/gradient", given.grad.numpy()


def main() -> None:
    torch.set_default_dtype(torch.float64)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    for index, shape in enumerate(SHAPES):
        np.savez(folder / f"{index}.npz", **dict(results(shape)))


if __name__ == "__main__":
    main()
