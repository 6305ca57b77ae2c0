"""Trains tiny models on several replicas, and saves their variables.

A process has one strategy, and its number of devices is fixed before TensorFlow
starts, so every number of replicas needs its own process.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from small import CLASSES, Small

from keras_pspnet.callbacks import WeightAverage
from keras_pspnet.layers import (
    InputNormalization,
    PyramidConv,
    PyramidPoolingModule,
    Resize,
    batch_norm,
)
from keras_pspnet.layers.batch_norm import BatchNorm
from keras_pspnet.layers.dropout import GlobalSpatialDropout2D
from keras_pspnet.models.pspnet import PSPNet
from keras_pspnet.models.trainer import SegmentationTrainer

STEPS = 5
SIDES = (33, 41)


def pspnet():
    model = PSPNet(CLASSES, "resnet18", width=1 / 16, dropout=0.0)
    # Large enough that the first layers learn something in a few steps; with
    # much larger ones the order of the images alone would change 1e-5.
    for name in ("head_classifier", "aux_classifier"):
        kernel = model.get_layer(name).kernel
        kernel.assign(keras.random.normal(kernel.shape, stddev=0.05, seed=5))
    return model


class Dropping(SegmentationTrainer):
    """One convolution, a pyramid and dropout: fast to trace."""

    num_classes, aux = CLASSES, False

    def __init__(self):
        image = keras.Input((None, None, 3))
        x = InputNormalization((120,) * 3, (60,) * 3)(image)
        # A bias would be normalized away: its gradient is rounding alone.
        x = layers.Conv2D(8, 3, strides=4, padding="same", use_bias=False)(x)
        pyramid = PyramidPoolingModule((1, 2))
        x = BatchNorm()(PyramidConv(8, pyramid)(x))
        x = GlobalSpatialDropout2D(0.5)(layers.ReLU()(x))
        logits = Resize()([layers.Conv2D(CLASSES, 1)(x), image])
        super().__init__(inputs=image, outputs=logits)
        self.pyramid = pyramid


# Name -> what makes the model, the size of the global batch, the seed of
# dropout, whether batch normalization is synchronized.
CASES = {
    "pspnet": (pspnet, 4, 1, True),
    "small": (Small, 4, 1, True),
    "averaged": (Small, 4, 1, True),
    # Parts of 4 and 3, or of 2, 2, 2 and 1.
    "dropout": (Dropping, 7, 1, True),
    # What must not come out the same.
    "other_seed": (Dropping, 7, 2, True),
    "local_statistics": (Small, 4, 1, False),
}


def data(size):
    """Returns batches with most labels in one image, none in the last."""
    rng = np.random.default_rng(4)
    count = STEPS * size
    images = rng.integers(0, 256, (count, *SIDES, 3)).astype("uint8")
    masks = rng.integers(0, CLASSES, (count, *SIDES)).astype("uint8")
    for index, mask in enumerate(masks):
        step, place = divmod(index, size)
        if place >= 2 and step != 1:
            mask[:] = 255
        elif place == 1:
            mask[:] = np.where(rng.random(SIDES) < 0.02, mask, 255)
    batches = tf.data.Dataset.from_tensor_slices((images, masks))
    return batches.batch(size, drop_remainder=True)


def run(strategy, make, size, seed, callbacks):
    """Trains, and returns every replica's copy of all variables.

    Returns:
        Name -> array (replicas, ...), and "start INDEX" -> a trainable weight
        before the first step.
    """
    # Layers of all cases have the same names.
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = make()
        # One replica needs no graph to be right.
        eager = strategy.num_replicas_in_sync == 1
        model.compile(learning_rate=0.02, run_eagerly=eager)
    states = []
    for layer in model.layers:
        if isinstance(layer, GlobalSpatialDropout2D) and layer.rate > 0:
            states.append(layer.seed_generator.state)
            states[-1].assign([seed, 0])
    start = [weight.numpy() for weight in model.trainable_weights]
    model.fit(data(size), verbose=0, callbacks=callbacks)
    found = {}
    for group, variables in {
        "weight": model.weights,
        "optimizer": model.optimizer.variables,
        "seed": states,
    }.items():
        for index, variable in enumerate(variables):
            copies = strategy.experimental_local_results(variable.value)
            found[f"{group} {index} {variable.name}"] = np.stack(
                [copy.numpy() for copy in copies]
            )
    for index, value in enumerate(start):
        found[f"start {index}"] = value
    return found


def train_cases(replicas, folder, cases):
    """Saves FOLDER/CASE_REPLICAS.npz for every case."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 4,
    )
    # To make the graphs fast would take longer than to run them.
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": True}
    )
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(replicas)]
    )
    for case in cases:
        make, size, seed, synchronized = CASES[case]
        if not synchronized:
            batch_norm.num_replicas = lambda: 1
        callbacks = [WeightAverage(0.8)] if case == "averaged" else []
        found = run(strategy, make, size, seed, callbacks)
        np.savez(f"{folder}/{case}_{replicas}.npz", **found)
