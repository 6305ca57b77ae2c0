"""Images that fail: counted, listed in a file, and no reason to stop."""

from __future__ import annotations

import json
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics, MetricsFilter

ERRORS_FILE = "errors.jsonl"
# Tag of the outputs that `failure` makes.
ERRORS = "errors"
_NAMESPACE = "keras_pspnet"


def counter(name: str) -> Any:
    """Returns a counter of Beam's metrics.

    Args:
        name: Its name.
    """
    return Metrics.counter(_NAMESPACE, name)


def counts(result: Any, names: tuple[str, ...]) -> dict[str, int]:
    """Returns the values of counters after a run.

    Args:
        result: What `Pipeline.run` returned.
        names: The counters.
    """
    found = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))
    values = dict.fromkeys(names, 0)
    for each in found["counters"]:
        values[each.key.metric.name] += each.result
    return values


def failure(path: str, error: Exception) -> beam.pvalue.TaggedOutput:
    """Returns an entry of the errors, in characters that can be written.

    Args:
        path: The file that failed.
        error: Why.
    """
    entry = {"path": path, "error": f"{type(error).__name__}: {error}"}
    return beam.pvalue.TaggedOutput(
        ERRORS,
        {
            name: text.encode("utf-8", "backslashreplace").decode("utf-8")
            for name, text in entry.items()
        },
    )


class WriteErrors(beam.PTransform):
    """Writes the errors of a run to one file, a line of JSON each.

    One file, which each run replaces: of a number of files that differs from
    run to run, some of the run before would stay.

    Args:
        folder: The output folder.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._file = f"{folder}/{ERRORS_FILE}"

    def expand(self, errors: Any) -> Any:
        """Builds the steps.

        Args:
            errors: PCollection of what `failure` made.
        """
        return (
            errors
            | "Lines" >> beam.Map(json.dumps)
            | "File" >> beam.io.WriteToText(self._file, shard_name_template="")
        )
