"""Uploads a folder of `save_pretrained` to the Hugging Face Hub."""

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
    """Scores, such as `keras_pspnet.Scores`."""

    def to_dict(self) -> dict[str, Any]:
        """Returns them by name."""
        ...


@dataclasses.dataclass(frozen=True)
class Push:
    """An upload, or a dry run of one.

    Attributes:
        target: `hf://owner/name`.
        sizes: Name of each file -> its size in bytes.
        license: License of the weights in the card.
        scores: Scores in the card, None if it has none.
        card_is_kept: Whether the card was edited and is uploaded unchanged.
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

    The config, the weights and the model card are uploaded in one commit:
    either all of them arrive, or none. The card is rewritten with the facts
    given here; an edited card is uploaded unchanged. The folder itself does
    not change.

    huggingface_hub takes the token from `hf auth login` or the variable
    `HF_TOKEN`.

    Args:
        folder: The folder. A `scores.json` in it, as in `best` of a training
            run, is the default for `scores`.
        target: `"hf://owner/name"`, the repository to create.
        license: License of the weights, as the Hub abbreviates it, such as
            `"apache-2.0"`. Required unless it was given to `save_pretrained`
            or the front matter of the card names it.
        datasets: Names of the data sets that the model was trained on; their
            names on the Hub if they are there.
        recipe: Name of the recipe that trained the model.
        scores: `keras_pspnet.Scores` of the model, or their `to_dict()`.
        private: Whether only the owner can see the repository.
        overwrite: Whether to replace the files of an existing repository.
        dry_run: Whether to skip the upload, without contacting the Hub.

    Returns:
        The upload.

    Raises:
        FileExistsError: If the repository exists, without `overwrite`.
        ImportError: If huggingface_hub is not installed.
        OSError: If the folder cannot be read or the upload fails. If the
            repository was created before that, the message says so.
        ValueError: If `target` is not a valid name, the folder holds no
            model, there is no license, or facts are given for an edited card
            that lacks them.

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
    """Collects the facts of a model card.

    Args:
        license: As in `push_pretrained`, in lower or upper case.
        datasets: Likewise.
        recipe: Likewise.
        scores: Likewise.

    Raises:
        TypeError: If `datasets` is a string.
        ValueError: If a value is not valid in a card.
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
        # SPDX uses capitals, the Hub does not.
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
        argument: Name of the caller's argument `target`, for errors.
        target: As in `push_pretrained`.
        folder: Likewise.
        facts: Facts of the model card.
        private: As in `push_pretrained`.
        overwrite: Likewise.
        dry_run: Likewise.

    Returns:
        As in `push_pretrained`.

    Raises:
        OSError: As in `push_pretrained`.
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
