"""PSPNet on several backbones: parameters, size and time of exports.

    python benchmarks/backbones.py [--size N] [--rounds N]

The backbones are ResNets of this package and networks of keras.applications
that `keras_pspnet.dilate` dilates, all at output stride 8 with 21 classes. The
weights are random, which changes neither size nor time. The time is from one
image to its mask; `keras_pspnet.inference.benchmark` runs each file in a
process of its own, in rounds that alternate between them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

LINE = "{:<18} {:>10} {:>12} {:>12} {:>12} {:>12}"
HEADS = ("backbone", "parameters", "SavedModel", "", "LiteRT int8", "")
UNITS = ("", "million", "MB", "s", "MB", "s")
CLASSES = 21


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=473, metavar="N")
    parser.add_argument("--rounds", type=int, default=10, metavar="N")
    options = parser.parse_args()

    import keras
    import numpy as np

    import keras_pspnet as kp
    from keras_pspnet.data import make_scene
    from keras_pspnet.export import verify
    from keras_pspnet.inference.benchmark import benchmark

    def dilated(make: Callable[..., Any], **kwargs: Any) -> kp.PSPNet:
        net = make(
            input_shape=(None, None, 3),
            include_top=False,
            weights=None,
            include_preprocessing=False,
            **kwargs,
        )
        scale = (127.5,) * 3
        return kp.PSPNet(CLASSES, kp.dilate(net), mean=scale, std=scale)

    # int8 is inaccurate with random weights, but takes the same time.
    verify.LIMITS["int8"] = (float("inf"), 0.0)
    apps = keras.applications
    networks = {
        "ResNet-18": lambda: kp.PSPNet(CLASSES, "resnet18"),
        "ResNet-50": lambda: kp.PSPNet(CLASSES, "resnet50"),
        "MobileNetV3-Large": lambda: dilated(apps.MobileNetV3Large),
        "EfficientNetV2-B0": lambda: dilated(apps.EfficientNetV2B0),
    }
    sides = (options.size, options.size)
    images = [make_scene(0, index, sides)[0] for index in range(8)]
    parameters, files = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name, make in networks.items():
            keras.utils.set_random_seed(0)
            model = make()
            plain = model.inference_model()
            parameters[name] = plain.count_params() / 1e6
            saved = Path(folder, f"{name}.savedmodel")
            lite = Path(folder, f"{name}.tflite")
            print(f"exporting {name}", file=sys.stderr)
            kp.export_saved_model(model, saved)
            kp.export_litert(
                model, lite, size=sides, precision="int8", calibration=images
            )
            files += [saved, lite]
            keras.backend.clear_session()
        found = benchmark(files, np.asarray(images[0]), options.rounds)
    print(LINE.format(*HEADS).rstrip())
    print(LINE.format(*UNITS))
    for index, name in enumerate(networks):
        saved_row, lite_row = found[2 * index : 2 * index + 2]
        print(
            LINE.format(
                name,
                f"{parameters[name]:.1f}",
                f"{saved_row.megabytes:.1f}",
                f"{saved_row.median_seconds:.3f}",
                f"{lite_row.megabytes:.1f}",
                f"{lite_row.median_seconds:.3f}",
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
