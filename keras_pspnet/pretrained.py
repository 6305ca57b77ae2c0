"""Models on disk: `save_pretrained` writes what `load_pretrained` reads."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from keras_pspnet.files import check_writable, write_atomically
from keras_pspnet.layers import check_choice
from keras_pspnet.model import PSPNet
from keras_pspnet.presets import PRESETS
from keras_pspnet.version import __version__

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_DTYPES = ("float32", "float16")
_SHIPPED = Path(__file__).parent / "weights"


def load_pretrained(
    source: str | os.PathLike[str],
    *,
    num_classes: int | None = None,
    aux: bool = False,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> PSPNet:
    """Loads a trained model.

    Args:
        source: Name of a published model (`"aerial"`), or a folder that
            `save_pretrained` wrote.
        num_classes: Another number of classes makes new classifiers and
            keeps everything else.
        aux: Whether to have the auxiliary head, for more training.
        input_shape: Another (height, width, 3) than the one it was saved
            with.

    Returns:
        The model, its weights in float32.

    Raises:
        FileNotFoundError: If there is neither such a name nor such a folder.
        ValueError: If files are damaged or do not belong together.

    Example:
        >>> model = load_pretrained("aerial")
    """
    folder = _folder(source)
    config, digest = _read_config(folder / CONFIG_FILE)
    weights_path = folder / WEIGHTS_FILE
    data = _read(weights_path)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(
            f"`source` must hold the weights its {CONFIG_FILE} names; their "
            f"sha256 differs. Received: {os.fspath(weights_path)!r}"
        )
    try:
        arrays = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"`source` must hold a whole {WEIGHTS_FILE}: {error}. "
            f"Received: {os.fspath(weights_path)!r}"
        ) from error
    had_aux = bool(config.get("aux"))
    config = {**config, "aux": aux}
    fresh: tuple[str, ...] = ()
    if num_classes is not None and num_classes != config.get("num_classes"):
        config |= {"num_classes": num_classes, "labels": None}
        fresh = ("head_classifier/", "aux_classifier/")
    if aux and not had_aux:
        fresh += ("aux_",)
    if input_shape is not None:
        config["input_shape"] = input_shape
    try:
        model = PSPNet.from_config(config)
    except (AttributeError, TypeError) as error:
        raise _not_ours(folder / CONFIG_FILE) from error
    _assign(model, arrays, fresh, unused=() if aux else ("aux_",))
    return model


def save_pretrained(
    model: PSPNet,
    folder: str | os.PathLike[str],
    dtype: str = "float32",
) -> None:
    """Writes a model as a folder of a config and its weights.

    Args:
        model: The model; optimiser state is left out.
        folder: Made if it does not exist; its two files are replaced.
        dtype: `"float32"`, or `"float16"` at half the size.

    Raises:
        OSError: If the folder cannot be written.
        TypeError: If the model is not a `PSPNet`.
        ValueError: If `dtype` is neither, or a weight is not finite.
    """
    if not isinstance(model, PSPNet):
        raise TypeError(
            "`model` must be a PSPNet. "
            f"Received: model of type {type(model).__name__}"
        )
    check_choice("dtype", dtype, WEIGHTS_DTYPES)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder / CONFIG_FILE)
    arrays = {}
    for variable in model.weights:
        values = keras.ops.convert_to_numpy(variable)
        if values.dtype.kind == "f":
            with np.errstate(over="ignore"):
                values = values.astype(dtype)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"`model` must have finite {dtype} weights. "
                    f"Received: NaN or infinity in {variable.path}"
                )
            arrays[variable.path] = values
    data = safetensors.numpy.save(arrays)
    config = {
        "keras_pspnet": __version__,
        "model": model.get_config(),
        "weights_sha256": hashlib.sha256(data).hexdigest(),
    }
    write_atomically(folder / WEIGHTS_FILE, data)
    text = json.dumps(config, indent=2) + "\n"
    write_atomically(folder / CONFIG_FILE, text.encode())


def _folder(source: str | os.PathLike[str]) -> Path:
    if isinstance(source, str) and source in PRESETS:
        return _SHIPPED / PRESETS[source].folder
    folder = Path(source)
    if not folder.is_dir():
        names = ", ".join(repr(name) for name in PRESETS)
        raise FileNotFoundError(
            f"`source` must be one of {names} or a folder that "
            f"save_pretrained wrote. Received: source={os.fspath(source)!r}"
        )
    return folder


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"`source` must hold the files {CONFIG_FILE} and {WEIGHTS_FILE}. "
            f"Received: no {os.fspath(path)!r}"
        ) from error


def _read_config(path: Path) -> tuple[dict[str, Any], str]:
    try:
        content = json.loads(_read(path))
        return dict(content["model"]), str(content["weights_sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise _not_ours(path) from error


def _not_ours(path: Path) -> ValueError:
    return ValueError(
        f"`source` must hold a {CONFIG_FILE} that save_pretrained wrote. "
        f"Received: {os.fspath(path)!r}"
    )


def _assign(
    model: PSPNet,
    arrays: Mapping[str, np.ndarray],
    fresh: tuple[str, ...],
    unused: tuple[str, ...],
) -> None:
    """Fills every variable, or tells all that does not fit in one error.

    Args:
        model: The model to fill.
        arrays: Variable path -> values.
        fresh: Starts of the paths that keep their initial values.
        unused: Starts of the paths that may be left over.
    """
    variables = {
        variable.path: variable
        for variable in model.weights
        if "seed_generator" not in variable.path
        and not variable.path.startswith(fresh)
    }
    left = {path for path in arrays if not path.startswith(fresh + unused)}
    faults = [f"missing {path}" for path in sorted(variables.keys() - left)]
    faults += [f"unexpected {path}" for path in sorted(left - variables.keys())]
    faults += [
        f"{path} has shape {arrays[path].shape}, "
        f"not {tuple(variables[path].shape)}"
        for path in sorted(variables.keys() & left)
        if arrays[path].shape != tuple(variables[path].shape)
    ]
    if faults:
        raise ValueError(
            "`source` must hold the weights of the network in its config. "
            "Received: " + "; ".join(faults)
        )
    for path, variable in variables.items():
        variable.assign(arrays[path].astype(variable.dtype))
