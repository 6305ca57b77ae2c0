"""The model card of an upload, and the license in it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import safetensors

from keras_pspnet.pretrained.card_facts import (
    CardFacts,
    read_front_matter,
    score_summary,
)
from keras_pspnet.pretrained.model_card import model_card
from keras_pspnet.pretrained.model_folder import CARD_FILE, ModelFolder
from keras_pspnet.pretrained.weights_file import StoredWeights
from keras_pspnet.utils import naming_errors

SCORES_FILE = "scores.json"


@dataclasses.dataclass(frozen=True)
class PushedCard:
    """A card, and the config that goes with it.

    Attributes:
        text: The card.
        config: The config, which holds the hash of the card.
        license: License in the card.
        scores: Scores in the card, None if it has none.
        is_kept: Whether the card was edited and is therefore kept.
    """

    text: bytes
    config: bytes
    license: str
    scores: Mapping[str, Any] | None = None
    is_kept: bool = False


def card_to_push(
    model: ModelFolder, facts: CardFacts, argument: str, target: str
) -> PushedCard:
    """Makes the card of a model for the Hub, or keeps an edited one.

    Args:
        model: The model; nothing is written to it.
        facts: Facts given now. They take precedence over those given when the
            model was saved, and over a `scores.json` beside it.
        argument: Name of the argument for the repository, for errors.
        target: Its value.

    Returns:
        The card.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If there is no license, facts are given for an edited card
            that lacks them, or a file is damaged.
    """
    if model.card_is_changed:
        text, license = _own_card(model, facts)
        written = model.config_path.read_bytes()
        return PushedCard(text, written, license, is_kept=True)
    facts = model.read_facts() | _scores_beside(model) | facts
    license = check_license(argument, target, facts.license)
    config = model.read_config()
    try:
        parameters, dtype = StoredWeights(model.weights_path).describe()
        card = model_card(config, parameters, dtype, facts, target)
    # Even with the right hash, the file may not be a model.
    except (
        *(KeyError, TypeError, ValueError),
        safetensors.SafetensorError,
    ) as error:
        raise model.refuse() from error
    text = card.encode()
    return PushedCard(
        text, model.config_with(text, facts), license, facts.scores
    )


def check_license(argument: str, target: str, license: str | None) -> str:
    """Returns the license, which an upload requires.

    Raises:
        ValueError: If it is None.
    """
    if license is None:
        raise ValueError(
            "`license` must be given to upload a model (--license), or be in "
            f"the front matter of its {CARD_FILE}. "
            f"Received: license=None, {argument}={target!r}"
        )
    return license


def _own_card(model: ModelFolder, facts: CardFacts) -> tuple[bytes, str]:
    """Returns an edited card, and the license in it."""
    path = model.card_path
    with naming_errors("folder", path, "readable"):
        card = path.read_bytes()
    try:
        front = read_front_matter(card.decode(), path)
    except UnicodeDecodeError:
        front = {}
    license = front.get("license")
    if not license or not isinstance(license, str):
        raise ValueError(
            "`folder` must hold a model card that names the license of the "
            "weights. An edited card is not rewritten; add a line such as "
            f"'license: {facts.license or 'apache-2.0'}' to its front matter. "
            f"Received: {os.fspath(path)!r}"
        )
    for name, value in facts.to_dict().items():
        if name != "license" or value != license.lower():
            raise ValueError(
                f"`{name}` must be left out if the model card was edited, "
                "since it is not rewritten; add it there. "
                f"Received: {name}={value!r}, {os.fspath(path)!r}"
            )
    return card, license


def _scores_beside(model: ModelFolder) -> CardFacts:
    """Reads the scores that a training run writes beside its best model."""
    path = model.path / SCORES_FILE
    if not path.exists():
        return CardFacts()
    with naming_errors("folder", path, "readable"):
        data = path.read_bytes()
    try:
        content = json.loads(data)
        summary = score_summary(content)
        return CardFacts(recipe=content.get("recipe"), scores=summary)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"`folder` must hold no {SCORES_FILE}, or one that Scores.save "
            f"wrote. Received: {os.fspath(path)!r}"
        ) from error
