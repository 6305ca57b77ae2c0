"""`keras-pspnet train`: trains with or without a recipe, or checks the data."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import sys
from typing import Any

from keras_pspnet.cli.common import (
    SHEET,
    Commands,
    print_error,
    print_warning,
    write_sheet,
)
from keras_pspnet.cli.own_data import (
    add_own_options,
    check_no_own,
    keep_recipe,
    output_folder,
    own_recipe,
    own_sets,
    print_next,
)


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "train", help="train on your own folder, or run a recipe"
    )
    parser.add_argument(
        "recipe",
        nargs="?",
        help="recipe: scenes, aerial, voc2012_resnet50, ... or a .py file; "
        "without one, the command makes a recipe for --data-dir and writes it "
        "into the run's folder",
    )
    parser.add_argument(
        "--data-dir",
        dest="data",
        metavar="DIR",
        help="folder of your images with masks or annotations, or of the "
        "recipe's data set",
    )
    parser.add_argument(
        "--check-data",
        action="store_true",
        help="list the problems in the data, without training",
    )
    parser.add_argument(
        "--sheet",
        metavar="PNG",
        help="with --check-data: write a sheet of training images and mask "
        "overlays to this file",
    )
    parser.add_argument(
        "-o",
        "--output",
        help="folder of the run (default: runs/NAME, the name of the recipe "
        "or of the data folder)",
    )
    add_own_options(parser)
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="train a tiny network from random weights for a few dozen steps, "
        "to see if the loss falls",
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
        help="on several machines (TF_CONFIG): if a worker is silent for this "
        "long, the others exit with status 75 (default: 20)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command.

    Args:
        options: The parsed options.

    Returns:
        Exit status: 0, or 1 if the loss became NaN or the data has errors.
        If another worker is lost, the process exits with status 75.

    Raises:
        OSError: If data cannot be read or the output cannot be written.
        ValueError: If the recipe or the data does not fit.
    """
    from keras_pspnet.callbacks import NonFiniteError
    from keras_pspnet.recipes import load_recipe
    from keras_pspnet.training.cluster import WorkerLostError
    from keras_pspnet.training.run import train

    if options.recipe is not None:
        check_no_own(options)
    if options.check_data:
        return _check_data(options)
    if options.recipe is None:
        recipe = own_recipe(options)
    else:
        recipe = load_recipe(options.recipe)
    if options.sheet is not None:
        raise ValueError(
            "`--sheet` requires --check-data. "
            f"Received: --sheet {options.sheet}"
        )
    if options.smoke:
        recipe = recipe.smoke_test()
    if options.precision is not None:
        recipe = dataclasses.replace(recipe, dtype_policy=options.precision)
    output = output_folder(options, recipe.name)
    on_start = None
    if options.recipe is None:
        on_start = functools.partial(keep_recipe, recipe, output)
    if not os.path.isdir(os.path.join(output, "checkpoints")):
        _warn_of_data(recipe, options.data)
    try:
        scores = train(
            recipe,
            output,
            options.data,
            worker_timeout=options.worker_timeout,
            on_start=on_start,
        )
    except NonFiniteError as error:
        print_error(str(error))
        return 1
    except WorkerLostError as error:
        print_error(str(error))
        sys.stdout.flush()
        sys.stderr.flush()
        # TensorFlow's shutdown could wait for the lost worker.
        os._exit(os.EX_TEMPFAIL)
    if scores is None:
        print("The run is done; the first worker scores and writes.")
        return 0
    print(scores.table())
    print(f"Written to {output}")
    if options.recipe is None:
        print_next(recipe, output, options.data)
    return 0


def _warn_of_data(recipe: Any, data: str | None) -> None:
    """Prints warnings about the user's own data before a new run.

    Published sets need no check, and take minutes to read.
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


def _check_data(options: argparse.Namespace) -> int:
    from keras_pspnet.data import RGB, band_statistics, check
    from keras_pspnet.recipes import load_recipe
    from keras_pspnet.training.data import first_overlays, sets_to_check
    from keras_pspnet.utils import check_writable

    if options.sheet is not None:
        check_writable(options.sheet)
    if options.recipe is None:
        sets = own_sets(options)
    else:
        sets = sets_to_check(load_recipe(options.recipe), options.data)
    found = [issue for each in sets for issue in check(each)]
    for issue in found:
        print(issue)
    # Warnings do not stop a run.
    errors = sum(not issue.is_warning for issue in found)
    print(f"{errors} errors, {len(found) - errors} warnings")
    train = sets[0]
    # Recipes for RGB have ImageNet's values; `own_recipe` measures the others.
    if not errors and train.bands != RGB and options.recipe is not None:
        measured = band_statistics(train)
        print(
            "For the recipe: network="
            f"{{'mean': {measured.mean}, 'std': {measured.std}}}"
        )
    if options.sheet is not None:
        write_sheet(options.sheet, first_overlays(train, SHEET))
    if not errors and options.recipe is None:
        # It refuses, for instance, a class that only validation images show.
        own_recipe(options)
    return 1 if errors else 0
