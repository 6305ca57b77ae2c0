"""Trained models: published ones by name, and folders of one's own.

`save_pretrained` writes what `load_pretrained` reads; published weights are
downloaded once, converted, and kept in the same form.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors

from keras_pspnet.convert import Converted, convert_source, fill
from keras_pspnet.labels import LabelSet
from keras_pspnet.models import PSPNet
from keras_pspnet.presets import PRESET_NAMES, PRESETS, Preset, find_preset
from keras_pspnet.pretrained.model_card import model_card
from keras_pspnet.utils import (
    HOME_VARIABLE,
    cache_folder,
    check_choice,
    check_writable,
    locked,
    naming_errors,
    write_atomically,
    writing_atomically,
)
from keras_pspnet.utils.download import download
from keras_pspnet.version import __version__

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_CARD_FILE = "README.md"
WEIGHTS_DTYPES = ("float32", "float16")
_DTYPE_CODES = {
    "float32": "F32",
    "float16": "F16",
}
HUB_PREFIX = "hf://"
_SHIPPED = Path(__file__).parent / "weights"
# Arguments of PSPNet that a file of another framework cannot tell for sure.
GEOMETRY = (
    "output_stride",
    "contract_dilation",
    "stride_on",
    "align_corners",
    "bin_sizes",
    "mean",
    "std",
)


def load_pretrained(
    source: str | os.PathLike[str],
    *,
    backbone: str | None = None,
    num_classes: int | None = None,
    aux: bool = False,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> PSPNet:
    """Loads a trained model.

    Published weights are downloaded once, checked against their hash and
    converted; `KERAS_PSPNET_HOME` names the folder they are kept in,
    `KERAS_PSPNET_MIRROR` another place to get them from.

    Args:
        source: Name of a published model (`"voc"`, `"ade20k"`,
            `"cityscapes"`, `"cityscapes_769"`, or `"aerial"`, which needs no
            download), a folder that `save_pretrained` wrote, or
            `"hf://owner/name"` for such a folder at the Hugging Face Hub.
        backbone: Which of a published model's backbones; None is
            `"resnet50"`, or the only one.
        num_classes: Another number of classes makes new classifiers and
            keeps everything else.
        aux: Whether to have the auxiliary head, for more training.
        input_shape: Another (height, width, 3) than the one it was saved
            with.

    Returns:
        The model, its weights in float32.

    Raises:
        ImportError: If `"hf://"` needs huggingface_hub.
        OSError: If there is neither such a name nor such a folder, or the
            weights cannot be downloaded or kept.
        ValueError: If files are damaged or do not belong together.

    Examples:
        >>> model = kp.load_pretrained("aerial")
        >>> model.labels.names
        ('building', 'land', 'road', 'vegetation', 'water')
        >>> model = kp.load_pretrained("aerial", num_classes=3, aux=True)
        >>> model.num_classes
        3
    """
    folder, is_verified = _folder(source, backbone)
    config, digest = _read_config(folder / CONFIG_FILE)
    weights_path = folder / WEIGHTS_FILE
    if not is_verified and _digest(weights_path) != digest:
        raise ValueError(
            f"`source` must hold the weights its {CONFIG_FILE} names; their "
            f"sha256 differs. Received: {os.fspath(weights_path)!r}"
        )
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
    except (AttributeError, OverflowError, TypeError) as error:
        raise _not_ours(folder / CONFIG_FILE) from error
    try:
        fill(
            model.weights,
            _Stored(weights_path),
            fresh,
            unused=() if aux else ("aux_",),
        )
    # Types that NumPy does not have end in an AttributeError.
    except (safetensors.SafetensorError, AttributeError) as error:
        raise ValueError(
            f"`source` must hold a whole {WEIGHTS_FILE}: {error}. "
            f"Received: {os.fspath(weights_path)!r}"
        ) from error
    return model


class _Stored(Mapping[str, np.ndarray]):
    """The arrays of a safetensors file, each read when it is asked for.

    The file is opened anew for each: what an open one has read stays mapped,
    and would at last take its whole size beside the model's own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as stored:
            self._names = tuple(stored.keys())

    def _open(self) -> Any:
        return safetensors.safe_open(self._path, framework="np")

    def __getitem__(self, name: str) -> np.ndarray:
        with self._open() as stored:
            return stored.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def convert_file(
    path: str | os.PathLike[str],
    labels: LabelSet | None = None,
    **geometry: Any,
) -> PSPNet:
    """Builds the network of another framework's file.

    Args:
        path: mmsegmentation's or semseg's `.pth`, or an original
            `.caffemodel`; which one is recognised from the file.
        labels: Names of the classes; None is what the file says, or the
            published data set with as many classes.
        **geometry: Arguments of `PSPNet` that override what that source is
            known for, or the file says: `output_stride`,
            `contract_dilation`, `stride_on`, `align_corners`, `bin_sizes`,
            `mean`, `std`.

    Returns:
        The network, with the auxiliary head if the file has one.

    Raises:
        OSError: If the file cannot be read.
        TypeError: If `geometry` has another argument.
        ValueError: If the file is damaged or of another network.

    Examples:
        >>> model = kp.convert_file("pspnet.pth")
        >>> model.labels.names[15]  # 21 classes are those of PASCAL VOC
        'person'
        >>> kp.save_pretrained(model, "my_voc")
    """
    for name in geometry:
        if name not in GEOMETRY:
            raise TypeError(
                f"`geometry` must be of {', '.join(GEOMETRY)}. "
                f"Received: {name}={geometry[name]!r}"
            )
    if labels is not None:
        geometry["labels"] = labels
    return _build(convert_source(path), geometry, path)


def _build(
    converted: Converted,
    overrides: Mapping[str, Any],
    path: str | os.PathLike[str],
) -> PSPNet:
    if "num_classes" not in converted.config:
        raise ValueError(
            "`path` must hold a whole PSPNet; PSPNet(backbone_weights=) takes "
            f"backbones. Received: path={os.fspath(path)!r}"
        )
    model = PSPNet(**{**converted.config, **overrides})
    try:
        fill(model.weights, converted.arrays)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    return model


def save_pretrained(
    model: PSPNet,
    folder: str | os.PathLike[str],
    dtype: str = "float32",
) -> None:
    """Writes a model as a folder of a config, its weights and a model card.

    Args:
        model: The model; optimiser state is left out.
        folder: Made if it does not exist; its files are replaced, but not a
            `README.md` that says anything else than what was written here.
        dtype: `"float32"`, or `"float16"` at half the size.

    Raises:
        OSError: If the folder cannot be written.
        TypeError: If the model is not a `PSPNet`.
        ValueError: If `dtype` is neither, or a weight is not finite.

    Examples:
        >>> kp.save_pretrained(model, "my_model", dtype="float16")
        >>> kp.load_pretrained("my_model").num_classes
        5
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
    digest = _write_weights(
        folder / WEIGHTS_FILE,
        {variable.path: variable for variable in model.weights},
        dtype,
    )
    parameters = sum(math.prod(each.shape) for each in model.weights)
    card = model_card(model.get_config(), parameters, dtype).encode()
    replaced = _may_write_card(folder)
    _write_config(folder / CONFIG_FILE, model, digest, card)
    if replaced:
        write_atomically(folder / _CARD_FILE, card)


def _may_write_card(folder: Path) -> bool:
    """Returns whether there is no card, or one that nobody has changed."""
    path = folder / _CARD_FILE
    if not os.path.lexists(path):
        return True
    try:
        written = json.loads((folder / CONFIG_FILE).read_bytes())
        return written["card_sha256"] == _digest(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write_config(
    path: Path, model: PSPNet, digest: str, card: bytes | None = None
) -> None:
    config = {
        "keras_pspnet": __version__,
        "model": model.get_config(),
        "model_sha256": _model_digest(model.get_config()),
        "weights_sha256": digest,
    }
    if card is not None:
        config["card_sha256"] = hashlib.sha256(card).hexdigest()
    write_atomically(path, (json.dumps(config, indent=2) + "\n").encode())


def _write_weights(path: Path, weights: Mapping[str, Any], dtype: str) -> str:
    """Writes weights as safetensors, one at a time; returns the sha256.

    The library's own writer wants all of them in memory, twice.

    Args:
        path: The file.
        weights: Variable path -> variable or array.
        dtype: What they are kept as.

    Returns:
        The file's digest.
    """
    kept = np.dtype(dtype)
    header: dict[str, Any] = {}
    end = 0
    for name, weight in weights.items():
        start, end = end, end + kept.itemsize * math.prod(weight.shape)
        header[name] = {
            "dtype": _DTYPE_CODES[dtype],
            "shape": list(weight.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with writing_atomically(path) as stream:
        for part in (struct.pack("<Q", len(text)), text):
            digest.update(part)
            stream.write(part)
        for name, weight in weights.items():
            values = keras.ops.convert_to_numpy(weight)
            with np.errstate(over="ignore"):
                values = np.ascontiguousarray(values, kept)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"`model` must have finite {dtype} weights. "
                    f"Received: NaN or infinity in {name}"
                )
            digest.update(values.data)
            stream.write(values.data)
    return digest.hexdigest()


def _folder(
    source: str | os.PathLike[str], backbone: str | None
) -> tuple[Path, bool]:
    """Finds the folder of a source, and makes it where it must.

    Args:
        source: As for `load_pretrained`.
        backbone: As for `load_pretrained`.

    Returns:
        The folder, and whether the hash of its weights is known to be right.
    """
    if isinstance(source, str) and source in PRESET_NAMES:
        preset = find_preset(source, backbone)
        if preset.is_shipped:
            return _SHIPPED / preset.name, False
        return _preset_folder(preset), True
    if backbone is not None:
        raise ValueError(
            "`backbone` must be left out unless `source` is one of "
            f"{', '.join(PRESET_NAMES)}. Received: source={source!r}, "
            f"backbone={backbone!r}"
        )
    if isinstance(source, str) and source.startswith(HUB_PREFIX):
        return _hub_folder(source), False
    folder = Path(source)
    if not folder.is_dir():
        names = ", ".join(repr(name) for name in PRESET_NAMES)
        raise FileNotFoundError(
            f"`source` must be one of {names} or a folder that "
            f"save_pretrained wrote. Received: source={os.fspath(source)!r}"
        )
    return folder, False


def _preset_folder(preset: Preset) -> Path:
    """Returns a published model's folder, downloading it if it is not kept."""
    home = cache_folder()
    folder = home / "models" / Path(preset.url).stem
    if _is_whole(folder):
        return folder
    shipped = ", ".join(repr(row.name) for row in PRESETS if row.is_shipped)
    with naming_errors(HOME_VARIABLE, home):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        # Whoever held the lock before may have made it.
        if not _is_whole(folder):
            file = download(
                preset.url,
                home / "downloads",
                preset.sha256,
                hint=f"Without network there is {shipped}.",
            )
            _keep(file, preset, folder)
            file.unlink()
            # Models are cycles: without it two would be in memory at once.
            gc.collect()
    return folder


def _is_whole(folder: Path) -> bool:
    """Returns whether both files are as they were written."""
    try:
        config, digest = _read_config(folder / CONFIG_FILE)
        written = json.loads((folder / CONFIG_FILE).read_bytes())
        return (
            written.get("model_sha256") == _model_digest(config)
            and _digest(folder / WEIGHTS_FILE) == digest
        )
    except (OSError, ValueError):
        return False


def _keep(file: Path, preset: Preset, folder: Path) -> None:
    """Converts a download into a folder, which is there whole or not at all."""
    converted = convert_source(file)
    config = converted.config | {"align_corners": preset.align_corners}
    # Under the lock the name is nobody else's; what a killed process has left
    # there goes.
    made = folder.with_name(f"{folder.name}.part")
    try:
        _remove(made)
        made.mkdir()
        weights = made / WEIGHTS_FILE
        digest = _write_weights(weights, converted.arrays, "float32")
        # Lets go of the download before there is a network beside it.
        del converted
        model = PSPNet(**config)
        fill(model.weights, _Stored(weights))
        _write_config(made / CONFIG_FILE, model, digest)
        _remove(folder)
        os.replace(made, folder)
    finally:
        _remove(made)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _hub_folder(source: str) -> Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f"`source` must be no {HUB_PREFIX} address where huggingface_hub "
            f"is not installed. Received: source={source!r}"
        ) from error
    name = source.removeprefix(HUB_PREFIX)
    if len(name.split("/")) != 2 or not all(name.split("/")):
        raise ValueError(
            f"`source` must be {HUB_PREFIX}owner/name. "
            f"Received: source={source!r}"
        )
    return Path(
        huggingface_hub.snapshot_download(
            name, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE]
        )
    )


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise _missing(path) from error


def _read_config(path: Path) -> tuple[dict[str, Any], str]:
    try:
        content = json.loads(path.read_bytes())
        config, digest = dict(content["model"]), str(content["weights_sha256"])
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _not_ours(path) from error
    # A folder from somewhere else must not make us fetch or open files.
    if "backbone_weights" in config:
        raise _not_ours(path)
    return config, digest


def _model_digest(config: Mapping[str, Any]) -> str:
    text = json.dumps(config, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _missing(path: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"`source` must hold the files {CONFIG_FILE} and {WEIGHTS_FILE}. "
        f"Received: no {os.fspath(path)!r}"
    )


def _not_ours(path: Path) -> ValueError:
    return ValueError(
        f"`source` must hold a {CONFIG_FILE} that save_pretrained wrote. "
        f"Received: {os.fspath(path)!r}"
    )
