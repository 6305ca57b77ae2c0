"""`python -m keras_pspnet.beam`: pictures on any number of machines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from keras_pspnet.beam import (
    COUNTERS,
    ERRORS_FILE,
    METRICS_NAMESPACE,
    SegmentPictures,
)
from keras_pspnet.cli_shared import (
    DEFAULT_MODEL,
    add_inference_options,
    print_error,
)

_NAMED = ("input", "output", "model")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: What follows the module's name; None takes the process's.

    Returns:
        Exit status: 0, 1 if a picture could not be segmented, 2 for bad
        input (one line on stderr), 130 for Ctrl-C.
    """
    options, others = _parser().parse_known_args(arguments)
    given = {
        name: value
        for name, value in vars(options).items()
        if name not in _NAMED
    }
    try:
        transform = SegmentPictures(
            options.input, options.model, options.output, **given
        )
    except (ValueError, OSError, ImportError) as error:
        print_error(str(error))
        return 2
    pipeline = beam.Pipeline(options=PipelineOptions(others))
    _ = pipeline | transform
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except KeyboardInterrupt:
        return 130
    counts = _counts(result)
    print(
        f"{options.output}: {counts['segmented']} pictures segmented, "
        f"{counts['reused']} there already, {counts['failed']} failed"
    )
    if counts["failed"]:
        print_error(f"see {ERRORS_FILE} in {options.output}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    # What is left out stays out of the call: the function has the defaults.
    # No abbreviations: Beam's options are not known here.
    parser = argparse.ArgumentParser(
        prog="python -m keras_pspnet.beam",
        description="Segment pictures with Apache Beam.",
        epilog="All other options are Beam's: --runner and what goes with it.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="PATTERN",
        help="files or patterns of files, on any file system of Beam",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FOLDER",
        help="folder for the masks, the table and the list of errors",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="name of a published model, a folder of save_pretrained, "
        "hf://owner/name, or an exported model (default: %(default)s)",
    )
    parser.add_argument(
        "--backbone", help="which of a published model's backbones"
    )
    add_inference_options(parser)
    parser.add_argument(
        "--confidence",
        action="store_true",
        help="add the mean confidence of each picture to the table",
    )
    return parser


def _counts(result: Any) -> dict[str, int]:
    """Returns how many pictures were segmented, reused and refused."""
    found = result.metrics().query(
        MetricsFilter().with_namespace(METRICS_NAMESPACE)
    )
    counts = dict.fromkeys(COUNTERS, 0)
    for counter in found["counters"]:
        counts[counter.key.metric.name] += counter.result
    return counts
