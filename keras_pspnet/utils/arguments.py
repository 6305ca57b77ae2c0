"""Checks arguments, with errors that name the rule and the value."""

from __future__ import annotations

import difflib
import inspect
import math
import operator
from collections.abc import Collection, Iterable
from typing import Any, cast


def check_rule(name: str, value: Any, rule: str, kept: bool) -> None:
    """Raises a ValueError with the rule and the value, unless `kept`."""
    if not kept:
        raise ValueError(f"`{name}` must {rule}. Received: {name}={value!r}")


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    listed = ", ".join(repr(choice) for choice in choices)
    check_rule(name, value, f"be one of {listed}", value in choices)


def did_you_mean(name: Any, names: Iterable[str], form: str = "{!r}") -> str:
    """Returns a question after the nearest of some names, or nothing.

    Args:
        name: What the user gave.
        names: What there is.
        form: How the name is quoted.
    """
    near = difflib.get_close_matches(str(name), list(names), n=1)
    return f" (did you mean {form.format(near[0])}?)" if near else ""


def as_integer(value: Any, least: int = 1) -> int | None:
    """Returns an integer of at least `least`; None for anything else.

    Args:
        value: The value. NumPy integers are converted; a bool is not an
            integer.
        least: The smallest allowed value.
    """
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return None if isinstance(value, bool) or number < least else number


def as_integers(values: Any) -> tuple[int, ...] | None:
    """Returns positive integers as a tuple; None for anything else.

    Args:
        values: A sequence or an array.
    """
    try:
        numbers = tuple(map(as_integer, values))
    except TypeError:
        return None
    return None if None in numbers else numbers  # type: ignore[return-value]


def check_integer(
    name: str, value: Any, most: int | None = None, least: int = 1
) -> int:
    """Returns an argument that must be an integer in a range.

    Args:
        name: Name of the argument.
        value: Its value.
        most: The largest allowed value; None is any.
        least: The smallest allowed value.

    Returns:
        The value as an int; NumPy integers are converted.

    Raises:
        ValueError: If it is not an integer (a bool is not), or out of range.
    """
    number = as_integer(value, least)
    rule = "a positive integer"
    if most is not None:
        rule = f"an integer from {least} to {most}"
    elif least != 1:
        rule = f"an integer of at least {least}"
    kept = number is not None and (most is None or number <= most)
    check_rule(name, value, f"be {rule}", kept)
    return cast(int, number)


def is_number(value: Any, least: float = 0.0, above: bool = False) -> bool:
    """Returns whether a value is a finite number, not a bool or a string.

    Args:
        value: The value.
        least: The smallest allowed value.
        above: Whether it must be greater than `least`.
    """
    if isinstance(value, bool | str):
        return False
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return (number > least if above else number >= least) and number < math.inf


def check_number(
    name: str,
    value: Any,
    also: str = "",
    most: float | None = None,
    above: bool = False,
) -> float:
    """Returns an argument that must be a finite number of at least 0.

    Args:
        name: Name of the argument.
        value: Its value.
        also: Other allowed values, for the error.
        most: The largest allowed value; None is any.
        above: Whether it must be above 0.

    Raises:
        ValueError: If it is anything else.
    """
    rule = "above 0" if above else "of at least 0"
    if most is not None:
        rule += f" and at most {most:g}"
    kept = is_number(value, above=above)
    kept = kept and (most is None or float(value) <= most)
    check_rule(name, value, f"be a finite number {rule}{also}", kept)
    return float(value)


def init_config(item: Any, cls: type, without: str = "") -> dict[str, Any]:
    """Returns a constructor's arguments from the attributes of the same names.

    Args:
        item: The object.
        cls: Its class, or the base class whose arguments to return.
        without: An argument to leave out; `kwargs` is always left out.
    """
    names = inspect.signature(cls).parameters
    left_out = ("kwargs", without)
    return {name: getattr(item, name) for name in names if name not in left_out}


def finite_numbers(values: Any) -> tuple[float, ...]:
    """Returns values as floats; an empty tuple if one is not finite."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()
