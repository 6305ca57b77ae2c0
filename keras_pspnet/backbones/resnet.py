"""Dilated residual networks: the feature extractors of PSPNet."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from keras_pspnet.layers import BatchNorm
from keras_pspnet.utils import check_choice, check_rule, init_config
from keras_pspnet.utils.types import Tensor

# Blocks of stages 2 to 5 (conv2_x to conv5_x in the paper's naming). 18 to 152
# are He et al., 2015, table 1; 269 is the PSPNet authors' own.
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    269: (3, 30, 48, 8),
}
BASIC_DEPTHS = (18, 34)
STAGE_CHANNELS = (64, 128, 256, 512)
# Whatever keras.json says.
FORMAT = "channels_last"
# Channels of the stem's convolutions. "deep" is torch's ResNet-V1c, which
# mmsegmentation trains; "deep_wide" is the PSPNet authors' own.
STEM_CHANNELS = {
    "deep": (32, 32, 64),
    "deep_wide": (64, 64, 128),
    "7x7": (64,),
}
# Output stride -> (stride, dilation) of stages 2 to 5.
GEOMETRY = {
    8: ((1, 1), (2, 1), (1, 2), (1, 4)),
    16: ((1, 1), (2, 1), (2, 1), (1, 2)),
    32: ((1, 1), (2, 1), (2, 1), (2, 1)),
}
STRIDE_PLACES = ("3x3", "1x1")
SHORTCUTS = ("conv", "average_pool")


@keras.saving.register_keras_serializable(package="keras_pspnet")
class DilatedResNet(keras.Model):
    """A residual network with dilation instead of stride in the last stages.

    Args:
        depth: 18, 34 (basic blocks), 50, 101, 152 or 269 (bottlenecks).
        input_shape: (height, width, channels); height and width may be None.
        stem: `"deep"` (three 3x3 convolutions of 32, 32, 64 channels),
            `"deep_wide"` (64, 64, 128) or `"7x7"` (one of 64).
        output_stride: 8, 16 or 32: input size over feature size.
        contract_dilation: True gives the first block of a dilated stage half
            the stage's dilation (1 then 2, 2 then 4), as in mmsegmentation;
            False gives every block the same, as in Caffe and semseg.
        stride_on: Which convolution of a bottleneck is strided: `"3x3"`
            (PyTorch) or the first `"1x1"` (Caffe). Basic blocks have no
            1x1, so they take `"3x3"` only.
        shortcut: What strides the projection of a strided block: its 1x1
            `"conv"`, which skips three of four pixels, or an `"average_pool"`
            of 2x2 pixels before it (ResNet-D: mmsegmentation's ResNetV1d,
            PaddleSeg's `_vd`, timm's `resnet50d`).
        width: Factor on every number of channels.
        name: Name of the model.
        trainable: As in every Keras layer.

    Input shape:
        (B, H, W, channels), already normalized.

    Output shape:
        Features of stages 4 and 5, each (B, H/8, W/8, C) at the default
        stride, rounded up. At width 1, C is 1024 and 2048 for bottlenecks,
        256 and 512 for basic blocks.

    Examples:
        >>> backbone = kp.DilatedResNet(18, (473, 473, 3))
        >>> stage4, stage5 = backbone.outputs
        >>> stage5.shape
        (None, 60, 60, 512)

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", 2015; Zhao
        et al., "Pyramid Scene Parsing Network", 2016, sections 3.3 and 5.1;
        He et al., "Bag of Tricks for Image Classification with Convolutional
        Neural Networks", 2019, section 4.2 (ResNet-D).
    """

    def __init__(
        self,
        depth: int = 50,
        input_shape: tuple[int | None, int | None, int] = (None, None, 3),
        stem: str = "deep",
        output_stride: int = 8,
        contract_dilation: bool = True,
        stride_on: str = "3x3",
        shortcut: str = "conv",
        width: float = 1.0,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        check_choice("depth", depth, tuple(BLOCKS))
        check_choice("stem", stem, tuple(STEM_CHANNELS))
        check_choice("output_stride", output_stride, tuple(GEOMETRY))
        check_choice("stride_on", stride_on, STRIDE_PLACES)
        check_choice("shortcut", shortcut, SHORTCUTS)
        basic = depth in BASIC_DEPTHS
        rule = f"be '3x3' for the basic blocks of depth {depth}"
        kept = not basic or stride_on == "3x3"
        check_rule("stride_on", stride_on, rule, kept)
        kept = isinstance(width, int | float) and 0 < width <= 8
        check_rule("width", width, "be a number above 0 and at most 8", kept)

        # === Functional Model ===
        inputs = keras.Input(input_shape)
        x = _stem(inputs, stem, width)
        stages = {}
        geometry = GEOMETRY[output_stride]
        rows = zip(STAGE_CHANNELS, BLOCKS[depth], geometry, strict=True)
        for stage, (channels, blocks, (stride, dilation)) in enumerate(rows, 2):
            first_dilation = dilation
            if contract_dilation:
                first_dilation = max(1, dilation // 2)
            for index in range(blocks):
                x = _block(
                    x,
                    name=f"stage{stage}_block{index + 1}",
                    channels=scaled(channels, width),
                    stride=stride if index == 0 else 1,
                    dilation=first_dilation if index == 0 else dilation,
                    basic=basic,
                    stride_on=stride_on,
                    pooled=shortcut == "average_pool",
                )
            stages[stage] = x
        super().__init__(
            inputs=inputs,
            outputs=[stages[4], stages[5]],
            name=name or f"resnet{depth}",
            trainable=trainable,
        )

        # === Config ===
        self.depth = depth
        self.stem = stem
        self.output_stride = output_stride
        self.contract_dilation = contract_dilation
        self.stride_on = stride_on
        self.shortcut = shortcut
        self.width = width

    def get_config(self) -> dict[str, Any]:
        config = init_config(self, DilatedResNet)
        return config | {"input_shape": self.input_shape[1:]}


def scaled(channels: int, width: float) -> int:
    """Returns `channels` times `width`, rounded, at least 1."""
    return max(1, round(channels * width))


def _conv_bn(
    x: Tensor,
    name: str,
    channels: int,
    kernel: int,
    stride: int = 1,
    dilation: int = 1,
    relu: bool = True,
) -> Tensor:
    """Applies a convolution without bias, padded as in PyTorch, then BN."""
    padding = dilation * (kernel // 2)
    if stride > 1 and padding:
        # With a stride, "same" pads even sizes on one side only; weights from
        # PyTorch and Caffe expect both.
        x = layers.ZeroPadding2D(
            padding, data_format=FORMAT, name=f"{name}_pad"
        )(x)
    x = layers.Conv2D(
        channels,
        kernel,
        strides=stride,
        dilation_rate=dilation,
        padding="valid" if stride > 1 else "same",
        data_format=FORMAT,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = BatchNorm(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _stem(x: Tensor, stem: str, width: float) -> Tensor:
    """Applies the stem: stride 2 by convolution, stride 2 by pooling."""
    kernel = 7 if stem == "7x7" else 3
    for index, channels in enumerate(STEM_CHANNELS[stem]):
        x = _conv_bn(
            x,
            f"stem{index + 1}",
            scaled(channels, width),
            kernel,
            stride=2 if index == 0 else 1,
        )
    # After a ReLU, zeros pad as well as minus infinity.
    x = layers.ZeroPadding2D(1, data_format=FORMAT, name="stem_pool_pad")(x)
    return layers.MaxPooling2D(
        3, strides=2, data_format=FORMAT, name="stem_pool"
    )(x)


def _block(
    x: Tensor,
    name: str,
    channels: int,
    stride: int,
    dilation: int,
    basic: bool,
    stride_on: str,
    pooled: bool,
) -> Tensor:
    """Applies one residual block, basic or bottleneck."""
    out_channels = channels if basic else 4 * channels
    shortcut = x
    # If neither stride nor channels change, the shortcut is the identity,
    # even in the first block of a stage.
    if stride > 1 or x.shape[-1] != out_channels:
        shortcut_stride = stride
        if stride > 1 and pooled:
            # At an odd side, "same" averages the last row alone, without
            # zeros.
            shortcut = layers.AveragePooling2D(
                stride,
                padding="same",
                data_format=FORMAT,
                name=f"{name}_shortcut_pool",
            )(x)
            shortcut_stride = 1
        shortcut = _conv_bn(
            shortcut,
            f"{name}_shortcut",
            out_channels,
            1,
            shortcut_stride,
            relu=False,
        )
    if basic:
        x = _conv_bn(x, f"{name}_1", channels, 3, stride, dilation)
        # No dilation, as in mmsegmentation.
        x = _conv_bn(x, f"{name}_2", channels, 3, relu=False)
    else:
        on_3x3 = stride_on == "3x3"
        x = _conv_bn(x, f"{name}_1", channels, 1, 1 if on_3x3 else stride)
        x = _conv_bn(
            x, f"{name}_2", channels, 3, stride if on_3x3 else 1, dilation
        )
        x = _conv_bn(x, f"{name}_3", out_channels, 1, relu=False)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu")(x)
