"""The pyramid: the paper's module, and its exact shortcut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import keras
from keras import ops

from keras_pspnet.layers.batch_norm import BatchNorm
from keras_pspnet.layers.resize import (
    adaptive_pool,
    apply_height,
    divides,
    interpolation_matrix,
    resize,
    spatial_size,
)
from keras_pspnet.utils import (
    as_integers,
    check_choice,
    check_integer,
    check_rule,
    init_config,
)
from keras_pspnet.utils.types import Shape, Side, Size, Tensor

POOLINGS = ("average", "max")


def _check_bin_sizes(bin_sizes: object) -> tuple[int, ...]:
    sizes = as_integers(bin_sizes)
    kept = sizes is not None and len(set(sizes)) == len(sizes)
    rule = "be a sequence of distinct positive integers"
    check_rule("bin_sizes", bin_sizes, rule, kept)
    return cast("tuple[int, ...]", sizes)


@keras.saving.register_keras_serializable(package="keras_pspnet")
class PyramidPoolingModule(keras.layers.Layer):
    """The paper's pyramid pooling module.

    Each bin size makes one map: adaptive pooling to bins x bins cells, a 1x1
    convolution with batch normalization and ReLU, and bilinear resizing back
    to the input's size. The output concatenates the input and all maps.

    Args:
        bin_sizes: Cells along each side of each pyramid map. An empty tuple
            returns the input: the paper's network without a pyramid.
        filters: Channels of the 1x1 convolutions; None is a quarter of the
            input's channels.
        pooling: `"average"` (the paper's choice) or `"max"`.
        reduce: False leaves out the 1x1 convolutions (the rows without "DR"
            in the paper's table 1).
        align_corners: Corner-aligned (True) or half-pixel (False) resizing.
        use_bias: True gives the 1x1 convolutions a bias in place of batch
            normalization, as in networks folded for inference.
        **kwargs: Passed to `keras.layers.Layer`.

    Input shape:
        (B, H, W, C) with C known; H and W may be unknown.

    Output shape:
        (B, H, W, C + len(bin_sizes) * filters), or
        (B, H, W, C * (1 + len(bin_sizes))) without `reduce`.

    Examples:
        >>> features = keras.Input((60, 60, 2048))
        >>> kp.PyramidPoolingModule()(features).shape
        (None, 60, 60, 4096)

    Reference:
        Zhao et al., "Pyramid Scene Parsing Network", 2016, section 3.2.
    """

    def __init__(
        self,
        bin_sizes: Sequence[int] = (1, 2, 3, 6),
        filters: int | None = None,
        pooling: str = "average",
        reduce: bool = True,
        align_corners: bool = False,
        use_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice("pooling", pooling, POOLINGS)
        if filters is not None:
            filters = check_integer("filters", filters)
        self.bin_sizes = _check_bin_sizes(bin_sizes)
        self.filters = filters
        self.pooling = pooling
        self.reduce = reduce
        self.align_corners = align_corners
        self.use_bias = use_bias
        self.convs: list[keras.layers.Layer] = []
        self.norms: list[keras.layers.Layer] = []

    def build(self, input_shape: Shape) -> None:
        if self.convs:
            return
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                "The input must have a known number of channels. "
                "Received: channels=None"
            )
        if self.reduce:
            map_shape = (None, None, None, channels)
            for bins in self.bin_sizes:
                conv = keras.layers.Conv2D(
                    self.map_channels(channels),
                    1,
                    # Whatever keras.json says.
                    data_format="channels_last",
                    use_bias=self.use_bias,
                    kernel_initializer="he_normal",
                    dtype=self.dtype_policy,
                    name=f"bin{bins}_conv",
                )
                conv.build(map_shape)
                self.convs.append(conv)
                if self.use_bias:
                    continue
                norm = BatchNorm(dtype=self.dtype_policy, name=f"bin{bins}_bn")
                norm.build((*map_shape[:3], self.map_channels(channels)))
                self.norms.append(norm)
        self.built = True

    def map_channels(self, channels: int) -> int:
        """Returns the channels of each map, for an input with `channels`."""
        if not self.reduce:
            return channels
        return self.filters or max(1, channels // 4)

    def pyramid(self, x: Tensor, training: bool | None = None) -> list[Tensor]:
        """Computes the pyramid maps before upsampling.

        Args:
            x: Float tensor (B, H, W, C).
            training: Whether batch normalization uses the batch's statistics.

        Returns:
            One tensor (B, bins, bins, filters) for each of `bin_sizes`.
        """
        maps = self._pool(x)
        if not self.reduce:
            return maps
        maps = [
            conv(pooled) for pooled, conv in zip(maps, self.convs, strict=True)
        ]
        if not self.use_bias:
            maps = [
                norm(reduced, training=training)
                for reduced, norm in zip(maps, self.norms, strict=True)
            ]
        return [ops.relu(reduced) for reduced in maps]

    def _pool(self, x: Tensor) -> list[Tensor]:
        return [adaptive_pool(x, bins, self.pooling) for bins in self.bin_sizes]

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        size = spatial_size(inputs)
        maps = self.pyramid(inputs, training=training)
        upsampled = [
            self._upsample(pooled, size, bins)
            for pooled, bins in zip(maps, self.bin_sizes, strict=True)
        ]
        return ops.concatenate([inputs, *upsampled], axis=-1)

    def _upsample(self, pooled: Tensor, size: Size, bins: int) -> Tensor:
        exact = all(divides(side, bins) for side in size)
        # TensorFlow resizes in float32, whatever the dtype.
        double = keras.backend.standardize_dtype(pooled.dtype) == "float64"
        if exact and not self.align_corners and not double:
            return ops.image.resize(
                pooled,
                size,
                interpolation="bilinear",
                data_format="channels_last",
            )
        return resize(pooled, size, self.align_corners)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        channels = cast(int, input_shape[-1])
        added = len(self.bin_sizes) * self.map_channels(channels)
        return (*input_shape[:-1], channels + added)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | init_config(self, PyramidPoolingModule)


@keras.saving.register_keras_serializable(package="keras_pspnet")
class PyramidConv(keras.layers.Layer):
    """A 3x3 convolution over the pyramid, without the concatenation.

    Upsampling and convolution are both linear, so this layer applies the taps
    of the kernel on the small grid of bins x bins cells, and then upsamples
    and shifts the results by two small matrix products, one along each side.
    The result, the gradients and the variables are those of
    `PyramidPoolingModule` followed by
    `Conv2D(filters, 3, padding="same", use_bias=False)`; the cost is that of
    convolving the input's own channels.

    Args:
        filters: Channels of the result.
        pyramid: The `PyramidPoolingModule` to convolve.
        kernel_initializer: Initializer of the kernel.
        use_bias: Whether to add a bias.
        **kwargs: Passed to `keras.layers.Layer`.

    Input shape:
        (B, H, W, C) with C known; H and W may be unknown.

    Output shape:
        (B, H, W, filters).

    Examples:
        >>> pyramid = kp.PyramidPoolingModule(bin_sizes=(1, 2, 3, 6))
        >>> features = keras.Input((60, 60, 2048))
        >>> kp.PyramidConv(512, pyramid)(features).shape
        (None, 60, 60, 512)
    """

    def __init__(
        self,
        filters: int,
        pyramid: PyramidPoolingModule,
        kernel_initializer: str | keras.initializers.Initializer = "he_normal",
        use_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = check_integer("filters", filters)
        self.pyramid = pyramid
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.use_bias = use_bias

    def build(self, input_shape: Shape) -> None:
        if not self.pyramid.built:
            self.pyramid.build(input_shape)
        concatenated = self.pyramid.compute_output_shape(input_shape)
        self._build_kernels(
            cast(int, input_shape[-1]), cast(int, concatenated[-1])
        )
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.filters,), initializer="zeros", name="bias"
            )
        self.built = True

    def _build_kernels(self, channels: int, concatenated: int) -> None:
        self.kernel = self.add_weight(
            shape=(3, 3, concatenated, self.filters),
            initializer=self.kernel_initializer,
            name="kernel",
        )

    def _kernels(self, channels: int) -> tuple[Tensor, list[Tensor]]:
        """Returns the kernels of the input's own channels and of each map."""
        kernel = ops.convert_to_tensor(self.kernel)
        maps = len(self.pyramid.bin_sizes)
        if not maps:
            return kernel, []
        # A split, since its gradient is one concatenation. The gradient of
        # slices would be a sum of kernels that are mostly zeros.
        step = self.pyramid.map_channels(channels)
        ends = [channels + step * index for index in range(maps)]
        own, *taps = ops.split(kernel, ends, axis=2)
        return own, taps

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        own, taps = self._kernels(inputs.shape[-1])
        out = ops.conv(inputs, own, padding="same", data_format="channels_last")
        if self.use_bias:
            out = ops.add(out, ops.reshape(self.bias, (1, 1, 1, -1)))
        maps = self.pyramid.pyramid(inputs, training=training)
        if not maps:
            return out
        return out + self._convolve_upsampled(maps, taps, spatial_size(inputs))

    def _convolve_upsampled(
        self, maps: list[Tensor], taps: list[Tensor], size: Size
    ) -> Tensor:
        """Sums conv3x3(resize(map)) over all maps without resizing any.

        Args:
            maps: One (B, b, b, R) tensor for each bin size b.
            taps: The kernel of each map, from `_kernels`.
            size: (H, W) of the result.

        Returns:
            Tensor (B, H, W, F).
        """
        height, width = size
        rows, row_matrices = [], []
        for pooled, tap, bins in zip(
            maps, taps, self.pyramid.bin_sizes, strict=True
        ):
            product = ops.reshape(
                self._apply_taps(pooled, tap, bins),
                (-1, 3 * bins, 3 * bins, self.filters),
            )
            # (B, 3 * bins, W, F): rows (dy, i) are still on the small grid.
            rows.append(ops.matmul(self._shifted(bins, width), product))
            row_matrices.append(self._shifted(bins, height))
        matrix = ops.concatenate(row_matrices, axis=1)
        stacked = ops.concatenate(rows, axis=1)
        return apply_height(matrix, stacked)

    def _apply_taps(self, pooled: Tensor, tap: Tensor, bins: int) -> Tensor:
        """Multiplies each cell by the nine taps: (B, dy, i, dx, j, F)."""
        reduced = pooled.shape[-1]
        # Nine (cells, R) x (R, F) products keep the layout of the kernel, so
        # no engine transposes megabytes of weights in every call.
        cells = ops.reshape(pooled, (1, -1, reduced))
        kernel = ops.reshape(tap, (9, reduced, self.filters))
        product = ops.reshape(
            ops.matmul(cells, kernel),
            (3, 3, -1, bins, bins, self.filters),
        )
        # (dy, dx, B, i, j, F)
        return ops.transpose(product, (2, 0, 3, 1, 4, 5))

    def _shifted(self, bins: int, size: Side) -> Tensor:
        """Builds the upsampling matrix, shifted for each tap of the kernel.

        Args:
            bins: Number of cells.
            size: Number of samples after upsampling.

        Returns:
            Tensor (size, 3 * bins), columns ordered (tap, cell). Rows beyond
            the border are 0, as in a zero-padded convolution.
        """
        matrix = interpolation_matrix(
            bins, size, self.pyramid.align_corners, self.compute_dtype
        )
        padded = ops.pad(matrix, ((1, 1), (0, 0)))
        return ops.concatenate([padded[:-2], padded[1:-1], padded[2:]], axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "pyramid": keras.saving.serialize_keras_object(self.pyramid),
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "use_bias": self.use_bias,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PyramidConv:
        # This layer builds the pyramid, so that paths begin with its name.
        pyramid = {**config["pyramid"], "build_config": None}
        pyramid = keras.saving.deserialize_keras_object(pyramid)
        return cls(**{**config, "pyramid": pyramid})
