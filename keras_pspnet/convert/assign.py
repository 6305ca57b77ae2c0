"""Fills variables with converted arrays: none missing, none left over."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

# A list of problems as long as the network would not help.
_SHOWN_PROBLEMS = 20


@dataclasses.dataclass(frozen=True)
class Converted:
    """A network of another framework, converted.

    Args:
        source: Name of the source, such as `"mmseg"`.
        config: Arguments of `PSPNet`.
        arrays: Variable path -> values.
    """

    source: str
    config: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def with_config(self, **config: Any) -> Converted:
        """Returns the network with further arguments of `PSPNet`."""
        return dataclasses.replace(self, config=self.config | config)


def fill(
    weights: Iterable[Any],
    arrays: Mapping[str, np.ndarray],
    fresh: tuple[str, ...] = (),
    unused: tuple[str, ...] = (),
) -> None:
    """Fills every variable, or lists everything that does not fit in one error.

    Nothing is assigned unless everything fits.

    Args:
        weights: Variables of the network.
        arrays: Variable path -> values, which are read one at a time.
        fresh: Prefixes of the variables that keep their initial values.
        unused: Prefixes of the arrays that may be left over.

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
    # A number that is too large becomes infinity, which `fill` reports.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype)


def raise_problems(rule: str, problems: list[str]) -> None:
    """Raises one ValueError that lists all problems, if there are any."""
    if not problems:
        return
    shown = "; ".join(problems[:_SHOWN_PROBLEMS])
    more = len(problems) - _SHOWN_PROBLEMS
    rest = f"; and {more} more" if more > 0 else ""
    raise ValueError(f"`source` must hold {rule}. Received: {shown}{rest}")
