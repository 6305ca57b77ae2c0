"""Finds a trained model by name, as a folder, or on the Hub."""

from __future__ import annotations

import os
from pathlib import Path

from keras_pspnet.presets import PRESET_NAMES, find_preset
from keras_pspnet.pretrained.hub import (
    hub_errors,
    hub_library,
    is_hub_name,
    repository_of,
)
from keras_pspnet.pretrained.model_folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    ModelFolder,
)
from keras_pspnet.pretrained.published import published_folder


def find_folder(
    source: str | os.PathLike[str], backbone: str | None
) -> ModelFolder:
    """Finds the folder of a trained model, and verifies its weights.

    Args:
        source: As in `load_pretrained`.
        backbone: Likewise.

    Returns:
        The folder.

    Raises:
        OSError: As in `load_pretrained`.
        ValueError: Likewise.
    """
    if isinstance(source, str) and source in PRESET_NAMES:
        return published_folder(find_preset(source, backbone))
    if backbone is not None:
        raise ValueError(
            "`backbone` must be left out unless `source` is one of "
            f"{', '.join(PRESET_NAMES)}. Received: source={source!r}, "
            f"backbone={backbone!r}"
        )
    path = Path(source)
    if isinstance(source, str) and is_hub_name(source):
        name = repository_of("source", source)
        hub = hub_library()
        files = [CONFIG_FILE, WEIGHTS_FILE]
        with hub_errors("source", source):
            # The library keeps the files in its own cache.
            path = Path(hub.snapshot_download(name, allow_patterns=files))
    elif not path.is_dir():
        names = ", ".join(repr(name) for name in PRESET_NAMES)
        raise FileNotFoundError(
            f"`source` must be one of {names} or a folder that "
            f"save_pretrained wrote. Received: source={os.fspath(source)!r}"
        )
    folder = ModelFolder(path)
    folder.check_weights()
    return folder
