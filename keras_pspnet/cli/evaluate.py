"""`keras-pspnet evaluate`: a model's scores on images with masks."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from typing import TYPE_CHECKING, Any

from keras_pspnet.cli.common import (
    Commands,
    add_model_options,
    add_reading_options,
    add_views,
    chosen,
    progress,
    reading_arguments,
)

if TYPE_CHECKING:
    from keras_pspnet.data import SegmentationData
    from keras_pspnet.evaluation import Scores
    from keras_pspnet.inference import Predictor


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "evaluate", help="score a model on images with masks"
    )
    add_data_options(parser)
    add_model_options(parser)
    add_protocol_options(parser)
    parser.add_argument(
        "-o", "--output", metavar="JSON", help="report to write"
    )
    parser.add_argument(
        "--confusion-plot",
        metavar="PNG",
        help="write a plot of the confusion matrix to this file",
    )
    parser.set_defaults(run=run)


def add_data_options(
    parser: argparse.ArgumentParser, required: bool = True, use: str = ""
) -> None:
    """Adds the options for the data set, its reading and its ignore label.

    Args:
        parser: The parser to add them to.
        required: Whether `--data` is required.
        use: Start of the help text of `--data`.
    """
    parser.add_argument(
        "--data",
        required=required,
        metavar="DIR",
        help=f"{use}folder of images with masks or with annotations",
    )
    add_reading_options(parser)
    parser.add_argument(
        "--ignore-label",
        type=int,
        metavar="N",
        help="label to leave out of the scores (default: the model's, usually "
        "255)",
    )


def add_protocol_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `protocol_arguments` reads."""
    group = parser.add_argument_group(
        "protocol", "--flip defaults to what the protocol's source does"
    )
    group.add_argument(
        "--protocol",
        choices=("plain", "mmseg", "semseg", "caffe", "paddleseg"),
        default="plain",
        help="predict images at their own size (plain), or the way that "
        "mmsegmentation, semseg, the authors' Caffe code or PaddleSeg does "
        "(default: %(default)s)",
    )
    source = "as the protocol's source"
    add_views(group, argparse.BooleanOptionalAction, source)
    group.add_argument(
        "--base",
        type=int,
        nargs="+",
        metavar="N",
        help="resize images to this longest side before scaling; mmseg takes "
        "the longest and the shortest side, paddleseg the side to which it "
        f"pads smaller images (default: {source})",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command.

    Args:
        options: The parsed options.

    Returns:
        Exit status 0.

    Raises:
        ImportError: If the runtime of an exported model is not installed.
        OSError: If files cannot be read or written.
        ValueError: If an option is out of range, or the data does not fit the
            model.
    """
    from keras_pspnet.utils import check_writable, writing_atomically
    from keras_pspnet.visualization import check_suffix

    # Check files and options before the long work.
    plot = options.confusion_plot
    written = [path for path in (options.output, plot) if path is not None]
    for path in written:
        check_writable(path)
    if plot is not None:
        form = "PNG" if check_suffix(plot) == ".png" else "JPEG"
    scores = _evaluated(options)
    # Print first: a full disk must not lose the result of long work.
    print_scores(scores)
    if options.output is not None:
        scores.save(options.output)
    if plot is not None:
        with writing_atomically(plot) as stream:
            scores.confusion_plot().save(stream, form, quality=92)
    if written:
        print(f"Written to {', '.join(written)}")
    return 0


def _evaluated(options: argparse.Namespace) -> Scores:
    """Scores the model on the data given by the options."""
    from keras_pspnet.evaluation.evaluate import evaluate
    from keras_pspnet.inference import exported_sha256, load_predictor
    from keras_pspnet.utils import check_data_folder

    how = protocol_arguments(options)
    check_data_folder(options.data)
    network = load_predictor(options.model, options.backbone, options.precision)
    data = open_data(options, network)
    ignored = options.ignore_label
    if ignored is None:
        ignored = network.labels.ignore_label

    with progress() as bar:
        # A corrupt last file would waste all the work before it.
        data.check_pairs(functools.partial(bar.track, description="check"))
        found = bar.track(data, description="evaluate")
        scores = evaluate(network, found, **how)
    # In the data ignored pixels are 255, whatever their label was.
    protocol = {**(scores.protocol or {}), "ignore_label": ignored}
    sha256 = scores.weights_sha256
    if sha256 is None:
        sha256 = exported_sha256(options.model)
    else:
        protocol["precision"] = options.precision or "float32"
    return dataclasses.replace(scores, protocol=protocol, weights_sha256=sha256)


def open_data(
    options: argparse.Namespace, network: Predictor
) -> SegmentationData:
    """Opens the data given by the options for a model.

    Args:
        options: The options of `add_data_options`.
        network: The model; the data must have its classes.

    Raises:
        OSError: If the data cannot be read.
        ValueError: If the data does not fit the model.
    """
    from keras_pspnet.data import check_label_file, load

    check_label_file(network.labels, options.data, options.split)
    return load(
        options.data,
        labels=network.labels,
        ignore_label=options.ignore_label,
        bands=network.bands,
        **reading_arguments(options),
    )


def protocol_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of the protocol as arguments of `kp.evaluate`.

    Args:
        options: The parsed options.

    Raises:
        ValueError: If one is out of range, or does not apply to the protocol.
    """
    from keras_pspnet.evaluation import Confusion, make_protocol

    names = ("protocol", "scales", "flip", "window", "base")
    how = chosen(options, *names)
    if how["base"] is not None and len(how["base"]) == 1:
        (how["base"],) = how["base"]
    make_protocol(*how.values())
    if options.ignore_label is not None:
        # Raises if it cannot be a label.
        Confusion(1, options.ignore_label)
    return how


def print_scores(scores: Scores) -> None:
    """Prints the scores and how they were measured.

    Args:
        scores: The scores.
    """
    rows = dict(scores.protocol or {})
    rows = {"protocol": rows.pop("name", None), **rows}
    rows["weights_sha256"] = scores.weights_sha256
    rows["versions"] = ", ".join(map(" ".join, scores.versions.items()))
    width = max(map(len, rows))
    print(scores.table())
    print()
    for name, value in rows.items():
        text = value if isinstance(value, str) else json.dumps(value)
        print(f"{name.replace('_', ' '):{width}}  {text}")
