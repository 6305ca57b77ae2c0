"""Published models: downloaded once, converted, and kept as model folders."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

from keras_pspnet.convert import convert_source, fill
from keras_pspnet.models import PSPNet
from keras_pspnet.presets import PRESETS, Preset
from keras_pspnet.pretrained.model_folder import ModelFolder
from keras_pspnet.utils import (
    HOME_VARIABLE,
    cache_folder,
    locked,
    naming_errors,
)
from keras_pspnet.utils.download import download

_SHIPPED = Path(__file__).parents[1] / "weights"


def published_folder(preset: Preset) -> ModelFolder:
    """Finds a published model, and downloads it if necessary.

    Args:
        preset: The model.

    Returns:
        Its folder, with verified weights.

    Raises:
        OSError: If it cannot be downloaded or kept.
        ValueError: If the download differs from the published file.
    """
    if preset.is_shipped:
        folder = ModelFolder(_SHIPPED / preset.name)
        folder.check_weights()
        return folder
    home = cache_folder()
    folder = ModelFolder(home / "models" / Path(preset.file_name).stem)
    if folder.is_intact:
        return folder
    shipped = ", ".join(repr(row.name) for row in PRESETS if row.is_shipped)
    with naming_errors(HOME_VARIABLE, home):
        folder.path.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.path):
        # The previous holder of the lock may have made it.
        if not folder.is_intact:
            file = download(
                preset.url,
                home / "downloads",
                preset.sha256,
                name=preset.file_name,
                hint=f"Without network there is {shipped}.",
            )
            _convert(file, preset, folder.path)
            file.unlink()
            # Models are reference cycles: free this one before loading again.
            gc.collect()
    return folder


def _convert(file: Path, preset: Preset, folder: Path) -> None:
    """Converts a download into a folder, whole or not at all."""
    converted = convert_source(file)
    config = converted.config | {"align_corners": preset.align_corners}
    # The lock protects the name; remove what a killed process left there.
    made = folder.with_name(f"{folder.name}.part")
    try:
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        # Raises if the weights do not fit the network.
        model = PSPNet(**config)
        fill(model.weights, converted.arrays)
        ModelFolder(made).write(model.get_config(), converted.arrays)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
