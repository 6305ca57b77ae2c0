"""From named source tensors to variables: every one used, every one filled."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

# The pyramid of every published network.
BIN_SIZES = (1, 2, 3, 6)
# A fault list as long as a network helps nobody.
_SHOWN_PROBLEMS = 20


@dataclasses.dataclass(frozen=True)
class Converted:
    """A network of another framework in this package's terms.

    Args:
        source: Whose form the file has, e.g. `"mmseg"`.
        config: Arguments of `PSPNet`.
        arrays: Variable path -> values.
    """

    source: str
    config: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Row(NamedTuple):
    """One line of a converter's name table.

    Args:
        source: Name of the tensor in the source.
        path: Path of the variable.
        rank: Number of axes of the source tensor.
        axes: Order in which the variable has the source's axes.
    """

    source: str
    path: str
    rank: int
    axes: tuple[int, ...]


def conv_row(source: str, path: str) -> Row:
    """Kernel (out, in, height, width) -> (height, width, in, out)."""
    return Row(source, path, 4, (2, 3, 1, 0))


def vector_row(source: str, path: str) -> Row:
    """A bias, a scale or a statistic: one value for each channel."""
    return Row(source, path, 1, (0,))


def convert_rows(
    tensors: Mapping[str, Any],
    rows: Iterable[Row],
    ignored: str,
) -> dict[str, np.ndarray]:
    """Applies a name table.

    Args:
        tensors: Source name -> array.
        rows: The name table.
        ignored: Regular expression of source names that nothing needs.

    Returns:
        Variable path -> view of the source's values.

    Raises:
        ValueError: If a tensor is missing, of another rank, or neither used
            nor ignored; the message has all of them.
    """
    rows = list(rows)
    problems = []
    arrays = {}
    for row in rows:
        value = tensors.get(row.source)
        if value is None:
            problems.append(f"missing {row.source}")
        elif value.ndim != row.rank or value.dtype.kind != "f":
            problems.append(
                f"{row.source} has shape {value.shape} of {value.dtype}, not "
                f"{row.rank} axes of floats"
            )
        else:
            arrays[row.path] = value.transpose(row.axes)
    used = {row.source for row in rows}
    problems += [
        f"unexpected {name}"
        for name in sorted(tensors)
        if name not in used and not re.search(ignored, name)
    ]
    raise_problems("a network whose every tensor is known", problems)
    return arrays


def fill(
    weights: Iterable[Any],
    arrays: Mapping[str, np.ndarray],
    fresh: tuple[str, ...] = (),
    unused: tuple[str, ...] = (),
) -> None:
    """Fills every variable, or tells all that does not fit in one error.

    Nothing is assigned before everything fits.

    Args:
        weights: Variables of the network.
        arrays: Variable path -> values. Values are read when they are
            needed, one at a time.
        fresh: Starts of the paths that keep their initial values.
        unused: Starts of the paths that may be left over.

    Raises:
        ValueError: If a value is missing, left over, of another shape, not
            finite in the variable's dtype, or a negative variance.
    """
    variables = {
        variable.path: variable
        for variable in weights
        if not variable.path.startswith(fresh)
    }
    left = {path for path in arrays if not path.startswith(fresh + unused)}
    problems = [f"missing {path}" for path in sorted(variables.keys() - left)]
    problems += [
        f"unexpected {path}" for path in sorted(left - variables.keys())
    ]
    for path in sorted(variables.keys() & left):
        values, shape = arrays[path], tuple(variables[path].shape)
        if tuple(values.shape) != shape:
            problems.append(
                f"{path} has shape {tuple(values.shape)}, not {shape}"
            )
            continue
        values = _as_stored(values, variables[path])
        if not np.isfinite(values).all():
            problems.append(f"{path} has NaN or infinity")
        elif path.endswith("/moving_variance") and values.min() < 0:
            problems.append(f"{path} has a negative variance")
    raise_problems("the weights of this network", problems)
    for path, variable in variables.items():
        variable.assign(_as_stored(arrays[path], variable))


def _as_stored(values: np.ndarray, variable: Any) -> np.ndarray:
    dtype = keras.backend.standardize_dtype(variable.dtype)
    # Too large a number becomes infinity, which is told in its own way.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype)


def raise_problems(rule: str, problems: list[str]) -> None:
    """Raises one ValueError for all faults, if there are any."""
    if not problems:
        return
    shown = "; ".join(problems[:_SHOWN_PROBLEMS])
    more = len(problems) - _SHOWN_PROBLEMS
    rest = f"; and {more} more" if more > 0 else ""
    raise ValueError(f"`source` must hold {rule}. Received: {shown}{rest}")
