"""mmsegmentation's side of `inference.py`, which starts this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from comparison import Engine, Run, serve
from export_peer import build, write
from inference import Mode, child_of, parse, window_of


def load(
    backbone: str, mode: Mode, engine: Engine, path: Path, threads: int
) -> Run:
    """Loads the network that `write` wrote.

    Args:
        backbone: Such as `"resnet50"`.
        mode: The mode.
        engine: Engine whose dtype it computes in.
        path: The file.
        threads: Number of threads that it may compute with.

    Returns:
        A function from a float32 image (1, H, W, 3) to its mask (1, H, W),
        uint8.
    """
    import peer
    import torch
    from mmengine.config import ConfigDict

    torch.set_num_threads(threads)
    model = build(backbone, engine, path)
    dtype = getattr(torch, engine.dtype)
    mean = torch.tensor(peer.IMAGENET_MEAN)
    std = torch.tensor(peer.IMAGENET_STD)

    def logits(x: Any, size: Any) -> Any:
        window = window_of(mode, size[0])
        model.test_cfg = ConfigDict(mode="whole")
        if window is not None:
            stride = -(-2 * window // 3)
            model.test_cfg = ConfigDict(
                mode="slide",
                crop_size=(window, window),
                stride=(stride, stride),
            )
        metas = [{"ori_shape": size, "img_shape": x.shape[2:]}]
        seen = model.inference(x, metas)
        return peer.resize(
            seen, size=size, mode="bilinear", align_corners=False
        )

    @torch.inference_mode()
    def run(image: np.ndarray) -> np.ndarray:
        size = image.shape[1:3]
        pixels = torch.from_numpy(image).permute(0, 3, 1, 2)
        total: Any = 0
        views = [
            (scale, flipped)
            for scale in mode.scales
            for flipped in ((False, True) if mode.flip else (False,))
        ]
        for scale, flipped in views:
            sides = [max(1, round(side * scale)) for side in size]
            x = peer.resize(
                pixels, size=sides, mode="bilinear", align_corners=False
            )
            if flipped:
                x = x.flip(3)
            x = (x.permute(0, 2, 3, 1) - mean) / std
            seen = logits(x.to(dtype).permute(0, 3, 1, 2), size)
            if len(views) == 1:
                total = seen
            else:
                seen = seen.softmax(dim=1)
                total = total + (seen.flip(3) if flipped else seen)
        return total.argmax(dim=1).to(torch.uint8).numpy()

    return run


def main() -> None:
    """Runs the role that the command line names."""
    options = parse()
    if options.child == "write":
        write(options.folder, options.backbone)
        return
    mode, engine = child_of(options.child)
    serve(
        engine,
        options.folder,
        options.threads,
        lambda *arguments: load(options.backbone, mode, *arguments),
    )


if __name__ == "__main__":
    main()
