"""Shared by the commands: model and inference options, progress, errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from rich.progress import Progress

    from keras_pspnet.visualization import Segmentation

Commands = argparse._SubParsersAction


# Pairs on a sheet of overlays.
SHEET = 12
# What ships with the package.
MODEL = "aerial"
DEFAULT_MODEL_NOTE = (
    "using the default model, aerial, which finds building, land, road, "
    "vegetation and water in images from above. For everyday photos use "
    "--model voc (a 196 MB download)"
)
# A pixel is unsure below this confidence, and an image if more than this share
# of its pixels is. In the validation set of `aerial` the share is at most 0.33.
_UNSURE, _NEARLY_ALL = 0.5, 0.9


class _Choose(argparse.Action):
    """Stores the model, and records that the user chose it."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option: Any = None
    ) -> None:
        namespace.model, namespace.model_is_chosen = values, True


class Parser(argparse.ArgumentParser):
    """A parser that prints usage errors as one line, like all errors."""

    def error(self, message: str) -> NoReturn:
        print_error(f"{message}; see {self.prog} --help")
        self.exit(2)

    def print_help(self, file: Any = None) -> None:
        # argparse's own ignores that nobody reads an unbuffered output.
        try:
            print(self.format_help(), end="", file=file, flush=True)
        except BrokenPipeError:
            super().exit(drop_output())

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Ends the process once `--help` or `--version` are printed."""
        try:
            print(end="", flush=True)
        except BrokenPipeError:
            status = drop_output()
        super().exit(status, message)


def drop_output() -> int:
    """Drops what nobody reads any more, after a BrokenPipeError.

    Returns:
        The exit status of a process that SIGPIPE ends.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def add_model_options(
    parser: argparse.ArgumentParser, exported: bool = True
) -> None:
    """Adds the options of `keras_pspnet.inference.load_predictor`.

    Args:
        parser: The parser to add them to.
        exported: Whether the command also accepts exported models.
    """
    what = "name of a published model (see info), folder written by "
    what += "save_pretrained, or hf://owner/name"
    if exported:
        what += "; or an exported model: SavedModel folder, .tflite or "
        what += ".onnx file"
    parser.add_argument(
        "--model",
        action=_Choose,
        default=MODEL,
        help=f"{what} (default: {MODEL})",
    )
    parser.set_defaults(model_is_chosen=False)
    parser.add_argument(
        "--backbone",
        help="backbone of a published model (default: resnet50, or the only "
        "one)",
    )
    if exported:
        parser.add_argument(
            "--precision",
            choices=("float32", "bfloat16"),
            help="precision of the convolutions; not for exported models, "
            "which have their own (default: float32)",
        )


def add_inference_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `keras_pspnet.segment` under the same names."""
    add_views(parser)
    add_max_side(parser)
    parser.add_argument(
        "--max-pixels",
        type=positive,
        default=2**28 // 3,
        metavar="N",
        help="refuse files with more pixels before decoding them (default: "
        "89 million)",
    )


def add_max_side(parser: argparse.ArgumentParser) -> None:
    """Adds the longest side of images for the network."""
    parser.add_argument(
        "--max-side",
        type=side,
        default="auto",
        metavar="N",
        help="downscale longer images to this side for the network; none "
        "keeps their size (default: 1024; with --window, none)",
    )


def add_views(
    parser: argparse._ActionsContainer,
    flip: Any = "store_true",
    window: str = "the whole image at once",
) -> None:
    """Adds the scales, the flip and the window of a prediction.

    Args:
        parser: The parser to add them to.
        flip: The action of `--flip`.
        window: Default of `--window`, for its help text.
    """
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=(1.0,),
        metavar="S",
        help="average the probabilities over these image scales (default: 1)",
    )
    parser.add_argument(
        "--flip",
        action=flip,
        help="also average over the horizontally flipped image",
    )
    parser.add_argument(
        "--window",
        type=int,
        metavar="N",
        help=f"side of a sliding window (default: {window})",
    )


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for reading data, see `reading_arguments`."""
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="split of the data, such as train or val (default: the only one)",
    )
    parser.add_argument(
        "--ignore-unknown",
        action="store_true",
        help="ignore mask pixels whose value or color has no class, instead "
        "of refusing the mask",
    )


def reading_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of `add_reading_options` as arguments of `load`.

    Args:
        options: The parsed options.
    """
    return chosen(options, "split", "ignore_unknown")


def write_sheet(path: str, pairs: Sequence[Segmentation]) -> None:
    """Writes a sheet of images and overlays, and prints its path.

    Args:
        path: PNG file to write. Without pairs, nothing is written.
        pairs: Images and their masks.

    Raises:
        OSError: If the file cannot be written.
    """
    from keras_pspnet.utils import writing_atomically
    from keras_pspnet.visualization import overlay_sheet

    if pairs:
        with writing_atomically(path) as stream:
            overlay_sheet(pairs).save(stream, "PNG")
        print(f"Written to {path}")


def chosen(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Returns some of the options as keyword arguments.

    Args:
        options: The parsed options.
        *names: Their names.
    """
    return {name: getattr(options, name) for name in names}


def inference_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of `add_inference_options` as keyword arguments.

    Args:
        options: The parsed options.

    Raises:
        ValueError: If one is out of range.
    """
    from keras_pspnet.inference import check_scales, check_window

    # Checked once here; `segment` would report it for every image.
    check_scales(options.scales)
    check_window(options.window)
    names = ("scales", "flip", "window", "max_side", "max_pixels")
    return chosen(options, *names)


def progress() -> Progress:
    """Returns a progress bar that shows only if stdout is a terminal."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    return Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=Console(),
        # On a terminal, messages appear above the bar. A redirected stderr
        # still gets its own lines.
        redirect_stderr=sys.stderr.isatty(),
        disable=not sys.stdout.isatty(),
    )


def print_error(message: str) -> None:
    """Prints a message as one line on stderr."""
    _print_line("error", message)


def print_note(message: str) -> None:
    """Prints a note as one line on stderr."""
    _print_line("note", message)


def is_unsure(confidence: Any) -> bool:
    """Tells whether a model is unsure nearly everywhere in an image.

    Args:
        confidence: Probability of each pixel's class, (H, W).
    """
    return bool((confidence < _UNSURE).mean() > _NEARLY_ALL)


def print_warning(message: str) -> None:
    """Prints a warning as one line on stderr."""
    _print_line("warning", message)


def _print_line(kind: str, message: str) -> None:
    line = " ".join(message.split())
    print(f"keras-pspnet: {kind}: {line}", file=sys.stderr)


def positive(text: str) -> int:
    """Parses the value of an option: an integer of at least 1.

    Raises:
        ArgumentTypeError: If it is not.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"must be an integer of at least 1: {text!r}"
        )
    return int(text)


def side(text: str) -> int | str | None:
    """Parses the value of an option: like `positive`, or none, or auto.

    Raises:
        ArgumentTypeError: If it is none of these.
    """
    words = {"none": None, "auto": "auto"}
    return words[text] if text in words else positive(text)
