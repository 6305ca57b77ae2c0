"""mmsegmentation's side of `train_step.py`, which starts this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from comparison import Engine, Run, serve
from export_peer import build, write
from train_step import (
    AUX_WEIGHT,
    IGNORED,
    LEARNING_RATE,
    MOMENTUM,
    WEIGHT_DECAY,
    after_compared_steps,
    batch_of,
    child_of,
    parse,
)


def load(
    backbone: str, batch: int, engine: Engine, path: Path, threads: int
) -> Run:
    """Loads the network that `write` wrote, ready to train.

    Args:
        backbone: Such as `"resnet50"`.
        batch: Number of images in a batch.
        engine: Engine whose dtype it computes in.
        path: The file.
        threads: Number of threads that it may compute with.

    Returns:
        A function from a float32 image (1, H, W, 3) to the losses of the
        steps that it takes.
    """
    import peer
    import torch

    torch.set_num_threads(threads)
    # The weights stay float32: autocast casts copies.
    model = build(backbone, engine._replace(dtype="float32"), path).train()
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=LEARNING_RATE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
    )
    mean = torch.tensor(peer.IMAGENET_MEAN)
    std = torch.tensor(peer.IMAGENET_STD)

    def head_loss(head: Any, features: Any, truth: Any) -> Any:
        logits = peer.resize(
            head(features),
            size=truth.shape[1:],
            mode="bilinear",
            align_corners=False,
        )
        return torch.nn.functional.cross_entropy(
            logits.float(), truth, ignore_index=IGNORED
        )

    def step(image: np.ndarray) -> np.ndarray:
        images, masks = batch_of(image, batch)
        truth = torch.from_numpy(masks.astype("int64"))
        with torch.autocast(
            "cpu", torch.bfloat16, enabled=engine.dtype == "bfloat16"
        ):
            x = ((torch.from_numpy(images) - mean) / std).permute(0, 3, 1, 2)
            features = model.extract_feat(x)
            loss = head_loss(model.decode_head, features, truth)
            loss = loss + AUX_WEIGHT * head_loss(
                model.auxiliary_head, features, truth
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach().numpy()

    return after_compared_steps(step)


def main() -> None:
    """Runs the role that the command line names."""
    options = parse()
    if options.child == "write":
        write(options.folder, options.backbone)
        return
    serve(
        child_of(options.child),
        options.folder,
        options.threads,
        lambda *arguments: load(options.backbone, options.batch, *arguments),
    )


if __name__ == "__main__":
    main()
