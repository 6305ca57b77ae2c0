"""The normalisation of images, inside the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_pspnet.layers.resize import at_least_float32
from keras_pspnet.utils.arguments import check_rule, finite_numbers


@keras.saving.register_keras_serializable(package="keras_pspnet")
class InputNormalization(keras.layers.Layer):
    """Standardises RGB images: (image - mean) / standard deviation.

    It is part of the model, so that neither a training script nor a server
    can forget it.

    Args:
        mean: Three values in units of 0..255, in the order R, G, B.
        std: Three positive values in units of 0..255.
        **kwargs: Passed to `keras.layers.Layer`.

    Input shape:
        (B, H, W, 3), uint8 or float, 0..255.

    Output shape:
        (B, H, W, 3), float32 unless a `dtype` says otherwise.

    Examples:
        >>> from keras_pspnet.layers import InputNormalization
        >>> layer = InputNormalization(mean=(100, 100, 100), std=(50, 50, 50))
        >>> float(layer(np.full((1, 1, 1, 3), 200, "uint8"))[0, 0, 0, 0])
        2.0
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], **kwargs: Any
    ) -> None:
        # Images have more levels than bfloat16 has digits.
        kwargs.setdefault("dtype", at_least_float32())
        super().__init__(**kwargs)
        self.mean = finite_numbers(mean)
        self.std = finite_numbers(std)
        check_rule("mean", mean, "hold three numbers", len(self.mean) == 3)
        kept = len(self.std) == 3 and min(self.std) > 0
        check_rule("std", std, "hold three positive numbers", kept)

    def call(self, inputs: Any) -> Any:
        x = ops.cast(inputs, self.compute_dtype)
        mean = ops.convert_to_tensor(self.mean, dtype=self.compute_dtype)
        std = ops.convert_to_tensor(self.std, dtype=self.compute_dtype)
        return (x - mean) / std

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "std": self.std}
