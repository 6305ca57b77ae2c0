"""`keras-pspnet benchmark`: size, time, memory and score of artifacts."""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_pspnet.cli.common import (
    Commands,
    positive,
    print_error,
    progress,
)
from keras_pspnet.cli.evaluate import add_data_options, open_data

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from keras_pspnet.data import SegmentationData
    from keras_pspnet.inference import Predictor
    from keras_pspnet.inference.benchmark import Measurement

# Side of the scene that is drawn without --image: the paper's crop.
_SIDE = 473


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "benchmark",
        help="measure size, time and memory of exported models",
        epilog="Each model runs in its own process on the CPU, from an RGB "
        "image to its mask. Memory is what the process uses beyond Python and "
        "NumPy.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="SavedModel folder, .tflite or .onnx file, or folder written by "
        "save_pretrained",
    )
    parser.add_argument(
        "--image",
        metavar="FILE",
        help="image to segment (default: a drawn scene)",
    )
    parser.add_argument(
        "--size",
        type=positive,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="image size; models with a fixed size use their own (default: "
        f"the image's, or {_SIDE} {_SIDE})",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads per model (default: the number of processors)",
    )
    parser.add_argument(
        "--rounds",
        type=positive,
        default=10,
        metavar="N",
        help="number of runs of each model, in turn (default: %(default)s)",
    )
    add_data_options(
        parser, required=False, use="also score each model on this "
    )
    parser.add_argument(
        "-o", "--output", metavar="JSON", help="write a report to this file"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command.

    Args:
        options: The parsed options.

    Returns:
        Exit status: 0, or 1 if an artifact does not load or run.

    Raises:
        ImportError: If the runtime of an artifact is not installed.
        OSError: If files cannot be read or written.
        ValueError: If an option is out of range, or the data does not fit a
            model.
    """
    from keras_pspnet.inference.benchmark import benchmark, check_artefacts
    from keras_pspnet.inference.measuring import BenchmarkError
    from keras_pspnet.utils import (
        check_data_folder,
        check_writable,
        write_json,
    )

    # Files and options are checked before the long work.
    if options.output is not None:
        check_writable(options.output)
    check_artefacts(options.paths)
    if options.data is not None:
        check_data_folder(options.data)
    image = _image(options)
    opened = _opened(options)
    threads = options.threads or os.cpu_count() or 1
    with progress() as bar:
        total = len(options.paths) * (1 + options.rounds)
        task = bar.add_task("measure", total=total)
        try:
            found = benchmark(
                options.paths,
                image,
                options.rounds,
                threads,
                progress=lambda: bar.advance(task),
            )
        except BenchmarkError as error:
            first, *_, last = str(error).splitlines()
            print_error(f"{first} {last}")
            return 1
    scores = _scores(opened)
    _print_table(found, scores, options.rounds, threads)
    if options.output is not None:
        write_json(options.output, _report(found, scores, threads))
        print(f"Written to {options.output}")
    return 0


def _image(options: argparse.Namespace) -> np.ndarray:
    """Reads or draws the image that all artifacts see."""
    import numpy as np
    from PIL import Image

    from keras_pspnet.data import read_image
    from keras_pspnet.data.synthetic.scenes import make_scene
    from keras_pspnet.inference import as_uint8

    size = options.size and tuple(options.size)
    if options.image is None:
        height, width = size or (_SIDE, _SIDE)
        # Scenes have a minimum size.
        scene = make_scene(0, 0, (max(height, 32), max(width, 32)))[0]
        return scene[:height, :width]
    image = as_uint8(read_image(options.image))
    if size is None:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1]))


def _opened(
    options: argparse.Namespace,
) -> dict[str, tuple[Predictor, SegmentationData]]:
    """Loads each artifact to score, and opens the data with its classes."""
    if options.data is None:
        return {}
    from keras_pspnet.inference import load_predictor

    found = {}
    for path in options.paths:
        network = load_predictor(path)
        data = open_data(options, network)
        data.check_binary()
        found[path] = network, data
    return found


def _scores(
    opened: Mapping[str, tuple[Predictor, SegmentationData]],
) -> dict[str, float]:
    """Returns the mean IoU of each artifact on its data."""
    from keras_pspnet.evaluation.evaluate import evaluate

    scores = {}
    with progress() as bar:
        for path, (network, data) in opened.items():
            pairs = bar.track(data, description=f"evaluate {path}")
            scores[path] = evaluate(network, pairs).mean_iou
    return scores


def _print_table(
    found: Sequence[Measurement],
    scores: Mapping[str, float],
    rounds: int,
    threads: int,
) -> None:
    from rich.console import Console

    console = Console()
    table = _table(found, scores)
    # A pipe has no width, but no figure may be cut off.
    needed = console.measure(
        table, options=console.options.update(max_width=1000)
    )
    console.width = max(console.width, needed.maximum)
    console.print(table)
    print(
        f"Median and middle half of {rounds} rounds, {threads} "
        f"thread{'s' if threads > 1 else ''}; memory in MB beyond Python."
    )


def _table(found: Sequence[Measurement], scores: Mapping[str, float]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_edge=False)
    table.add_column("")
    headings = ["size", "MB", "load s", "first s", "ms", "middle half"]
    headings += ["loaded", "first", "peak", *(["mIoU"] if scores else [])]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for each in found:
        low, high = _middle_half(each.seconds)
        memory = [each.loaded, each.first, each.peak]
        table.add_row(
            each.path,
            f"{each.size[0]}x{each.size[1]}",
            f"{each.megabytes:.1f}",
            f"{each.load_seconds:.2f}",
            f"{each.first_seconds:.2f}",
            f"{1e3 * each.median_seconds:.1f}",
            f"{1e3 * low:.1f}-{1e3 * high:.1f}",
            *(f"{value - each.started:.0f}" for value in memory),
            *([f"{scores[each.path]:.4f}"] if scores else []),
        )
    return table


def _middle_half(seconds: Sequence[float]) -> tuple[float, float]:
    """Returns the quartiles of the rounds."""
    if len(seconds) == 1:
        return seconds[0], seconds[0]
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return low, high


def _report(
    found: Sequence[Measurement], scores: Mapping[str, float], threads: int
) -> dict[str, Any]:
    import platform

    from keras_pspnet.version import __version__

    return {
        "threads": threads,
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "keras_pspnet": __version__,
        "artifacts": [
            {**each.to_dict(), "mean_iou": scores.get(each.path)}
            for each in found
        ],
    }
