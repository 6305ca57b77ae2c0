"""Checks of arguments, with errors that name the rule and the value."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Collection
from typing import Any


def check_rule(name: str, value: Any, rule: str, kept: bool) -> None:
    """Raises ValueError, which names the rule and the value, unless `kept`."""
    if not kept:
        raise ValueError(f"`{name}` must {rule}. Received: {name}={value!r}")


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    listed = ", ".join(repr(choice) for choice in choices)
    check_rule(name, value, f"be one of {listed}", value in choices)


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
    rule = "a positive integer"
    if most is not None:
        rule = f"an integer from 1 to {most}"
    kept = number >= 1 and (most is None or number <= most)
    check_rule(name, value, f"be {rule}", kept)
    return number


def init_config(item: Any, cls: type, without: str = "") -> dict[str, Any]:
    """Returns a constructor's arguments, by the attributes of their names.

    Args:
        item: What has the attributes.
        cls: Its class, or the base class whose arguments are asked for.
        without: An argument to leave out; `kwargs` always is.
    """
    names = inspect.signature(cls).parameters
    left_out = ("kwargs", without)
    return {name: getattr(item, name) for name in names if name not in left_out}


def finite_numbers(values: Any) -> tuple[float, ...]:
    """Returns values as floats, or nothing if any is no finite number."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()
