"""Saves a model as a folder that `load_pretrained` reads."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from keras_pspnet.models import PSPNet
from keras_pspnet.pretrained.card_facts import CardFacts
from keras_pspnet.pretrained.hub import is_hub_name, repository_of
from keras_pspnet.pretrained.model_card import model_card
from keras_pspnet.pretrained.model_folder import ModelFolder
from keras_pspnet.pretrained.push import Report, facts_of, push_folder
from keras_pspnet.pretrained.push_card import check_license
from keras_pspnet.pretrained.weights_file import DTYPE_CODES
from keras_pspnet.utils import check_choice


def save_pretrained(
    model: PSPNet,
    folder: str | os.PathLike[str],
    dtype: str = "float32",
    *,
    license: str | None = None,
    datasets: Sequence[str] = (),
    recipe: str | None = None,
    scores: Report | Mapping[str, Any] | None = None,
    private: bool = False,
    overwrite: bool = False,
) -> None:
    """Saves a model as a folder with a config, weights and a model card.

    Args:
        model: The model; the optimizer state is not saved.
        folder: Created if missing. Its files are replaced, except a
            `README.md` that was edited. Or `"hf://owner/name"`, a repository
            on the Hugging Face Hub: see
            `keras_pspnet.pretrained.push_pretrained`, also for the arguments
            below.
        dtype: `"float32"`, or `"float16"` at half the size.
        license: License of the weights, for the card, as the Hub abbreviates
            it, such as `"apache-2.0"`. Required for the Hub.
        datasets: Names of the data sets it was trained on, for the card.
        recipe: Name of the recipe that trained it, for the card.
        scores: `keras_pspnet.Scores` of it, for the card.
        private: Whether only the owner can see it on the Hub.
        overwrite: Whether to replace the files of an existing repository.

    Raises:
        ImportError: If huggingface_hub is needed and not installed.
        OSError: If the folder cannot be written, or the upload fails.
        TypeError: If the model is not a `PSPNet`.
        ValueError: If `dtype` is neither, a weight is not finite, or
            arguments do not fit together.

    Examples:
        >>> kp.save_pretrained(model, "my_model", dtype="float16")
        >>> kp.load_pretrained("my_model").num_classes
        5
    """
    if not isinstance(model, PSPNet):
        raise TypeError(
            "`model` must be a PSPNet. "
            f"Received: model of type {type(model).__name__}"
        )
    check_choice("dtype", dtype, tuple(DTYPE_CODES))
    facts = facts_of(license, datasets, recipe, scores)
    if not isinstance(folder, str) or not is_hub_name(folder):
        for name, value in (("private", private), ("overwrite", overwrite)):
            if value:
                raise ValueError(
                    f"`{name}` must be left out unless `folder` is "
                    f"'hf://owner/name'. Received: {name}={value!r}, "
                    f"folder={os.fspath(folder)!r}"
                )
        _write(model, ModelFolder(folder), dtype, facts)
        return
    repository_of("folder", folder)
    check_license("folder", folder, license)
    with tempfile.TemporaryDirectory() as made:
        _write(model, ModelFolder(made), dtype, facts)
        push_folder("folder", folder, made, facts, private, overwrite)


def _write(
    model: PSPNet, saved: ModelFolder, dtype: str, facts: CardFacts
) -> None:
    config = model.get_config()
    parameters = sum(math.prod(each.shape) for each in model.weights)
    saved.path.mkdir(parents=True, exist_ok=True)
    saved.write(
        config,
        {variable.path: variable for variable in model.weights},
        dtype,
        model_card(config, parameters, dtype, facts),
        facts,
    )
