"""Tests of the table that `make serve-check` prints."""

from types import SimpleNamespace

import promises


def report(name, **properties):
    return SimpleNamespace(
        nodeid=name, user_properties=list(properties.items())
    )


def rows(stats):
    """Lines as row, engine and counts."""
    lines = [line.split() for line in promises.table(stats)[1:]]
    return [(line[0], *line[-4:]) for line in lines]


def test_cases_are_counted_by_row_and_engine():
    stats = {
        "passed": [
            report("a", promise="R2", engine="one", cases=300),
            report("b", promise="R2", engine="one"),
            report("c", promise="R19"),
            report("d"),
        ],
        "failed": [report("e", promise="R2", engine="two", cases=7)],
        "skipped": [report("f", promise="R2", engine="two")],
    }
    assert rows(stats) == [
        ("R2", "one", "301", "0", "0"),
        ("R2", "two", "0", "7", "1"),
        ("R19", "chain", "1", "0", "0"),
        ("all", "all", "302", "7", "1"),
    ]


def test_what_fails_behind_a_test_is_no_pass():
    stats = {
        "passed": [report("a", promise="R1", engine="one")],
        "error": [report("a", promise="R1", engine="one")],
    }
    assert rows(stats)[0] == ("R1", "one", "0", "1", "0")


def test_nothing_is_printed_of_other_tests():
    assert promises.table({"passed": [report("a")], "": [object()]}) == []
