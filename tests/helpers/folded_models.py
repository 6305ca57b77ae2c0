"""Models to fold, with layers that folding supports and others."""

import keras
import numpy as np
from support import picture


def batch(height: int, width: int, count: int = 2) -> np.ndarray:
    image = picture(height, width).astype("float32")
    return np.stack([np.roll(image, index, axis=0) for index in range(count)])


def normalized_model(channels: int = 8) -> keras.Model:
    """Returns a convolution, batch normalization and a classifier."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False)(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    logits = keras.layers.Conv2D(3, 1, name="classifier")(x)
    model = keras.Model(image, logits)
    for variable in model.get_layer("norm").weights:
        variable.assign(np.linspace(0.5, 1.5, channels))
    return model


def foreign_model() -> keras.Model:
    """Returns a model of operations and layers that folding ignores."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Lambda(lambda x: x / np.float32(255))(image)
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    x = keras.ops.relu(x) + x[..., ::-1]
    return keras.Model(image, keras.layers.Conv2D(2, 1)(x))


def scale_weights(model: keras.Model, factor: float = 1.1) -> None:
    for weight in model.trainable_weights:
        weight.assign(weight * factor)
