"""A model on disk: a config, the weights it names, and a model card."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_pspnet.pretrained.card_facts import CardFacts
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
        argument: Name of the caller's argument, for errors.
    """

    def __init__(
        self, path: str | os.PathLike[str], argument: str = "source"
    ) -> None:
        self.path = Path(path)
        self._argument = argument
        self.config_path = self.path / CONFIG_FILE
        self.weights_path = self.path / WEIGHTS_FILE
        self.card_path = self.path / CARD_FILE

    def read_config(self) -> dict[str, Any]:
        """Reads `PSPNet.get_config()` of the model.

        Raises:
            FileNotFoundError: If there is no config.
            ValueError: If `save_pretrained` did not write it.
        """
        return self._read()[0]

    def check_weights(self) -> None:
        """Checks the weights against the hash in the config.

        Raises:
            FileNotFoundError: If the weights are missing.
            ValueError: If their hash differs.
        """
        _, digest = self._read()
        try:
            found = file_sha256(self.weights_path)
        except FileNotFoundError as error:
            raise self._missing(self.weights_path) from error
        if found != digest:
            raise ValueError(
                f"`{self._argument}` must hold the weights its {CONFIG_FILE} "
                "names; their sha256 differs. "
                f"Received: {os.fspath(self.weights_path)!r}"
            )

    @property
    def is_intact(self) -> bool:
        """Whether the folder has a config and the weights that it names."""
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
        facts: CardFacts | None = None,
    ) -> None:
        """Writes the files, each whole or not at all; the folder must exist.

        Args:
            config: `PSPNet.get_config()`.
            weights: Variable path -> variable or array.
            dtype: Type of the stored weights.
            card: Text of the model card, or None for no card. An edited card
                is kept.
            facts: Facts of the card that the other files do not contain; they
                are stored to write the card again.

        Raises:
            OSError: If a file cannot be written.
            ValueError: If a weight is not finite in `dtype`.
        """
        check_writable(self.config_path)
        content: dict[str, Any] = {
            "keras_pspnet": __version__,
            "model": config,
            "weights_sha256": write_weights(self.weights_path, weights, dtype),
        }
        text = (card or "").encode()
        replaces_card = card is not None and not self.card_is_changed
        if card is not None:
            content |= _about_card(text, facts or CardFacts())
        write_atomically(self.config_path, _as_json(content))
        if replaces_card:
            write_atomically(self.card_path, text)

    @property
    def card_is_changed(self) -> bool:
        """Whether there is a card that was edited after it was written."""
        if not os.path.lexists(self.card_path):
            return False
        try:
            written = json.loads(self.config_path.read_bytes())
            return written["card_sha256"] != file_sha256(self.card_path)
        except (OSError, ValueError, KeyError, TypeError):
            return True

    def read_facts(self) -> CardFacts:
        """Reads the facts that were given to `write`.

        Raises:
            ValueError: If `write` did not write the config.
        """
        try:
            content = json.loads(self.config_path.read_bytes())
            return CardFacts.from_dict(content.get("card", {}))
        except (ValueError, TypeError) as error:
            raise self.refuse() from error

    def config_with(self, card: bytes, facts: CardFacts) -> bytes:
        """Returns the config that goes with another card; writes nothing.

        Args:
            card: The card.
            facts: Facts of the card that the other files do not contain.
        """
        content = json.loads(self.config_path.read_bytes())
        return _as_json(content | _about_card(card, facts))

    def refuse(self) -> ValueError:
        """Returns the error for a config that `write` did not write."""
        return ValueError(
            f"`{self._argument}` must hold a {CONFIG_FILE} that "
            f"save_pretrained wrote. Received: {os.fspath(self.config_path)!r}"
        )

    def _read(self) -> tuple[dict[str, Any], str]:
        """Returns the model's config and the hash of its weights."""
        try:
            content = json.loads(self.config_path.read_bytes())
            config = dict(content["model"])
            digest = str(content["weights_sha256"])
        except FileNotFoundError as error:
            raise self._missing(self.config_path) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self.refuse() from error
        # An untrusted folder must not make us download or open other files.
        if "backbone_weights" in config:
            raise self.refuse()
        return config, digest

    def _missing(self, path: Path) -> FileNotFoundError:
        return FileNotFoundError(
            f"`{self._argument}` must hold the files {CONFIG_FILE} and "
            f"{WEIGHTS_FILE}. Received: no {os.fspath(path)!r}"
        )


def _about_card(card: bytes, facts: CardFacts) -> dict[str, Any]:
    return {
        "card_sha256": hashlib.sha256(card).hexdigest(),
        "card": facts.to_dict(),
    }


def _as_json(content: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(content, indent=2)}\n".encode()
