"""Tests of the benchmark of exports: what it runs, compares and prints."""

import functools
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import keras_pspnet as kp
from keras_pspnet.inference.segment import predict_masks

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

# Does as an engine does, and notes in a file what it does.
ENGINE = """
import sys
import numpy as np

name, first_pixel, notes = sys.argv[1:]
np.save(f"{name}.npy", np.array([[[int(first_pixel), 1, 2]]]))
print(50.0, flush=True)
for count, line in enumerate(sys.stdin):
    assert line == "go\\n"
    with open(notes, "a") as stream:
        print(name, file=stream)
    print(float([3, 1, 2][count]), flush=True)
print(70.0, flush=True)
"""

# `serve`, with a network that negates.
SERVER = """
import sys
from pathlib import Path
import export

def load(engine, path, threads):
    print("libraries write what they like")
    print(path.read_text(), threads, file=sys.stderr)
    return lambda image: -image

engine = export.Engine("negative", "float32", "json", "artefact")
export.serve(engine, Path(sys.argv[1]), 3, load)
"""


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("export")


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def fakes(notes: Path, pixels: dict[str, int]) -> dict[str, Sequence[str]]:
    return {
        name: python(ENGINE, name, str(pixel), str(notes))
        for name, pixel in pixels.items()
    }


def is_stopped(child: object) -> bool:
    _, status = os.waitpid(child._process.pid, os.WUNTRACED)
    return os.WIFSTOPPED(status)


# What Keras does on the way to ONNX.
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")
def test_all_artefacts_give_the_masks_of_the_model(
    export: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = []

    def tiny(*args: object, **kwargs: object) -> kp.PSPNet:
        made.append(PSPNet(*args, **{"width": 1 / 16, **kwargs}))
        return made[-1]

    PSPNet = kp.PSPNet
    monkeypatch.setattr(kp, "PSPNet", tiny)
    names = [
        engine.name for engine in export.ENGINES if engine.module != "peer"
    ]
    export.write(tmp_path, names, "resnet18", 49)
    any_size, fixed = made
    assert any_size.input_shape == (None, None, None, 3)
    assert fixed.input_shape == (None, 49, 49, 3)
    image = np.load(tmp_path / export.PICTURE)[None].astype("float32")
    assert image.shape == (1, 49, 49, 3)
    want = predict_masks(any_size, image)
    # Masks of one class would agree by chance.
    assert len(np.unique(want)) > 3
    for engine in export.ENGINES:
        if engine.name in names:
            run = export.load(engine, tmp_path / engine.file, threads=1)
            got = run(image)
            assert got.dtype.kind in "iu"
            assert got.shape == want.shape
            exact = engine.dtype == "float32"
            assert (got == want).mean() >= (0.99 if exact else 0.8)


def test_only_what_is_asked_for_is_written(
    export: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiny = functools.partial(kp.PSPNet, width=1 / 16)
    monkeypatch.setattr(kp, "PSPNet", tiny)
    export.write(tmp_path, [], "resnet18", 32)
    assert [path.name for path in tmp_path.iterdir()] == [export.PICTURE]


def test_rounds_alternate_between_engines(
    export: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    notes = tmp_path / "notes"
    commands = fakes(notes, {"onnx": 0, "litert-int8": 9})
    results = export.measure(commands, tmp_path, 3)
    forth = ["onnx", "litert-int8"]
    assert notes.read_text().split() == [*forth, *forth[::-1], *forth]
    assert results == {
        "onnx": export.Result(2.0, 50.0, 70.0, 1.0),
        "litert-int8": export.Result(2.0, 50.0, 70.0, 2 / 3),
    }


def test_engines_that_wait_are_stopped(
    export: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = fakes(tmp_path / "notes", {"onnx": 0}).values()
    with export.Child("onnx", command, tmp_path) as child:
        assert child.start() == 50
        assert is_stopped(child)
        assert [child.round(), child.round()] == [3, 1]
        assert is_stopped(child)
        assert child.finish() == 70


def test_engines_do_not_outlive_the_comparison(
    export: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = fakes(tmp_path / "notes", {"onnx": 0}).values()
    child = export.Child("onnx", command, tmp_path)
    with pytest.raises(KeyboardInterrupt), child:
        child.start()
        raise KeyboardInterrupt
    assert child._process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise OSError('no such network')", "1"),
        (
            "print(1.0, flush=True); input(); "
            "import sys; sys.stderr.write('no such network'); sys.exit(3)",
            "3",
        ),
    ],
    ids=["as it loads", "as it runs"],
)
def test_a_failure_tells_what_the_engine_wrote(
    export: ModuleType, tmp_path: Path, code: str, status: str
) -> None:
    commands = {"onnx": python(code)}
    np.save(tmp_path / "onnx.npy", np.zeros((1, 2, 2)))
    with pytest.raises(
        export.BenchmarkError,
        match=rf"(?s)^onnx ended with status {status}:\n.*no such network",
    ):
        export.measure(commands, tmp_path, 1)


def test_a_failed_preparation_tells_what_it_wrote(export: ModuleType) -> None:
    export.run_to_end("thinking", python("print('quiet')"))
    with pytest.raises(
        export.BenchmarkError, match="^thinking ended with status 1:\nno idea$"
    ):
        export.run_to_end("thinking", python("raise SystemExit('no idea')"))


def test_engine_serves_figures_only(
    export: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    np.save(tmp_path / export.PICTURE, np.full((2, 2, 3), 7, "uint8"))
    (tmp_path / "artefact").write_text("contents")
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS))
    command = python(SERVER, str(tmp_path))
    with export.Child("negative", command, tmp_path) as child:
        imported = child.start()
        # A Python with NumPy has more than 10 MB.
        assert imported > 10
        assert 0 < child.round() < 10
        assert child.finish() >= imported
    mask = np.load(tmp_path / "negative.npy")
    np.testing.assert_array_equal(mask, np.full((1, 2, 2, 3), -7, "float32"))
    assert "contents 3" in (tmp_path / "negative.log").read_text()


def test_agreement_is_with_the_first(export: ModuleType) -> None:
    first = np.arange(8).reshape(1, 2, 4)
    other = first.copy()
    other[0, 0, :2] = 99
    masks = {"keras-savedmodel": first, "savedmodel-bfloat16": other}
    assert export.agreement(masks) == {
        "keras-savedmodel": 1.0,
        "savedmodel-bfloat16": 0.75,
    }
    with pytest.raises(
        export.BenchmarkError,
        match="onnx agrees with keras-savedmodel on only 75.0%",
    ):
        export.agreement({"keras-savedmodel": first, "onnx": other})
    with pytest.raises(
        export.BenchmarkError, match=r"litert-int8 gives .* \(2, 4\), keras"
    ):
        export.agreement({"keras-savedmodel": first, "litert-int8": other[0]})


def test_table_has_ratios_and_targets(export: ModuleType) -> None:
    seconds = {
        "keras-savedmodel": 4.0,
        "keras-onnx": 2.0,
        "mmseg-float32": 2.5,
        "mmseg-bfloat16": 1.0,
        "savedmodel-float32": 2.0,
        "savedmodel-bfloat16": 0.5,
        "onnx": 1.5,
        "litert-float32": 3.0,
        "litert-int8": 1.0,
    }
    results = {
        name: export.Result(value, 100.4, 900.6, 0.98765)
        for name, value in seconds.items()
    }
    headings, *lines = export.table(results)
    rest = ["100", "901", "98.77%"]
    assert [line.split() for line in lines] == [
        ["keras-savedmodel", "float32", "4.000", *rest],
        ["keras-onnx", "float32", "2.000", *rest],
        ["mmseg-float32", "float32", "2.500", *rest],
        ["mmseg-bfloat16", "bfloat16", "1.000", *rest],
        *[
            [name, dtype, *figures.split(), *rest]
            for name, dtype, figures in (
                ("savedmodel-float32", "float32", "2.000 0.50 0.60 0.80 0.95"),
                ("savedmodel-bfloat16", "bfloat16", "0.500 0.12 0.50 0.75"),
                ("onnx", "float32", "1.500 0.75 0.88 0.60"),
                ("litert-float32", "float32", "3.000 0.75 1.20"),
                ("litert-int8", "int8", "1.000 0.25"),
            )
        ],
    ]
    assert len({len(line) for line in (headings, *lines)}) == 1
    del results["keras-onnx"], results["mmseg-float32"]
    (row,) = [x for x in export.table(results) if x.startswith("onnx")]
    assert row.split() == ["onnx", "float32", "1.500", *rest]


@pytest.fixture
def started(
    export: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Sequence[str]]:
    """Commands that would have been started, by what they are for."""
    commands: dict[str, Sequence[str]] = {}

    def measure(
        engines: dict[str, Sequence[str]], folder: Path, rounds: int
    ) -> dict[str, tuple]:
        assert folder.is_dir()
        commands.update(engines)
        return {name: export.Result(rounds, 1, 2, 1) for name in engines}

    monkeypatch.setattr(export, "run_to_end", commands.__setitem__)
    monkeypatch.setattr(export, "measure", measure)
    return commands


def test_without_peer_its_rows_are_left_out(
    export: ModuleType,
    started: dict[str, Sequence[str]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    missing = tmp_path / "python"
    export.main(["--peer-python", str(missing), "--rounds", "4"])
    names = [name for name in export.NAMES if not name.startswith("mmseg")]
    title, remark, *lines = capsys.readouterr().out.splitlines()
    exporting = [f"exporting {name}" for name in names]
    assert lines[: len(names)] == exporting
    rows = lines[len(names) + 1 :]
    assert title == "PSPNet, resnet50, 473x473, 2 threads, medians of 4"
    assert remark.startswith("No mmsegmentation") and str(missing) in remark
    assert [row.split()[0] for row in rows] == names
    assert list(started) == [*exporting, *names]


def test_the_peer_runs_in_its_own_environment(
    export: ModuleType,
    started: dict[str, Sequence[str]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    peer = tmp_path / "python"
    peer.touch()
    only = ["mmseg-float32", "onnx"]
    export.main(["--peer-python", str(peer), "--size", "97", "--only", *only])
    assert list(started) == ["writing weights", "exporting onnx", *only]
    assert len(capsys.readouterr().out.splitlines()) == 5
    for name, (program, script, *arguments) in started.items():
        theirs = name in ("writing weights", "mmseg-float32")
        assert program == (str(peer) if theirs else sys.executable)
        assert Path(script).name == (
            "export_peer.py" if theirs else "export.py"
        )
        options = export.parse(arguments)
        assert options.child == (name if name in only else "write")
        assert (options.size, options.threads) == (97, 2)
        wanted = ["onnx"] if name == "exporting onnx" else list(export.NAMES)
        assert list(options.only) == wanted


def test_a_failure_ends_the_benchmark(
    export: ModuleType,
    started: dict[str, Sequence[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def fail(*arguments: object) -> None:
        raise export.BenchmarkError("onnx ended with status 1:\nno memory")

    monkeypatch.setattr(export, "measure", fail)
    without = ["--peer-python", str(tmp_path / "none")]
    with pytest.raises(SystemExit, match="status 1:\nno memory"):
        export.main(without)
    with pytest.raises(SystemExit, match="--only names nothing else"):
        export.main([*without, "--only", "mmseg-float32"])


@pytest.mark.parametrize(
    ("option", "value"),
    [("--size", "31"), ("--rounds", "0"), ("--threads", "0")],
)
def test_numbers_that_make_no_sense_are_refused(
    export: ModuleType,
    option: str,
    value: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        export.main([option, value])
    assert "must be at least" in capsys.readouterr().err
