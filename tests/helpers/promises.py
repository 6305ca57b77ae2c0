"""The table of a server's promises, with the number of cases that test each.

Tests of a row are marked `promise("R1")`. A test of many cases records their
number with `record_property("cases", 300)`, and a test of a server records its
name with `record_property("engine", name)`.
"""

from __future__ import annotations

import collections
from typing import Any

import pytest

ROWS = {
    "R1": "files that are no pictures",
    "R2": "pictures with flipped bytes",
    "R3": "odd but legal pictures",
    "R4": "decompression bombs",
    "R5": "bad tensors",
    "R6": "bad bodies over REST",
    "R7": "large answers",
    "R8": "the same from every runtime",
    "R9": "damaged versions",
    "R15": "archives and downloads",
    "R17": "load",
    "R18": "overload, deadlines, ends",
    "R19": "supply chain",
}
_OUTCOMES = ("passed", "failed", "skipped")


def note(item: pytest.Item) -> None:
    """Records the row of a test for its report."""
    marker = item.get_closest_marker("promise")
    if marker is not None:
        (row,) = marker.args
        assert row in ROWS
        item.user_properties.append(("promise", row))


def table(stats: dict[str, list[Any]]) -> list[str]:
    """Counts cases by row and engine.

    Args:
        stats: pytest's reports by outcome.

    Returns:
        Lines of text; none if no test belongs to a row.
    """
    worst: dict[str, tuple[int, dict[str, Any]]] = {}
    for name, place in (
        ("passed", 0),
        ("skipped", 2),
        ("failed", 1),
        ("error", 1),
    ):
        for report in stats.get(name, ()):
            properties = dict(getattr(report, "user_properties", ()))
            if "promise" in properties:
                # A test may pass, and what is checked behind it fail.
                worst[report.nodeid] = place, properties
    counts: collections.Counter[tuple[str, str, int]] = collections.Counter()
    for place, properties in worst.values():
        key = properties["promise"], properties.get("engine", ""), place
        counts[key] += properties.get("cases", 1)
    if not counts:
        return []
    lines = [f"{'':<4} {'':<28} {'':<16}" + "".join(map(_right, _OUTCOMES))]
    total = [0, 0, 0]
    for row, title in ROWS.items():
        for engine in sorted({each[1] for each in counts}):
            found = [counts[row, engine, place] for place in range(3)]
            if any(found):
                lines.append(_line(row, title, engine, found))
            total = [a + b for a, b in zip(total, found, strict=True)]
    return [*lines, _line("", "all", "", total)]


def _right(text: object) -> str:
    return f"{text:>9}"


def _line(row: str, title: str, engine: str, counts: list[int]) -> str:
    return f"{row:<4} {title:<28} {engine:<16}" + "".join(map(_right, counts))
