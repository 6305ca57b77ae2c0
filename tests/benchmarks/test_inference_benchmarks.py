"""Tests of the benchmarks of segmentation, of precisions, of large pictures."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import picture, tiny_pspnet

from keras_pspnet import save_pretrained
from keras_pspnet.inference.segment import segment
from keras_pspnet.labels import AERIAL

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_ours_is_what_segment_does(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference: ModuleType = benchmark("inference")
    model = tiny_pspnet(4)
    monkeypatch.setattr("keras_pspnet.convert_file", lambda path: model)
    # The process of the tests has its threads already.
    monkeypatch.setattr(
        "tensorflow.config.threading.set_intra_op_parallelism_threads",
        lambda threads: None,
    )
    monkeypatch.setattr(
        "tensorflow.config.threading.set_inter_op_parallelism_threads",
        lambda threads: None,
    )
    image = picture(40, 40)
    for name, arguments in (
        ("whole", {}),
        ("windows", {"window": 24}),
        ("scales", {"scales": inference.SCALES, "flip": True}),
    ):
        mode, engine = inference.child_of(f"ours-{name}-float32")
        run = inference.load(mode, engine, Path("weights"), 2)
        mask = run(image[None].astype("float32"))
        want = segment(model, image, **arguments).mask
        np.testing.assert_array_equal(mask[0], want)


def test_every_row_has_its_bound(
    benchmark: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    inference = benchmark("inference")
    started = []

    def measure(commands, folder, rounds, engines):
        assert (folder / "picture.npy").exists()
        peer, ours = engines
        assert list(commands) == [peer.name, ours.name]
        started.append(commands)
        result = importlib.import_module("export").Result
        return {
            peer.name: result(4.0, 1, 200, 1.0),
            ours.name: result(3.0, 1, 100, 0.999),
        }

    monkeypatch.setattr(inference, "measure", measure)
    monkeypatch.setattr(inference, "run_to_end", lambda name, command: None)
    python = tmp_path / "python"
    python.touch()
    inference.main(["--peer-python", str(python), "--size", "64"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [
        [mode, dtype, "4.000", "3.000", "0.75", most, "200", "100", "99.90%"]
        for dtype, most in (("float32", "1.00"), ("bfloat16", "0.90"))
        for mode in ("whole", "windows", "scales")
    ]
    for commands in started:
        for name, (program, _, _, role, *_) in commands.items():
            assert role == name
            assert (program == str(python)) == name.startswith("mmseg")


def test_without_peer_there_is_nothing_to_compare(benchmark: Any) -> None:
    with pytest.raises(SystemExit, match="none must exist: make"):
        benchmark("inference").main(["--peer-python", "none"])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("images", "masks"):
            (tmp_path / split / name).mkdir(parents=True)
        for index in range(3):
            Image.fromarray(picture(30 + index, 40)).save(
                tmp_path / split / "images" / f"{index}.png"
            )
            mask = rng.integers(0, 4, (30 + index, 40), dtype="uint8")
            Image.fromarray(mask).save(
                tmp_path / split / "masks" / f"{index}.png"
            )
    return tmp_path


def test_a_precision_is_scored_beside_its_model(
    benchmark: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    data: Path,
) -> None:
    precision = benchmark("precision")
    save_pretrained(tiny_pspnet(4), data / "model")
    monkeypatch.setattr(
        precision,
        "ROWS",
        (
            precision.Row("litert", "int8", 100, 0.5),
            # Nothing has more than all pixels in common.
            precision.Row("litert", "float32", 0.01, 1.01),
        ),
    )
    arguments = ["--data", str(data), "--model", str(data / "model")]
    arguments += ["--size", "32", "--pictures", "2", "--calibration", "2"]
    assert not precision.measure(precision.parse(arguments))
    title, _, model, fixed, *rows = capsys.readouterr().out.splitlines()
    assert "2 pictures, LiteRT at 32x32, 2 calibration pictures" in title
    assert model.split()[:2] == ["model", "float32"]
    scores = {row.split()[1]: row.split() for row in rows if "litert" in row}
    assert scores["float32"][2] == fixed.split()[3]
    assert scores["float32"][4] == "100.00%"
    assert "outside its limits" in " ".join(scores["float32"])
    assert "outside" not in " ".join(scores["int8"])
    assert float(scores["int8"][5]) < float(scores["float32"][5])


def test_pictures_are_thinned_out_evenly(benchmark: Any, data: Path) -> None:
    pairs_of = benchmark("precision").pairs_of
    pairs = pairs_of(data / "val", AERIAL, 2)
    names = [Path(pairs.files(index)[0]).stem for index in range(len(pairs))]
    assert names == ["0", "1"]
    assert len(pairs_of(data / "val", AERIAL, None)) == 3


def test_peaks_of_a_large_picture(
    benchmark: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    megapixels = benchmark("megapixels")

    def run(options, path, side):
        with Image.open(path) as drawn:
            assert drawn.size == (side, side)
        return 2.0, 100.0 + side

    monkeypatch.setattr(megapixels, "run", run)
    megapixels.main(["--side", "700", "--window", "64"])
    assert capsys.readouterr().out.splitlines() == [
        "64x64: 2.0 s, peak 164 MB",
        "700x700: 2.0 s, peak 800 MB",
        "beyond one window: 636 MB",
    ]
