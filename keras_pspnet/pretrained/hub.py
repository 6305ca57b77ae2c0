"""Model folders at the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from keras_pspnet.pretrained.model_folder import CONFIG_FILE, WEIGHTS_FILE

HUB_PREFIX = "hf://"


def download_folder(source: str) -> Path:
    """Downloads a model folder, or finds it in the Hub's own cache.

    Args:
        source: `"hf://owner/name"`.

    Returns:
        A folder with the config and the weights.

    Raises:
        ImportError: If huggingface_hub is not installed.
        OSError: If the folder cannot be downloaded.
        ValueError: If the name is not one at the Hub.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f"`source` must be no {HUB_PREFIX} address where huggingface_hub "
            f"is not installed. Received: source={source!r}"
        ) from error
    return Path(
        huggingface_hub.snapshot_download(
            source.removeprefix(HUB_PREFIX),
            allow_patterns=[CONFIG_FILE, WEIGHTS_FILE],
        )
    )
