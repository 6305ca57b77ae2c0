"""Writes a recipe as the Python file that `load_recipe` reads."""

from __future__ import annotations

import dataclasses
import os
import pprint

from keras_pspnet.training.recipe import Recipe
from keras_pspnet.utils import write_atomically

_WIDTH = 70


def write_recipe(
    recipe: Recipe, path: str | os.PathLike[str], command: str
) -> None:
    """Writes all fields that differ from their defaults.

    Args:
        recipe: The recipe; its loss must be None or names with factors.
        path: The `.py` file.
        command: The command that made the recipe, for the file's docstring.

    Raises:
        OSError: If the file cannot be written.
    """
    name = os.path.basename(path)
    fields = []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if value == default:
            continue
        text = pprint.pformat(value, width=_WIDTH, sort_dicts=False)
        fields.append(f"    {field.name}={text},".replace("\n", "\n    "))
    lines = [
        f'"""A run on images and masks of one\'s own: {recipe.name}.',
        "",
        f"    {command}",
        "",
        "Change it, and train it again with",
        "",
        f"    keras-pspnet train {name} --data-dir DIR -o RUN",
        '"""',
        "",
        "from keras_pspnet.labels import LabelSet",
        "from keras_pspnet.training.recipe import Recipe",
        "",
        "RECIPE = Recipe(",
        *fields,
        ")",
        "",
    ]
    write_atomically(path, "\n".join(lines).encode())
