"""Writes the files that `export.py` compares, all with the same weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from comparison import NUM_CLASSES, WEIGHTS, write_image
from export_engines import ENGINES

# Images from which int8 learns the range of each activation. Each takes half
# a minute at 473x473, and more do not change the times.
CALIBRATION = 2


def write(folder: Path, names: Sequence[str], backbone: str, size: int) -> None:
    """Writes the image and the files of some engines.

    Args:
        folder: Where they go. If it holds `WEIGHTS`, they have those weights.
        names: Names of the engines.
        backbone: Backbone of a network with random weights, without `WEIGHTS`.
        size: Height and width of the image.
    """
    import keras
    from head import plain_form

    import keras_pspnet as kp
    from keras_pspnet.data.synthetic.scenes import make_scene

    image = write_image(folder, size)
    calibration = [
        make_scene(0, index, (size, size))[0]
        for index in range(1, 1 + CALIBRATION)
    ]
    if (folder / WEIGHTS).exists():
        model = kp.convert_file(folder / WEIGHTS)
    else:
        keras.utils.set_random_seed(0)
        model = kp.PSPNet(NUM_CLASSES, backbone)
    fixed = kp.PSPNet(**{**model.get_config(), "input_shape": (size, size, 3)})
    fixed.set_weights(model.get_weights())
    plain = plain_form(fixed.inference_model())
    # Keras does not export a model that was never called.
    plain(image[None])

    def keras_export(format: str) -> Callable[[Path], None]:
        return lambda path: plain.export(path, format=format, verbose=False)

    def saved_model(
        precision: str, freeze: bool = False
    ) -> Callable[[Path], None]:
        return lambda path: kp.export_saved_model(
            model, path, precision=precision, freeze=freeze
        )

    def litert(precision: str, **kwargs: Any) -> Callable[[Path], None]:
        return lambda path: kp.export_litert(
            model, path, size=(size, size), precision=precision, **kwargs
        )

    def onnx(path: Path) -> None:
        kp.export_onnx(model, path)

    def onnx_int8(path: Path) -> None:
        kp.export_onnx(model, path, "int8", calibration)

    writers = {
        "keras-savedmodel": keras_export("tf_saved_model"),
        "keras-onnx": keras_export("onnx"),
        "savedmodel-float32": saved_model("float32"),
        "savedmodel-frozen": saved_model("float32", freeze=True),
        "savedmodel-bfloat16": saved_model("bfloat16"),
        "onnx": onnx,
        "onnx-int8": onnx_int8,
        "openvino-float32": onnx,
        "openvino-bfloat16": onnx,
        "openvino-int8": onnx_int8,
        "litert-float32": litert("float32"),
        "litert-int8": litert("int8", calibration=calibration),
    }
    for engine in ENGINES:
        if engine.name in names and engine.name in writers:
            with warnings.catch_warnings():
                # Too few images for good ranges, but those do not change times.
                warnings.simplefilter("ignore", kp.DataWarning)
                writers[engine.name](folder / engine.file)
