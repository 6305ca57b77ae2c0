"""mmsegmentation's side of `export.py`, which starts this file.

It writes the weights that all engines read, and runs the network the way that
suits PyTorch best: in inference mode, with images and weights `channels_last`,
and in bfloat16 with all weights and values in bfloat16.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
from comparison import NUM_CLASSES, Engine, Run, serve
from export import parse
from export_engines import ENGINES, NAMES

# The network is the one whose logits `make parity` compares.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/parity/mmseg"))


def case_of(backbone: str) -> Any:
    """Returns the peer's description of a network.

    Args:
        backbone: Such as `"resnet50"`.
    """
    import peer

    depth = int(backbone.removeprefix("resnet"))
    return peer.Case("weights", "mmseg", depth, NUM_CLASSES, sizes=())


def write(folder: Path, backbone: str) -> None:
    """Writes a network with random weights and statistics, `weights.pth`.

    Args:
        folder: Folder to write to.
        backbone: Such as `"resnet50"`.
    """
    import peer
    import torch

    case = case_of(backbone)
    torch.manual_seed(0)
    model = peer.build(case)
    peer.randomize(model, case)
    peer.save(model, case, folder)


def build(backbone: str, engine: Engine, path: Path) -> Any:
    """Returns the network that `write` wrote, in the form that suits PyTorch.

    Args:
        backbone: Such as `"resnet50"`.
        engine: Engine whose dtype it computes in.
        path: The file.
    """
    import peer
    import torch

    model = peer.build(case_of(backbone))
    content = torch.load(path, weights_only=False)
    model.load_state_dict(content["state_dict"])
    dtype = getattr(torch, engine.dtype)
    return model.eval().to(dtype).to(memory_format=torch.channels_last)


def load(backbone: str, engine: Engine, path: Path, threads: int) -> Run:
    """Loads the network that `write` wrote.

    Args:
        backbone: Such as `"resnet50"`.
        engine: Engine whose dtype it computes in.
        path: The file.
        threads: Number of threads that it may compute with.

    Returns:
        A function from a float32 image (1, H, W, 3) to its mask (1, H, W),
        uint8.
    """
    import peer
    import torch

    torch.set_num_threads(threads)
    model = build(backbone, engine, path)
    dtype = getattr(torch, engine.dtype)
    mean = torch.tensor(peer.IMAGENET_MEAN)
    std = torch.tensor(peer.IMAGENET_STD)

    @torch.inference_mode()
    def run(image: np.ndarray) -> np.ndarray:
        x = (torch.from_numpy(image) - mean) / std
        # NHWC images, seen as NCHW, are channels_last already.
        x = x.to(dtype).permute(0, 3, 1, 2)
        logits = peer.resize(
            model.decode_head(model.extract_feat(x)),
            size=x.shape[2:],
            mode="bilinear",
            align_corners=False,
        )
        return logits.argmax(dim=1).to(torch.uint8).numpy()

    return run


def main() -> None:
    """Runs the role that the command line names."""
    options = parse()
    if options.child == "write":
        write(options.folder, options.backbone)
    else:
        engine = ENGINES[NAMES.index(options.child)]
        loader = functools.partial(load, options.backbone)
        serve(engine, options.folder, options.threads, loader)


if __name__ == "__main__":
    main()
