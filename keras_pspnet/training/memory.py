"""Estimates the memory of a training step, and finds the memory available."""

from __future__ import annotations

import os
import re
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.python.client import device_lib

from keras_pspnet.models import PSPNet

_FLOAT32 = 4
# Memory of a step over that of all layers' outputs, which the gradient keeps:
# 1 for a ResNet-18 on a CPU, and a reserve of a fifth.
_PER_OUTPUT = 1.2
# Share of the available memory to use; data and other programs need some.
_SHARE = 0.6
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def step_bytes(model: PSPNet, crop: tuple[int, int]) -> int:
    """Estimates the memory of a training step for each crop of its batch.

    Args:
        model: The network.
        crop: Height and width.
    """
    shape = (1, *crop, model.input_shape[-1])
    found = 0
    for part in (model.backbone, model):
        outputs = [
            layer.output
            for layer in part.layers
            if isinstance(getattr(layer, "output", None), keras.KerasTensor)
        ]
        whole = keras.Model(part.inputs, outputs)
        for output in whole.compute_output_spec(keras.KerasTensor(shape)):
            count = 1
            for side in output.shape:
                count *= side
            found += count
    return round(_PER_OUTPUT * _FLOAT32 * found)


def free_bytes() -> int:
    """Returns the memory that a training step may use.

    That is a share of the smallest GPU's memory, or of this machine's without
    a GPU.
    """
    gpus = [
        device.memory_limit
        for device in device_lib.list_local_devices()
        if device.device_type == "GPU"
    ] * bool(tf.config.list_physical_devices("GPU"))
    return round(_SHARE * (min(gpus) if gpus else _free_ram()))


def _free_ram() -> int:
    """Returns the available memory on Linux, the total elsewhere."""
    pages: int = os.sysconf("SC_PHYS_PAGES")
    found = [pages * os.sysconf("SC_PAGE_SIZE")]
    try:
        text = Path("/proc/meminfo").read_text()
        found += [
            1024 * int(each)
            for each in re.findall(r"MemAvailable: +(\d+) kB", text)
        ]
        # A container may have a limit; "max" means none.
        found += [int(each) for each in re.findall(r"\d+", _CGROUP.read_text())]
    except OSError:
        pass
    return min(found)
