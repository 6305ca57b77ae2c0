"""Tests of the benchmark of training batches: what it runs and prints."""

import argparse
import importlib
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from keras_pspnet.data.dataset import load
from keras_pspnet.data.images import read_mask
from keras_pspnet.labels import VOC

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("input")


@pytest.fixture
def options(benchmark: ModuleType, tmp_path: Path) -> argparse.Namespace:
    benchmark.write_pairs(tmp_path, 3)
    return benchmark.parse(
        ["--folder", str(tmp_path), "--size", "33", "--steps", "2"]
    )


def test_pictures_are_as_cameras_write_them(
    benchmark: ModuleType, options: argparse.Namespace
) -> None:
    data = load(options.folder, labels=VOC)
    assert len(data) == 3
    for sample in data.samples:
        with Image.open(sample.image) as opened:
            assert opened.format == "JPEG"
            assert opened.size == (500, 375)
            # Two by two pixels of brightness for one of either colour.
            assert [layer[1:3] for layer in opened.layer] == [
                (2, 2),
                (1, 1),
                (1, 1),
            ]
        with Image.open(sample.mask) as opened:
            assert opened.mode == "P"
        assert len(np.unique(read_mask(sample.mask))) > 2


def test_ours_makes_all_batches_of_a_round(
    benchmark: ModuleType, options: argparse.Namespace
) -> None:
    shapes = benchmark.load(options)(np.zeros(0))
    assert shapes.tolist() == [16, 33, 33, 3, 16, 33, 33]


def test_steps_cost_something(
    benchmark: ModuleType, options: argparse.Namespace
) -> None:
    costs = benchmark.costs(options.folder, options.size)
    assert len(costs) == 9
    assert min(costs.values()) > 0
    assert sum(costs.values()) < 1000


def test_every_row_has_its_bound(
    benchmark: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    prepared = []

    def measure(commands, folder, rounds, engines):
        assert len(list((folder / "images").iterdir())) == 2
        peer, ours = engines
        cores = int(peer.name.partition("-")[2])
        for engine, python, script in (
            (peer, str(tmp_path), "input_peer.py"),
            (ours, None, "input.py"),
        ):
            program, path, *arguments = commands[engine.name]
            assert python in (None, program)
            assert Path(path).name == script
            child = benchmark.parse(arguments)
            assert child.child == engine.name
            assert child.cores == [cores]
        assert rounds == 5
        result = importlib.import_module("export").Result
        return {
            peer.name: result(4.0, 1, 200, 1.0),
            ours.name: result(3.0, 1, 100, 1.0),
        }

    def run_to_end(name, command):
        child = benchmark.parse(command[2:])
        assert child.child == "costs"
        prepared.append(name)
        (child.folder / "costs.json").write_text('{"blur": 1.234}')

    monkeypatch.setattr(benchmark, "measure", measure)
    monkeypatch.setattr(benchmark, "run_to_end", run_to_end)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {2, 4, 6, 8})
    benchmark.main(
        ["--peer-python", str(tmp_path), "--pictures", "2", "--steps", "12"]
    )
    title, _, *rows = capsys.readouterr().out.splitlines()
    assert "to 473x473 crops, batches of 16" in title
    assert [row.split() for row in rows] == [
        ["1", "48", "64", "1.33", "1.00", "200", "100"],
        ["4", "12", "16", "1.33", "1.00", "200", "100"],
        ["milliseconds", "per", "picture", "on", "one", "core"],
        ["blur", "1.23"],
    ]
    assert len(prepared) == 1


def test_a_process_keeps_to_its_cores(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {7, 2, 5})
    monkeypatch.setattr(
        "os.sched_setaffinity", lambda *arguments: given.append(arguments)
    )
    benchmark.use_cores(2)
    assert given == [(0, [2, 5])]


def test_without_peer_there_is_nothing_to_compare(
    benchmark: ModuleType,
) -> None:
    with pytest.raises(SystemExit, match="none must exist: make"):
        benchmark.main(["--peer-python", "none"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rounds", "0"], "numbers must be at least 1"),
        (["--size", "31"], "--size at least 32"),
        (["--cores", "0"], "numbers must be at least 1"),
        (["--cores", str(len(os.sched_getaffinity(0)) + 1)], "must be at most"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    benchmark: ModuleType,
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        benchmark.main(arguments)
    assert told in capsys.readouterr().err
