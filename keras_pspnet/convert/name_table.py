"""Name tables, which map the tensors of a source to variables of a PSPNet."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_pspnet.backbones import (
    BASIC_DEPTHS,
    BLOCKS,
    STAGE_CHANNELS,
    STEM_CHANNELS,
    scaled,
)
from keras_pspnet.convert.assign import Converted, raise_problems

# Bins of every published network.
BIN_SIZES = (1, 2, 3, 6)
_NORM_VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")
# Axes of a kernel: (out, in, height, width) -> (height, width, in, out).
_KERNEL_AXES = (2, 3, 1, 0)
# Of one kernel for each channel: (channels, 1, height, width).
_DEPTHWISE_AXES = (2, 3, 0, 1)


class Layer(NamedTuple):
    """A convolution with its batch normalization, or a classifier.

    Args:
        name: Our name: layers are `name_conv` and `name_bn`, or
            `name_classifier`.
        conv: The source's name of the convolution.
        norm: The source's name of the batch normalization. Empty for a
            classifier, which has a bias instead.
    """

    name: str
    conv: str
    norm: str = ""


# PyTorch's suffixes: kernel and bias of a convolution; gamma, beta, mean and
# variance of a batch normalization.
_TORCH = (
    (".weight", ".bias"),
    (".weight", ".bias", ".running_mean", ".running_var"),
)
# A pooling before the projection takes a number, but has no tensors.
_TORCH_SHORTCUTS = {
    shortcut: (
        f"layer{{layer}}.{{index}}.downsample.{first}",
        f"layer{{layer}}.{{index}}.downsample.{first + 1}",
    )
    for shortcut, first in (("conv", 0), ("average_pool", 1))
}
DEEP_STEM = tuple((f"stem.{index}", f"stem.{index + 1}") for index in (0, 3, 6))
PLAIN_STEM = (("conv1", "bn1"),)


@dataclasses.dataclass(frozen=True)
class NameTable:
    """How a source names the layers of a PSPNet; the defaults are PyTorch's.

    Each convolution is paired with its batch normalization. In names of blocks,
    `{stage}` and `{block}` start at 2 and 1, `{layer}` and `{index}` at 1 and
    0, and `{rank}` is the stage starting at 0. In names of the pyramid,
    `{index}` is the index of a map, starting at 0, and `{bins}` its bin size.

    Args:
        source: Name of the source.
        stems: Possible stems; the last one if no other is found.
        prefix: Prefix of names in the backbone.
        convs: Convolutions of a block.
        shortcuts: Projection of a block by the `shortcut` of `DilatedResNet`.
        pyramid: A map of the pyramid; empty for a backbone alone.
        head: Convolution, batch normalization and classifier of the head.
        aux: The same of the auxiliary head, which may be missing.
        suffixes: Suffixes of the tensors of a convolution (kernel and bias)
            and of a batch normalization (gamma, beta, mean and variance).
        ignored: Regular expression of source names to ignore.
    """

    source: str
    stems: tuple[tuple[tuple[str, str], ...], ...]
    prefix: str = ""
    convs: tuple[tuple[str, str], ...] = tuple(
        (f"layer{{layer}}.{{index}}.conv{i}", f"layer{{layer}}.{{index}}.bn{i}")
        for i in (1, 2, 3)
    )
    shortcuts: Mapping[str, tuple[str, str]] = dataclasses.field(
        default_factory=lambda: dict(_TORCH_SHORTCUTS)
    )
    pyramid: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    aux: tuple[str, ...] = ()
    suffixes: tuple[tuple[str, ...], tuple[str, ...]] = _TORCH
    # Counters of PyTorch's batch normalization, which are not needed.
    ignored: str = r"\.num_batches_tracked$"

    def convert(self, tensors: Mapping[str, Any]) -> Converted:
        """Converts a network.

        Args:
            tensors: Source name -> array.

        Returns:
            The network. Its config has what the tensors show: `backbone`,
            `stem`, `shortcut` and `width`, and unless it is a backbone,
            `num_classes`, `head_channels` and `aux`.

        Raises:
            ValueError: If it is another network.
        """
        stem = self._stem(tensors)
        depth, config = self._backbone_config(tensors, stem)
        shortcut = config["shortcut"] = self._shortcut(tensors)
        aux = bool(self.aux) and self.aux[-1] + self.suffixes[0][0] in tensors
        layers = [
            *self._backbone_layers(tensors, stem, depth, shortcut),
            *(self._head_layers(aux) if self.head else ()),
        ]
        arrays = convert_layers(tensors, layers, self.suffixes, self.ignored)
        if self.head:
            num_classes = arrays["head_classifier/bias"].shape[0]
            config |= {"num_classes": num_classes, "aux": aux}
            config["head_channels"] = _head_channels(arrays, depth, config)
        return Converted(self.source, config, arrays)

    def _stem(self, tensors: Mapping[str, Any]) -> list[Layer]:
        kernel = self.suffixes[0][0]
        stem = next(
            (
                each
                for each in self.stems
                if f"{self.prefix}{each[0][0]}{kernel}" in tensors
            ),
            self.stems[-1],
        )
        return [
            Layer(f"stem{index}", self.prefix + conv, self.prefix + norm)
            for index, (conv, norm) in enumerate(stem, start=1)
        ]

    def _shortcut(self, tensors: Mapping[str, Any]) -> str:
        """Finds the kind of projection that the tensors have."""
        for shortcut in self.shortcuts:
            norm = self._block(3, 1, shortcut)[-1].norm
            if norm + self.suffixes[1][-1] in tensors:
                return shortcut
        # Without projections, as in basic blocks, the kind does not matter.
        return next(iter(self.shortcuts))

    def _block(
        self, stage: int, block: int, shortcut: str | None = None
    ) -> list[Layer]:
        """Returns the convolutions of a block, the projection last."""
        shortcut = shortcut or next(iter(self.shortcuts))
        numbers = {"layer": stage - 1, "index": block - 1}
        numbers |= {"stage": stage, "block": block, "rank": stage - 2}
        return [
            Layer(
                f"stage{stage}_block{block}_{part}",
                self.prefix + conv.format(**numbers),
                self.prefix + norm.format(**numbers),
            )
            for part, (conv, norm) in zip(
                (1, 2, 3, "shortcut"),
                (*self.convs, self.shortcuts[shortcut]),
                strict=True,
            )
        ]

    def _backbone_layers(
        self,
        tensors: Mapping[str, Any],
        stem: list[Layer],
        depth: int,
        kind: str,
    ) -> Iterator[Layer]:
        yield from stem
        for stage, count in enumerate(BLOCKS[depth], start=2):
            for block in range(1, count + 1):
                *convs, shortcut = self._block(stage, block, kind)
                yield from convs[: 2 if depth in BASIC_DEPTHS else 3]
                if shortcut.conv + self.suffixes[0][0] in tensors:
                    yield shortcut

    def _head_layers(self, aux: bool) -> Iterator[Layer]:
        for index, bins in enumerate(BIN_SIZES):
            names = (
                each.format(index=index, bins=bins) for each in self.pyramid
            )
            yield Layer(f"head_conv/pyramid/bin{bins}", *names)
        for name, theirs in (("head", self.head), ("aux", self.aux)):
            if name == "head" or aux:
                conv, norm, classifier = theirs
                yield Layer(name, conv, norm)
                yield Layer(name, classifier)

    def _backbone_config(
        self, tensors: Mapping[str, Any], stem: list[Layer]
    ) -> tuple[int, dict[str, Any]]:
        """Finds depth, stem and width from the tensors."""
        kernel = self.suffixes[0][0]

        def count_blocks(stage: int) -> int:
            for block in itertools.count(1):
                if self._block(stage, block)[0].conv + kernel not in tensors:
                    break
            return block - 1

        counts = tuple(map(count_blocks, (2, 3, 4, 5)))
        first = self._block(2, 1)
        basic = first[2].conv + kernel not in tensors
        depths = [
            depth
            for depth, blocks in BLOCKS.items()
            if blocks == counts and (depth in BASIC_DEPTHS) == basic
        ]
        *channels, of_stage = (
            _out_channels(tensors.get(layer.conv + kernel))
            for layer in (*stem, first[0])
        )
        # No wider one is published, and a small file could demand a huge one.
        width = min(1.0, of_stage / STAGE_CHANNELS[0])
        stems = [
            name
            for name, wanted in STEM_CHANNELS.items()
            if [scaled(each, width) for each in wanted] == channels
        ]
        if not depths or not stems:
            raise ValueError(
                "`source` must have the backbone of a PSPNet. Received: "
                f"{counts} {'basic' if basic else 'bottleneck'} blocks after a "
                f"stem of {channels} channels"
            )
        # Very narrow networks fit both deep stems; published ones fit one.
        return depths[0], {
            "backbone": f"resnet{depths[0]}",
            "stem": stems[0],
            "width": width,
        }


def convert_layers(
    tensors: Mapping[str, Any],
    layers: Iterable[Layer],
    suffixes: tuple[tuple[str, ...], tuple[str, ...]] = _TORCH,
    ignored: str = "(?!)",
) -> dict[str, np.ndarray]:
    """Renames tensors and reorders their axes for Keras.

    Args:
        tensors: Source name -> array.
        layers: The layers of the network.
        suffixes: See `NameTable`.
        ignored: Regular expression of source names to ignore.

    Returns:
        Variable path -> view of the source's values.

    Raises:
        ValueError: If a tensor is missing, has another rank, or is neither
            used nor ignored; the message lists all of them.
    """
    paths = _paths(layers, suffixes)
    problems = []
    arrays = {}
    for name, path in paths.items():
        axes = _axes(path)
        value = tensors.get(name)
        if value is None:
            problems.append(f"missing {name}")
        elif value.ndim != len(axes) or value.dtype.kind != "f":
            problems.append(
                f"{name} has shape {value.shape} of {value.dtype}, not "
                f"{len(axes)} axes of floats"
            )
        else:
            arrays[path] = value.transpose(axes)
    problems += [
        f"unexpected {name}"
        for name in sorted(tensors)
        if name not in paths and not re.search(ignored, name)
    ]
    raise_problems("a network with known tensors only", problems)
    return arrays


def to_rising_bins(arrays: dict[str, np.ndarray]) -> None:
    """Reorders the head's channels: x, 6, 3, 2, 1 -> x, 1, 2, 3, 6.

    Args:
        arrays: Variable path -> values; the head's kernel is replaced.
    """
    kernel = arrays["head_conv/kernel"]
    width = arrays["head_conv/pyramid/bin1_conv/kernel"].shape[-1]
    maps = len(BIN_SIZES)
    features = kernel.shape[2] - maps * width
    own, *falling = np.split(
        kernel, [features + width * index for index in range(maps)], axis=2
    )
    arrays["head_conv/kernel"] = np.concatenate([own, *falling[::-1]], axis=2)


def _head_channels(
    arrays: Mapping[str, np.ndarray], depth: int, config: Mapping[str, Any]
) -> int | None:
    """Returns the channels of the head; None if they are the usual quarter."""
    features = scaled(STAGE_CHANNELS[-1], config["width"])
    features *= 1 if depth in BASIC_DEPTHS else 4
    found = arrays["head_conv/kernel"].shape[-1]
    # No wider head is published, and a small file could demand a huge network.
    # `fill` refuses a kernel that does not fit.
    usual = found == features // 4 or found > features // 2
    return None if usual else found


def _paths(
    layers: Iterable[Layer], suffixes: tuple[tuple[str, ...], tuple[str, ...]]
) -> dict[str, str]:
    """Returns the variable path of each tensor, by its source name."""
    (kernel, bias), norms = suffixes
    paths = {}
    for name, conv, norm in layers:
        kind = "conv" if norm else "classifier"
        paths[conv + kernel] = f"{name}_{kind}/kernel"
        if not norm:
            paths[conv + bias] = f"{name}_classifier/bias"
            continue
        for suffix, variable in zip(norms, _NORM_VARIABLES, strict=True):
            paths[norm + suffix] = f"{name}_bn/{variable}"
    return paths


def _axes(path: str) -> tuple[int, ...]:
    """Returns the order of a tensor's axes in a variable."""
    if path.endswith("_depthwise_conv/kernel"):
        return _DEPTHWISE_AXES
    return _KERNEL_AXES if path.endswith("/kernel") else (0,)


def _out_channels(kernel: Any) -> int:
    return 0 if kernel is None or kernel.ndim != 4 else kernel.shape[0]
