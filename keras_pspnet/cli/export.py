"""`keras-pspnet export`: models for servers, phones and other runtimes."""

from __future__ import annotations

import argparse
import sys

from keras_pspnet.cli.common import (
    Commands,
    add_max_side,
    add_model_options,
    add_views,
    chosen,
    positive,
)


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command, with a subcommand for each format."""
    parser = commands.add_parser(
        "export", help="export a model for servers, phones and other runtimes"
    )
    formats = parser.add_subparsers(required=True, metavar="FORMAT")
    _add_saved_model(formats)
    _add_litert(formats)
    _add_onnx(formats)


def _add_saved_model(formats: Commands[argparse.ArgumentParser]) -> None:
    parser = formats.add_parser(
        "savedmodel", help="a SavedModel for TensorFlow Serving"
    )
    _add_common_options(parser, "folder to create, e.g. models/pspnet/1")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="precision of the convolutions (default: %(default)s)",
    )
    add_views(parser)
    add_max_side(parser)
    parser.add_argument(
        "--max-pixels",
        type=positive,
        metavar="N",
        help="answer larger files with the status TOO_LARGE (default: 89 "
        "million)",
    )
    parser.add_argument(
        "--batch-sizes",
        type=int,
        nargs="+",
        default=(1,),
        metavar="N",
        help="batch sizes of the warm-up requests; give the server's "
        "allowed_batch_sizes (default: 1)",
    )
    parser.add_argument(
        "--freeze",
        action="store_true",
        help="store the weights as constants in the graph: slightly faster "
        "on some CPUs, but several times the memory",
    )
    names = ("scales", "flip", "window", "max_side", "max_pixels")
    parser.set_defaults(
        function="export_saved_model",
        passed=("precision", "batch_sizes", "freeze", *names),
    )


def _add_litert(formats: Commands[argparse.ArgumentParser]) -> None:
    parser = formats.add_parser(
        "litert", help="a LiteRT file (.tflite) for phones and small boards"
    )
    _add_common_options(parser, "file to write, e.g. pspnet.tflite")
    parser.add_argument(
        "--precision",
        choices=("float32", "float16", "dynamic", "int8"),
        default="float32",
        help="float16 and dynamic (8 bits) shrink the weights; int8 also "
        "computes in integers (default: %(default)s)",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="image size (default: the model's)",
    )
    _add_calibration(parser)
    _add_outputs(parser)
    parser.add_argument(
        "--input-dtype",
        choices=("float32", "uint8"),
        default="float32",
        help="type of the image; uint8 takes its bytes (default: %(default)s)",
    )
    parser.set_defaults(
        function="export_litert",
        passed=("size", "precision", "calibration", "outputs", "input_dtype"),
    )


def _add_onnx(formats: Commands[argparse.ArgumentParser]) -> None:
    parser = formats.add_parser(
        "onnx", help="an ONNX file for ONNX Runtime and other engines"
    )
    _add_common_options(parser, "file to write, e.g. pspnet.onnx")
    parser.add_argument(
        "--precision",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="float16 for GPUs; int8 for processors with int8 instructions, "
        "such as AVX-512 VNNI (default: %(default)s)",
    )
    _add_calibration(parser)
    _add_outputs(parser)
    parser.set_defaults(
        function="export_onnx", passed=("precision", "calibration", "outputs")
    )


def _add_calibration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--calibration",
        nargs="+",
        default=(),
        metavar="PATH",
        help="a few dozen images, or folders of images, for int8",
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--outputs",
        choices=("logits", "mask"),
        default="logits",
        help="whether the file computes the logits of all classes, or the "
        "mask, one byte per pixel (default: %(default)s)",
    )


def _add_common_options(parser: argparse.ArgumentParser, output: str) -> None:
    parser.add_argument("-o", "--output", required=True, help=output)
    add_model_options(parser, exported=False)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Loads the model and exports it.

    Args:
        options: The parsed options.

    Returns:
        Exit status: 0, or 1 if the export differs from the model.

    Raises:
        ImportError: If the library that writes the format is not installed.
        OSError: If files cannot be read or written.
        ValueError: If an option is out of range.
    """
    from keras_pspnet import export, utils
    from keras_pspnet.data import find_images
    from keras_pspnet.export.calibration import check_calibration
    from keras_pspnet.pretrained import load_pretrained

    # Check the files before the long work.
    is_folder = options.function == "export_saved_model"
    check = utils.check_absent if is_folder else utils.check_writable
    check(options.output)
    arguments = chosen(options, *options.passed)
    # `--output` names the file; `--outputs` is the argument `output`.
    if "outputs" in arguments:
        arguments["output"] = arguments.pop("outputs")
    if paths := arguments.get("calibration"):
        arguments["calibration"] = find_images(paths)
    if "calibration" in arguments:
        check_calibration(arguments["calibration"], options.precision)
    model = load_pretrained(options.model, backbone=options.backbone)
    try:
        function = getattr(export, options.function)
        parity = function(model, options.output, **arguments)
    except export.ExportError as error:
        # The error contains a table, so it keeps its lines.
        print(f"keras-pspnet: error: {error}", file=sys.stderr)
        return 1
    print(parity)
    print(f"Written to {options.output}")
    return 0
