"""Tests of parameter counts, against published ones."""

import math
from collections.abc import Iterable

import keras
import pytest

from keras_pspnet.backbones import BLOCKS, DilatedResNet
from keras_pspnet.models.pspnet import PSPNet


def depths(each: Iterable[int]) -> pytest.MarkDecorator:
    """Networks of the most usual depths; `make slow` builds the others."""
    return pytest.mark.parametrize(
        "depth",
        [
            depth
            if depth in (50, 101)
            else pytest.param(depth, marks=pytest.mark.slow)
            for depth in each
        ],
    )


# torchvision's published counts, less their 1000-class classifiers.
TORCHVISION = {
    18: 11_689_512 - 513_000,
    34: 21_797_672 - 513_000,
    50: 25_557_032 - 2_049_000,
    101: 44_549_160 - 2_049_000,
}


def trainable_count(model: keras.Model) -> int:
    return sum(math.prod(v.shape) for v in model.trainable_variables)


def test_pspnet50_has_the_published_number_of_parameters() -> None:
    model = PSPNet(21, "resnet50", (473, 713, 3))
    assert trainable_count(model) == 48_977_034
    assert model.backbone.output_shape == [
        (None, 60, 90, channels) for channels in (1024, 2048)
    ]


@depths(TORCHVISION)
def test_backbones_have_the_published_number_of_parameters(depth: int) -> None:
    backbone = DilatedResNet(depth, stem="7x7")
    assert trainable_count(backbone) == TORCHVISION[depth]


@depths(BLOCKS)
def test_depth_counts_the_layers_up_to_the_classifier(depth: int) -> None:
    backbone = DilatedResNet(depth, stem="7x7", width=1 / 64)
    convolutions = [
        layer
        for layer in backbone.layers
        if isinstance(layer, keras.layers.Conv2D)
        and "shortcut" not in layer.name
    ]
    assert len(convolutions) == depth - 1
