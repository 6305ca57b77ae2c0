"""`keras-pspnet train` without a recipe: makes one for the data."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from typing import Any

from keras_pspnet.cli.common import MODEL

# Name of the recipe in the folder of a run.
RECIPE_FILE = "recipe.py"


def add_own_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `recipe_for_data`."""
    own = parser.add_argument_group("without a recipe")
    own.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="trained model to start from: name of a published model, such "
        f"as voc, or folder written by save_pretrained (default: {MODEL})",
    )
    own.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="number of passes over the images (default: 40)",
    )
    own.add_argument(
        "--loss",
        nargs="+",
        metavar="NAME=FACTOR",
        help="sum of these losses, such as cross_entropy=1 dice=0.5 "
        "(default: cross_entropy)",
    )
    own.add_argument(
        "--class-weight",
        choices=("balanced",),
        help="weight the classes so that each has the same share of the loss",
    )
    own.add_argument(
        "--val-share",
        type=float,
        metavar="SHARE",
        help="share of the images to validate on, if the data has no split "
        "for that (default: 0.2)",
    )
    own.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="crops per batch (default: as many as fit, at most 16)",
    )
    own.add_argument(
        "--bands",
        type=int,
        metavar="N",
        help="bands of the images (default: 3)",
    )


def output_folder(options: argparse.Namespace, name: str) -> str:
    """Returns the folder of a run."""
    return options.output or os.path.join("runs", name)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the given options that apply only without a recipe."""
    names = ["start", "epochs", "loss", "class_weight", "val_share"]
    names += ["batch_size", "bands"]
    found = {name: getattr(options, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def check_no_own(options: argparse.Namespace) -> None:
    """Refuses options that cannot be combined with a recipe."""
    for name in _given(options):
        option = "from" if name == "start" else name.replace("_", "-")
        raise ValueError(
            f"`--{option}` cannot be combined with a recipe; change its file. "
            f"Received: recipe={options.recipe!r}"
        )


def own_recipe(options: argparse.Namespace) -> Any:
    """Makes the recipe for the folder; a resumed run gets the same one."""
    from pathlib import Path

    from keras_pspnet.recipes import load_recipe
    from keras_pspnet.training.cluster import cluster_from_environment
    from keras_pspnet.training.recipe_for_data import recipe_for_data

    _check_folder(options)
    if cluster_from_environment().size > 1:
        raise ValueError(
            "`recipe` is required on several machines: start the run on one "
            "machine, and use the recipe.py that it writes. Received: no recipe"
        )
    given = _given(options)
    if "loss" in given:
        given["loss"] = _losses(given["loss"])
    kept = os.path.join(
        output_folder(options, Path(options.data).resolve().name), RECIPE_FILE
    )
    if os.path.exists(kept) and "batch_size" not in given:
        # Less memory may be free than when the run started.
        given["batch_size"] = load_recipe(kept).batch_size
    return recipe_for_data(options.data, **given)


def own_sets(options: argparse.Namespace) -> Any:
    """Loads the sets in the folder with all their issues."""
    from keras_pspnet.data import RGB
    from keras_pspnet.training.recipe_for_data import own_sets_to_check

    _check_folder(options)
    return own_sets_to_check(options.data, _given(options).get("bands", RGB))


def _check_folder(options: argparse.Namespace) -> None:
    if options.data is None:
        raise ValueError(
            "`train` requires a recipe or `--data-dir`. Received: neither"
        )


def _losses(texts: list[str]) -> dict[str, float]:
    factors = {}
    for text in texts:
        name, _, factor = text.partition("=")
        try:
            factors[name] = float(factor or 1)
        except ValueError as error:
            raise ValueError(
                f"`--loss` must be NAME or NAME=FACTOR. Received: --loss {text}"
            ) from error
    return factors


def keep_recipe(recipe: Any, output: str) -> None:
    """Writes the recipe into the run's folder, and says what the run does."""
    from keras_pspnet.training.recipe_file import write_recipe

    path = os.path.join(output, RECIPE_FILE)
    command = " ".join(["keras-pspnet", *map(shlex.quote, sys.argv[1:])])
    write_recipe(recipe, path, command)
    height, width = recipe.crop
    where = f"validates on {recipe.val_split!r}"
    if recipe.val_share is not None:
        where = f"validates on {recipe.val_share:.0%} of the images, drawn"
        where += f" with seed {recipe.seed}"
    print(
        f"{recipe.labels.num_classes} classes: {', '.join(recipe.labels.names)}"
        f"\n{where}\n{recipe.steps} steps of {recipe.batch_size} crops of "
        f"{height}x{width}, from {recipe.start_from!r}\nRecipe: {path}",
        flush=True,
    )


def print_next(recipe: Any, output: str, data: str) -> None:
    """Prints the next commands for the model of a run."""
    model = shlex.quote(os.path.join(output, "model"))
    second = f"demo --model {model}"
    if recipe.data is None and recipe.val_split is not None:
        second = f"evaluate --model {model} --data {shlex.quote(data)} "
        second += f"--split {shlex.quote(recipe.val_split)}"
    height, width = recipe.crop
    print(
        "Next:\n"
        f"  keras-pspnet segment IMAGE --model {model} -o out.png\n"
        f"  keras-pspnet {second}\n"
        f"  keras-pspnet export litert --model {model} --size {height} {width}"
        " -o model.tflite"
    )
