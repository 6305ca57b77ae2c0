"""The numbers of a training run as a CSV file, one row an epoch."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_pspnet.utils import naming_errors, write_atomically

Row = dict[str, float]

# What every row has; what else it has depends on the run.
KEYS = ("epoch", "step")


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
    columns = dict.fromkeys(name for row in rows for name in row)
    names = [*KEYS, *(name for name in columns if name not in KEYS)]
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(names)
    for row in rows:
        table.writerow([_cell(row.get(name)) for name in names])
    write_atomically(path, text.getvalue().encode())


def _cell(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    # As many digits as float32 has.
    return str(value) if isinstance(value, int) else f"{value:.9g}"
