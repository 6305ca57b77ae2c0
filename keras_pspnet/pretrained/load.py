"""Loads a model by its name, from a folder, or from the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path

import safetensors

from keras_pspnet.convert import fill
from keras_pspnet.models import PSPNet
from keras_pspnet.presets import PRESET_NAMES, find_preset
from keras_pspnet.pretrained.model_folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    ModelFolder,
)
from keras_pspnet.pretrained.published import published_folder
from keras_pspnet.pretrained.weights_file import StoredWeights

HUB_PREFIX = "hf://"


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
    folder = _checked_folder(source, backbone)
    config = folder.read_config()
    fresh: tuple[str, ...] = ()
    if num_classes is not None and num_classes != config.get("num_classes"):
        config |= {"num_classes": num_classes, "labels": None}
        fresh = ("head_classifier/", "aux_classifier/")
    if aux and not config.get("aux"):
        fresh += ("aux_",)
    config["aux"] = aux
    if input_shape is not None:
        config["input_shape"] = input_shape
    try:
        model = PSPNet.from_config(config)
    except (AttributeError, OverflowError, TypeError) as error:
        raise folder.refuse() from error
    unused = () if aux else ("aux_",)
    try:
        fill(model.weights, StoredWeights(folder.weights_path), fresh, unused)
    # Types that NumPy does not have end in an AttributeError.
    except (safetensors.SafetensorError, AttributeError) as error:
        raise ValueError(
            f"`source` must hold a whole {WEIGHTS_FILE}: {error}. "
            f"Received: {os.fspath(folder.weights_path)!r}"
        ) from error
    return model


def _checked_folder(
    source: str | os.PathLike[str], backbone: str | None
) -> ModelFolder:
    """Finds the folder of a source; its weights are those it names."""
    if isinstance(source, str) and source in PRESET_NAMES:
        return published_folder(find_preset(source, backbone))
    if backbone is not None:
        raise ValueError(
            "`backbone` must be left out unless `source` is one of "
            f"{', '.join(PRESET_NAMES)}. Received: source={source!r}, "
            f"backbone={backbone!r}"
        )
    path = Path(source)
    if isinstance(source, str) and source.startswith(HUB_PREFIX):
        import huggingface_hub

        name = source.removeprefix(HUB_PREFIX)
        files = [CONFIG_FILE, WEIGHTS_FILE]
        # It keeps them in a cache of its own.
        path = Path(
            huggingface_hub.snapshot_download(name, allow_patterns=files)
        )
    if not path.is_dir():
        names = ", ".join(repr(name) for name in PRESET_NAMES)
        raise FileNotFoundError(
            f"`source` must be one of {names} or a folder that "
            f"save_pretrained wrote. Received: source={os.fspath(source)!r}"
        )
    folder = ModelFolder(path)
    folder.check_weights()
    return folder
