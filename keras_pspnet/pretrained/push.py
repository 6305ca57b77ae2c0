"""Gives a folder of `save_pretrained` to others, at the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from keras_pspnet.pretrained.card_facts import CardFacts, score_summary
from keras_pspnet.pretrained.hub import repository_of
from keras_pspnet.pretrained.model_folder import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    ModelFolder,
)
from keras_pspnet.pretrained.push_card import card_to_push
from keras_pspnet.pretrained.upload import upload


class Report(Protocol):
    """What has scores, as `keras_pspnet.Scores` has."""

    def to_dict(self) -> dict[str, Any]:
        """Returns them by name."""
        ...


@dataclasses.dataclass(frozen=True)
class Push:
    """What is uploaded, or would be.

    Attributes:
        target: `hf://owner/name`.
        sizes: Name of each file -> its bytes.
        license: Of the weights, as the card says it.
        scores: What the card says of them, None for nothing.
        card_is_kept: Whether the card is somebody's own, and uploaded as it
            is.
        url: Address of the repository; None if nothing was uploaded.
    """

    target: str
    sizes: Mapping[str, int]
    license: str
    scores: Mapping[str, Any] | None
    card_is_kept: bool
    url: str | None = None


def push_pretrained(
    folder: str | os.PathLike[str],
    target: str,
    *,
    license: str | None = None,
    datasets: Sequence[str] = (),
    recipe: str | None = None,
    scores: Report | Mapping[str, Any] | None = None,
    private: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
) -> Push:
    """Uploads a folder of `save_pretrained` to the Hugging Face Hub.

    The config, the weights and the model card go there in one commit: either
    all of them are there in the end, or none. The card is written anew with
    what is said here; one that somebody has changed is uploaded as it is. The
    folder itself stays as it is.

    The token is huggingface_hub's: of `hf auth login`, or the variable
    `HF_TOKEN`.

    Args:
        folder: The folder. A `scores.json` in it, as in `best` of a training
            run, is the `scores` unless they are given.
        target: `"hf://owner/name"`; the repository is made.
        license: Of the weights, as the Hub abbreviates it, such as
            `"apache-2.0"`. It may be left out where `save_pretrained` was
            given it, or the card's front matter names it.
        datasets: Names of the data sets that the model was trained on, by
            their names at the Hub where they are there.
        recipe: Name of the recipe that trained it.
        scores: `keras_pspnet.Scores` of it, or their `to_dict()`.
        private: Whether only the owner may see the repository.
        overwrite: Whether to replace the files of a repository that exists.
        dry_run: Whether to upload nothing, and ask the Hub nothing.

    Returns:
        What was uploaded, or would be.

    Raises:
        FileExistsError: If the repository exists, without `overwrite`.
        ImportError: If huggingface_hub is not installed.
        OSError: If the folder cannot be read or the upload fails; if the
            repository was made for it, the error says so.
        ValueError: If `target` is no such name, the folder holds no model,
            nobody says a license, or a card that somebody has changed does
            not say what is said here.

    Examples:
        >>> from keras_pspnet.pretrained import push_pretrained
        >>> kp.save_pretrained(model, "my_model", license="cc-by-4.0")
        >>> push = push_pretrained("my_model", "hf://me/pets", dry_run=True)
        >>> sorted(push.sizes), push.license, push.url
        (['README.md', 'config.json', 'model.safetensors'], 'cc-by-4.0', None)
    """
    facts = facts_of(license, datasets, recipe, scores)
    return push_folder(
        "target", target, folder, facts, private, overwrite, dry_run
    )


def facts_of(
    license: str | None,
    datasets: Sequence[str],
    recipe: str | None,
    scores: Report | Mapping[str, Any] | None,
) -> CardFacts:
    """Puts what is said of a model into a card's facts.

    Args:
        license: As of `push_pretrained`, in capitals as well.
        datasets: Likewise.
        recipe: Likewise.
        scores: Likewise.

    Raises:
        TypeError: If `datasets` is a text.
        ValueError: If a value cannot stand in a card.
    """
    if isinstance(datasets, str):
        raise TypeError(
            "`datasets` must be a sequence of names. "
            f"Received: datasets={datasets!r}"
        )
    content: Any = scores
    if content is not None and not isinstance(content, Mapping):
        content = content.to_dict() if hasattr(content, "to_dict") else content
    return CardFacts(
        # SPDX writes capitals, the Hub does not.
        license=license.lower() if isinstance(license, str) else license,
        datasets=tuple(datasets),
        recipe=recipe,
        scores=None if content is None else score_summary(content),
    )


def push_folder(
    argument: str,
    target: str,
    folder: str | os.PathLike[str],
    facts: CardFacts,
    private: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
) -> Push:
    """Uploads a folder, see `push_pretrained`.

    Args:
        argument: What the caller calls `target`.
        target: As of `push_pretrained`.
        folder: Likewise.
        facts: What is said of the model.
        private: As of `push_pretrained`.
        overwrite: Likewise.
        dry_run: Likewise.

    Returns:
        As `push_pretrained`.

    Raises:
        OSError: As `push_pretrained`.
        ValueError: Likewise.
    """
    repository = repository_of(argument, target)
    model = ModelFolder(folder, "folder")
    model.check_weights()
    card = card_to_push(model, facts, argument, target)
    files: dict[str, bytes | Path] = {
        CARD_FILE: card.text,
        CONFIG_FILE: card.config,
        WEIGHTS_FILE: model.weights_path,
    }
    sizes = {
        name: len(each) if isinstance(each, bytes) else each.stat().st_size
        for name, each in files.items()
    }
    push = Push(target, sizes, card.license, card.scores, card.is_kept)
    if dry_run:
        return push
    url = upload(argument, target, repository, files, private, overwrite)
    return dataclasses.replace(push, url=url)
