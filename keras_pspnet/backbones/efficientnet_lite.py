"""EfficientNet-Lite0, dilated: a small backbone for processors and phones."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
from keras import layers

from keras_pspnet.backbones.resnet import FORMAT, GEOMETRY, scaled
from keras_pspnet.layers import BatchNorm
from keras_pspnet.utils import check_choice

LITE = "efficientnet_lite0"
_STEM_CHANNELS = 32
# The published weights were trained with it.
_EPSILON = 1e-3


class _Stage(NamedTuple):
    """Blocks in a row; the first one has the stride.

    Args:
        blocks: How many.
        kernel: Side of the depthwise kernels.
        stride: Of the first block.
        expansion: Channels inside a block for each that it is given.
        channels: Channels of the results.
    """

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# Tan and Le, 2019, table 1, without squeeze-and-excitation.
LITE_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
# The last one at half the largest stride.
_AUX_STAGE = 4


def efficientnet_lite0(
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    output_stride: int = 8,
    width: float = 1.0,
    name: str = LITE,
) -> keras.Model:
    """Builds EfficientNet-Lite0 with dilation instead of its last strides.

    Strided convolutions have TensorFlow's `"same"` padding, with which the
    published weights were trained. Dilated ones are padded symmetrically, so
    that features stay where they are in the image. Subsampled, they equal the
    strided network's at any size, from the first value of a map that would be
    strided if its side is odd, from the second if it is even.

    Args:
        input_shape: (height, width, bands); height and width may be None.
        output_stride: 8, 16 or 32: input size over feature size.
        width: Factor on every number of channels.
        name: Name of the model.

    Returns:
        A functional model of normalized images (B, H, W, bands) with the
        outputs (aux features, features), 112 and 320 channels at width 1,
        of H and W over the output stride, rounded up.

    Raises:
        ValueError: If there is no such output stride.

    Examples:
        >>> from keras_pspnet.backbones import efficientnet_lite0
        >>> backbone = efficientnet_lite0((240, 240, 3))
        >>> [features.shape for features in backbone.outputs]
        [(None, 30, 30, 112), (None, 30, 30, 320)]

    Reference:
        Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional
        Neural Networks", 2019; Liu, "Higher accuracy on vision models with
        EfficientNet-Lite", TensorFlow Blog, 2020.
    """
    check_choice("output_stride", output_stride, tuple(GEOMETRY))
    image = keras.Input(input_shape)
    x = _conv_bn(image, "stem1", scaled(_STEM_CHANNELS, width), 3, stride=2)
    reached, dilation, index = 2, 1, 0
    outputs = []
    for stage in LITE_STAGES:
        for block in range(stage.blocks):
            index += 1
            wanted = stage.stride if block == 0 else 1
            is_strided = reached * wanted <= output_stride
            x = _block(
                x,
                f"block{index}",
                stage,
                scaled(stage.channels, width),
                stride=wanted if is_strided else 1,
                dilation=dilation,
                # A block that had a stride never had a shortcut.
                shortcut=block > 0,
            )
            if is_strided:
                reached *= wanted
            else:
                dilation *= wanted
        outputs.append(x)
    return keras.Model(image, [outputs[_AUX_STAGE], x], name=name)


def _block(
    x: Any,
    name: str,
    stage: _Stage,
    channels: int,
    stride: int,
    dilation: int,
    shortcut: bool,
) -> Any:
    """Applies an inverted residual block."""
    given = x
    if stage.expansion > 1:
        expanded = stage.expansion * x.shape[-1]
        x = _conv_bn(x, f"{name}_expand", expanded, 1)
    depthwise = layers.DepthwiseConv2D(
        stage.kernel,
        strides=stride,
        dilation_rate=dilation,
        padding="same",
        data_format=FORMAT,
        use_bias=False,
        # He's, for one channel of input: Keras counts all of them.
        depthwise_initializer=keras.initializers.RandomNormal(
            stddev=math.sqrt(2) / stage.kernel
        ),
        name=f"{name}_depthwise_conv",
    )
    x = _bn_relu(depthwise(x), f"{name}_depthwise")
    x = _conv_bn(x, f"{name}_project", channels, 1, relu=False)
    return layers.Add(name=f"{name}_add")([x, given]) if shortcut else x


def _conv_bn(
    x: Any,
    name: str,
    channels: int,
    kernel: int,
    stride: int = 1,
    relu: bool = True,
) -> Any:
    x = layers.Conv2D(
        channels,
        kernel,
        strides=stride,
        padding="same",
        data_format=FORMAT,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return _bn_relu(x, name, relu)


def _bn_relu(x: Any, name: str, relu: bool = True) -> Any:
    x = BatchNorm(epsilon=_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x
