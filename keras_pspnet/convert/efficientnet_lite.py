"""EfficientNet-Lite0 for ImageNet: efficientnet_lite_pytorch's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keras_pspnet.backbones import LITE, LITE_STAGES
from keras_pspnet.convert.assign import Converted
from keras_pspnet.convert.name_table import Layer, NameTable, convert_layers

# What stands behind the features is left behind, too.
_IGNORED = rf"{NameTable.ignored}|^(_conv_head|_bn1|_fc)\."


def is_efficientnet_lite(tensors: Mapping[str, Any]) -> bool:
    """Returns whether these are the names of an EfficientNet-Lite."""
    names = ("_blocks.0._depthwise_conv.weight", "_blocks.0._se_reduce.weight")
    return [name in tensors for name in names] == [True, False]


def convert_efficientnet_lite(tensors: Mapping[str, Any]) -> Converted:
    """Converts an EfficientNet-Lite0.

    Args:
        tensors: The `state_dict`.

    Returns:
        The network; `config` has `backbone` alone.

    Raises:
        ValueError: If it is another network.
    """
    arrays = convert_layers(tensors, _layers(), ignored=_IGNORED)
    return Converted("imagenet", {"backbone": LITE}, arrays)


def _layers() -> Iterator[Layer]:
    yield Layer("stem1", "_conv_stem", "_bn0")
    expansions = [
        stage.expansion for stage in LITE_STAGES for _ in range(stage.blocks)
    ]
    for index, expansion in enumerate(expansions):
        parts = ("expand", "depthwise", "project")
        for number, part in enumerate(parts):
            if part != "expand" or expansion > 1:
                block = f"_blocks.{index}."
                yield Layer(
                    f"block{index + 1}_{part}",
                    f"{block}_{part}_conv",
                    f"{block}_bn{number}",
                )
