"""Counts images that fail and lists them in a file."""

from __future__ import annotations

import collections
import json
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics, MetricsFilter

ERRORS_FILE = "errors.jsonl"
# Tag of the outputs of `failure`.
ERRORS = "errors"
_NAMESPACE = "keras_pspnet"


def count(name: str) -> None:
    """Counts an image in one of Beam's counters.

    Args:
        name: Name of the counter.
    """
    Metrics.counter(_NAMESPACE, name).inc()


def counts(result: Any) -> collections.Counter[str]:
    """Returns the values of all counters after a run.

    Args:
        result: The result of `Pipeline.run`.
    """
    found = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))
    values: collections.Counter[str] = collections.Counter()
    for each in found["counters"]:
        values[each.key.metric.name] += each.result
    return values


def failure(path: str, error: Exception) -> beam.pvalue.TaggedOutput:
    """Counts an image that failed, and returns its entry in the errors.

    Args:
        path: Path of the image.
        error: The error that it caused.
    """
    count("failed")
    entry = {"path": path, "error": f"{type(error).__name__}: {error}"}
    return beam.pvalue.TaggedOutput(ERRORS, entry)


def write_errors(errors: Any, folder: str) -> None:
    """Writes the errors of a run to one file, with a line of JSON for each.

    Each run replaces the file. Several files, whose number may change from run
    to run, would leave some of the previous run behind.

    Args:
        errors: PCollection of the entries of `failure`.
        folder: The output folder.
    """
    _ = (
        errors
        | "ErrorLines" >> beam.Map(json.dumps)
        | "ErrorsFile"
        >> beam.io.WriteToText(
            f"{folder}/{ERRORS_FILE}", shard_name_template=""
        )
    )
