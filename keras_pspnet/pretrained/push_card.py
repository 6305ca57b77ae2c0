"""The model card that goes up with a model, and the license in it."""

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
        config: The config, which knows the card's hash.
        license: What the card says.
        scores: Likewise, None for nothing.
        is_kept: Whether somebody has changed the card, and it is theirs.
    """

    text: bytes
    config: bytes
    license: str
    scores: Mapping[str, Any] | None = None
    is_kept: bool = False


def card_to_push(
    model: ModelFolder, facts: CardFacts, argument: str, target: str
) -> PushedCard:
    """Writes the card of a model for the Hub, or keeps somebody's own.

    Args:
        model: The model; nothing is written to it.
        facts: What is said of it now; it wins over what was said when it was
            saved, and over a `scores.json` beside it.
        argument: Name of the argument that names the repository.
        target: Its value.

    Returns:
        The card.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If there is no license, the card was changed and does not
            say what is said here, or a file is damaged.
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
    # The hash may fit what is no model all the same.
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
    """Returns a license, which must be there to give a model to others.

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
    """Returns a card that somebody has changed, and the license in it."""
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
            f"weights; add 'license: {facts.license or 'apache-2.0'}' or the "
            "like to its front matter, since a card that was changed is left "
            f"alone. Received: {os.fspath(path)!r}"
        )
    for name, value in facts.to_dict().items():
        if name != "license" or value != license.lower():
            raise ValueError(
                f"`{name}` must be left out where the model card was changed "
                "and is left alone; write it there. "
                f"Received: {name}={value!r}, {os.fspath(path)!r}"
            )
    return card, license


def _scores_beside(model: ModelFolder) -> CardFacts:
    """Reads the scores that a training run leaves beside its best model."""
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
