"""`keras-pspnet train`: a recipe's run, or a check of its data."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from typing import Any

from keras_pspnet.cli.common import Commands, print_error, print_warning


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser("train", help="train a recipe")
    parser.add_argument(
        "recipe", help="scenes, aerial, voc2012_resnet50, ... or a .py file"
    )
    parser.add_argument(
        "--data-dir",
        dest="data",
        metavar="DIR",
        help="folder of the recipe's data set, or of "
        "{train,val}/{images,masks}",
    )
    parser.add_argument(
        "--check-data",
        action="store_true",
        help="list the problems of the data set without training",
    )
    parser.add_argument(
        "-o", "--output", help="folder of the run (default: runs/RECIPE)"
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="train a tiny network from random weights for a few dozen steps, "
        "to see whether the loss falls",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        help="precision of the convolutions (default: the recipe's)",
    )
    parser.add_argument(
        "--worker-timeout",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="on several machines (TF_CONFIG): how long a worker may be "
        "silent before the others exit with status 75 (default: 20)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command.

    Args:
        options: The parsed options.

    Returns:
        Exit status: 0, or 1 if the loss became NaN or the data has errors.
        Where another worker is lost, the process exits with status 75.

    Raises:
        OSError: If data cannot be read or the output cannot be written.
        ValueError: If the recipe or the data does not fit.
    """
    from keras_pspnet.callbacks import NonFiniteError
    from keras_pspnet.recipes import load_recipe
    from keras_pspnet.training.cluster import WorkerLostError
    from keras_pspnet.training.run import train

    recipe = load_recipe(options.recipe)
    if options.check_data:
        return _check_data(recipe, options.data)
    if options.smoke:
        recipe = recipe.smoke_test()
    if options.precision is not None:
        recipe = dataclasses.replace(recipe, dtype_policy=options.precision)
    output = options.output or os.path.join("runs", recipe.name)
    if not os.path.isdir(os.path.join(output, "checkpoints")):
        _warn_of_data(recipe, options.data)
    try:
        scores = train(
            recipe,
            output,
            options.data,
            worker_timeout=options.worker_timeout,
        )
    except NonFiniteError as error:
        print_error(str(error))
        return 1
    except WorkerLostError as error:
        print_error(str(error))
        sys.stdout.flush()
        sys.stderr.flush()
        # TensorFlow's tear-down may wait for the lost worker.
        os._exit(os.EX_TEMPFAIL)
    if scores is None:
        print("The run is done; the first worker scores and writes.")
        return 0
    print(scores.table())
    print(f"Written to {output}")
    return 0


def _warn_of_data(recipe: Any, data: str | None) -> None:
    """Prints the warnings about data of the user's own before a new run.

    Published sets are known, and take minutes to read.
    """
    from keras_pspnet.training.data import check_data

    if recipe.scenes is not None or recipe.data is not None:
        return
    found = check_data(recipe, data)
    for issue in found:
        if issue.is_warning:
            print_warning(issue.text)
    errors = [issue.text for issue in found if not issue.is_warning]
    if errors:
        more = f" (1 of {len(errors)} errors; --check-data lists all)"
        raise ValueError(errors[0] + (more if len(errors) > 1 else ""))


def _check_data(recipe: Any, data: str | None) -> int:
    from keras_pspnet.training.data import check_data

    found = check_data(recipe, data)
    for issue in found:
        print(issue)
    # Warnings do not stop a run.
    errors = sum(not issue.is_warning for issue in found)
    print(f"{errors} errors, {len(found) - errors} warnings")
    return 1 if errors else 0
