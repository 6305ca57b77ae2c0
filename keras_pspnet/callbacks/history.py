"""The numbers of a training run as a CSV file, one row an epoch."""

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

# What every row has; what else it has depends on the run.
KEYS = ("epoch", "step")


class HistoryFile(RestoredCallback):
    """Writes Keras's logs and the learning rate as CSV, a row an epoch.

    `keras_pspnet.callbacks.read_history` reads it. A resumed run keeps the
    rows up to the step at which it resumes, and writes later ones again.

    Args:
        path: The file.

    Raises:
        OSError: From `fit`, if it cannot be written.
        ValueError: From `fit`, if it holds anything else.

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
                # At the steps taken: that of the next step.
                "learning_rate": float(rate),
                **(logs or {}),
            }
        )
        write_history(self._path, self._rows)


def read_history(path: str | os.PathLike[str]) -> list[Row]:
    """Reads what `write_history` wrote.

    Args:
        path: The file.

    Returns:
        A row an epoch. Empty cells are left out: not every epoch ends with a
        validation.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds anything else.
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
    """Writes rows of numbers as a CSV file, whole or not at all.

    Args:
        path: The file to write or replace.
        rows: Column -> number, with `epoch` and `step` in each. NaN is
            written as an empty cell.

    Raises:
        OSError: If it cannot be written; an old file stays then.
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
