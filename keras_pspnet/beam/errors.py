"""Images that fail: counted, listed in a file, and no reason to stop."""

from __future__ import annotations

import collections
import json
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics, MetricsFilter

ERRORS_FILE = "errors.jsonl"
# Tag of the outputs that `failure` makes.
ERRORS = "errors"
_NAMESPACE = "keras_pspnet"


def count(name: str) -> None:
    """Counts an image by one of Beam's counters.

    Args:
        name: The counter.
    """
    Metrics.counter(_NAMESPACE, name).inc()


def counts(result: Any) -> collections.Counter[str]:
    """Returns the values of all counters after a run.

    Args:
        result: What `Pipeline.run` returned.
    """
    found = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))
    values: collections.Counter[str] = collections.Counter()
    for each in found["counters"]:
        values[each.key.metric.name] += each.result
    return values


def failure(path: str, error: Exception) -> beam.pvalue.TaggedOutput:
    """Counts an image that failed; returns its entry of the errors.

    Args:
        path: The image.
        error: Why.
    """
    count("failed")
    entry = {"path": path, "error": f"{type(error).__name__}: {error}"}
    return beam.pvalue.TaggedOutput(ERRORS, entry)


def write_errors(errors: Any, folder: str) -> None:
    """Writes the errors of a run to one file, a line of JSON each.

    One file, which each run replaces: of a number of files that differs from
    run to run, some of the run before would stay.

    Args:
        errors: PCollection of what `failure` made.
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
