"""The peer: mmsegmentation in PyTorch writes checkpoints, images, logits.

    python peer.py FOLDER [CASE ...]

Every case is a network with random weights and random batch-norm statistics,
saved in a form in which such networks are published, with its logits for some
images. `compare.py` reads the same file with keras_pspnet. The published
files themselves are of the same making, so what holds here holds for them.

mmsegmentation's PSPNet can be configured as each of the networks whose
weights are published: its own, semseg's (stem of 64, 64, 128, dilation not
contracted, corners aligned) and the original Caffe one (for ADE20K with the
stride on the 1x1). The keys are then renamed to those of that source.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "helpers"))
from caffe_files import caffe_model
from source_names import caffe_layers, renamed, semseg_names, timm_names


class _Operators(types.ModuleType):
    """Stands in for mmcv's compiled operators, of which PSPNet uses none."""

    __file__ = __file__
    __path__: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return None


sys.modules["mmcv._ext"] = _Operators("mmcv._ext")
warnings.filterwarnings("ignore")

from mmengine.logging import HistoryBuffer  # noqa: E402
from mmseg.models import build_segmentor  # noqa: E402
from mmseg.models.utils import resize  # noqa: E402

CAFFE_MEAN = (123.68, 116.779, 103.939)
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclasses.dataclass(frozen=True)
class Case:
    """One network, one file, some images.

    Args:
        name: Name of the case and of its folder.
        source: Whose form the file has: "mmseg", "semseg", "caffe", and for
            the backbone alone "mmcv" or "timm".
        depth: Of the ResNet.
        classes: Number of classes.
        sizes: (height, width) of the images.
        align_corners: Corner-aligned resizing.
        stem: "deep", "deep_wide" or "7x7".
        stride_on: "3x3" or "1x1".
        shortcut: "conv" or "average_pool".
        legacy: The serialization of PyTorch before 1.6.
        dtype: Of weights and computation.
        width: Factor on every number of channels.
    """

    name: str
    source: str
    depth: int
    classes: int
    sizes: tuple[tuple[int, int], ...]
    align_corners: bool = False
    stem: str = "deep"
    stride_on: str = "3x3"
    shortcut: str = "conv"
    legacy: bool = False
    dtype: str = "float32"
    width: float = 1.0


def _semseg(name: str, depth: int, *args: Any, **kwargs: Any) -> Case:
    kwargs = {"stem": "deep_wide", "align_corners": True} | kwargs
    return Case(name, name.partition("-")[0], depth, *args, **kwargs)


AVERAGE = "average_pool"
MIDDLE, ODD, PAPER = ((200, 333),), ((201, 337),), ((473, 473),)
F64: dict[str, Any] = {"dtype": "float64"}
CASES = (
    Case("mmseg-r18-cityscapes", "mmseg", 18, 19, ((512, 512), *MIDDLE)),
    Case("mmseg-r18b-cityscapes", "mmseg", 18, 19, MIDDLE, stem="7x7"),
    Case("mmseg-r18-f64", "mmseg", 18, 19, MIDDLE, **F64),
    Case("mmseg-r50-voc", "mmseg", 50, 21, (*PAPER, (512, 512), *MIDDLE)),
    Case("mmseg-r50-voc-legacy", "mmseg", 50, 21, MIDDLE, legacy=True),
    Case("mmseg-r50-f64", "mmseg", 50, 21, MIDDLE, **F64),
    Case("mmseg-r50-cityscapes-769", "mmseg", 50, 19, ((769, 769),), True),
    Case("mmseg-r101-ade20k", "mmseg", 101, 150, PAPER, legacy=True),
    _semseg("semseg-r50-voc", 50, 21, PAPER),
    _semseg("semseg-r101-ade20k", 101, 150, MIDDLE, legacy=True),
    _semseg("semseg-r50-f64", 50, 19, ODD, **F64),
    _semseg("caffe-r50-ade20k", 50, 150, PAPER, stride_on="1x1"),
    _semseg("caffe-r101-voc", 101, 21, PAPER),
    _semseg("caffe-r101-f64", 101, 19, ODD, **F64),
    Case("mmcv-r50-v1c", "mmcv", 50, 21, MIDDLE),
    Case("timm-r50c", "timm", 50, 21, MIDDLE),
    Case("timm-r50c-f64", "timm", 50, 21, MIDDLE, **F64),
    Case("mmseg-r50d-f64", "mmseg", 50, 21, ODD, shortcut=AVERAGE, **F64),
    Case("timm-r50d-f64", "timm", 50, 21, ODD, shortcut=AVERAGE, **F64),
    Case("timm-r101s", "timm", 101, 21, MIDDLE, stem="deep_wide"),
)


def build(case: Case) -> torch.nn.Module:
    """Builds the peer's network as the published configurations do."""
    bottleneck = case.depth >= 50
    channels = round((2048 if bottleneck else 512) * case.width)
    base = round(64 * case.width)
    norm = {"type": "BN", "requires_grad": True}
    head = {
        "num_classes": case.classes,
        "norm_cfg": norm,
        "align_corners": case.align_corners,
        "dropout_ratio": 0.0,
        "loss_decode": {"type": "CrossEntropyLoss"},
    }
    kind = "ResNet" if case.stem == "7x7" else "ResNetV1c"
    if case.shortcut == AVERAGE:
        kind = "ResNetV1d"
    backbone = {
        "type": kind,
        "depth": case.depth,
        "num_stages": 4,
        "out_indices": (0, 1, 2, 3),
        "dilations": (1, 1, 2, 4),
        "strides": (1, 2, 1, 1),
        "norm_cfg": norm,
        "norm_eval": False,
        "style": "pytorch" if case.stride_on == "3x3" else "caffe",
        "contract_dilation": case.stem != "deep_wide",
        "stem_channels": 2 * base if case.stem == "deep_wide" else base,
        "base_channels": base,
    }
    return build_segmentor(
        {
            "type": "EncoderDecoder",
            "backbone": backbone,
            "decode_head": {
                "type": "PSPHead",
                "in_channels": channels,
                "in_index": 3,
                "channels": channels // 4,
                "pool_scales": (1, 2, 3, 6),
                **head,
            },
            "auxiliary_head": {
                "type": "FCNHead",
                "in_channels": channels // 2,
                "in_index": 2,
                "channels": channels // 8,
                "num_convs": 1,
                "concat_input": False,
                **head,
            },
            "train_cfg": {},
            "test_cfg": {"mode": "whole"},
        }
    )


def random_image(size: tuple[int, int], seed: int) -> np.ndarray:
    """Patches of color with some noise, uint8 RGB (H, W, 3)."""
    rng = np.random.default_rng(seed)
    grid = (max(3, size[0] // 64), max(3, size[1] // 64))
    patches = torch.from_numpy(rng.uniform(0, 255, (1, 3, *grid)))
    smooth = torch.nn.functional.interpolate(
        patches, size, mode="bicubic", align_corners=False
    )[0].permute(1, 2, 0)
    noisy = smooth.numpy() + rng.normal(0, 15, (*size, 3))
    return np.clip(noisy, 0, 255).astype("uint8")


def normalized(image: np.ndarray, case: Case) -> torch.Tensor:
    """What the source feeds its network with."""
    values = torch.from_numpy(image.astype("float64"))
    if case.source == "caffe":
        mean = torch.tensor(CAFFE_MEAN, dtype=torch.float64)
        values = (values - mean).flip(-1)
    else:
        values = (values - torch.tensor(IMAGENET_MEAN, dtype=torch.float64)) / (
            torch.tensor(IMAGENET_STD, dtype=torch.float64)
        )
    dtype = getattr(torch, case.dtype)
    return values.permute(2, 0, 1)[None].to(dtype)


def randomize(model: torch.nn.Module, case: Case) -> None:
    """Random weights and statistics under which every layer stays alive.

    The statistics are those of a batch, moved at random: with statistics out
    of thin air the logits of so deep a network are constant or overflow.
    """
    generator = torch.Generator().manual_seed(len(case.name) * 7 + case.depth)

    def uniform(like: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return torch.empty_like(like).uniform_(low, high, generator=generator)

    def normal(like: torch.Tensor, std: float) -> torch.Tensor:
        return torch.empty_like(like).normal_(0.0, std, generator=generator)

    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    # As in trained networks, a block changes little of what it is given;
    # otherwise rounding grows from block to block.
    last = ".bn3" if case.depth >= 50 else ".bn2"
    small = {m for name, m in model.named_modules() if name.endswith(last)}
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                fan = module.weight[0].numel()
                module.weight.copy_(normal(module.weight, fan**-0.5))
                if module.bias is not None:
                    module.bias.zero_()
        for norm in norms:
            norm.weight.copy_(uniform(norm.weight, 0.5, 1.5))
            if norm in small:
                norm.weight.mul_(0.3)
            norm.bias.copy_(normal(norm.bias, 0.3))
            norm.momentum = 1.0
        model.train()
        batch = [normalized(random_image((97, 129), s), case) for s in range(4)]
        logits(model, torch.cat(batch), case)
        model.eval()
        for norm in norms:
            deviation = norm.running_var.sqrt()
            norm.running_mean.add_(normal(deviation, 0.1) * deviation)
            norm.running_var.mul_(uniform(deviation, 0.8, 1.25))
            norm.num_batches_tracked.fill_(40000)
        # No class may win everywhere.
        main, aux = logits(model, torch.cat(batch), case)
        for head, values in (
            (model.decode_head, main),
            (model.auxiliary_head, aux),
        ):
            head.conv_seg.bias.copy_(-values.mean((0, 2, 3)))
            head.conv_seg.bias.add_(
                normal(head.conv_seg.bias, float(values.std()) / 10)
            )


def logits(
    model: torch.nn.Module, images: torch.Tensor, case: Case
) -> tuple[torch.Tensor, torch.Tensor]:
    """Main and auxiliary logits at the images' size."""
    features = model.extract_feat(images)
    main, aux = (
        resize(
            head(features),
            size=images.shape[2:],
            mode="bilinear",
            align_corners=case.align_corners,
        )
        for head in (model.decode_head, model.auxiliary_head)
    )
    return main, aux


def save(model: torch.nn.Module, case: Case, folder: Path) -> Path:
    """Writes the network in its source's form; returns the file."""
    state = model.state_dict()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    if case.source == "caffe":
        path = folder / "weights.caffemodel"
        arrays = {name: value.numpy() for name, value in state.items()}
        path.write_bytes(caffe_model(caffe_layers(arrays, case.depth)))
        return path
    if case.source == "timm":
        return save_timm(state, case, folder / "model.safetensors")
    if case.source == "mmcv":
        content: Any = collections.OrderedDict(
            (key.removeprefix("backbone."), value)
            for key, value in state.items()
            if key.startswith("backbone.")
        )
        content["fc.weight"] = torch.zeros(1000, 2048)
        content["fc.bias"] = torch.zeros(1000)
    elif case.source == "semseg":
        content = {
            "epoch": 50,
            "state_dict": renamed(state, semseg_names(case.depth)),
            "optimizer": optimizer.state_dict(),
        }
    elif case.dtype == "float64":
        # As mmsegmentation 1.x writes it.
        content = {
            "meta": {
                "mmseg_version": "1.2.2",
                "cfg": f"align_corners = {case.align_corners}\n",
                "dataset_meta": {
                    "classes": [f"class {i}" for i in range(case.classes)],
                    "palette": None,
                },
            },
            "state_dict": state,
            "message_hub": {
                "log_scalars": {"loss": HistoryBuffer([1.0], [1])},
                "resumed_keys": {"loss": True},
            },
            "optimizer": optimizer.state_dict(),
            "param_schedulers": [{"total_iters": 40000, "power": 0.9}],
        }
    else:
        content = {
            "meta": {
                "mmseg_version": "0.5.0",
                "config": f"align_corners={case.align_corners}\n",
                "CLASSES": tuple(f"class {i}" for i in range(case.classes)),
                "PALETTE": [[i, i // 2, 255 - i] for i in range(case.classes)],
                "iter": np.int64(40000),
                "hook_msgs": {"loss": HistoryBuffer([1.0], [1])},
            },
            "state_dict": state,
        }
    path = folder / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not case.legacy)
    return path


def save_timm(state: dict[str, torch.Tensor], case: Case, path: Path) -> Path:
    """Writes the backbone as timm's safetensors files hold it."""
    from safetensors.torch import save_file

    tensors = renamed(state, timm_names(case.depth))
    tensors["fc.weight"] = torch.zeros(1000, 2048)
    tensors["fc.bias"] = torch.zeros(1000)
    tensors = {
        name: value
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def run(case: Case, folder: Path) -> None:
    """Makes one case's files."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = build(case).to(getattr(torch, case.dtype))
    randomize(model, case)
    path = save(model, case, folder)
    with torch.no_grad():
        for number, size in enumerate(case.sizes):
            image = random_image(size, 100 + number)
            name = f"{size[0]}x{size[1]}"
            np.save(folder / f"image_{name}.npy", image)
            inputs = normalized(image, case)
            if case.source in ("mmcv", "timm"):
                _, _, stage4, stage5 = model.extract_feat(inputs)
                values = {"stage4": stage4, "stage5": stage5}
            else:
                main, aux = logits(model, inputs, case)
                values = {"main": main}
                if case.source != "caffe":
                    values["aux"] = aux
            for output, value in values.items():
                array = value[0].permute(1, 2, 0).numpy()
                np.save(folder / f"{output}_{name}.npy", array)
    description = dataclasses.asdict(case) | {"file": path.name}
    description["form"] = "legacy" if case.legacy else "zip"
    (folder / "case.json").write_text(json.dumps(description, indent=2))
    print(f"{case.name}: written", flush=True)


def main() -> None:
    """Makes the files of all cases, or of those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    for case in CASES:
        if not options.cases or case.name in options.cases:
            run(case, options.folder / case.name)


if __name__ == "__main__":
    main()
