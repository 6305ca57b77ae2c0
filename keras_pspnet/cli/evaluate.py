"""`keras-pspnet evaluate`: a model's scores on images with masks."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keras_pspnet.cli.common import (
    Commands,
    add_model_options,
    add_views,
    chosen,
    progress,
)

if TYPE_CHECKING:
    from keras_pspnet.evaluation import Scores


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
    add_plot_option(parser)
    parser.set_defaults(run=run)


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `data_folders` reads, and the ignore label."""
    data = parser.add_argument_group(
        "data", "index masks (palette or grey PNG) named like their images"
    )
    data.add_argument(
        "--data", metavar="DIR", help="folder of DIR/images and DIR/masks"
    )
    data.add_argument("--images", metavar="DIR", help="or folder of images")
    data.add_argument("--masks", metavar="DIR", help="and folder of masks")
    data.add_argument(
        "--ignore-label",
        type=int,
        metavar="N",
        help="label that is never counted (default: the model's, mostly 255)",
    )


def add_protocol_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `protocol_arguments` reads."""
    group = parser.add_argument_group(
        "protocol", "--flip is as in the protocol's source unless given"
    )
    group.add_argument(
        "--protocol",
        choices=("plain", "mmseg", "semseg", "caffe"),
        default="plain",
        help="predict images as they are (plain), or as mmsegmentation, "
        "semseg or the authors' Caffe code does (default: %(default)s)",
    )
    source = "as the protocol's source"
    add_views(group, argparse.BooleanOptionalAction, source)
    group.add_argument(
        "--base",
        type=int,
        nargs="+",
        metavar="N",
        help="longest side of images before scaling; mmseg: longest and "
        f"shortest (default: {source})",
    )


def add_plot_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that `check_plot` and `save_plot` read."""
    parser.add_argument(
        "--confusion-plot",
        metavar="PNG",
        help="plot of the confusion matrix to write",
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
        ValueError: If an option is out of range, or files do not fit.
    """
    from keras_pspnet.utils import check_writable

    # Files and options are checked before the long work.
    if options.output is not None:
        check_writable(options.output)
    check_plot(options)
    scores = _evaluated(options)
    # Printed first: a full disk must not take the result of long work.
    print_scores(scores)
    if options.output is not None:
        scores.save(options.output)
    save_plot(options, scores)
    written = [options.output, options.confusion_plot]
    if any(written):
        print(f"Written to {', '.join(filter(None, written))}")
    return 0


def _evaluated(options: argparse.Namespace) -> Scores:
    """Scores the model on the data that the options name."""
    from keras_pspnet.data import find_pairs, read_pair
    from keras_pspnet.evaluation.evaluate import evaluate
    from keras_pspnet.inference import exported_sha256, load_predictor

    how = protocol_arguments(options)
    pairs = find_pairs(*data_folders(options))
    network = load_predictor(options.model, options.backbone, options.precision)
    labels = network.labels
    ignored = options.ignore_label
    if ignored is None:
        ignored = labels.ignore_label

    with progress() as bar:

        def read(what: str) -> Iterator[tuple[Any, Any]]:
            for pair in bar.track(pairs, description=what):
                yield read_pair(*pair, labels.num_classes, ignored)

        # A corrupt file at the end would waste the work before it.
        for _ in read("check"):
            pass
        found = read("evaluate")
        scores = evaluate(network, found, ignore_label=ignored, **how)
    if scores.weights_sha256 is None:
        sha256 = exported_sha256(options.model)
        return dataclasses.replace(scores, weights_sha256=sha256)
    how = {
        **(scores.protocol or {}),
        "precision": options.precision or "float32",
    }
    return dataclasses.replace(scores, protocol=how)


def protocol_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of the protocol as arguments of `kp.evaluate`.

    Args:
        options: The parsed options.

    Raises:
        ValueError: If one is out of range, or not for the protocol.
    """
    from keras_pspnet.evaluation import Confusion, make_protocol

    names = ("protocol", "scales", "flip", "window", "base")
    how = chosen(options, *names)
    if how["base"] is not None and len(how["base"]) == 1:
        (how["base"],) = how["base"]
    make_protocol(*how.values())
    if options.ignore_label is not None:
        # Refuses what cannot be a label.
        Confusion(1, options.ignore_label)
    return how


def data_folders(options: argparse.Namespace) -> tuple[str, str]:
    """Returns the folders of images and of masks.

    Args:
        options: The parsed options.

    Raises:
        ValueError: If they are not given, or given twice.
    """
    folders = chosen(options, "images", "masks")
    given = [name for name, folder in folders.items() if folder is not None]
    if options.data is not None and not given:
        images, masks = (os.path.join(options.data, name) for name in folders)
        return images, masks
    if options.data is None and len(given) == 2:
        return options.images, options.masks
    raise ValueError(
        "`data` must be given, or `images` and `masks`. "
        f"Received: data={options.data!r}, images={options.images!r}, "
        f"masks={options.masks!r}"
    )


def check_plot(options: argparse.Namespace) -> None:
    """Checks that the confusion plot can be written, if one is asked for.

    Args:
        options: The parsed options.

    Raises:
        OSError: If it cannot be written.
        ValueError: If its name does not end in .png or .jpg.
    """
    from keras_pspnet.utils import check_writable
    from keras_pspnet.visualization import check_suffix

    if options.confusion_plot is not None:
        check_suffix(options.confusion_plot)
        check_writable(options.confusion_plot)


def save_plot(options: argparse.Namespace, scores: Scores) -> None:
    """Writes the confusion plot, if one is asked for.

    Args:
        options: The parsed options.
        scores: The scores.

    Raises:
        OSError: If it cannot be written.
    """
    from keras_pspnet.utils import writing_atomically
    from keras_pspnet.visualization import check_suffix

    path = options.confusion_plot
    if path is not None:
        form = "PNG" if check_suffix(path) == ".png" else "JPEG"
        with writing_atomically(path) as stream:
            scores.confusion_plot().save(stream, form, quality=92)


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
