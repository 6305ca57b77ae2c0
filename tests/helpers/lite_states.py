"""EfficientNet-Lite0 as its source has it: names, and a NumPy reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# Kernel, stride, expansion and channels of each block, in the paper's order.
BLOCKS = (
    (3, 1, 1, 16),
    *((3, 2, 6, 24), (3, 1, 6, 24)),
    *((5, 2, 6, 40), (5, 1, 6, 40)),
    *((3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80)),
    *((5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112)),
    *((5, 2, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192)),
    (3, 1, 6, 320),
)


def lite_state(width: float = 1.0, top: bool = True) -> dict[str, np.ndarray]:
    """Random weights under the names of efficientnet_lite_pytorch."""
    rng = np.random.default_rng(0)
    state: dict[str, np.ndarray] = {}

    def add(conv: str, norm: str, kernel: tuple[int, ...]) -> None:
        gain = np.sqrt(2 / np.prod(kernel[1:]))
        state[f"{conv}.weight"] = rng.normal(0, gain, kernel)
        for kind, low in (("weight", 0.5), ("running_var", 0.5)):
            state[f"{norm}.{kind}"] = rng.uniform(low, 1.5, kernel[0])
        for kind in ("bias", "running_mean"):
            state[f"{norm}.{kind}"] = rng.normal(0, 0.3, kernel[0])
        state[f"{norm}.num_batches_tracked"] = np.array(350)

    def scaled(channels: int) -> int:
        return max(1, round(channels * width))

    given = scaled(32)
    add("_conv_stem", "_bn0", (given, 3, 3, 3))
    for index, (kernel, _, expansion, channels) in enumerate(BLOCKS):
        block = f"_blocks.{index}."
        inner, out = given * expansion, scaled(channels)
        if expansion > 1:
            add(f"{block}_expand_conv", f"{block}_bn0", (inner, given, 1, 1))
        name = f"{block}_depthwise_conv"
        add(name, f"{block}_bn1", (inner, 1, kernel, kernel))
        add(f"{block}_project_conv", f"{block}_bn2", (out, inner, 1, 1))
        given = out
    if top:
        add("_conv_head", "_bn1", (8, given, 1, 1))
        state |= {"_fc.weight": np.zeros((10, 8)), "_fc.bias": np.zeros(10)}
    return {
        name: value if value.dtype.kind == "i" else value.astype("float32")
        for name, value in state.items()
    }


def lite_features(
    state: Mapping[str, Any], x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The strided network's blocks 11 and 16 in float64, (B, H, W, C)."""

    def layer(
        x: np.ndarray, conv: str, norm: str, stride: int = 1, relu: bool = True
    ) -> np.ndarray:
        kernel = state[f"{conv}.weight"].astype("float64")
        x = _convolve(x, kernel, stride)
        mean, variance, gamma, beta = (
            state[f"{norm}.{kind}"].astype("float64")
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
        return np.clip(x, 0, 6) if relu else x

    x = layer(x, "_conv_stem", "_bn0", 2)
    outputs = []
    for index, (_, stride, expansion, _) in enumerate(BLOCKS):
        block, given = f"_blocks.{index}.", x
        if expansion > 1:
            x = layer(x, f"{block}_expand_conv", f"{block}_bn0")
        x = layer(x, f"{block}_depthwise_conv", f"{block}_bn1", stride)
        x = layer(x, f"{block}_project_conv", f"{block}_bn2", relu=False)
        if stride == 1 and x.shape == given.shape:
            x = x + given
        outputs.append(x)
    return outputs[10], outputs[15]


def _convolve(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's "same" convolution, depthwise for one input channel."""
    side = kernel.shape[-1]
    sizes = [-(-size // stride) for size in x.shape[1:3]]
    pads = [
        max((out - 1) * stride + side - size, 0)
        for out, size in zip(sizes, x.shape[1:3], strict=True)
    ]
    x = np.pad(x, [(0, 0), *((p // 2, p - p // 2) for p in pads), (0, 0)])
    height, width = sizes
    depthwise = kernel.shape[1] == 1 and x.shape[-1] == kernel.shape[0]
    total: Any = 0
    for row in range(side):
        for column in range(side):
            part = x[:, row:, column:][:, ::stride, ::stride]
            part, tap = part[:, :height, :width], kernel[:, :, row, column]
            total = total + (part * tap[:, 0] if depthwise else part @ tap.T)
    return total
