"""The command line: only the modules named `cli...` print or exit."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import io
import os
import reprlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from keras_pspnet import cli_demo, cli_evaluate, cli_segment
from keras_pspnet.cli_shared import integer_or_none, print_error
from keras_pspnet.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: What follows the program's name; None takes the process's.

    Returns:
        Exit status: 0, 1 where the work was done but failed, 2 for bad input
        (one line on stderr), 130 for Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files and classes may be none that it can show.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return options.run(options)
    except (ValueError, OSError, ImportError) as error:
        print_error(str(error))
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-pspnet", description="PSPNet for Keras and TensorFlow."
    )
    # Asked for alone, it is answered before the package is imported.
    parser.add_argument(
        "--version", action="version", version=f"keras-pspnet {__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    cli_segment.add_parser(commands)
    cli_evaluate.add_parser(commands)
    cli_demo.add_parser(commands)

    train = commands.add_parser("train", help="train a recipe")
    train.add_argument(
        "recipe", help="scenes, aerial, voc2012_resnet50, ... or a .py file"
    )
    train.add_argument(
        "--data-dir",
        "--data",
        dest="data",
        help="folder of the set that the recipe names, or else of "
        "{train,val}/{images,masks}",
    )
    train.add_argument(
        "--check-data",
        action="store_true",
        help="list all that is wrong with the data, and train nothing",
    )
    train.add_argument("-o", "--output", help="folder of the run (runs/RECIPE)")
    train.add_argument(
        "--smoke",
        action="store_true",
        help="a few dozen steps of a tiny network from random weights, to see "
        "that the loss falls",
    )
    train.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        help="what convolutions compute in (default: the recipe's)",
    )
    train.add_argument(
        "--worker-timeout",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="with several machines (TF_CONFIG): how long one may be silent "
        "before the others exit with status 75 (20)",
    )
    train.set_defaults(run=_train)

    export = commands.add_parser(
        "export", help="export for servers, phones and other runtimes"
    )
    export.add_argument(
        "-o",
        "--output",
        required=True,
        help="folder to make, e.g. models/pspnet/1, or .tflite, .onnx file",
    )
    export.add_argument(
        "--format",
        choices=("savedmodel", "litert", "onnx"),
        default="savedmodel",
    )
    export.add_argument("--model", default="aerial", help="as for segment")
    export.add_argument("--backbone", help="as for segment")
    export.add_argument(
        "--precision",
        default=argparse.SUPPRESS,
        help="savedmodel: float32, bfloat16; litert: float32, float16, "
        "dynamic, int8; onnx: float32",
    )
    _add_saved_model_options(export)
    _add_litert_options(export)
    export.set_defaults(run=_export)

    convert = commands.add_parser(
        "convert", help="convert a checkpoint of another framework"
    )
    convert.add_argument(
        "file", help="mmsegmentation or semseg .pth, or a .caffemodel"
    )
    convert.add_argument(
        "-o", "--output", required=True, help="folder for --model"
    )
    convert.add_argument(
        "--align-corners",
        action=argparse.BooleanOptionalAction,
        help="corner-aligned resizing, where the file's source has it "
        "otherwise",
    )
    convert.add_argument(
        "--contract-dilation",
        action=argparse.BooleanOptionalAction,
        help="half the dilation in the first block of a stage, likewise",
    )
    convert.add_argument(
        "--stride-on",
        choices=("3x3", "1x1"),
        help="the strided convolution of a bottleneck, likewise",
    )
    convert.add_argument(
        "--output-stride",
        type=int,
        choices=(8, 16, 32),
        help="input size over feature size, likewise",
    )
    for name in ("mean", "std"):
        convert.add_argument(
            f"--{name}",
            type=float,
            nargs=3,
            metavar=("R", "G", "B"),
            help=f"{name} of the pictures in 0..255, likewise",
        )
    convert.set_defaults(run=_convert)

    info = commands.add_parser("info", help="list the published models")
    info.set_defaults(run=_info)
    return parser


def _add_saved_model_options(export: argparse.ArgumentParser) -> None:
    # What is left out stays out of the call: the function has the defaults.
    group = export.add_argument_group(
        "savedmodel", argument_default=argparse.SUPPRESS
    )
    group.add_argument(
        "--max-side",
        type=integer_or_none,
        metavar="N",
        help="longer pictures are shrunk to this for the network; none keeps "
        "them as they are",
    )
    group.add_argument(
        "--scales", type=float, nargs="+", metavar="S", help="as for segment"
    )
    group.add_argument("--flip", action="store_true", help="as for segment")
    group.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="side of windows that slide over the picture, instead of the "
        "whole at once",
    )
    group.add_argument(
        "--max-pixels",
        type=int,
        metavar="N",
        help="files with more are answered with the status TOO_LARGE",
    )
    group.add_argument(
        "--batch-sizes",
        type=int,
        nargs="+",
        metavar="N",
        help="pictures in each warm-up request: the server's "
        "allowed_batch_sizes",
    )


def _add_litert_options(export: argparse.ArgumentParser) -> None:
    group = export.add_argument_group(
        "litert", argument_default=argparse.SUPPRESS
    )
    group.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="of the pictures",
    )
    group.add_argument(
        "--calibration",
        nargs="+",
        metavar="PATH",
        help="for int8: some dozens of pictures, or folders of them",
    )


def _train(options: argparse.Namespace) -> int:
    from keras_pspnet.callbacks import NonFiniteError
    from keras_pspnet.training.cluster import WorkerLostError
    from keras_pspnet.training.train import (
        BEST_FOLDER,
        CURVES_FILE,
        HISTORY_FILE,
        LOGS_FOLDER,
        MODEL_FOLDER,
        SCORES_FILE,
        SHEET_FILE,
        load_recipe,
        train,
    )

    recipe = load_recipe(options.recipe)
    if options.check_data:
        return _check_data(recipe, options.data)
    if options.smoke:
        if recipe.backbone_weights is not None:
            print(
                "--smoke leaves out the start from "
                f"{recipe.backbone_weights} weights: the network is narrower."
            )
        recipe = recipe.shrunk()
    if options.precision is not None:
        recipe = dataclasses.replace(recipe, dtype_policy=options.precision)
    output = options.output or os.path.join("runs", recipe.name)
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
        # Else TensorFlow's tear-down may wait for the lost one.
        os._exit(os.EX_TEMPFAIL)
    if scores is None:
        print("The run is done; the first worker scores and writes.")
        return 0
    print(scores.table())
    print(
        f"Written to {output}: {MODEL_FOLDER}/, {SCORES_FILE}, {SHEET_FILE}, "
        f"{CURVES_FILE}, {BEST_FOLDER}/, {HISTORY_FILE}, {LOGS_FOLDER}/"
    )
    return 0


def _check_data(recipe: Any, data: str | None) -> int:
    from keras_pspnet.training.train import check_data

    found = check_data(recipe, data)
    for fault in found:
        print(fault)
    # Whoever is warned can train all the same.
    count = sum(not fault.is_warning for fault in found)
    print(f"{count} faults, {len(found) - count} warnings")
    return 1 if count else 0


def _export(options: argparse.Namespace) -> int:
    from keras_pspnet.files import check_absent, check_writable

    # What can be wrong with files and options shows before a model is loaded.
    if options.format == "savedmodel":
        check_absent(options.output)
    else:
        check_writable(options.output)

    function, precisions = _export_function(options.format)
    arguments = _export_arguments(options, function, precisions)
    if "calibration" in arguments:
        arguments["calibration"] = _calibration(arguments["calibration"])

    from keras_pspnet.export.verify import ExportError
    from keras_pspnet.pretrained import load_pretrained

    model = load_pretrained(options.model, backbone=options.backbone)
    try:
        parity = function(model, options.output, **arguments)
    except ExportError as error:
        # With the table that says how far it is off, in lines of its own.
        print(f"keras-pspnet: error: {error}", file=sys.stderr)
        return 1
    print(parity)
    print(f"Written to {options.output}")
    return 0


def _export_function(
    name: str,
) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """Returns the export function of a format, and its precisions."""
    from keras_pspnet import export

    if name == "savedmodel":
        return export.export_saved_model, export.PRECISIONS
    if name == "litert":
        return export.export_litert, export.LITERT_PRECISIONS
    return export.export_onnx, ("float32",)


def _export_arguments(
    options: argparse.Namespace,
    function: Callable[..., Any],
    precisions: Sequence[str],
) -> dict[str, Any]:
    """Returns the given options as arguments of an export function.

    Raises:
        ValueError: If one is given that is not for this format.
    """
    common = ("run", "output", "format", "model", "backbone")
    given = {
        name: value
        for name, value in vars(options).items()
        if name not in common
    }
    if "precision" in given and given["precision"] not in precisions:
        raise ValueError(
            f"`precision` must be {' or '.join(map(repr, precisions))} for "
            f"format {options.format!r}. "
            f"Received: precision={given['precision']!r}"
        )
    if len(precisions) == 1:
        # Where there is no choice, the function has no argument.
        given.pop("precision", None)
    for name, value in given.items():
        if name not in inspect.signature(function).parameters:
            # Shortened, because the shell may have listed a whole folder.
            raise ValueError(
                f"`{name}` must be left out for format {options.format!r}. "
                f"Received: {name}={reprlib.repr(value)}"
            )
    return given


def _calibration(paths: Sequence[str]) -> list[Any]:
    """Reads pictures, and of folders and patterns all that are in them.

    Raises:
        ValueError: If a folder holds none, or a file is none.
        OSError: If one cannot be read.
    """
    from keras_pspnet.data.decode import find_pictures, read_image

    return [read_image(file) for file in find_pictures(paths)]


def _convert(options: argparse.Namespace) -> int:
    from keras_pspnet.files import check_absent

    check_absent(options.output)

    from keras_pspnet.pretrained import (
        GEOMETRY,
        convert_file,
        save_pretrained,
    )

    geometry = {
        name: value
        for name in GEOMETRY
        if (value := getattr(options, name, None)) is not None
    }
    model = convert_file(options.file, **geometry)
    save_pretrained(model, options.output)
    print(f"{options.output}: {_describe(model)}")
    return 0


def _describe(model: Any) -> str:
    """Returns what a model is, in one line."""
    config = model.get_config()
    labels = config["labels"]
    return (
        f"PSPNet, {config['backbone']}, {config['num_classes']} classes"
        f"{'' if labels is None else ' of ' + labels['name']}, stem "
        f"{config['stem']}, stride on {config['stride_on']}, dilation "
        f"{'' if config['contract_dilation'] else 'not '}contracted, "
        f"{'corner-aligned' if config['align_corners'] else 'half-pixel'} "
        f"resizing, output stride {config['output_stride']}, "
        f"{'with' if config['aux'] else 'no'} auxiliary head"
    )


def _info(options: argparse.Namespace) -> int:
    from keras_pspnet.presets import PRESETS

    line = "{:<15} {:<10} {:>6} {:>7} {:>7}  {}"
    print(line.format("name", "backbone", "MB", "mIoU", "multi", "data"))
    for row in PRESETS:
        print(
            line.format(
                row.name,
                row.backbone,
                row.megabytes,
                f"{row.mean_iou:.4f}",
                f"{row.mean_iou_multi:.4f}",
                row.data,
            )
        )
    print("\nmIoU on the validation split, one scale and several, measured as")
    for protocol in dict.fromkeys(row.protocol for row in PRESETS):
        names = dict.fromkeys(
            row.name for row in PRESETS if row.protocol == protocol
        )
        print(f"  {', '.join(names)}: {protocol}")
    print("\nLicence and source of the weights")
    for row in PRESETS:
        source = "ships with the package" if row.is_shipped else row.url
        print(f"  {row.name} {row.backbone}: {row.license}\n    {source}")
    return 0
