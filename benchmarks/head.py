"""Time and memory of the pyramid head: the shortcut against the plain form.

    python benchmarks/head.py

The plain form is the same network with the same variables. It upsamples the
pyramid's maps, concatenates them with the features and convolves the result.
Both forms run in one process, in rounds that alternate between them. Compare
the ratios of medians: they carry over to other machines, seconds do not. Peak
memory is that of a fresh process that runs one form once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_pspnet.layers.pyramid import PyramidConv
from keras_pspnet.losses import SegmentationLoss
from keras_pspnet.models.named_backbone import BACKBONES
from keras_pspnet.models.pspnet import PSPNet

FORMS = ("plain", "shortcut")
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
# Greatest share of the plain form's time in float32, without and with the
# backward pass.
TARGETS = {False: 0.70, True: 0.95}
NUM_CLASSES = 21
LINE = "{:<19} {:<9} {:>5} {:>9} {:>10} {:>6} {:>7} {:>9} {:>12}"
HEADINGS = (
    "pass",
    "dtype",
    "batch",
    "plain s",
    "shortcut s",
    "ratio",
    "at most",
    "plain MB",
    "shortcut MB",
)


class Setting(NamedTuple):
    """Setting of one row of the table."""

    size: int
    backbone: str
    width: float
    batch: int
    backward: bool
    dtype: str


class PlainConv(keras.layers.Layer):
    """`PyramidPoolingModule` and `Conv2D` with the variables of a shortcut."""

    def __init__(self, shortcut: PyramidConv) -> None:
        super().__init__(name="plain_head")
        self.shortcut = shortcut

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        features = self.shortcut.pyramid(inputs, training=training)
        return ops.conv(features, self.shortcut.kernel, padding="same")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.shortcut.compute_output_shape(input_shape)


def plain_form(network: keras.Model) -> keras.Model:
    """Returns the same functional network, with the maps concatenated.

    All variables, and all layers but the head, are shared with the network.
    """

    def replace(layer: Any) -> Any:
        return PlainConv(layer) if isinstance(layer, PyramidConv) else layer

    return keras.models.clone_model(network, clone_function=replace)


def build(setting: Setting) -> keras.Model:
    """Returns the shortcut form, with the auxiliary output for training."""
    keras.config.set_dtype_policy(POLICIES[setting.dtype])
    model = PSPNet(
        NUM_CLASSES,
        setting.backbone,
        (setting.size, setting.size, 3),
        width=setting.width,
    )
    if setting.backward:
        return keras.Model(model.input, model.output)
    return model.inference_model()


def prepare(network: keras.Model, setting: Setting) -> Callable[[], None]:
    """Returns a function without arguments that runs the network once."""
    shape = (setting.batch, setting.size, setting.size)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.integers(0, 256, (*shape, 3)), "float32")
    masks = tf.constant(rng.integers(0, NUM_CLASSES, shape), "int32")
    loss = SegmentationLoss()
    variables = [variable.value for variable in network.trainable_variables]

    @tf.function
    def forward() -> Any:
        return network(images, training=False)

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            total = loss(masks, logits["main"])
            total += 0.4 * loss(masks, logits["aux"])
        return tape.gradient(total, variables)

    def run() -> None:
        results = tf.nest.flatten(step() if setting.backward else forward())
        # Wait for devices that compute asynchronously.
        results[-1].numpy()

    return run


def measure_times(setting: Setting, rounds: int) -> dict[str, float]:
    """Returns the median seconds of each form."""
    network = build(setting)
    runs = {
        "plain": prepare(plain_form(network), setting),
        "shortcut": prepare(network, setting),
    }
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for index in range(rounds):
        # Alternate who goes first: the second finds a warmer machine.
        for form in FORMS if index % 2 == 0 else FORMS[::-1]:
            start = time.perf_counter()
            runs[form]()
            seconds[form].append(time.perf_counter() - start)
    return {form: statistics.median(seconds[form]) for form in FORMS}


def peak_memory(form: str, setting: Setting) -> float:
    """Runs one form once; returns the peak memory of this process in MB."""
    network = build(setting)
    if form == "plain":
        network = plain_form(network)
    prepare(network, setting)()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def measure_memory(setting: Setting) -> dict[str, float]:
    """Returns the peak memory of each form, each in a process of its own."""
    peaks = {}
    for form in FORMS:
        with ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn")
        ) as pool:
            peaks[form] = pool.submit(peak_memory, form, setting).result()
    return peaks


def row(setting: Setting, memory: dict[str, float], rounds: int) -> str:
    """Measures the times of a setting and returns its line of the table."""
    seconds = measure_times(setting, rounds)
    target = ""
    if setting.dtype == "float32":
        target = f"{TARGETS[setting.backward]:.2f}"
    return LINE.format(
        "forward + backward" if setting.backward else "forward",
        setting.dtype,
        setting.batch,
        f"{seconds['plain']:.3f}",
        f"{seconds['shortcut']:.3f}",
        f"{seconds['shortcut'] / seconds['plain']:.2f}",
        target,
        f"{memory['plain']:.0f}",
        f"{memory['shortcut']:.0f}",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures the settings of the command line and prints one table."""
    parser = argparse.ArgumentParser(
        description="Time and memory of the pyramid head, two forms."
    )
    parser.add_argument("--size", type=int, default=473)
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--batch", type=int, default=2, help="images in a training step"
    )
    parser.add_argument("--forward-only", action="store_true")
    parser.add_argument(
        "--dtype", nargs="+", choices=POLICIES, default=list(POLICIES)
    )
    options = parser.parse_args(arguments)
    if min(options.size, options.rounds, options.batch) < 1:
        parser.error("--size, --rounds and --batch must be at least 1")
    print(
        f"PSPNet, {options.backbone}, width {options.width:g}, "
        f"{options.size}x{options.size}, medians of {options.rounds}"
    )
    settings = [
        Setting(
            options.size,
            options.backbone,
            options.width,
            options.batch if backward else 1,
            backward,
            dtype,
        )
        for dtype in options.dtype
        for backward in ((False,) if options.forward_only else (False, True))
    ]
    # Memory first: a new process starts with the peak of its parent, which
    # grows with the timed runs.
    memory = [measure_memory(setting) for setting in settings]
    print(LINE.format(*HEADINGS))
    for setting, peaks in zip(settings, memory, strict=True):
        print(row(setting, peaks, options.rounds), flush=True)


if __name__ == "__main__":
    main()
