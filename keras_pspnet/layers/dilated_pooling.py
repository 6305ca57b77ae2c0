"""Pooling with dilation in place of a stride."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_pspnet.layers.resize import spatial_size
from keras_pspnet.utils import check_choice, check_integer, init_config
from keras_pspnet.utils.types import Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_pspnet")
class DilatedPooling2D(keras.layers.Layer):
    """Pools dilated windows at stride 1.

    Args:
        pool_size: Pixels of a window in each direction.
        dilation_rate: Distance between the pixels of a window.
        before: Rows above and columns left of the map at which the first
            window begins. Pixels outside the map count for nothing.
        mode: `"max"` or `"average"`.
        **kwargs: Passed to `keras.layers.Layer`.

    Input shape:
        (B, H, W, C), of a float dtype.

    Output shape:
        Same as input.

    Examples:
        >>> from keras_pspnet.layers import DilatedPooling2D
        >>> row = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 4, 1)
        >>> keras.ops.convert_to_numpy(DilatedPooling2D(2, 2)(row)).ravel()
        array([3., 4., 3., 4.], dtype=float32)
    """

    def __init__(
        self,
        pool_size: int,
        dilation_rate: int,
        before: Sequence[int] = (0, 0),
        mode: str = "max",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = check_integer("pool_size", pool_size)
        self.dilation_rate = check_integer("dilation_rate", dilation_rate)
        self.before = tuple(before)
        check_choice("mode", mode, ("max", "average"))
        self.mode = mode

    def call(self, inputs: Tensor) -> Tensor:
        if self.mode == "max":
            # Below any feature, and finite in half precision.
            return self._reduce(inputs, ops.maximum, -6e4)
        ones = ops.ones_like(inputs[:1, :, :, :1])
        total = self._reduce(inputs, ops.add, 0.0)
        return total / self._reduce(ones, ops.add, 0.0)

    def _reduce(
        self,
        x: Tensor,
        merge: Callable[[Tensor, Tensor], Tensor],
        outside: float,
    ) -> Tensor:
        """Merges the maps shifted to each pixel of a window."""
        height, width = spatial_size(x)
        span = (self.pool_size - 1) * self.dilation_rate
        sides = [(each, span - each) for each in self.before]
        padded = ops.pad(x, [(0, 0), *sides, (0, 0)], constant_values=outside)
        found: Any = None
        for top in range(0, span + 1, self.dilation_rate):
            for left in range(0, span + 1, self.dilation_rate):
                part = padded[:, top : top + height, left : left + width]
                found = part if found is None else merge(found, part)
        return found

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **init_config(self, type(self))}
