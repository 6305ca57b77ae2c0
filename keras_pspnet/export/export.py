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
    `serving_default` and `scores` take JPEG or PNG files; `predict_array`,
    `predict_uint8`, `probabilities` and `logits` take arrays: see
    `keras_pspnet.export.serving_graph.ServingModule`. Files have 1 or 3 bands.
    For a model of other bands, `scores` is left out and `serving_default` is
    `predict_array`.

    The export is written under a temporary name, run in a process of its own
    and compared with the model, then renamed. So a server that watches the
    parent folder never loads an incomplete or wrong one. `assets.extra/` holds
    warm-up requests for tensorflow_model_server, `pspnet.json` (class names,
    versions, hash of the weights, parity) and `SHA256SUMS`, which
    `sha256sum --check assets.extra/SHA256SUMS` verifies in the folder.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        folder: Folder to create. tensorflow_model_server takes its name as
            the version, as in `"models/pspnet/1"`.
        precision: `"float32"`, or `"bfloat16"` for the convolutions.
        max_side: See `keras_pspnet.segment`.
        scales: Likewise.
        flip: Likewise.
        window: Side of windows that slide over the image, None for the
            whole image at once.
        max_pixels: Larger files get the status TOO_LARGE, larger arrays an
            error; None is 89 million.
        batch_sizes: Batch sizes of the warm-up requests: the server's
            `allowed_batch_sizes`.
        freeze: Whether to store the weights as constants of the graph.
            TensorFlow optimizes constants again for every signature: float32
            on a CPU gets a little faster, but takes several times the memory.
            False stores one copy, as variables.

    Returns:
        The difference between export and model; `print` shows a table.

    Raises:
        FileExistsError: If the folder exists.
        OSError: If it cannot be written.
        ExportError: If the logits of the export differ from the model's.
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
    # Importing the package must not import TensorFlow.
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
    (1, height, width), class ids. The file's TFLite metadata describes both
    and names `labels.txt`, the class names, which are zipped to the end of the
    file. It describes the input as an image, as MediaPipe requires, if it has
    1 or 3 bands.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        path: File to write.
        size: (height, width). None is the network's own size, if it has one.
        precision: `"float32"`; `"float16"` and `"dynamic"` (int8) store
            smaller weights; `"int8"` also computes in integers.
        calibration: Images for int8, as paths, bytes or arrays: a few dozen
            typical ones. The parity is measured on some of them.
        output: `"logits"`, or `"mask"` for the class of each pixel, which is
            smaller. MediaPipe requires logits.
        input_dtype: `"float32"`, or `"uint8"` for the bytes of an image. With
            int8 and masks, the file then computes in integers only.

    Returns:
        The difference between export and model; `print` shows a table.

    Raises:
        ImportError: If ai-edge-litert is missing.
        OSError: If the file cannot be written or an image cannot be read.
        ExportError: If the logits of the export differ from the model's.
        TypeError: If `calibration` is not a sequence of images.
        ValueError: If an argument is out of range, or Keras does not run on
            TensorFlow.

    Warns:
        DataWarning: If there are fewer than 8 images for calibration, or they
            seem to be scaled to 0..1 or normalized.

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
    model_labels(model)  # Refuses more classes than uint8 can hold.
    if input_dtype == "uint8":
        _check_bytes(model)
    check_installed("ai_edge_litert", "ai-edge-litert", "litert", "export")
    from keras_pspnet.export.litert import write_litert

    # Keeps small copies only: a folder of photographs may be large.
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
    """Exports an ONNX file (opset 17) and compares it in ONNX Runtime.

    Input `images`: float32 (B, H, W, 3), RGB in 0..255, or other bands. B is
    free; so are H and W unless the model has a fixed size. Output `logits`:
    float32 (B, H, W, C); or `mask`: uint8 (B, H, W). The metadata holds the
    class names under `labels`, joined by commas.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        path: File to write.
        precision: `"float32"`; `"float16"` for GPUs; `"int8"` for processors
            with instructions for it, such as AVX-512 VNNI. Normalization,
            logits and resizing are float32 in all of them.
        calibration: Images for int8, as paths, bytes or arrays: a few dozen
            typical ones. The parity is measured on some of them.
        output: `"logits"`, or `"mask"` for the class of each pixel.

    Returns:
        The difference between export and model; `print` shows a table.

    Raises:
        ImportError: If tf2onnx or onnxruntime is missing.
        OSError: If the file cannot be written or an image cannot be read.
        ExportError: If the logits of the export differ from the model's.
        TypeError: If `calibration` is not a sequence of images.
        ValueError: If an argument is out of range, or Keras does not run on
            TensorFlow.

    Warns:
        DataWarning: If there are fewer than 8 images for calibration, or they
            seem to be scaled to 0..1 or normalized.

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
    model_labels(model)  # Refuses more classes than uint8 can hold.
    for module in ("tf2onnx", "onnxruntime"):
        check_installed(module, module, "onnx", "export")
    from keras_pspnet.export.onnx import write_onnx

    size = network_size(model)
    # Finds unreadable images before the long work, with one of them in memory
    # at a time.
    values = ImageRange(fill_color(model))
    for _ in calibration_images(model, calibration, size, values):
        pass
    values.warn("`calibration`")
    images = calibration_images(model, calibration, size)
    warn_of_few(calibration)
    return write_onnx(model, path, precision, images, output)


def _check_bytes(model: keras.Model) -> None:
    """Refuses uint8 input if the images have values that it cannot hold."""
    mean = fill_color(model)
    kept = min(mean) >= 0 and max(mean) <= 255
    rule = f"be 'float32' for images whose mean is {mean}, not in 0..255"
    check_rule("input_dtype", "uint8", rule, kept)


def _litert_size(model: keras.Model, size: Any) -> tuple[int, int]:
    own = network_size(model)
    chosen = own if size is None else as_integers(size)
    if chosen is None or len(chosen) != 2 or own not in (None, chosen):
        raise ValueError(
            "`size` must be (height, width), such as (240, 240), and the "
            "network's own if that is fixed. "
            f"Received: size={size!r}, network of size {own}"
        )
    return chosen


def _check_backend(function: str) -> None:
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"`{function}` must run with KERAS_BACKEND=tensorflow. "
            f"Received: backend={keras.backend.backend()!r}"
        )
