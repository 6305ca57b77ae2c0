"""The command line: the only module that prints or exits."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: What follows the program's name; None takes the process's.

    Returns:
        Exit status: 0, 2 for bad input (one line on stderr), 130 for Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
        print(f"keras-pspnet: error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-pspnet", description="PSPNet for Keras and TensorFlow."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    segment = commands.add_parser("segment", help="segment a picture")
    segment.add_argument("picture", help="JPEG, PNG, WebP, BMP, GIF or TIFF")
    segment.add_argument(
        "-o", "--output", required=True, help="picture to write, .png or .jpg"
    )
    segment.add_argument(
        "--model",
        default="aerial",
        help="name of a published model, or a folder of save_pretrained",
    )
    segment.add_argument(
        "--mask",
        action="store_true",
        help="write the mask of class ids (palette PNG) instead",
    )
    segment.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=[1.0],
        help="sizes whose probabilities are averaged",
    )
    segment.add_argument(
        "--flip", action="store_true", help="average mirrored pictures in"
    )
    segment.set_defaults(run=_segment)

    train = commands.add_parser("train", help="train a recipe")
    train.add_argument("recipe", help="scenes, aerial, or a recipe's .py file")
    train.add_argument("--data", help="folder of {train,val}/{images,masks}")
    train.add_argument("-o", "--output", help="folder of the run (runs/RECIPE)")
    train.add_argument(
        "--smoke",
        action="store_true",
        help="a few steps of a tiny network, to see that it works",
    )
    train.set_defaults(run=_train)

    export = commands.add_parser("export", help="export a SavedModel")
    export.add_argument("folder", help="folder to make, e.g. models/pspnet/1")
    export.add_argument("--model", default="aerial", help="as for segment")
    export.set_defaults(run=_export)
    return parser


def _segment(options: argparse.Namespace) -> None:
    from keras_pspnet.data.decode import read_image
    from keras_pspnet.files import check_writable
    from keras_pspnet.visualize import check_suffix

    # What can be wrong with the files shows before a model is loaded.
    what = "mask" if options.mask else "picture"
    check_suffix(options.output, what)
    check_writable(options.output)
    picture = read_image(options.picture)

    from keras_pspnet.inference import segment
    from keras_pspnet.pretrained import load_pretrained

    model = load_pretrained(options.model)
    result = segment(model, picture, options.scales, options.flip)
    result.save(options.output, what)
    shares = ", ".join(
        f"{name} {share:.1%}" for name, share in result.areas().items()
    )
    print(f"{options.output}: {shares}")


def _train(options: argparse.Namespace) -> None:
    from keras_pspnet.training.train import SCORES_FILE, load_recipe, train

    recipe = load_recipe(options.recipe)
    if options.smoke:
        recipe = recipe.shrunk()
    output = options.output or os.path.join("runs", recipe.name)
    scores = train(recipe, output, options.data)
    print(scores.table())
    print(f"Written to {output}: model/, {SCORES_FILE}, predictions.png")


def _export(options: argparse.Namespace) -> None:
    from keras_pspnet.files import check_absent

    check_absent(options.folder)

    from keras_pspnet.export import export_saved_model
    from keras_pspnet.pretrained import load_pretrained

    export_saved_model(load_pretrained(options.model), options.folder)
    print(
        f"{options.folder}: exported, loaded again, and its masks are those "
        "of the model"
    )
