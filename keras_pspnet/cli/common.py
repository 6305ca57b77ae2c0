"""What commands share: which model runs, how far it is, what went wrong."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from keras_pspnet.artefacts import is_artefact, load_artefact
from keras_pspnet.inference import check_scales, check_window
from keras_pspnet.network import PRECISIONS, Network, as_network
from keras_pspnet.presets import PRESET_NAMES

DEFAULT_MODEL = "aerial"
# Options that are arguments of `segment`, which has their defaults.
_ARGUMENTS = ("scales", "flip", "window", "max_side", "max_pixels")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `load_network` reads.

    Args:
        parser: One whose `argument_default` is `argparse.SUPPRESS`.
    """
    parser.add_argument(
        "--model",
        help="name of a published model (see info), a folder of "
        "save_pretrained, hf://owner/name, or an exported model: a "
        "SavedModel's folder, a .tflite or .onnx file (default: "
        f"{DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--backbone", help="which of a published model's backbones"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="what convolutions compute in; exported models have their own "
        "(default: float32)",
    )


def add_inference_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `keras_pspnet.segment` by their names there.

    Args:
        parser: One whose `argument_default` is `argparse.SUPPRESS`.
    """
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        metavar="S",
        help="sizes whose probabilities are averaged (default: 1)",
    )
    parser.add_argument(
        "--flip", action="store_true", help="average mirrored pictures in"
    )
    parser.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="side of windows that slide over the picture, instead of the "
        "whole at once",
    )
    parser.add_argument(
        "--max-side",
        type=integer_or_none,
        metavar="N",
        help="longer pictures are shrunk to this for the network; none keeps "
        "them as they are (default: 1024, with windows none)",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        metavar="N",
        help="files with more are refused before they are decoded",
    )


def inference_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that are given as arguments of `segment`.

    Args:
        options: What `add_inference_options` has parsed.

    Raises:
        ValueError: If one is out of range.
    """
    given = {
        name: getattr(options, name) for name in _ARGUMENTS if name in options
    }
    # Otherwise every picture would be refused for them.
    check_scales(given.get("scales", (1.0,)))
    check_window(given.get("window"))
    for name in ("max_side", "max_pixels"):
        value = given.get(name)
        if value is not None and value < 1:
            raise ValueError(
                f"`{name}` must be an integer of at least 1. "
                f"Received: {name}={value}"
            )
    return given


def is_exported(options: argparse.Namespace) -> bool:
    """Tells whether the options name an exported file, and no model.

    Args:
        options: What `add_model_options` has parsed.
    """
    source = getattr(options, "model", DEFAULT_MODEL)
    return source not in PRESET_NAMES and is_artefact(source)


def load_network(options: argparse.Namespace) -> Network:
    """Loads the model that the options name.

    Args:
        options: What `add_model_options` has parsed.

    Returns:
        The network, ready to run.

    Raises:
        ImportError: If what runs it is not installed.
        OSError: If it cannot be read.
        ValueError: If there is none of the name, or an option is not for it.
    """
    # At the time of the call: loading is what tests put something else for.
    from keras_pspnet.pretrained import load_pretrained

    source = getattr(options, "model", DEFAULT_MODEL)
    if not is_exported(options):
        model = load_pretrained(
            source, backbone=getattr(options, "backbone", None)
        )
        return as_network(model, getattr(options, "precision", "float32"))
    for name in ("backbone", "precision"):
        if name in options:
            raise ValueError(
                f"`{name}` must be left out for an exported model, which has "
                f"its own. Received: {name}={getattr(options, name)!r}, "
                f"model={source!r}"
            )
    return load_artefact(source)


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Shows a progress bar where stdout is a terminal.

    Args:
        what: What is being done.
        total: How often.

    Yields:
        What to call whenever it was done once.
    """
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(),
        # Lines for the terminal go above the bar. A file that stderr was
        # redirected to must get its own.
        redirect_stderr=sys.stderr.isatty(),
        disable=not sys.stdout.isatty(),
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def print_error(message: str) -> None:
    """Prints a message as one line on stderr.

    Args:
        message: The message, of any number of lines.
    """
    line = " ".join(message.split())
    print(f"keras-pspnet: error: {line}", file=sys.stderr)


def integer_or_none(text: str) -> int | None:
    """Parses an option's value that is an integer or the word none.

    Args:
        text: The value.

    Raises:
        ArgumentTypeError: If it is neither.
    """
    if text.lower() == "none":
        return None
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"must be an integer or none: {text!r}"
        ) from error
