"""Copies a strided network, with dilation beyond the output stride."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import layers

from keras_pspnet.layers import BatchNorm, DilatedPooling2D

_CONVS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
_POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)
_GLOBAL = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
_UNKNOWN = (
    layers.Conv2DTranspose,
    layers.Cropping2D,
    layers.Flatten,
    layers.UpSampling2D,
)


@dataclasses.dataclass(frozen=True)
class Place:
    """The scale and padding of a tensor.

    Args:
        stride: Image size over tensor size in the dilated network.
        dilation: Factor by which its stride in the strided network is larger.
        pads: Explicit padding (before, after) of its rows and columns in the
            strided network, or None.
        source: The tensor before that padding.
    """

    stride: int = 1
    dilation: int = 1
    pads: tuple[tuple[int, int], tuple[int, int]] | None = None
    source: Any = None


class DenseCopy:
    """Builds the dilated copy of a strided network, layer by layer.

    Args:
        output_stride: The largest stride of the copy.
    """

    def __init__(self, output_stride: int) -> None:
        self.layers: dict[int, tuple[Any, Any]] = {}
        self._most = output_stride
        # Tensors and their places; None for tensors without height and width.
        self._places: dict[int, tuple[Any, Place | None]] = {}

    def through(self, model: keras.Model, x: Any, place: Place) -> Any:
        """Applies the copy of a model to a tensor at a place."""
        self._put(x, place)
        return keras.models.clone_model(
            model,
            input_tensors=x,
            clone_function=lambda layer: layer,
            call_function=self._call,
        )

    def _put(self, tensor: Any, place: Place | None) -> Any:
        self._places[id(tensor)] = (tensor, place)
        return tensor

    def _place_of(self, args: Any) -> Place | None:
        """Returns the place of a layer's inputs."""
        found = [
            self._places[id(each)][1]
            for each in keras.tree.flatten(args)
            if id(each) in self._places
        ]
        places = {
            (place.stride, place.dilation): place for place in found if place
        }
        if len(places) > 1:
            raise ValueError(
                "`model` must not merge maps of different strides. Received: "
                f"maps at {sorted(places)}"
            )
        return next(iter(places.values()), None)

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        place = self._place_of((args, kwargs))
        if isinstance(layer, _UNKNOWN):
            raise ValueError(
                f"`model` must have no {type(layer).__name__} before its "
                f"features. Received: layer {layer.name!r}"
            )
        if isinstance(layer, keras.Model):
            return self._nested(layer, args[0], place)
        if isinstance(layer, _GLOBAL) or place is None:
            return self._put(self._copy(layer)(*args, **kwargs), None)
        if isinstance(layer, layers.ZeroPadding2D):
            padded = self._copy(layer)(*args, **kwargs)
            there = dataclasses.replace(
                place, pads=layer.padding, source=args[0]
            )
            return self._put(padded, there)
        if isinstance(layer, (*_CONVS, *_POOLS)):
            return self._window(layer, args[0], place)
        return self._put(self._copy(layer)(*args, **kwargs), place)

    def _nested(self, model: Any, x: Any, place: Place | None) -> Any:
        if place is None or place.pads:
            raise ValueError(
                "`model` must not pad the input of a nested model. "
                f"Received: {model.name!r}"
            )
        inner = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
        inner_input = keras.Input(x.shape[1:], dtype=x.dtype)
        copy = self.through(inner, inner_input, place)
        return self._put(copy(x), self._place_of(copy.outputs))

    def _copy(self, layer: Any, **config: Any) -> Any:
        """Copies a layer; operations, which have no weights, are shared."""
        if not isinstance(layer, layers.Layer):
            return layer
        if id(layer) in self.layers and config:
            raise ValueError(
                "`model` must not call a convolution twice. "
                f"Received: layer {layer.name!r}"
            )
        if id(layer) not in self.layers:
            kind: Any = type(layer)
            if kind is layers.BatchNormalization:
                kind = BatchNorm
                config["synchronized"] = False
            copy = kind.from_config({**layer.get_config(), **config})
            self.layers[id(layer)] = (layer, copy)
        return self.layers[id(layer)][1]

    def _window(self, layer: Any, x: Any, place: Place) -> Any:
        """Applies the copy of a convolution or a pooling to a map."""
        is_pool = isinstance(layer, _POOLS)
        size = layer.pool_size if is_pool else layer.kernel_size
        rates = (1, 1) if is_pool else layer.dilation_rate
        stride = layer.strides[0]
        if len(set(layer.strides)) > 1:
            raise ValueError(
                "`model` must have the same stride in rows and columns. "
                f"Received: strides={layer.strides} of {layer.name!r}"
            )
        keeps = place.stride * stride <= self._most
        if keeps and place.dilation == 1:
            after = Place(place.stride * stride)
            return self._put(self._copy(layer)(x), after)
        after = Place(place.stride, place.dilation * stride)
        x = x if place.source is None else place.source
        pads, is_same = [], not is_pool
        for axis, (side, rate) in enumerate(zip(size, rates, strict=True)):
            span = (side - 1) * rate
            known = layer.input.shape[1 + axis]
            given = place.pads[axis] if place.pads else (0, 0)
            first, last = (
                place.dilation * each
                for each in _padding(layer, span, known, given)
            )
            if stride > 1:
                # The map keeps its size.
                last = span * place.dilation - first
            pads.append((first, last))
            is_same &= first == last and first + last == span * place.dilation
        if is_pool:
            return self._put(self._pool(layer, x, place, pads), after)
        if not is_same:
            x = layers.ZeroPadding2D(pads, name=f"{layer.name}_dense_pad")(x)
        conv = self._copy(
            layer,
            strides=1,
            padding="same" if is_same else "valid",
            dilation_rate=[each * place.dilation for each in rates],
        )
        return self._put(conv(x), after)

    def _pool(self, layer: Any, x: Any, place: Place, pads: Any) -> Any:
        size = layer.pool_size[0]
        if size == 1:
            return layers.Identity(name=layer.name)(x)
        mode = "max" if isinstance(layer, layers.MaxPooling2D) else "average"
        name = f"{layer.name}_dense"
        before = [first for first, _ in pads]
        if not place.pads:
            return DilatedPooling2D(
                size, place.dilation, before, mode, name=name
            )(x)
        # The zeros are part of the windows.
        x = layers.ZeroPadding2D(pads, name=f"{name}_pad")(x)
        x = DilatedPooling2D(size, place.dilation, (0, 0), mode, name=name)(x)
        behind = [(0, sum(each)) for each in pads]
        return layers.Cropping2D(behind, name=f"{name}_crop")(x)


def _padding(
    layer: Any, span: int, known: int | None, given: tuple[int, int]
) -> tuple[int, int]:
    """Returns the padding before and after a map, as a strided layer has it.

    Args:
        layer: The layer.
        span: Size of its window, less 1.
        known: Size of its input, or None.
        given: Explicit padding, included in that size.

    Returns:
        The explicit padding plus the layer's own, (before, after).
    """
    before, after = given
    if layer.padding == "valid":
        return before, after
    total, stride = span, layer.strides[0]
    if known is not None:
        total = (-(-known // stride) - 1) * stride + span + 1 - known
        total = max(total, 0)
    return before + total // 2, after + total - total // 2
