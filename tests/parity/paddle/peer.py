"""The peer: PaddleSeg on Paddle writes its PSPNets, images and their logits.

    python peer.py FOLDER [CASE ...]

Every case is PaddleSeg's own network as its published configurations build
it, with random weights and random batch-norm statistics, saved by
`paddle.save`. The folder is that of `tests/parity/mmseg/peer.py`, whose
`compare.py` reads the files with keras_pspnet and compares logits. What is
left in float64, 3e-10, is Paddle's epsilon of batch normalization, which it
keeps in float32: with the same one, 1e-14 is left.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import paddle  # noqa: E402
from paddleseg.models import PSPNet  # noqa: E402
from paddleseg.models.backbones import (  # noqa: E402
    ResNet50_vd,
    ResNet101_vd,
)
from paddleseg.transforms import functional  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Case:
    """One network, one file, some images.

    Args:
        name: Name of the case and of its folder.
        depth: Of the ResNet.
        classes: Number of classes: 21 of VOC, 19 of Cityscapes.
        sizes: (height, width) of the images.
        dtype: Of weights and computation.
        protocol: Of the pickle.
    """

    name: str
    depth: int
    classes: int
    sizes: tuple[tuple[int, int], ...]
    dtype: str = "float32"
    protocol: int = 4


INTERPOLATE = paddle.nn.functional.interpolate
SMALL, ODD = (97, 129), (201, 337)
# In float64 one size each: at a second one the network is traced for unknown
# sizes, whose matrices are float32.
CASES = (
    Case("paddleseg-r50-voc", 50, 21, ((512, 512), (200, 333))),
    Case("paddleseg-r50-cityscapes", 50, 19, ((256, 512), SMALL), protocol=2),
    Case("paddleseg-r50-f64", 50, 21, (ODD,), "float64"),
    Case("paddleseg-r101-voc", 101, 21, (ODD,), protocol=3),
    Case("paddleseg-r101-cityscapes", 101, 19, ((256, 512), SMALL)),
    Case("paddleseg-r101-f64", 101, 19, (SMALL,), "float64"),
)
# What all of them are, in this package's terms.
GEOMETRY = {
    "source": "paddleseg",
    "stem": "deep",
    "stride_on": "3x3",
    "shortcut": "average_pool",
    "align_corners": False,
}


def build(case: Case) -> PSPNet:
    """Builds the network as the published configurations do."""
    backbone = {50: ResNet50_vd, 101: ResNet101_vd}[case.depth]
    return PSPNet(
        num_classes=case.classes,
        backbone=backbone(output_stride=8),
        align_corners=False,
        enable_auxiliary_loss=True,
    )


def image_of(size: tuple[int, int], seed: int) -> np.ndarray:
    """Patches of color with some noise, uint8 RGB (H, W, 3)."""
    rng = np.random.default_rng(seed)
    grid = [max(3, side // 64) for side in size]
    patches = rng.uniform(0, 255, (*grid, 3))
    smooth = cv2.resize(patches, size[::-1], interpolation=cv2.INTER_CUBIC)
    noisy = smooth + rng.normal(0, 15, smooth.shape)
    return np.clip(noisy, 0, 255).astype("uint8")


def interpolate(x: paddle.Tensor, size: Any, **kwargs: Any) -> paddle.Tensor:
    """`F.interpolate` in float64, half-pixel: what Paddle's stands for.

    Paddle's own computes positions in float32 whatever the dtype, which is
    7e-7 off.
    """
    assert kwargs == {"mode": "bilinear", "align_corners": False}

    def weights(cells: int, samples: int) -> paddle.Tensor:
        position = (np.arange(samples) + 0.5) * cells / samples - 0.5
        position = np.clip(position, 0.0, cells - 1.0)
        distance = np.abs(position[:, None] - np.arange(cells))
        return paddle.to_tensor(np.maximum(0.0, 1.0 - distance))

    rows, columns = (
        weights(cells, int(samples))
        for cells, samples in zip(x.shape[2:], size, strict=True)
    )
    return paddle.matmul(paddle.matmul(rows, x), columns, transpose_y=True)


def normalized(images: list[np.ndarray], case: Case) -> paddle.Tensor:
    """Returns what PaddleSeg feeds its network with: (B, 3, H, W)."""
    half = np.array((0.5,))
    if case.dtype == "float32":
        values = [
            functional.normalize(image.astype("float32"), half, half)
            for image in images
        ]
    else:
        # Its own function always computes in float32.
        values = [(image / 255.0 - half) / half for image in images]
    batch = np.stack(values).transpose(0, 3, 1, 2)
    return paddle.to_tensor(batch.astype(case.dtype))


def randomize(model: PSPNet, case: Case) -> None:
    """Random weights and statistics under which every layer stays alive.

    The statistics are those of a batch, moved at random: with others the
    logits of so deep a network are constant or overflow.
    """
    rng = np.random.default_rng(case.depth + case.classes)

    def normal(tensor: paddle.Tensor, deviation: float) -> None:
        values = rng.normal(0.0, deviation, tensor.shape)
        tensor.set_value(values.astype(case.dtype))

    def uniform(tensor: paddle.Tensor, low: float, high: float) -> None:
        values = rng.uniform(low, high, tensor.shape)
        tensor.set_value(values.astype(case.dtype))

    norms = []
    for name, layer in model.named_sublayers():
        if isinstance(layer, paddle.nn.Conv2D):
            fan = int(np.prod(layer.weight.shape[1:]))
            normal(layer.weight, fan**-0.5)
            if layer.bias is not None:
                normal(layer.bias, 0.5)
        elif isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0
        elif isinstance(layer, paddle.nn.BatchNorm2D):
            # As in trained networks, a block changes little of what it is
            # given; otherwise rounding grows from block to block.
            factor = 0.3 if name.endswith(".conv2._batch_norm") else 1.0
            uniform(layer.weight, 0.5 * factor, 1.5 * factor)
            normal(layer.bias, 0.3)
            layer._momentum = 0.0
            norms.append(layer)
    batch = normalized([image_of(SMALL, seed) for seed in range(4)], case)
    model.train()
    model(batch)
    model.eval()
    for layer in norms:
        mean, variance = layer._mean.numpy(), layer._variance.numpy()
        noise = rng.normal(0.0, 0.1, mean.shape) * np.sqrt(variance)
        factor = rng.uniform(0.8, 1.25, mean.shape)
        layer._mean.set_value((mean + noise).astype(case.dtype))
        layer._variance.set_value((variance * factor).astype(case.dtype))
    # No class may win everywhere.
    classifiers = (model.head.conv, model.head.auxlayer.conv)
    for layer, logits in zip(classifiers, model(batch), strict=True):
        values = logits.numpy()
        center = layer.bias.numpy() - values.mean((0, 2, 3))
        noise = rng.normal(0.0, values.std() / 10, center.shape)
        layer.bias.set_value((center + noise).astype(case.dtype))


def run(case: Case, folder: Path) -> None:
    """Makes one case's files."""
    folder.mkdir(parents=True, exist_ok=True)
    paddle.set_default_dtype(case.dtype)
    if case.dtype == "float64":
        paddle.nn.functional.interpolate = interpolate
    else:
        paddle.nn.functional.interpolate = INTERPOLATE
    model = build(case)
    with paddle.no_grad():
        randomize(model, case)
        path = folder / "model.pdparams"
        paddle.save(model.state_dict(), str(path), protocol=case.protocol)
        for number, size in enumerate(case.sizes):
            image = image_of(size, 100 + number)
            name = f"{size[0]}x{size[1]}"
            np.save(folder / f"image_{name}.npy", image)
            logits = model(normalized([image], case))
            for output, values in zip(("main", "aux"), logits, strict=True):
                array = values.numpy()[0].transpose(1, 2, 0)
                assert array.dtype == case.dtype
                np.save(folder / f"{output}_{name}.npy", array)
    description = dataclasses.asdict(case) | GEOMETRY
    description |= {"file": path.name, "form": f"pickle {case.protocol}"}
    (folder / "case.json").write_text(json.dumps(description, indent=2))
    print(f"{case.name}: written", flush=True)


def main() -> None:
    """Makes the files of all cases, or of those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    paddle.set_device("cpu")
    for case in CASES:
        if not options.cases or case.name in options.cases:
            run(case, options.folder / case.name)


if __name__ == "__main__":
    main()
