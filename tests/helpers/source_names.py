"""The layer names of a PSPNet in the sources of published weights.

Maps mmsegmentation's names, the reference for the others, to those of semseg,
Caffe and timm, and ours to mmsegmentation's.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def residual_names(depth: int, first: str, caffe: bool) -> dict[str, str]:
    """The peer's names of stages 2 to 5 -> semseg's or Caffe's."""
    names = {}
    for layer, count in enumerate(BLOCKS[depth], start=1):
        for block in range(count):
            ours = f"backbone.layer{layer}.{block}"
            theirs = f"{first}layer{layer}.{block}"
            if not caffe:
                for part in ("conv", "bn"):
                    for index in (1, 2, 3):
                        name = f"{part}{index}"
                        names[f"{ours}.{name}"] = f"{theirs}.{name}"
                for index in (0, 1, 2):
                    name = f"downsample.{index}"
                    names[f"{ours}.{name}"] = f"{theirs}.{name}"
                continue
            theirs = f"conv{layer + 1}_{block + 1}"
            parts = ("1x1_reduce", "3x3", "1x1_increase")
            for index, part in enumerate(parts, start=1):
                names[f"{ours}.conv{index}"] = f"{theirs}_{part}"
                names[f"{ours}.bn{index}"] = f"{theirs}_{part}/bn"
            names[f"{ours}.downsample.0"] = f"{theirs}_1x1_proj"
            names[f"{ours}.downsample.1"] = f"{theirs}_1x1_proj/bn"
    return names


def semseg_names(depth: int) -> dict[str, str]:
    """The peer's layers -> semseg's, as its DataParallel saves them."""
    names = residual_names(depth, "module.", caffe=False)
    for index in (0, 1, 3, 4, 6, 7):
        names[f"backbone.stem.{index}"] = f"module.layer0.{index}"
    for index in range(4):
        pyramid = f"decode_head.psp_modules.{index}.1"
        names[f"{pyramid}.conv"] = f"module.ppm.features.{index}.1"
        names[f"{pyramid}.bn"] = f"module.ppm.features.{index}.2"
    for ours, theirs in (
        ("decode_head.bottleneck", "module.cls"),
        ("auxiliary_head.convs.0", "module.aux"),
    ):
        names[f"{ours}.conv"] = f"{theirs}.0"
        names[f"{ours}.bn"] = f"{theirs}.1"
    names["decode_head.conv_seg"] = "module.cls.4"
    names["auxiliary_head.conv_seg"] = "module.aux.4"
    return names


def caffe_names(depth: int) -> dict[str, str]:
    """The peer's layers -> those of the original prototxt files."""
    names = residual_names(depth, "", caffe=True)
    stem = ("conv1_1_3x3_s2", "conv1_2_3x3", "conv1_3_3x3")
    for index, theirs in zip((0, 3, 6), stem, strict=True):
        names[f"backbone.stem.{index}"] = theirs
        names[f"backbone.stem.{index + 1}"] = f"{theirs}/bn"
    for index, bins in enumerate((1, 2, 3, 6)):
        pyramid = f"decode_head.psp_modules.{index}.1"
        names[f"{pyramid}.conv"] = f"conv5_3_pool{bins}_conv"
        names[f"{pyramid}.bn"] = f"conv5_3_pool{bins}_conv/bn"
    names["decode_head.bottleneck.conv"] = "conv5_4"
    names["decode_head.bottleneck.bn"] = "conv5_4/bn"
    names["decode_head.conv_seg"] = "conv6"
    return names


def timm_names(depth: int) -> dict[str, str]:
    """The peer's backbone -> timm's ResNet with a deep stem."""
    names = {
        ours: theirs.removeprefix("x.")
        for ours, theirs in residual_names(depth, "x.", False).items()
    }
    for index in (0, 1, 3, 4, 6):
        names[f"backbone.stem.{index}"] = f"conv1.{index}"
    names["backbone.stem.7"] = "bn1"
    return names


def paddleseg_names(depth: int) -> dict[str, str]:
    """The peer's layers -> PaddleSeg's; both pool in their shortcuts."""
    names = {}
    for index in (0, 3, 6):
        theirs = f"backbone.conv1_{index // 3 + 1}"
        names[f"backbone.stem.{index}"] = f"{theirs}._conv"
        names[f"backbone.stem.{index + 1}"] = f"{theirs}._batch_norm"
    for layer, count in enumerate(BLOCKS[depth]):
        for block in range(count):
            ours = f"backbone.layer{layer + 1}.{block}"
            theirs = f"backbone.bb_{layer}_{block}"
            for index in (1, 2, 3):
                conv = f"{theirs}.conv{index - 1}"
                names[f"{ours}.conv{index}"] = f"{conv}._conv"
                names[f"{ours}.bn{index}"] = f"{conv}._batch_norm"
            names[f"{ours}.downsample.1"] = f"{theirs}.short._conv"
            names[f"{ours}.downsample.2"] = f"{theirs}.short._batch_norm"
    heads = {
        "decode_head.bottleneck": "head.psp_module.conv_bn_relu2",
        "auxiliary_head.convs.0": "head.auxlayer.conv_bn_relu",
    }
    for index in range(4):
        ours = f"decode_head.psp_modules.{index}.1"
        heads[ours] = f"head.psp_module.stages.{index}.1"
    for ours, theirs in heads.items():
        names[f"{ours}.conv"] = f"{theirs}._conv"
        names[f"{ours}.bn"] = f"{theirs}._batch_norm"
    names["decode_head.conv_seg"] = "head.conv"
    names["auxiliary_head.conv_seg"] = "head.auxlayer.conv"
    return names


def our_names(
    depth: int, stem: str = "deep", shortcut: str = "conv"
) -> dict[str, str]:
    """Our layers -> mmsegmentation's, without the suffix of their kind."""
    names = {"stem1_conv": "backbone.conv1", "stem1_bn": "backbone.bn1"}
    if stem != "7x7":
        for index in (0, 3, 6):
            ours = f"stem{index // 3 + 1}"
            names[f"{ours}_conv"] = f"backbone.stem.{index}"
            names[f"{ours}_bn"] = f"backbone.stem.{index + 1}"
    for layer, count in enumerate(BLOCKS[depth], start=1):
        for block in range(count):
            ours = f"stage{layer + 1}_block{block + 1}"
            theirs = f"backbone.layer{layer}.{block}"
            for index in (1, 2, 3):
                names[f"{ours}_{index}_conv"] = f"{theirs}.conv{index}"
                names[f"{ours}_{index}_bn"] = f"{theirs}.bn{index}"
            first = 1 if shortcut == "average_pool" else 0
            names[f"{ours}_shortcut_conv"] = f"{theirs}.downsample.{first}"
            names[f"{ours}_shortcut_bn"] = f"{theirs}.downsample.{first + 1}"
    for index, bins in enumerate((1, 2, 3, 6)):
        theirs = f"decode_head.psp_modules.{index}.1"
        names[f"head_conv/pyramid/bin{bins}_conv"] = f"{theirs}.conv"
        names[f"head_conv/pyramid/bin{bins}_bn"] = f"{theirs}.bn"
    for ours, theirs in (
        ("head", "decode_head.bottleneck"),
        ("aux", "auxiliary_head.convs.0"),
    ):
        names[f"{ours}_conv"] = f"{theirs}.conv"
        names[f"{ours}_bn"] = f"{theirs}.bn"
    names["head_classifier"] = "decode_head.conv_seg"
    names["aux_classifier"] = "auxiliary_head.conv_seg"
    return names


def renamed(state: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """Returns a state under other names, without entries that have none."""
    return collections.OrderedDict(
        (f"{names[layer]}.{kind}", value)
        for name, value in state.items()
        for layer, _, kind in [name.rpartition(".")]
        if layer in names
    )


def caffe_layers(
    state: Mapping[str, np.ndarray], depth: int
) -> dict[str, list[np.ndarray]]:
    """Returns the blobs of Caffe's layers; BN: slope, bias, mean, variance."""
    layers: dict[str, list[np.ndarray]] = {}
    for name, value in renamed(state, caffe_names(depth)).items():
        layer, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        if layer.endswith("/bn"):
            value = value.reshape(1, -1, 1, 1)
        if layer == "conv5_4":
            value = falling_bins(value)
        layers.setdefault(layer, []).append(value)
    return layers


def falling_bins(kernel: np.ndarray) -> np.ndarray:
    """[features, 1, 2, 3, 6] -> [features, 6, 3, 2, 1] of Caffe, PaddleSeg."""
    own, *maps = np.split(
        kernel, kernel.shape[1] // 8 * np.arange(4, 8), axis=1
    )
    return np.concatenate([own, *maps[::-1]], axis=1)
