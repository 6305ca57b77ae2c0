"""Exports of a model for production."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_pspnet.data import Source, read_image
from keras_pspnet.inference import (
    PRECISIONS,
    check_installed,
    check_window,
    fill_color,
    fit_inside,
    float32_inference_model,
    network_size,
)
from keras_pspnet.inference.segment import check_max_side
from keras_pspnet.utils import (
    as_integers,
    check_choice,
    check_rule,
    check_writable,
)

if TYPE_CHECKING:
    from keras_pspnet.export.verify import Parity

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
) -> Parity:
    """Exports a SavedModel: preprocessing, network and masks in one graph.

    The auxiliary branch is left out, batch normalisation is folded into the
    convolutions, and the weights are constants. `serving_default` and
    `scores` take JPEG or PNG files, `predict_array`, `predict_uint8`,
    `probabilities` and `logits` take arrays; see
    `keras_pspnet.export.serving_graph.ServingModule`. The export is run in a
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
        float32_inference_model(model), folder, precision, options, sizes
    )


def export_litert(
    model: keras.Model,
    path: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    precision: str = "float32",
    calibration: Sequence[Source] = (),
) -> Parity:
    """Exports a LiteRT file (.tflite) for one image of a fixed size.

    Input `images`: float32 (1, height, width, 3), RGB in 0..255. Output
    `logits`: float32 (1, height, width, C). The file's TFLite metadata
    describes both, and names `labels.txt`, the class names zipped to its end.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        path: File to write.
        size: (height, width); None takes that of the network.
        precision: `"float32"`; `"float16"` and `"dynamic"` (int8) store
            smaller weights; `"int8"` also computes in integers.
        calibration: Images for int8, paths, bytes or arrays: some dozens,
            of the kind that will be seen. The parity is measured on them.

    Returns:
        How far the export is from the model; `print` shows a table.

    Raises:
        ImportError: If ai-edge-litert is missing.
        OSError: If the file cannot be written.
        ExportError: If the export gives other logits than the model.
        ValueError: If an argument is out of range, or Keras does not run on
            TensorFlow.

    Examples:
        >>> parity = kp.export_litert(net, "net.tflite", size=(33, 33))
        >>> print(parity)
        LiteRT, float32: at most 1e-05 of the greatest logit, ...
    """
    _check_backend("export_litert")
    check_choice("precision", precision, LITERT_PRECISIONS)
    check_writable(path)
    model = float32_inference_model(model)
    size = _litert_size(model, size)
    if (precision == "int8") != bool(len(calibration)):
        raise ValueError(
            "`calibration` must hold images for precision='int8', and for "
            f"it alone. Received: {len(calibration)} images, "
            f"precision={precision!r}"
        )
    check_installed("ai_edge_litert", "ai-edge-litert", "litert", "export")
    from keras_pspnet.export.litert import write_litert

    # Only small copies stay: photographs of a whole folder may be large.
    fill = fill_color(model)
    images = (np.asarray(read_image(each), "float32") for each in calibration)
    seen = [fit_inside(image[None], size, fill)[0] for image in images]
    return write_litert(model, path, size, precision, seen)


def export_onnx(model: keras.Model, path: str | os.PathLike[str]) -> Parity:
    """Exports an ONNX file (opset 17), checked in onnxruntime.

    Input `images`: float32 (B, H, W, 3), RGB in 0..255; B is free, H and W
    where they are in the model. Output `logits`: float32 (B, H, W, C). The
    class names are in the metadata under `labels`, joined by commas.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        path: File to write.

    Returns:
        How far the export is from the model; `print` shows a table.

    Raises:
        ImportError: If tf2onnx or onnxruntime is missing.
        OSError: If the file cannot be written.
        ExportError: If the export gives other logits than the model.
        ValueError: If Keras does not run on TensorFlow.

    Examples:
        >>> parity = kp.export_onnx(net, "net.onnx")
        >>> print(parity)
        ONNX, float32: at most 1e-05 of the greatest logit, ...
    """
    _check_backend("export_onnx")
    check_writable(path)
    for module in ("tf2onnx", "onnxruntime"):
        check_installed(module, module, "onnx", "export")
    from keras_pspnet.export.onnx import write_onnx

    return write_onnx(float32_inference_model(model), path)


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
