"""Exports of a model for production."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras

from keras_pspnet.data import Source
from keras_pspnet.export.calibration import (
    calibration_images,
    check_calibration,
    warn_of_few,
)
from keras_pspnet.inference import (
    PRECISIONS,
    check_installed,
    check_window,
    fill_color,
    float32_inference_model,
    model_labels,
    network_size,
)
from keras_pspnet.inference.segment import check_max_side
from keras_pspnet.utils import (
    as_integers,
    check_choice,
    check_rule,
    check_writable,
)
from keras_pspnet.utils.plausibility import ImageRange

if TYPE_CHECKING:
    from keras_pspnet.export.verify import Parity

ONNX_PRECISIONS = ("float32", "float16", "int8")
OUTPUTS = ("logits", "mask")
INPUT_DTYPES = ("float32", "uint8")
LITERT_PRECISIONS = ("float32", "float16", "dynamic", "int8")


def export_saved_model(
    model: keras.Model,
    folder: str | os.PathLike[str],
    precision: str = "float32",
    *,
    max_side: int | str | None = "auto",
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    window: int | None = None,
    max_pixels: int | None = None,
    batch_sizes: Sequence[int] = (1,),
    freeze: bool = False,
) -> Parity:
    """Exports a SavedModel: preprocessing, network and masks in one graph.

    The auxiliary branch is left out, batch normalization is folded into the
    convolutions, and all signatures share one copy of the weights.
    `serving_default` and `scores` take JPEG or PNG files, `predict_array`,
    `predict_uint8`, `probabilities` and `logits` take arrays; see
    `keras_pspnet.export.serving_graph.ServingModule`. Files have 1 or 3 bands:
    for others `scores` is left out, and `serving_default` is
    `predict_array`. The export is run in a
    process of its own beside the model before it gets its name, so that a
    server that watches the folder's parent never sees a half-written or
    wrong one. `assets.extra/` holds warm-up requests for
    tensorflow_model_server, `pspnet.json` (class names, versions, the weights'
    hash, parity) and `SHA256SUMS`: in the folder,
    `sha256sum --check assets.extra/SHA256SUMS` tells whether it is whole.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        folder: Folder to make; for tensorflow_model_server its name is the
            version, as in `"models/pspnet/1"`.
        precision: `"float32"`, or `"bfloat16"` for the convolutions.
        max_side: See `keras_pspnet.segment`.
        scales: Likewise.
        flip: Likewise.
        window: Side of windows that slide over the image, None for the
            whole image at once.
        max_pixels: Larger encoded images are answered with the status
            TOO_LARGE, arrays with an error; None is 89 million.
        batch_sizes: Numbers of images of the warm-up requests: a server's
            `allowed_batch_sizes`.
        freeze: Whether the weights are constants of the graph. TensorFlow
            optimizes constants anew for every signature: float32 on a CPU
            is a few percent faster, memory several times as large. False
            keeps one copy, as variables.

    Returns:
        How far the export is from the model; `print` shows a table.

    Raises:
        FileExistsError: If the folder exists.
        OSError: If it cannot be written.
        ExportError: If the export gives other logits than the model.
        ValueError: If an argument is out of range, or Keras does not run on
            TensorFlow.

    Examples:
        >>> parity = kp.export_saved_model(  # doctest: +SKIP
        ...     model, "models/aerial/1", max_side=512
        ... )
        >>> parity.passed  # doctest: +SKIP
        True
    """
    _check_backend("export_saved_model")
    check_choice("precision", precision, PRECISIONS)
    sizes = as_integers(batch_sizes) or ()
    rule = "hold positive integers"
    check_rule("batch_sizes", batch_sizes, rule, bool(sizes))
    # TensorFlow is imported where it is used, not with the package.
    from keras_pspnet.export.saved_model import write_saved_model
    from keras_pspnet.export.serving_graph import MAX_PIXELS, ServingOptions

    window = check_window(window)
    options = ServingOptions(
        max_side=check_max_side(max_side, window),
        scales=tuple(scales),
        flip=flip,
        window=window,
        max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
    )
    return write_saved_model(
        float32_inference_model(model),
        folder,
        precision,
        options,
        sizes,
        freeze,
    )


def export_litert(
    model: keras.Model,
    path: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    precision: str = "float32",
    calibration: Sequence[Source] = (),
    output: str = "logits",
    input_dtype: str = "float32",
) -> Parity:
    """Exports a LiteRT file (.tflite) for one image of a fixed size.

    Input `images`: (1, height, width, 3), RGB in 0..255, or other bands.
    Output `logits`: float32 (1, height, width, C); or `mask`: uint8
    (1, height, width), class ids. The file's TFLite
    metadata describes both, and names `labels.txt`, the class names zipped to
    its end. It says that the input is an image only of 1 or 3 bands, which
    MediaPipe wants.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        path: File to write.
        size: (height, width); None takes that of the network.
        precision: `"float32"`; `"float16"` and `"dynamic"` (int8) store
            smaller weights; `"int8"` also computes in integers.
        calibration: Images for int8, paths, bytes or arrays: some dozens,
            of the kind that will be seen. The parity is measured on them.
        output: `"logits"`, or `"mask"` for the class of each pixel: fewer
            bytes to read. MediaPipe wants logits.
        input_dtype: `"float32"`, or `"uint8"` for the bytes of an image. With
            int8 and masks the file then holds integers alone.

    Returns:
        How far the export is from the model; `print` shows a table.

    Raises:
        ImportError: If ai-edge-litert is missing.
        OSError: If the file cannot be written, or an image not be read.
        ExportError: If the export gives other logits than the model.
        TypeError: If `calibration` is no sequence of images.
        ValueError: If an argument is out of range, or Keras does not run on
            TensorFlow.

    Warns:
        DataWarning: If the calibration has fewer than 8 images, or they seem
            scaled to 0..1, or normalized.

    Examples:
        >>> parity = kp.export_litert(net, "net.tflite", size=(33, 33))
        >>> print(parity)
        LiteRT, float32: at most 1e-05 of the greatest logit, ...
        >>> parity = kp.export_litert(
        ...     net, "m.tflite", (33, 33), output="mask", input_dtype="uint8"
        ... )
        >>> kp.inference.load_exported("m.tflite").gives_masks
        True
    """
    _check_backend("export_litert")
    check_choice("precision", precision, LITERT_PRECISIONS)
    check_choice("output", output, OUTPUTS)
    check_choice("input_dtype", input_dtype, INPUT_DTYPES)
    check_writable(path)
    check_calibration(calibration, precision)
    model = float32_inference_model(model)
    size = _litert_size(model, size)
    model_labels(model)  # Refuses more classes than a byte has.
    if input_dtype == "uint8":
        _check_bytes(model)
    check_installed("ai_edge_litert", "ai-edge-litert", "litert", "export")
    from keras_pspnet.export.litert import write_litert

    # Only small copies stay: photographs of a whole folder may be large.
    values = ImageRange(fill_color(model))
    seen = list(calibration_images(model, calibration, size, values))
    values.warn("`calibration`")
    warn_of_few(calibration)
    return write_litert(model, path, size, precision, seen, output, input_dtype)


def export_onnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    precision: str = "float32",
    calibration: Sequence[Source] = (),
    output: str = "logits",
) -> Parity:
    """Exports an ONNX file (opset 17), checked in onnxruntime.

    Input `images`: float32 (B, H, W, 3), RGB in 0..255, or other bands; B is
    free, H and W where they are in the model. Output `logits`: float32
    (B, H, W, C); or `mask`: uint8 (B, H, W). The class names are in the
    metadata under `labels`, joined by commas.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        path: File to write.
        precision: `"float32"`; `"float16"` for GPUs; `"int8"` for processors
            with instructions for it, such as AVX-512 VNNI. Normalization,
            logits and resizing are float32 in all of them.
        calibration: Images for int8, paths, bytes or arrays: some dozens,
            of the kind that will be seen. The parity is measured on them.
        output: `"logits"`, or `"mask"` for the class of each pixel.

    Returns:
        How far the export is from the model; `print` shows a table.

    Raises:
        ImportError: If tf2onnx or onnxruntime is missing.
        OSError: If the file cannot be written, or an image not be read.
        ExportError: If the export gives other logits than the model.
        TypeError: If `calibration` is no sequence of images.
        ValueError: If an argument is out of range, or Keras does not run on
            TensorFlow.

    Warns:
        DataWarning: If there are fewer than 8 images to calibrate on.

    Examples:
        >>> parity = kp.export_onnx(net, "net.onnx")
        >>> print(parity)
        ONNX, float32: at most 1e-05 of the greatest logit, ...
        >>> parity = kp.export_onnx(
        ...     net, "net_int8.onnx", "int8", [*images, *images], output="mask"
        ... )
        >>> parity.precision
        'int8'
    """
    _check_backend("export_onnx")
    check_choice("precision", precision, ONNX_PRECISIONS)
    check_choice("output", output, OUTPUTS)
    check_writable(path)
    check_calibration(calibration, precision)
    model = float32_inference_model(model)
    model_labels(model)  # Refuses more classes than a byte has.
    for module in ("tf2onnx", "onnxruntime"):
        check_installed(module, module, "onnx", "export")
    from keras_pspnet.export.onnx import write_onnx

    size = network_size(model)
    # What cannot be read is found before the long work, and no more than one
    # photograph of a whole folder is in memory.
    values = ImageRange(fill_color(model))
    for _ in calibration_images(model, calibration, size, values):
        pass
    values.warn("`calibration`")
    images = calibration_images(model, calibration, size)
    warn_of_few(calibration)
    return write_onnx(model, path, precision, images, output)


def _check_bytes(model: keras.Model) -> None:
    """Refuses bytes for images whose values they cannot hold."""
    mean = fill_color(model)
    kept = min(mean) >= 0 and max(mean) <= 255
    rule = f"be 'float32' for images whose mean is {mean}, not in 0..255"
    check_rule("input_dtype", "uint8", rule, kept)


def _litert_size(model: keras.Model, size: Any) -> tuple[int, int]:
    own = network_size(model)
    chosen = own if size is None else as_integers(size)
    if chosen is None or len(chosen) != 2 or own not in (None, chosen):
        raise ValueError(
            "`size` must be (height, width), and the network's own where it "
            f"has one. Received: size={size!r}, network of size {own}"
        )
    return chosen


def _check_backend(function: str) -> None:
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"`{function}` must run with KERAS_BACKEND=tensorflow. "
            f"Received: backend={keras.backend.backend()!r}"
        )
