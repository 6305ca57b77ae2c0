"""Tests of keras_pspnet.callbacks.history."""

import csv

import numpy as np
import pytest

from keras_pspnet.callbacks.history import read_history, write_history

ROWS = [
    {"epoch": 1, "step": 50, "loss": 0.1, "rate": 1e-05},
    {"epoch": 2, "step": 100, "loss": -3.5, "rate": 0.0, "val": 1 / 3},
]


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, ROWS)
    rows = read_history(path)
    assert [list(row) for row in rows] == [list(row) for row in ROWS]
    for row, want in zip(rows, ROWS, strict=True):
        assert row == pytest.approx(want, rel=1e-8)
        # A float32 keeps every digit.
        assert np.float32(row["loss"]) == np.float32(want["loss"])
        assert type(row["epoch"]) is type(row["step"]) is int


def test_others_can_read_it(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, ROWS)
    with open(path, newline="") as stream:
        first, second = csv.DictReader(stream)
    assert list(first) == ["epoch", "step", "loss", "rate", "val"]
    assert (first["step"], first["val"]) == ("50", "")
    assert float(second["val"]) == pytest.approx(1 / 3)


def test_nan_is_an_empty_cell(tmp_path):
    row = {"epoch": 1, "step": 50}
    write_history(tmp_path / "a", [row | {"loss": float("nan")}])
    assert (tmp_path / "a").read_text() == "epoch,step,loss\n1,50,\n"
    assert read_history(tmp_path / "a") == [row]


@pytest.mark.parametrize(
    "content",
    [
        b"epoch,step,loss\n1,50,high\n",
        b"epoch,step,loss\n1,50\n",
        b"epoch,step,loss\n1,50,0.5,7\n",
        b"epoch,loss\n1,50\n",
        b"epoch,step\n,50\n",
        b"\xff\xfe",
    ],
)
def test_anything_else_is_refused(tmp_path, content):
    path = tmp_path / "history.csv"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"`path` must be a history.*path='.*history\.csv'"
    ):
        read_history(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="`path` must be readable"):
        read_history(tmp_path / "none")
