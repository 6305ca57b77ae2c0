"""Tests of parameter counts, against published ones and a count by hand."""

import math

import keras
import pytest

from keras_pspnet.backbones.resnet import DilatedResNet
from keras_pspnet.models.pspnet import PSPNet

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    269: (3, 30, 48, 8),
}
STEMS = {"deep": (32, 32, 64), "deep_wide": (64, 64, 128), "7x7": (64,)}
# torchvision's published counts, less their 1000-class classifiers.
TORCHVISION = {
    18: 11_689_512 - 513_000,
    34: 21_797_672 - 513_000,
    101: 44_549_160 - 2_049_000,
}


def conv_bn_count(kernel: int, inputs: int, outputs: int) -> int:
    return kernel * kernel * inputs * outputs + 2 * outputs


def backbone_count(depth: int, stem: str, width: float) -> tuple[int, int, int]:
    """Trainable parameters, and channels of stages 4 and 5, by hand."""
    channels, total = 3, 0
    for filters in STEMS[stem]:
        filters = int(filters * width)
        total += conv_bn_count(7 if stem == "7x7" else 3, channels, filters)
        channels = filters
    outputs = []
    for filters, blocks in zip((64, 128, 256, 512), BLOCKS[depth], strict=True):
        filters = int(filters * width)
        last = filters if depth < 50 else 4 * filters
        if channels != last:
            total += conv_bn_count(1, channels, last)
        for _ in range(blocks):
            if depth < 50:
                total += conv_bn_count(3, channels, filters)
                total += conv_bn_count(3, filters, filters)
            else:
                total += conv_bn_count(1, channels, filters)
                total += conv_bn_count(3, filters, filters)
                total += conv_bn_count(1, filters, last)
            channels = last
        outputs.append(channels)
    return total, *outputs[-2:]


def pspnet_count(
    depth: int, classes: int, stem: str = "deep", width: float = 1.0
) -> int:
    total, stage4, stage5 = backbone_count(depth, stem, width)
    quarter = stage5 // 4
    total += 4 * conv_bn_count(1, stage5, quarter)
    total += conv_bn_count(3, stage5 + 4 * quarter, quarter)
    total += (quarter + 1) * classes
    total += conv_bn_count(3, stage4, stage4 // 4)
    return total + (stage4 // 4 + 1) * classes


def trainable_count(model: keras.Model) -> int:
    return sum(math.prod(v.shape) for v in model.trainable_variables)


def test_pspnet50_has_the_published_number_of_parameters() -> None:
    model = PSPNet(21, "resnet50", (473, 713, 3))
    assert trainable_count(model) == 48_977_034 == pspnet_count(50, 21)
    backbone = model.backbone
    assert trainable_count(backbone) == backbone_count(50, "deep", 1)[0]
    assert backbone.output_shape == [
        (None, 60, 90, channels) for channels in (1024, 2048)
    ]


@pytest.mark.parametrize("depth", list(TORCHVISION))
def test_backbones_have_the_published_number_of_parameters(depth: int) -> None:
    count = backbone_count(depth, "7x7", 1)[0]
    assert count == TORCHVISION[depth]
    assert trainable_count(DilatedResNet(depth, stem="7x7")) == count


@pytest.mark.parametrize(
    "depth, stem",
    [(depth, "deep") for depth in BLOCKS] + [(18, "deep_wide"), (18, "7x7")],
)
def test_parameters_by_hand(depth: int, stem: str) -> None:
    model = PSPNet(7, f"resnet{depth}", stem=stem, width=1 / 16)
    assert trainable_count(model) == pspnet_count(depth, 7, stem, 1 / 16)
