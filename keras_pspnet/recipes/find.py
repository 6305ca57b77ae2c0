"""Finds a recipe by its name or file."""

from __future__ import annotations

import contextlib
import importlib
import os
import runpy
import traceback
from collections.abc import Iterator
from typing import cast

from keras_pspnet.training.recipe import Recipe
from keras_pspnet.utils import check_rule

RECIPES = (
    "scenes",
    "aerial",
    "camvid_resnet18",
    "camvid_scratch",
    "voc2012_resnet50",
    "voc2012_resnet101",
    "cityscapes_resnet101",
    "ade20k_resnet50",
    "ade20k_resnet101",
)


def load_recipe(name: str) -> Recipe:
    """Finds a recipe by name, or by the path of a Python file.

    Args:
        name: One of `RECIPES`, or the path of a `.py` file that defines
            `RECIPE`, a `Recipe`.

    Returns:
        The recipe.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such recipe.
    """
    if name in RECIPES:
        module = importlib.import_module(f"{__package__}.{name}")
        return module.RECIPE
    rule = f"be one of {', '.join(RECIPES)} or a .py file"
    check_rule("recipe", name, rule, name.endswith(".py"))
    if not os.path.isfile(name):
        raise FileNotFoundError(
            f"`recipe` must be an existing file. Received: recipe={name!r}"
        )
    # Run it as a module of this package, so that copies of our recipes can use
    # relative imports.
    with _naming_the_line(name):
        content = runpy.run_path(name, run_name=f"{__package__}.recipe_file")
    recipe = content.get("RECIPE")
    rule = "be a file whose RECIPE is a Recipe"
    check_rule("recipe", name, rule, isinstance(recipe, Recipe))
    return cast(Recipe, recipe)


@contextlib.contextmanager
def _naming_the_line(path: str) -> Iterator[None]:
    """Turns errors of a recipe file into one line that names their place."""
    try:
        yield
    except SyntaxError as error:
        # Null bytes are reported without a line.
        place = path
        if error.lineno is not None:
            place = f"{error.filename}, line {error.lineno}"
        raise ValueError(
            f"`recipe` must be valid Python ({error.msg}). Received: {place}"
        ) from error
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == path
        ]
        place = f"{path}, line {lines[-1]}" if lines else path
        # A bare assert has no message.
        text = str(error) or type(error).__name__
        if isinstance(error, SystemExit):
            text = "a recipe must not exit; it only defines RECIPE"
        raise ValueError(f"{place}: {text}") from error
