"""Dropout that is the same on one replica and on many."""

from __future__ import annotations

import keras
from keras import ops

from keras_pspnet.layers.distribute import batch_place
from keras_pspnet.utils.types import Tensor


@keras.saving.register_keras_serializable(package="keras_pspnet")
class GlobalSpatialDropout2D(keras.layers.SpatialDropout2D):
    """Spatial dropout drawn for the global batch.

    Every call in training draws one factor for each channel of each image
    of the global batch: 0 with probability `rate`, else 1 / (1 - rate). Each
    TensorFlow replica draws all factors from the same seed state and takes
    those of its own images, so images lose the same channels on one replica
    and on many. The seed state is a variable of the layer that each call in
    training increments. Without a `seed` it starts from Python's random
    numbers, which `keras.utils.set_random_seed` fixes.

    Factors are drawn in float32 for every dtype, so mixed precision drops the
    same channels.

    Args:
        rate: Probability of dropping a channel, 0 to 1.
        **kwargs: Passed to `keras.layers.SpatialDropout2D`: `data_format`,
            `seed`, `name`, `dtype`.

    Input shape:
        (B, H, W, C), or (B, C, H, W) for channels first; a float dtype.

    Output shape:
        Same as input.

    Examples:
        >>> from keras_pspnet.layers import GlobalSpatialDropout2D
        >>> layer = GlobalSpatialDropout2D(0.5, seed=0)
        >>> x = layer(np.ones((2, 3, 3, 8)), training=True)
        >>> sorted({float(value) for value in np.ravel(x)})
        [0.0, 2.0]

    Reference:
        Tompson et al., "Efficient Object Localization Using Convolutional
        Networks", 2015, section 3.2.
    """

    def call(self, inputs: Tensor, training: bool | None = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        batch, *others = ops.shape(inputs)
        channels = -1 if self.data_format == "channels_last" else 0
        shape = [1, 1, 1]
        shape[channels] = others[channels]
        first, total = batch_place(batch)
        factors = keras.random.dropout(
            ops.ones((total, *shape), "float32"),
            self.rate,
            seed=self.seed_generator,
        )
        return inputs * ops.cast(factors[first : first + batch], inputs.dtype)
