"""Checks of arguments, with errors that name the rule and the value."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection
from typing import Any


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(
            f"`{name}` must be one of {listed}. Received: {name}={value!r}"
        )


def check_integer(name: str, value: Any, most: int | None = None) -> int:
    """Returns an argument that must be a positive integer.

    Args:
        name: Name of the argument.
        value: What the user gave.
        most: The largest allowed value, None for any.

    Returns:
        The value as an int; NumPy integers are converted.

    Raises:
        ValueError: If it is no integer (a bool is none), or out of range.
    """
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or (most is not None and number > most):
        rule = "a positive integer"
        if most is not None:
            rule = f"an integer from 1 to {most}"
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}")
    return number


def finite_numbers(values: Any) -> tuple[float, ...]:
    """Returns values as floats, or nothing if any is no finite number."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()
