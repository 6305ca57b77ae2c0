"""The history of a training run as a CSV file, one row per epoch."""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from keras_pspnet.models import RestoredCallback
from keras_pspnet.utils import (
    check_writable,
    naming_errors,
    write_atomically,
)
from keras_pspnet.utils.types import Logs

Row = dict[str, float]

# The columns of every run; the others depend on its losses and metrics.
KEYS = ("epoch", "step")


class HistoryFile(RestoredCallback):
    """Writes Keras's logs and the learning rate as CSV, one row per epoch.

    `keras_pspnet.callbacks.read_history` reads the file. A resumed run keeps
    the rows up to the step at which it resumes, and writes later rows again.

    Args:
        path: The file.

    Raises:
        OSError: From `fit`, if the file cannot be written.
        ValueError: From `fit`, if it exists and does not hold a history.

    Examples:
        >>> from keras_pspnet.callbacks import read_history
        >>> log = kp.callbacks.HistoryFile("history.csv")
        >>> history = net.fit(images, masks, callbacks=[log], verbose=0)
        >>> read_history("history.csv")[-1]["epoch"]
        1
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = Path(path)
        self._rows: list[Row] = []

    def on_fit_restored(self, epoch: int) -> None:
        check_writable(self._path)
        steps = self.model.global_step
        self._rows = []
        if steps and self._path.exists():
            self._rows = [
                row for row in read_history(self._path) if row["step"] <= steps
            ]

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        self._rows.append(
            {
                "epoch": epoch + 1,
                "step": self.model.global_step,
                # That of the next step.
                "learning_rate": float(rate),
                **(logs or {}),
            }
        )
        write_history(self._path, self._rows)


def read_history(path: str | os.PathLike[str]) -> list[Row]:
    """Reads a file written by `write_history`.

    Args:
        path: The file.

    Returns:
        A row for each epoch, without its empty cells: not every epoch ends
        with a validation.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it does not hold a history.
    """
    with naming_errors("path", path, "readable"):
        data = Path(path).read_bytes()
    try:
        rows = []
        for cells in csv.DictReader(io.StringIO(data.decode(), newline="")):
            row = {
                name: int(text) if name in KEYS else float(text)
                for name, text in cells.items()
                if text != ""
            }
            if not set(KEYS) <= set(row):
                raise ValueError("a row without epoch or step")
            rows.append(row)
    except (TypeError, ValueError, csv.Error) as error:
        raise ValueError(
            f"`path` must be a history of training, a CSV file ({error}). "
            f"Received: path={os.fspath(path)!r}"
        ) from error
    return rows


def write_history(
    path: str | os.PathLike[str], rows: Sequence[Mapping[str, float]]
) -> None:
    """Writes rows of numbers to a CSV file atomically.

    Args:
        path: The file to write or replace.
        rows: Column -> number, with `epoch` and `step` in every row. NaN
            becomes an empty cell.

    Raises:
        OSError: If the file cannot be written; an existing file then stays as
            it was.
    """
    columns = dict.fromkeys(itertools.chain(KEYS, *rows))
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(columns), lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow(
            {key: each for key, each in row.items() if not math.isnan(each)}
        )
    write_atomically(path, text.getvalue().encode())
