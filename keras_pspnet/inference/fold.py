"""The network for deployment: without batch normalization and dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_pspnet.inference.fixed_head import (
    FixedPyramid,
    FixedResize,
    convolve_upsampled,
)
from keras_pspnet.layers import (
    InputNormalization,
    PyramidConv,
    PyramidPoolingModule,
    Resize,
)
from keras_pspnet.utils import keras_private

# Layers that only training needs, and layers that keep their input's dtype.
_TRAINING_ONLY = (layers.Dropout, layers.SpatialDropout2D)
_FOLLOWING = (
    layers.Add,
    layers.MaxPooling2D,
    layers.ReLU,
    layers.ZeroPadding2D,
)
_FIXED: dict[type, Any] = {
    PyramidPoolingModule: FixedPyramid,
    Resize: FixedResize,
}


def fold(
    model: keras.Model,
    size: tuple[int | None, int | None],
    dtype: str = "float32",
    fixed_head: bool = False,
) -> keras.Model:
    """Copies a network for inference.

    Batch normalization is merged into the convolution before it, and dropout
    is removed. The copy has its own weights and does not follow later changes
    of the model; `refold` updates it.

    Args:
        model: A functional model with one input, such as
            `PSPNet.inference_model()`. Unknown layers are copied unchanged.
        size: (height, width) of the copy's input, None for any.
        dtype: `"float32"`, or `"bfloat16"` or `"float16"` for the
            convolutions and the layers between them; normalization and logits
            stay float32.
        fixed_head: Whether a head of a known size uses operations that every
            engine supports, see `keras_pspnet.inference.fixed_head`. A head
            of unknown size keeps its matrix products.

    Returns:
        A model with the same input and outputs.

    Raises:
        NotImplementedError: If a layer with weights has no config.
    """
    norms = _norms_of_convs(model)
    absorbed = {id(norm) for norm in norms.values()}
    fixed_head = fixed_head and None not in size

    def replace(layer: Any) -> Any:
        if _is_nested(layer):
            return fold(layer, (None, None), dtype)
        if isinstance(layer, PyramidConv):
            return _folded_head(layer, dtype, fixed_head)
        if fixed_head and type(layer) in _FIXED:
            return _FIXED[type(layer)].from_config(layer.get_config())
        if _is_plain_conv(layer):
            # Classifiers have no normalization after them and keep float32.
            return _folded_conv(layer, dtype if id(layer) in norms else None)
        if id(layer) in absorbed or isinstance(layer, _TRAINING_ONLY):
            return _PassThrough(name=layer.name, dtype=dtype)
        if isinstance(layer, _FOLLOWING):
            return type(layer).from_config(
                {**layer.get_config(), "dtype": dtype}
            )
        if isinstance(layer, InputNormalization | Resize) or _weights(layer):
            return type(layer).from_config(layer.get_config())
        return _Borrowed(layer)

    source = model.inputs[0]
    image = keras.Input(
        (*size, source.shape[-1]), dtype=source.dtype, name=source.name
    )
    # The copy has neither the class nor the compilation of the model. Every
    # layer is new: if a layer of the model were called on the copy's tensors,
    # it would keep the copy alive.
    copy = keras.models.clone_model(
        keras.Model(source, model.output, name=model.name),
        input_tensors=image,
        clone_function=replace,
    )
    refold(model, copy)
    return copy


def refold(model: keras.Model, copy: keras.Model) -> None:
    """Updates a copy to the current weights of the model.

    Args:
        model: The model.
        copy: The copy that `fold` made of it.
    """
    absorbed = {
        id(_conv_before(layer)): layer
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization)
        and isinstance(copy.get_layer(layer.name), _PassThrough)
    }
    for layer in model.layers:
        if not _weights(layer):
            continue
        target = copy.get_layer(layer.name)
        if _is_nested(layer):
            refold(layer, target)
        elif isinstance(layer, PyramidConv):
            target.assign(layer, absorbed.get(id(layer)))
        elif _is_plain_conv(layer):
            _assign(target, *_folded(layer, absorbed.get(id(layer))))
        elif not isinstance(target, _PassThrough):
            for new, old in zip(target.weights, layer.weights, strict=True):
                new.assign(old.value)


def as_constants(copy: keras.Model) -> Callable[[Any], Any]:
    """Returns a function whose TensorFlow graph contains the weights.

    TensorFlow folds the constants and changes their layout once for every
    signature.

    Args:
        copy: A model; the function takes its current weights.

    Returns:
        Function from images to logits.
    """
    import tensorflow as tf

    arrays = [ops.convert_to_numpy(each.value) for each in copy.variables]

    def network(images: Any) -> Any:
        constants = map(tf.constant, arrays)
        with keras.StatelessScope(zip(copy.variables, constants, strict=True)):
            return copy(images, training=False)

    return network


def as_variables(
    copy: keras.Model,
) -> tuple[Callable[[Any], Any], list[Any]]:
    """Returns a function whose TensorFlow graph reads the weights.

    All signatures of a SavedModel share the variables.

    Args:
        copy: A model that `fold` made. Its weights have the dtype that they
            are used in, so that no request casts them.

    Returns:
        Function from images to logits, and the `tf.Variable`s that it reads,
        which the saved object must track.
    """

    def network(images: Any) -> Any:
        return copy(images, training=False)

    return network, [each.value for each in copy.variables]


def _weights(layer: Any) -> list[Any]:
    # A model's operations may be layers or those of `keras.ops`.
    return getattr(layer, "weights", [])


def _is_nested(layer: Any) -> bool:
    # A subclassed model has no inputs.
    return (
        isinstance(layer, keras.Model)
        and len(getattr(layer, "inputs", None) or ()) == 1
    )


def _is_plain_conv(layer: Any) -> bool:
    return (
        type(layer) is layers.Conv2D
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and layer.activation is keras.activations.linear
    )


def _conv_before(norm: Any) -> Any:
    return keras_private.producer_of(norm.input)


def _norms_of_convs(model: keras.Model) -> dict[int, Any]:
    """Maps id(convolution) to the normalization that alone reads it."""
    norms = {}
    for layer in model.layers:
        if not isinstance(layer, layers.BatchNormalization):
            continue
        conv = _conv_before(layer)
        foldable = isinstance(conv, PyramidConv) or _is_plain_conv(conv)
        # Other readers of the convolution need it without the normalization.
        if foldable and keras_private.num_readers(conv) == 1:
            norms[id(conv)] = layer
    return norms


def _folded(conv: Any, norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel and bias of a convolution with its normalization."""

    def exact(variable: Any) -> np.ndarray:
        return ops.convert_to_numpy(variable).astype("float64")

    kernel = exact(conv.kernel)
    shift = exact(conv.bias) if conv.use_bias else np.zeros(kernel.shape[-1])
    if norm is not None:
        scale = 1 / np.sqrt(exact(norm.moving_variance) + norm.epsilon)
        if norm.scale:
            scale = scale * exact(norm.gamma)
        shift = (shift - exact(norm.moving_mean)) * scale
        if norm.center:
            shift = shift + exact(norm.beta)
        kernel *= scale
    return kernel.astype("float32"), shift.astype("float32")


def _assign(conv: Any, kernel: np.ndarray, bias: np.ndarray) -> None:
    conv.kernel.assign(kernel)
    conv.bias.assign(bias)


class _PassThrough(layers.Layer):
    """Replaces a layer, and accepts the arguments of any layer."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return inputs


class _Borrowed(keras.Operation):
    """Calls a layer or an operation of the model inside its own call.

    This way the borrowed one never sees the copy's symbolic tensors.
    """

    def __init__(self, borrowed: Any) -> None:
        super().__init__(name=borrowed.name)
        self._borrowed = borrowed

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self._borrowed(*args, **kwargs)


class _DilatedConv2D(layers.Conv2D):
    """A dilated convolution that TensorFlow runs as one operation.

    Keras runs three: it reorders the pixels before and after the convolution,
    and exports keep that.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        if keras.backend.backend() != "tensorflow":
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        return tf.nn.conv2d(
            inputs,
            kernel,
            self.strides,
            self.padding.upper(),
            dilations=self.dilation_rate,
        )


def _folded_conv(conv: Any, dtype: str | None) -> Any:
    kind = _DilatedConv2D if max(conv.dilation_rate) > 1 else layers.Conv2D
    config = {**conv.get_config(), "dtype": dtype or "float32"}
    config |= {"use_bias": True, "kernel_initializer": "zeros"}
    return kind.from_config(config)


class _FoldedPyramidConv(PyramidConv):
    """A `PyramidConv` whose kernel is stored in the layout of the products.

    In the layout for training, every call has to slice the kernel.
    """

    # The order of the taps in the kernels: (dy, dx), axes 0 and 1.
    _tap_axes = (0, 1)

    def _build_kernels(self, channels: int, concatenated: int) -> None:
        self.own = self._zeros((3, 3, channels, self.filters), "kernel")
        reduced = self.pyramid.map_channels(channels)
        self.taps = [
            self._zeros((reduced, 9 * self.filters), f"bin{bins}_taps")
            for bins in self.pyramid.bin_sizes
        ]

    def _zeros(self, shape: tuple[int, ...], name: str) -> Any:
        return self.add_weight(shape=shape, initializer="zeros", name=name)

    def _kernels(self, channels: int) -> tuple[Any, list[Any]]:
        return self.own, self.taps

    def _apply_taps(self, pooled: Any, tap: Any, bins: int) -> Any:
        cells = ops.reshape(pooled, (-1, pooled.shape[-1]))
        product = ops.reshape(
            ops.matmul(cells, tap), (-1, bins, bins, 3, 3, self.filters)
        )
        # (B, i, j, dy, dx, F)
        return ops.transpose(product, (0, 3, 1, 4, 2, 5))

    def assign(self, layer: PyramidConv, norm: Any) -> None:
        """Takes the weights of a layer and of its normalization."""
        kernel, bias = _folded(layer, norm)
        channels = self.own.shape[2]
        self.own.assign(kernel[:, :, :channels])
        self.bias.assign(bias)
        start = channels
        for tap in self.taps:
            part = kernel[:, :, start : start + tap.shape[0]]
            part = part.transpose(2, *self._tap_axes, 3)
            tap.assign(part.reshape(tap.shape))
            start += tap.shape[0]
        pyramid = layer.pyramid
        norms = pyramid.norms or [None] * len(pyramid.convs)
        for target, conv, own in zip(
            self.pyramid.convs, pyramid.convs, norms, strict=True
        ):
            _assign(target, *_folded(conv, own))


class _FixedPyramidConv(_FoldedPyramidConv):
    """A `_FoldedPyramidConv` for inputs of a known size."""

    _tap_axes = (1, 0)

    def _convolve_upsampled(
        self, maps: list[Any], taps: list[Any], size: tuple[Any, Any]
    ) -> Any:
        products = [
            ops.conv(pooled, tap[None, None], data_format="channels_last")
            for pooled, tap in zip(maps, taps, strict=True)
        ]
        return convolve_upsampled(products, size, self.pyramid.align_corners)


def _folded_head(
    layer: PyramidConv, dtype: str, fixed: bool
) -> _FoldedPyramidConv:
    pyramid_kind = FixedPyramid if fixed else PyramidPoolingModule
    kind = _FixedPyramidConv if fixed else _FoldedPyramidConv
    pyramid = pyramid_kind.from_config(
        {**layer.pyramid.get_config(), "use_bias": True, "dtype": dtype}
    )
    return kind(
        layer.filters, pyramid, use_bias=True, dtype=dtype, name=layer.name
    )
