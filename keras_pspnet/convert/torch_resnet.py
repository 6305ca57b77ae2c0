"""The residual networks of PyTorch's sources, which name blocks alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_pspnet.backbones import (
    BASIC_DEPTHS,
    BLOCKS,
    STAGE_CHANNELS,
    STEM_CHANNELS,
    scaled,
)
from keras_pspnet.convert.assign import Row, conv_row, vector_row

# Counters of PyTorch's batch normalisation, which nothing computes with.
COUNTERS = r"\.num_batches_tracked$"
_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def batch_norm_rows(source: str, name: str) -> Iterator[Row]:
    """Rows of PyTorch's batch normalisation."""
    for theirs, ours in _BATCH_NORM.items():
        yield vector_row(f"{source}.{theirs}", f"{name}/{ours}")


def conv_bn_rows(conv: str, norm: str, name: str) -> Iterator[Row]:
    """Rows of a convolution without bias and its batch normalisation."""
    yield conv_row(f"{conv}.weight", f"{name}_conv/kernel")
    yield from batch_norm_rows(norm, f"{name}_bn")


def classifier_rows(source: str, name: str) -> Iterator[Row]:
    """Rows of a 1x1 convolution with bias."""
    yield conv_row(f"{source}.weight", f"{name}/kernel")
    yield vector_row(f"{source}.bias", f"{name}/bias")


def backbone_config(
    tensors: Mapping[str, Any], stem: Sequence[str], prefix: str = ""
) -> dict[str, Any]:
    """Reads depth, stem and width off the tensors.

    Args:
        tensors: Source name -> array.
        stem: Source names of the stem's convolutions.
        prefix: What precedes `layer1` in the source's names.

    Returns:
        `backbone`, `stem` and `width`: arguments of `PSPNet`.

    Raises:
        ValueError: If no known network has such layers.
    """
    pattern = re.compile(
        re.escape(prefix) + r"layer(\d)\.(\d+)\.conv1\.weight$"
    )
    found = [
        match.groups() for name in tensors if (match := pattern.match(name))
    ]
    counts = tuple(
        len({block for layer, block in found if layer == str(number)})
        for number in (1, 2, 3, 4)
    )
    basic = f"{prefix}layer1.0.conv3.weight" not in tensors
    depths = [
        depth
        for depth, blocks in BLOCKS.items()
        if blocks == counts and (depth in BASIC_DEPTHS) == basic
    ]
    channels = [
        _out_channels(tensors, name)
        for name in (*stem, f"{prefix}layer1.0.conv1.weight")
    ]
    # Nothing wider is published, and a small file could ask for a large one.
    width = min(1.0, channels[-1] / STAGE_CHANNELS[0])
    stems = [
        name
        for name, wanted in STEM_CHANNELS.items()
        if [scaled(each, width) for each in wanted] == channels[:-1]
    ]
    if not depths or not stems:
        raise ValueError(
            "`source` must have the backbone of a PSPNet. Received: "
            f"{counts} {'basic' if basic else 'bottleneck'} blocks after a "
            f"stem of {channels[:-1]} channels"
        )
    # The narrowest networks fit both deep stems; published ones only one.
    return {"backbone": f"resnet{depths[0]}", "stem": stems[0], "width": width}


def _out_channels(tensors: Mapping[str, Any], name: str) -> int:
    value = tensors.get(name)
    return 0 if value is None or value.ndim != 4 else value.shape[0]


def residual_rows(
    tensors: Mapping[str, Any], depth: int, prefix: str = ""
) -> Iterator[Row]:
    """Rows of stages 2 to 5, torch's layer1 to layer4.

    Args:
        tensors: Source name -> array; tells which blocks have a projection.
        depth: A key of `BLOCKS`.
        prefix: What precedes `layer1` in the source's names.

    Yields:
        The rows.
    """
    convs = 2 if depth in BASIC_DEPTHS else 3
    for layer, count in enumerate(BLOCKS[depth], start=1):
        for block in range(count):
            theirs = f"{prefix}layer{layer}.{block}"
            ours = f"stage{layer + 1}_block{block + 1}"
            for index in range(1, convs + 1):
                yield from conv_bn_rows(
                    f"{theirs}.conv{index}",
                    f"{theirs}.bn{index}",
                    f"{ours}_{index}",
                )
            if f"{theirs}.downsample.0.weight" in tensors:
                yield from conv_bn_rows(
                    f"{theirs}.downsample.0",
                    f"{theirs}.downsample.1",
                    f"{ours}_shortcut",
                )


def stem_rows(layers: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """Rows of the stem, given its (convolution, batch norm) names."""
    for index, (conv, norm) in enumerate(layers, start=1):
        yield from conv_bn_rows(conv, norm, f"stem{index}")
