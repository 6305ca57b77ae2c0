"""A model on disk: a config, the weights it names, and a model card."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_pspnet.pretrained.weights_file import write_weights
from keras_pspnet.utils import check_writable, file_sha256, write_atomically
from keras_pspnet.version import __version__

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"


class ModelFolder:
    """A folder that `save_pretrained` writes; read without building a model.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_path = self.path / CONFIG_FILE
        self.weights_path = self.path / WEIGHTS_FILE
        self.card_path = self.path / CARD_FILE

    def read_config(self) -> dict[str, Any]:
        """Reads `PSPNet.get_config()` of the model.

        Raises:
            FileNotFoundError: If there is no config.
            ValueError: If it is not one that `save_pretrained` wrote.
        """
        return self._read()[0]

    def check_weights(self) -> None:
        """Checks the weights against the hash in the config.

        Raises:
            FileNotFoundError: If there are none.
            ValueError: If they are others.
        """
        _, digest = self._read()
        try:
            found = file_sha256(self.weights_path)
        except FileNotFoundError as error:
            raise _missing(self.weights_path) from error
        if found != digest:
            raise ValueError(
                f"`source` must hold the weights its {CONFIG_FILE} names; "
                "their sha256 differs. "
                f"Received: {os.fspath(self.weights_path)!r}"
            )

    @property
    def is_intact(self) -> bool:
        """Whether a config is there, and the weights that it names."""
        try:
            self.check_weights()
        except (OSError, ValueError):
            return False
        return True

    def write(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, Any],
        dtype: str = "float32",
        card: str | None = None,
    ) -> None:
        """Writes the files, each whole or not at all; the folder must exist.

        Args:
            config: `PSPNet.get_config()`.
            weights: Variable path -> variable or array.
            dtype: What the weights are stored as.
            card: Text of the model card, or None for no card. A card that
                somebody has changed is kept.

        Raises:
            OSError: If a file cannot be written.
            ValueError: If a weight is not finite in `dtype`.
        """
        check_writable(self.config_path)
        content = {
            "keras_pspnet": __version__,
            "model": config,
            "weights_sha256": write_weights(self.weights_path, weights, dtype),
        }
        text = (card or "").encode()
        replaces_card = card is not None and self._may_replace_card()
        if card is not None:
            content["card_sha256"] = hashlib.sha256(text).hexdigest()
        written = json.dumps(content, indent=2) + "\n"
        write_atomically(self.config_path, written.encode())
        if replaces_card:
            write_atomically(self.card_path, text)

    def refuse(self) -> ValueError:
        """Returns the error for a config of somebody else."""
        return ValueError(
            f"`source` must hold a {CONFIG_FILE} that save_pretrained wrote. "
            f"Received: {os.fspath(self.config_path)!r}"
        )

    def _read(self) -> tuple[dict[str, Any], str]:
        """Returns the model's config and the hash of its weights."""
        try:
            content = json.loads(self.config_path.read_bytes())
            config = dict(content["model"])
            digest = str(content["weights_sha256"])
        except FileNotFoundError as error:
            raise _missing(self.config_path) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self.refuse() from error
        # A folder from somewhere else must not make us fetch or open files.
        if "backbone_weights" in config:
            raise self.refuse()
        return config, digest

    def _may_replace_card(self) -> bool:
        """Returns whether there is no card, or one that nobody has changed."""
        if not os.path.lexists(self.card_path):
            return True
        try:
            written = json.loads(self.config_path.read_bytes())
            return written["card_sha256"] == file_sha256(self.card_path)
        except (OSError, ValueError, KeyError, TypeError):
            return False


def _missing(path: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"`source` must hold the files {CONFIG_FILE} and {WEIGHTS_FILE}. "
        f"Received: no {os.fspath(path)!r}"
    )
