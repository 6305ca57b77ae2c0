"""Normalization of images, inside the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_pspnet.layers.resize import at_least_float32
from keras_pspnet.utils.arguments import check_rule, finite_numbers
from keras_pspnet.utils.types import Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_pspnet")
class InputNormalization(keras.layers.Layer):
    """Standardizes images: (image - mean) / standard deviation.

    It is part of the model, so that neither a training script nor a server
    can forget it.

    Args:
        mean: A number for each band, in the units of the images (0..255 for
            RGB).
        std: A positive number for each band.
        **kwargs: Passed to `keras.layers.Layer`.

    Input shape:
        (B, H, W, C) for C numbers, integers or floats; RGB is 0..255.

    Output shape:
        (B, H, W, C), float32 unless a `dtype` says otherwise.

    Examples:
        >>> from keras_pspnet.layers import InputNormalization
        >>> layer = InputNormalization(mean=(100, 100, 100), std=(50, 50, 50))
        >>> float(layer(np.full((1, 1, 1, 3), 200, "uint8"))[0, 0, 0, 0])
        2.0
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], **kwargs: Any
    ) -> None:
        # bfloat16 cannot tell all levels of an image apart.
        kwargs.setdefault("dtype", at_least_float32())
        super().__init__(**kwargs)
        self.mean = finite_numbers(mean)
        self.std = finite_numbers(std)
        bands = len(self.mean)
        check_rule("mean", mean, "hold a number for each band", bands > 0)
        kept = len(self.std) == bands and min(self.std) > 0
        rule = f"hold a positive number for each band (`mean` has {bands})"
        check_rule("std", std, rule, kept)

    def build(self, input_shape: Shape) -> None:
        # A single value would be broadcast to all bands, and one band to
        # all values.
        if input_shape[-1] not in (None, len(self.mean)):
            raise ValueError(
                f"`inputs` must have {len(self.mean)} bands, as `mean` and "
                f"`std` have. Received: inputs of shape {tuple(input_shape)}"
            )

    def call(self, inputs: Tensor) -> Tensor:
        x = ops.cast(inputs, self.compute_dtype)
        mean = ops.convert_to_tensor(self.mean, dtype=self.compute_dtype)
        std = ops.convert_to_tensor(self.std, dtype=self.compute_dtype)
        return (x - mean) / std

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "std": self.std}
