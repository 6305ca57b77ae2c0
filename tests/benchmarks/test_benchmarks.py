"""Tests that the benchmarks run, and compare what they say they compare."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from support import assert_close, randomize

TINY = ["--size", "65", "--backbone", "resnet18", "--width", "0.0625"]


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module("head")


def tiny(head: ModuleType, backward: bool) -> tuple:
    return head.Setting(65, "resnet18", 1 / 16, 2, backward, "float32")


def test_plain_form_is_the_same_network(head: ModuleType) -> None:
    shortcut = head.build(tiny(head, backward=True))
    randomize(shortcut)
    plain = head.plain_form(shortcut)
    assert {id(v) for v in plain.variables} == {
        id(v) for v in shortcut.variables
    }
    (replaced,) = set(plain.layers) - set(shortcut.layers) - {plain.layers[0]}
    assert isinstance(replaced, head.PlainConv)
    images = np.random.default_rng(0).uniform(0, 255, (2, 65, 65, 3))
    results = [form(images) for form in (plain, shortcut)]
    for name in ("main", "aux"):
        want, got = (result[name] for result in results)
        assert_close(got, want, 1e-5)


def test_forward_prints_one_table(
    head: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    # Memory is measured in real child processes here.
    head.main([*TINY, "--rounds", "1", "--forward-only", "--dtype", "float32"])
    title, headings, row = capsys.readouterr().out.splitlines()
    assert title.startswith("PSPNet, resnet18, width 0.0625, 65x65")
    assert headings.split()[:3] == ["pass", "dtype", "batch"]
    name, dtype, batch, *numbers = row.split()
    assert (name, dtype, batch) == ("forward", "float32", "1")
    plain, shortcut, ratio, target, *peaks = map(float, numbers)
    # Milliseconds of so small a network are rounded to very few digits.
    half, cent = 0.0005, 0.005
    assert ratio >= (shortcut - half) / (plain + half) - cent
    assert ratio <= (shortcut + half) / max(plain - half, 1e-9) + cent
    assert target == 0.7
    assert min(peaks) > 10


def test_every_row(
    head: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    memory = {"plain": 200.0, "shortcut": 100.0}
    seconds = {"plain": 4.0, "shortcut": 3.0}
    monkeypatch.setattr(head, "measure_memory", lambda setting: memory)
    monkeypatch.setattr(head, "measure_times", lambda setting, rounds: seconds)
    head.main(TINY)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    figures = ["4.000", "3.000", "0.75"]
    assert rows == [
        [*name.split(), dtype, batch, *figures, *target, "200", "100"]
        for name, dtype, batch, target in (
            ("forward", "float32", "1", ["0.70"]),
            ("forward + backward", "float32", "2", ["0.95"]),
            ("forward", "bfloat16", "1", []),
            ("forward + backward", "bfloat16", "2", []),
        )
    ]


def test_training_step_is_timed(head: ModuleType) -> None:
    setting = tiny(head, backward=True)._replace(dtype="bfloat16")
    seconds = head.measure_times(setting, rounds=2)
    assert list(seconds) == ["plain", "shortcut"]
    assert min(seconds.values()) > 0


@pytest.mark.parametrize("option", ["--size", "--rounds", "--batch"])
def test_numbers_below_one_are_refused(
    head: ModuleType, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        head.main([option, "0"])
    assert "must be at least 1" in capsys.readouterr().err
