"""The network as it is deployed: constant weights, no batch normalisation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_pspnet.layers import PyramidConv, shifted_interpolation
from keras_pspnet.sampling import (
    adaptive_pool,
    apply_height,
    spatial_size,
)

# What only training needs, and what computes in the dtype of its input.
_TRAINING_ONLY = (layers.Dropout, layers.SpatialDropout2D)
_FOLLOWING = (
    layers.Add,
    layers.MaxPooling2D,
    layers.ReLU,
    layers.ZeroPadding2D,
)


def fold(
    model: keras.Model,
    size: tuple[int | None, int | None],
    dtype: str = "float32",
    embed: bool = True,
) -> keras.Model:
    """Copies a network for inference.

    Batch normalisation goes into the convolution before it, dropout goes
    away, and the weights become constants. The copy does not follow later
    changes of the model.

    Args:
        model: A functional model with one input and one output, such as
            `PSPNet.inference_model()`. Layers that are not known here are
            called as they are, and keep their variables.
        size: (height, width) of the copy's input, None for any.
        dtype: `"float32"`, or `"bfloat16"` for the convolutions and what is
            between them; normalisation and logits stay float32.
        embed: Whether graphs of the copy contain the weights, as exports do:
            engines re-lay them once, and other tensors at every call. False
            keeps them beside the graphs, which are then traced sooner and
            in a fraction of the memory.

    Returns:
        A model with the same input and output.
    """
    norms = _norms_of_convs(model)
    absorbed = {id(norm) for norm in norms.values()}

    def replace(layer: Any) -> Any:
        norm = norms.get(id(layer))
        if isinstance(layer, keras.Model):
            return fold(layer, (None, None), dtype, embed)
        if isinstance(layer, PyramidConv):
            return _FoldedPyramidConv(layer, norm, dtype, embed)
        if _is_plain_conv(layer):
            # Classifiers, which no normalisation follows, keep float32.
            kind = "float32" if norm is None else dtype
            return _FoldedConv(layer, norm, kind, embed)
        if id(layer) in absorbed or isinstance(layer, _TRAINING_ONLY):
            return _PassThrough(name=layer.name, dtype=dtype)
        if isinstance(layer, _FOLLOWING):
            return type(layer).from_config(
                {**layer.get_config(), "dtype": dtype}
            )
        return layer

    source = model.inputs[0]
    image = keras.Input(
        (*size, source.shape[-1]), dtype=source.dtype, name=source.name
    )
    # A copy has neither the class nor the compilation of the model.
    return keras.models.clone_model(
        keras.Model(source, model.output),
        input_tensors=image,
        clone_function=replace,
    )


def _is_plain_conv(layer: Any) -> bool:
    return (
        type(layer) is layers.Conv2D
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and layer.activation is keras.activations.linear
    )


def _norms_of_convs(model: keras.Model) -> dict[int, Any]:
    """Maps id(convolution) to the normalisation that alone reads it."""
    norms = {}
    for layer in model.layers:
        if not isinstance(layer, layers.BatchNormalization):
            continue
        conv = layer.input._keras_history.operation
        foldable = isinstance(conv, PyramidConv) or _is_plain_conv(conv)
        # Whoever else reads the convolution wants it without the
        # normalisation.
        if foldable and len(conv._outbound_nodes) == 1:
            norms[id(conv)] = layer
    return norms


def _folded(kernel: Any, bias: Any, norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel and bias of a convolution and what normalises it."""
    kernel = np.asarray(kernel, "float64")
    shift = np.zeros(kernel.shape[-1])
    if bias is not None:
        shift = np.asarray(bias, "float64")
    if norm is not None:
        variance = np.asarray(norm.moving_variance, "float64")
        scale = 1 / np.sqrt(variance + norm.epsilon)
        if norm.scale:
            scale = scale * np.asarray(norm.gamma, "float64")
        shift = (shift - np.asarray(norm.moving_mean, "float64")) * scale
        if norm.center:
            shift = shift + np.asarray(norm.beta, "float64")
        kernel = kernel * scale
    return kernel.astype("float32"), shift.astype("float32")


class _Constant:
    """A weight: part of every graph that reads it, or a tensor beside them."""

    def __init__(self, array: np.ndarray, dtype: str, embed: bool) -> None:
        self._value = array.astype(tf.as_dtype(dtype).as_numpy_dtype)
        if not embed:
            self._value = tf.constant(self._value)

    def __call__(self) -> Any:
        return tf.convert_to_tensor(self._value)


class _PassThrough(layers.Layer):
    """Stands where a layer was, and takes whatever it was called with."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return inputs


class _FoldedConv(layers.Layer):
    """A convolution with its normalisation."""

    def __init__(self, conv: Any, norm: Any, dtype: str, embed: bool) -> None:
        super().__init__(dtype=dtype, name=conv.name)
        bias = conv.bias if conv.use_bias else None
        self._kernel, self._bias = (
            _Constant(each, dtype, embed)
            for each in _folded(conv.kernel, bias, norm)
        )
        self._arguments = {
            "strides": conv.strides,
            "padding": conv.padding.upper(),
            # In the form of Keras, dilation is three operations.
            "dilations": conv.dilation_rate,
        }
        self._shape_of = conv.compute_output_shape

    def call(self, inputs: Any) -> Any:
        x = tf.nn.conv2d(inputs, self._kernel(), **self._arguments)
        return tf.nn.bias_add(x, self._bias())

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self._shape_of(input_shape)


class _FoldedPyramidConv(layers.Layer):
    """A `PyramidConv` with its normalisation, taps as products want them."""

    def __init__(
        self, layer: PyramidConv, norm: Any, dtype: str, embed: bool
    ) -> None:
        super().__init__(dtype=dtype, name=layer.name)
        pyramid = layer.pyramid
        self._filters = layer.filters
        self._bins = pyramid.bin_sizes
        self._pooling = pyramid.pooling
        self._align_corners = pyramid.align_corners

        def constant(array: np.ndarray) -> _Constant:
            return _Constant(array, dtype, embed)

        kernel, bias = _folded(layer.kernel, None, norm)
        reductions = [
            _folded(conv.kernel, None, own)
            for conv, own in zip(pyramid.convs, pyramid.norms, strict=True)
        ]
        maps = len(self._bins)
        channels = kernel.shape[2]
        if reductions:
            step = reductions[0][0].shape[-1]
        else:
            step = channels // (maps + 1)
        own = channels - maps * step
        self._kernel = constant(kernel[:, :, :own])
        self._bias = constant(bias)
        self._reductions = [
            (constant(kernel), constant(bias)) for kernel, bias in reductions
        ]
        # (R, 3 * 3 * F): one product for each map, on weights that are
        # already where it reads them.
        self._taps = [
            constant(
                kernel[:, :, start : start + step]
                .transpose(2, 0, 1, 3)
                .reshape(step, -1)
            )
            for start in range(own, channels, step)
        ]

    def call(self, inputs: Any, training: Any = None) -> Any:
        x = tf.nn.conv2d(inputs, self._kernel(), 1, "SAME")
        x = tf.nn.bias_add(x, self._bias())
        if not self._bins:
            return x
        height, width = spatial_size(inputs)
        rows = [
            self._along_width(self._map(inputs, index), index, width)
            for index in range(len(self._bins))
        ]
        matrices = [self._shifted(bins, height) for bins in self._bins]
        # The sum that engines fuse into a convolution has it on the left.
        return x + apply_height(tf.concat(matrices, 1), tf.concat(rows, 1))

    def _map(self, inputs: Any, index: int) -> Any:
        """Computes one pyramid map (B, bins, bins, R)."""
        x = adaptive_pool(inputs, self._bins[index], self._pooling)
        if not self._reductions:
            return x
        kernel, bias = self._reductions[index]
        x = tf.nn.conv2d(x, kernel(), 1, "SAME")
        return tf.nn.relu(tf.nn.bias_add(x, bias()))

    def _along_width(self, pooled: Any, index: int, width: Any) -> Any:
        """Applies the taps of one map, then enlarges along the width.

        Returns:
            Tensor (B, 3 * bins, width, F), rows ordered (dy, i).
        """
        bins, taps = self._bins[index], self._taps[index]()
        cells = tf.reshape(pooled, (-1, taps.shape[0]))
        x = tf.matmul(cells, taps)
        x = tf.reshape(x, (-1, bins, bins, 3, 3, self._filters))
        # (B, i, j, dy, dx, F) -> (B, dy, i, dx, j, F)
        x = tf.transpose(x, (0, 3, 1, 4, 2, 5))
        x = tf.reshape(x, (-1, 3 * bins, 3 * bins, self._filters))
        return tf.matmul(self._shifted(bins, width), x)

    def _shifted(self, bins: int, size: Any) -> Any:
        return shifted_interpolation(
            bins, size, self._align_corners, self.compute_dtype
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self._filters)
