"""`keras-pspnet beam`: segments and evaluates on Apache Beam."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from keras_pspnet.cli.common import (
    Commands,
    add_inference_options,
    add_model_options,
    chosen,
    inference_arguments,
    print_error,
    reading_arguments,
)
from keras_pspnet.cli.evaluate import (
    add_data_options,
    add_protocol_options,
    print_scores,
    protocol_arguments,
)

if TYPE_CHECKING:
    import apache_beam

_OTHERS = "All other options go to Beam: --runner and the runner's own."


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command, with a subcommand for each job."""
    parser = commands.add_parser(
        "beam", help="segment or evaluate on many machines with Apache Beam"
    )
    # `parse` stores the options here that this program does not know.
    parser.set_defaults(beam_options=[])
    jobs = parser.add_subparsers(required=True, metavar="JOB")
    _add_segment(jobs)
    _add_evaluate(jobs)


def _add_segment(jobs: Commands[argparse.ArgumentParser]) -> None:
    # No abbreviations: the full option could be one of Beam's.
    parser = jobs.add_parser(
        "segment", help="segment images", epilog=_OTHERS, allow_abbrev=False
    )
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="PATTERN",
        help="files, folders or patterns of files, on any file system of Beam",
    )
    _add_output(parser, "the masks, the table and the list of errors")
    add_model_options(parser)
    add_inference_options(parser)
    parser.add_argument(
        "--confidence",
        action="store_true",
        help="add the mean confidence of each image to the table",
    )
    parser.set_defaults(run=_segment)


def _add_evaluate(jobs: Commands[argparse.ArgumentParser]) -> None:
    parser = jobs.add_parser(
        "evaluate",
        help="score a model on images with masks",
        epilog=_OTHERS,
        allow_abbrev=False,
    )
    add_data_options(parser)
    _add_output(parser, "the report and the list of errors")
    add_model_options(parser)
    add_protocol_options(parser)
    parser.set_defaults(run=_evaluate)


def _add_output(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FOLDER",
        help=f"folder for {what}, on any file system of Beam",
    )


def _segment(options: argparse.Namespace) -> int:
    """Runs `beam segment`; returns its exit status."""
    from keras_pspnet.beam import SegmentImages

    transform = SegmentImages(
        options.input,
        options.model,
        options.output,
        **chosen(options, "backbone", "precision", "confidence"),
        **inference_arguments(options),
    )
    said = "{segmented} images segmented, {reused} there already, "
    return _run(transform, options, said + "{failed} failed")


def _evaluate(options: argparse.Namespace) -> int:
    """Runs `beam evaluate`; returns its exit status."""
    from apache_beam.io.filesystems import FileSystems

    from keras_pspnet.beam import EvaluateImages
    from keras_pspnet.beam.evaluate import SCORES_FILE
    from keras_pspnet.evaluation import Scores

    transform = EvaluateImages(
        options.data,
        options.model,
        options.output,
        **chosen(options, "backbone", "precision", "ignore_label"),
        **protocol_arguments(options),
        **reading_arguments(options),
    )
    said = "{scored} images scored, {failed} failed"
    status = _run(transform, options, said)
    if status == 0:
        with FileSystems.open(f"{options.output}/{SCORES_FILE}") as report:
            print_scores(Scores.from_dict(json.load(report)))
    return status


def _run(
    transform: apache_beam.PTransform, options: argparse.Namespace, said: str
) -> int:
    """Runs a transform with Beam's own options, and prints its counters.

    Returns:
        Exit status: 0, or 1 if an image failed.
    """
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from keras_pspnet.beam.errors import counts

    beam_options = PipelineOptions(options.beam_options)
    with apache_beam.Pipeline(options=beam_options) as pipeline:
        _ = pipeline | transform
    found = counts(pipeline.result)
    # Counters that were never raised read as zero.
    print(f"{options.output}: {said.format_map(found)}")
    if found["failed"]:
        print_error(f"see errors.jsonl in {options.output}")
        return 1
    return 0
