"""Tests of checks of arguments."""

import numpy as np
import pytest

from keras_pspnet.utils.arguments import (
    check_choice,
    check_integer,
    did_you_mean,
    finite_numbers,
)


def test_choice_lists_what_there_is() -> None:
    check_choice("color", "red", ("red", "blue"))
    message = "`color` must be one of 'red', 'blue'. Received: color='green'"
    with pytest.raises(ValueError, match=message):
        check_choice("color", "green", ("red", "blue"))


def test_the_nearest_name_is_asked_for() -> None:
    names = ("dice", "focal", "lovasz")
    assert did_you_mean("dize", names) == " (did you mean 'dice'?)"
    assert did_you_mean("dize", names, "`{}`") == " (did you mean `dice`?)"
    for far in ("mars", "", 3):
        assert did_you_mean(far, names) == ""


@pytest.mark.parametrize("value", [1, 255, np.int64(7)])
def test_integers_become_pythons(value) -> None:
    assert type(check_integer("count", value, most=255)) is int
    assert check_integer("count", value) == value


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3", None, [2]])
def test_no_positive_integer(value) -> None:
    with pytest.raises(ValueError, match="^`count` must be a positive integer"):
        check_integer("count", value)
    for bad in (value, 10):
        with pytest.raises(ValueError, match="must be an integer from 1 to 9."):
            check_integer("count", bad, most=9)


def test_finite_numbers() -> None:
    assert finite_numbers(np.array([1, 2])) == (1.0, 2.0)
    for bad in (5, None, "abc", (1, float("nan")), (1, float("inf"))):
        assert finite_numbers(bad) == ()
