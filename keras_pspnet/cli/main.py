"""`keras-pspnet COMMAND`: parses the arguments and runs the command."""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from keras_pspnet.cli import (
    beam,
    benchmark,
    convert,
    demo,
    evaluate,
    export,
    info,
    masks,
    push,
    segment,
    train,
)
from keras_pspnet.cli.common import (
    Parser,
    drop_output,
    print_error,
    print_warning,
)
from keras_pspnet.version import __version__

COMMANDS = (
    *(segment, evaluate, train, export, benchmark, masks, convert),
    *(push, demo, beam, info),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the arguments and runs the command.

    Args:
        arguments: The arguments after the program's name; None takes those
            of the process.

    Returns:
        Exit status: 0; 1 if the command ran and failed; 2 for bad input, with
        one line on stderr; 130 after Ctrl-C.

    Raises:
        SystemExit: With status 2 for a usage error, with status 0 after
            `--help` and `--version`.
    """
    return run(parse(arguments))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the arguments; imports neither Keras nor TensorFlow.

    Args:
        arguments: As in `main`.

    Returns:
        The options of a command. `imports_keras` says whether the command
        needs Keras.

    Raises:
        SystemExit: As in `main`.
    """
    parser = make_parser()
    options, others = parser.parse_known_args(arguments)
    # Unknown options may be Apache Beam's.
    if "beam_options" in options:
        options.beam_options = others
    elif others:
        # The shell may have expanded a whole folder.
        more = " ..." if len(others) > 5 else ""
        parser.error(f"unrecognized arguments: {' '.join(others[:5])}{more}")
    return options


def run(options: argparse.Namespace) -> int:
    """Runs a command.

    Args:
        options: The result of `parse`.

    Returns:
        Exit status, as in `main`.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File and class names may not fit the terminal's encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    try:
        status = options.run(options)
        # Without a standard output, print does nothing.
        print(end="", flush=True)
        return status
    except BrokenPipeError:
        # The reader of the output, such as `head`, has seen enough.
        return drop_output()
    except (ValueError, OSError, ImportError) as error:
        print_error(str(error))
        return 2
    except KeyboardInterrupt as interrupt:
        # A training run adds what it kept.
        if interrupt.args:
            print_error(str(interrupt))
        return 130


def _show_warning(
    message: Warning | str, category: type[Warning], *place: Any, **_: Any
) -> None:
    """Shows a warning as one line, without its place in the code."""
    if issubclass(category, UserWarning):
        print_warning(str(message))


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = Parser(
        prog="keras-pspnet", description="PSPNet for Keras and TensorFlow."
    )
    parser.add_argument(
        "--version", action="version", version=f"keras-pspnet {__version__}"
    )
    parser.set_defaults(imports_keras=True)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
