"""User input by entry point, and the expected outcome.

Each test is a `Case`; `pytest -m user_input` prints the table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from keras_pspnet import DataWarning


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        what: The user's input.
        entry: The function or command that receives it.
        call: Makes the call; `value` checks its result.
        error: Pattern of the error's message, or None.
        warning: Pattern of the `DataWarning`, or None for no warning.
        value: Asserts that the result of the call is right, or None.
        kind: Class of the error.
        slow: Whether only `make slow` tries it: others are much like it.
    """

    what: str
    entry: str
    call: Callable[[], Any]
    error: str | None = None
    warning: str | None = None
    value: Callable[[Any], Any] | None = None
    kind: type[Exception] = ValueError
    slow: bool = False

    def outcome(self) -> str:
        if self.error is not None:
            return f"{self.kind.__name__}: {self.error}"
        if self.warning is not None:
            return f"DataWarning: {self.warning}"
        return "works"


def run(case: Case) -> None:
    """Runs a case; any other warning is an error, as in all tests."""
    if case.error is not None:
        with pytest.raises(case.kind, match=case.error) as raised:
            case.call()
        assert "\n" not in str(raised.value).strip()
        return
    expected: Any = contextlib.nullcontext()
    if case.warning is not None:
        expected = pytest.warns(DataWarning, match=case.warning)
    with expected:
        result = case.call()
    if case.value is not None:
        case.value(result)


def each(cases: Iterable[Case]) -> Any:
    """Parametrizes a test over cases."""
    params = [
        pytest.param(
            case,
            id=re.sub(r"\W+", "-", f"{case.what} {case.entry}").strip("-"),
            marks=pytest.mark.slow if case.slow else (),
        )
        for case in cases
    ]
    return pytest.mark.parametrize("case", params)


def table(items: Iterable[pytest.Item]) -> list[str]:
    """Lists the cases among tests, one per line.

    Args:
        items: Collected tests.

    Returns:
        Lines of text; none if no test is a case.
    """
    return [
        _line(item) for item in items if item.get_closest_marker("user_input")
    ]


def _line(item: pytest.Item) -> str:
    case = getattr(item, "callspec", None) and item.callspec.params.get("case")
    if case is None:
        # Its name is a sentence.
        name = item.name.removeprefix("test_").replace("_", " ")
        return name
    return f"{case.what:46} {case.entry:22} {case.outcome()}"
