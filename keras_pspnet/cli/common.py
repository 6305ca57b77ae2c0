"""What several commands share: the model, how it runs, progress, errors."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from keras_pspnet.presets import PRESET_NAMES

if TYPE_CHECKING:
    from keras_pspnet.inference import Network

Commands = argparse._SubParsersAction

DEFAULT_MODEL = "aerial"
# Options that have another name now, with the name.
_RENAMED = {
    "--format": "export savedmodel, export litert or export onnx",
    "--picture": "--confusion-plot",
    "--shard": "keras-pspnet beam evaluate",
    "--merge": "keras-pspnet beam evaluate",
}


class Parser(argparse.ArgumentParser):
    """A parser whose usage errors are one line, as all errors are."""

    def error(self, message: str) -> NoReturn:
        for old, new in _RENAMED.items():
            if message.startswith("unrecognized") and old in message.split():
                message += f" ({old} is now {new})"
        print_error(f"{message}; see {self.prog} --help")
        self.exit(2)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `load_network` reads."""
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="a published model's name (see info), a folder written by "
        "save_pretrained, hf://owner/name, or an exported model: a SavedModel "
        "folder, a .tflite or an .onnx file (default: %(default)s)",
    )
    parser.add_argument(
        "--backbone",
        help="backbone of a published model (default: resnet50 where there "
        "is a choice)",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        help="precision of the convolutions; exported models have their own "
        "(default: float32)",
    )


def add_inference_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `keras_pspnet.segment`, by their names there."""
    add_views(parser)
    parser.add_argument(
        "--max-side",
        type=side_or_auto,
        default="auto",
        metavar="N",
        help="downscale longer images to this side for the network; none "
        "keeps their size (default: 1024; with --window, none)",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=2**28 // 3,
        metavar="N",
        help="refuse files with more pixels before decoding them (default: "
        "89 million)",
    )


def add_views(parser: argparse._ActionsContainer) -> None:
    """Adds the scales, the flip and the window of a prediction."""
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=(1.0,),
        metavar="S",
        help="image scales whose probabilities are averaged (default: 1)",
    )
    parser.add_argument(
        "--flip",
        action="store_true",
        help="also average the horizontally flipped image",
    )
    parser.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="side of a sliding window (default: the whole image at once)",
    )


def inference_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of `add_inference_options` as keyword arguments.

    Args:
        options: The parsed options.

    Raises:
        ValueError: If one is out of range.
    """
    from keras_pspnet.inference import check_scales, check_window

    # Checked here: segment would refuse every single image.
    check_scales(options.scales)
    check_window(options.window)
    for name in ("max_side", "max_pixels"):
        value = getattr(options, name)
        if isinstance(value, int) and value < 1:
            raise ValueError(
                f"`{name}` must be an integer of at least 1. "
                f"Received: {name}={value}"
            )
    return {
        name: getattr(options, name)
        for name in ("scales", "flip", "window", "max_side", "max_pixels")
    }


def is_exported(options: argparse.Namespace) -> bool:
    """Tells whether `--model` names an exported model."""
    from keras_pspnet.inference import is_exported

    return options.model not in PRESET_NAMES and is_exported(options.model)


def load_network(options: argparse.Namespace) -> Network:
    """Loads the model that the options of `add_model_options` name.

    Args:
        options: The parsed options.

    Returns:
        The network, ready to run.

    Raises:
        ImportError: If the runtime of an exported model is not installed.
        OSError: If the model cannot be read.
        ValueError: If there is no such model, or an option does not apply.
    """
    from keras_pspnet.inference import as_network, load_exported
    from keras_pspnet.pretrained import load_pretrained

    if not is_exported(options):
        model = load_pretrained(options.model, backbone=options.backbone)
        return as_network(model, options.precision or "float32")
    for name in ("backbone", "precision"):
        value = getattr(options, name)
        if value is not None:
            raise ValueError(
                f"`{name}` must be left out for an exported model, which has "
                f"its own. Received: {name}={value!r}, "
                f"model={options.model!r}"
            )
    return load_exported(options.model)


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Shows a progress bar if stdout is a terminal.

    Args:
        what: The bar's title.
        total: Number of steps.

    Yields:
        A function to call after each step.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(),
        # On a terminal, messages appear above the bar. A redirected stderr
        # must still get its own lines.
        redirect_stderr=sys.stderr.isatty(),
        disable=not sys.stdout.isatty(),
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def print_error(message: str) -> None:
    """Prints a message as one line on stderr."""
    line = " ".join(message.split())
    print(f"keras-pspnet: error: {line}", file=sys.stderr)


def side_or_none(text: str) -> int | None:
    """Parses the value of an option: an integer, or the word none.

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


def side_or_auto(text: str) -> int | str | None:
    """Parses the value of an option: as `side_or_none`, or the word auto.

    Raises:
        ArgumentTypeError: If it is none of these.
    """
    return "auto" if text.lower() == "auto" else side_or_none(text)
