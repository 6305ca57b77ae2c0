"""`keras-pspnet demo`: a local web page to try a model on images."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import webbrowser
from collections.abc import Iterator

from keras_pspnet.cli.common import (
    DEFAULT_MODEL_NOTE,
    Commands,
    add_inference_options,
    add_model_options,
    inference_arguments,
    positive,
    print_note,
)

HOST = "127.0.0.1"


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "demo", help="open a local web page to try a model on images"
    )
    add_model_options(parser)
    add_inference_options(parser)
    parser.add_argument(
        "--host",
        default=HOST,
        help="interface to serve on; 0.0.0.0 admits other machines, without "
        "a password (default: %(default)s, this machine only)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=7860,
        help="port to serve on; 0 takes any free one (default: %(default)s)",
    )
    parser.add_argument(
        "--open", action="store_true", help="open the page in a browser"
    )
    parser.add_argument(
        "--max-upload",
        type=positive,
        default=64,
        metavar="MB",
        help="largest file to accept (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command until it is stopped.

    Args:
        options: The parsed options.

    Returns:
        Exit status 0.

    Raises:
        ImportError: If the extra or the model's runtime is not installed.
        OSError: If the port is taken, or the model cannot be read.
        ValueError: If an option is out of range.
    """
    from keras_pspnet.data import RGB
    from keras_pspnet.inference import check_installed, load_predictor
    from keras_pspnet.utils import check_rule

    check_installed("gradio", "gradio", "demo", "page")
    if not options.model_is_chosen:
        print_note(DEFAULT_MODEL_NOTE)
    arguments = inference_arguments(options)
    if not 0 <= options.port <= 65535:
        raise ValueError(
            f"`port` must be within 0..65535. Received: port={options.port}"
        )
    with _gradio_settings():
        from keras_pspnet.demo.server import application, bind, serve

        with bind(options.host, options.port) as listener:
            network = load_predictor(
                options.model, options.backbone, options.precision
            )
            rule = "take images of 1 or 3 bands, as the page sends"
            bands = network.bands
            check_rule("model", options.model, rule, bands in (1, RGB))
            app = application(
                network,
                os.path.basename(os.path.normpath(options.model)),
                arguments,
                options.host,
                options.max_upload * 2**20,
            )
            address = _address(options.host, listener.getsockname()[1])
            print(f"The page is at {address} (Ctrl-C ends it)", flush=True)
            if options.open:
                webbrowser.open(address)
            serve(app, listener)
    return 0


@contextlib.contextmanager
def _gradio_settings() -> Iterator[None]:
    """Sets the variables that Gradio reads when it is imported.

    They turn telemetry off and give uploads a temporary folder, which is
    always removed at the end of the block.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="keras-pspnet-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        yield


def _address(host: str, port: int) -> str:
    if host in ("0.0.0.0", "::"):
        host = HOST
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
