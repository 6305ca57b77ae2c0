"""The command line: the only module that prints or exits."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any


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
    except (ValueError, OSError, ImportError) as error:
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
        help="name of a published model (see info), a folder of "
        "save_pretrained, or hf://owner/name",
    )
    segment.add_argument(
        "--backbone", help="which of a published model's backbones"
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
        default="float32",
        help="savedmodel: float32, bfloat16; litert: float32, float16, "
        "dynamic, int8; onnx: float32",
    )
    export.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="litert: of the pictures",
    )
    export.add_argument(
        "--calibration",
        nargs="+",
        default=[],
        metavar="PICTURE",
        help="litert int8: some dozens of pictures",
    )
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

    model = load_pretrained(options.model, backbone=options.backbone)
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
    from keras_pspnet.files import check_absent, check_writable

    if options.format == "savedmodel":
        check_absent(options.output)
    else:
        check_writable(options.output)
    if options.format == "onnx" and options.precision != "float32":
        raise ValueError(
            "`precision` must be 'float32' for ONNX. "
            f"Received: precision={options.precision!r}"
        )

    from keras_pspnet.export import (
        export_litert,
        export_onnx,
        export_saved_model,
    )
    from keras_pspnet.pretrained import load_pretrained

    model = load_pretrained(options.model, backbone=options.backbone)
    if options.format == "savedmodel":
        parity = export_saved_model(model, options.output, options.precision)
    elif options.format == "litert":
        parity = export_litert(
            model,
            options.output,
            options.size,
            options.precision,
            options.calibration,
        )
    else:
        parity = export_onnx(model, options.output)
    print(parity)
    print(f"Written to {options.output}")


def _convert(options: argparse.Namespace) -> None:
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


def _info(options: argparse.Namespace) -> None:
    from keras_pspnet.presets import PRESETS

    line = "{:<15} {:<10} {:>6} {:>7} {:>7}  {}"
    print(line.format("name", "backbone", "MB", "mIoU", "multi", "data"))
    for row in PRESETS:
        multi = row.mean_iou_multi
        print(
            line.format(
                row.name,
                row.backbone,
                row.megabytes,
                f"{row.mean_iou:.4f}",
                "" if multi is None else f"{multi:.4f}",
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
