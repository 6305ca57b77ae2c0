"""`keras-pspnet convert`: writes another framework's checkpoint as a folder."""

from __future__ import annotations

import argparse

from keras_pspnet.cli.common import Commands


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "convert", help="convert a checkpoint of another framework"
    )
    parser.add_argument(
        "file",
        help=".pth of mmsegmentation or semseg, .pdparams of PaddleSeg, or "
        ".caffemodel",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        help="folder to write; other commands take it as --model",
    )
    geometry = parser.add_argument_group(
        "geometry",
        "only where it differs from the defaults of the checkpoint's source",
    )
    geometry.add_argument(
        "--align-corners",
        action=argparse.BooleanOptionalAction,
        help="resize with aligned corners, or with half-pixel centers",
    )
    geometry.add_argument(
        "--contract-dilation",
        action=argparse.BooleanOptionalAction,
        help="halve the dilation in the first block of a stage",
    )
    geometry.add_argument(
        "--stride-on",
        choices=("3x3", "1x1"),
        help="which convolution of a bottleneck has the stride",
    )
    geometry.add_argument(
        "--output-stride",
        type=int,
        choices=(8, 16, 32),
        help="input size divided by feature size",
    )
    for name, what in (("mean", "mean"), ("std", "standard deviation")):
        geometry.add_argument(
            f"--{name}",
            type=float,
            nargs=3,
            metavar=("R", "G", "B"),
            help=f"{what} of the images, in 0..255",
        )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command.

    Args:
        options: The parsed options.

    Returns:
        Exit status 0.

    Raises:
        OSError: If a file cannot be read or the folder cannot be written.
        ValueError: If the file is not a known checkpoint, or an option does
            not fit it.
    """
    from keras_pspnet.pretrained import GEOMETRY, convert_file, save_pretrained
    from keras_pspnet.utils import check_absent

    check_absent(options.output)
    geometry = {
        name: value
        for name in GEOMETRY
        if (value := getattr(options, name, None)) is not None
    }
    model = convert_file(options.file, **geometry)
    save_pretrained(model, options.output)
    config = model.get_config()
    names = (
        *("backbone", "num_classes", "stem", "stride_on", "contract_dilation"),
        *("align_corners", "output_stride", "aux"),
    )
    given = ", ".join(f"{name}={config[name]!r}" for name in names)
    print(f"{options.output}: PSPNet({given})")
    return 0
