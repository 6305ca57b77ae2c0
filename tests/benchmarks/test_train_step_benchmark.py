"""Tests of the benchmark of a training step."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_pspnet

from keras_pspnet.losses import SegmentationLoss
from keras_pspnet.models.arguments import LOSS_WEIGHTS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def train_step(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    # The process of the tests has its threads already.
    for kind in ("intra", "inter"):
        monkeypatch.setattr(
            f"tensorflow.config.threading.set_{kind}_op_parallelism_threads",
            lambda threads: None,
        )
    return importlib.import_module("train_step")


def picture_of(size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (1, size, size, 3)).astype("float32")


def test_batch_has_different_pictures_and_pixels_without_truth(
    train_step: Any,
) -> None:
    image = picture_of(40)
    images, masks = train_step.batch_of(image, 3)
    assert images.shape == (3, 40, 40, 3) and masks.shape == (3, 40, 40)
    np.testing.assert_array_equal(images[2], np.roll(image[0], 62, (0, 1)))
    assert (masks[:, :5] == 255).all()
    rest = masks[:, 5:]
    assert rest.max() < 21 and len(np.unique(rest)) > 5
    np.testing.assert_array_equal(
        rest, np.floor(images[:, 5:].mean(-1) / 256 * 21)
    )


def test_ours_trains_from_the_weights_of_the_file(
    train_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_pspnet(21, dropout=0.5)
    monkeypatch.setattr("keras_pspnet.convert_file", lambda path: model)
    _, engine = train_step.engines_of("float32")
    run = train_step.load(2, engine, Path("weights"), 2)
    image = picture_of(40)
    losses = run(image)
    assert losses.shape == (train_step.COMPARED_STEPS,)
    assert run(image).shape == (1,)
    # Dropout is off: the first loss is that of the weights as they are.
    images, masks = train_step.batch_of(image, 2)
    for layer in model.layers:
        if "dropout" in layer.name:
            layer.rate = 0.0
    outputs = model(images, training=True)
    loss = SegmentationLoss()
    want = sum(
        LOSS_WEIGHTS[name] * float(loss(masks, outputs[name]))
        for name in ("main", "aux")
    )
    np.testing.assert_allclose(losses[0], want, rtol=1e-5)
    assert LOSS_WEIGHTS == {"main": 1.0, "aux": train_step.AUX_WEIGHT}


def test_losses_that_differ_end_the_benchmark(train_step: Any) -> None:
    engines = train_step.engines_of("float32")
    first = np.array([2.0, 1.5, 1.0])
    losses = {"mmseg-float32": first, "ours-float32": first * (1 + 5e-4)}
    differences = train_step.losses_agree(losses, engines)
    assert differences["mmseg-float32"] == 0
    assert differences["ours-float32"] == pytest.approx(5e-4)
    for wrong in (first * 1.01, np.array([2.0, 1.5, np.nan])):
        losses["ours-float32"] = wrong
        with pytest.raises(train_step.BenchmarkError, match="has losses"):
            train_step.losses_agree(losses, engines)


def test_every_row_has_its_bound(
    train_step: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    started = []

    def measure(commands, folder, rounds, engines, compare_results):
        assert (folder / "picture.npy").exists()
        assert compare_results is train_step.losses_agree
        peer, ours = engines
        for name, (program, _, _, role, *_) in commands.items():
            assert role == name
            assert train_step.child_of(name) in engines
            assert (program == str(python)) == name.startswith("mmseg")
        started.append(list(commands))
        result = importlib.import_module("export").Result
        return {
            peer.name: result(4.0, 50, 200, 0.0),
            ours.name: result(3.0, 60, 100, 1e-5),
        }

    monkeypatch.setattr(train_step, "measure", measure)
    monkeypatch.setattr(train_step, "run_to_end", lambda name, command: None)
    python = tmp_path / "python"
    python.touch()
    train_step.main(["--peer-python", str(python), "--size", "64"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    figures = ["4.000", "3.000", "0.75", "0.95", "50", "200", "60", "100"]
    assert rows == [
        [dtype, *figures, "1.0e-05"] for dtype in ("float32", "bfloat16")
    ]
    assert started == [
        ["mmseg-float32", "ours-float32"],
        ["mmseg-bfloat16", "ours-bfloat16"],
    ]


def test_without_peer_there_is_nothing_to_compare(train_step: Any) -> None:
    with pytest.raises(SystemExit, match="none must exist: make"):
        train_step.main(["--peer-python", "none"])


@pytest.mark.parametrize("option", ["--size", "--rounds", "--batch"])
def test_numbers_that_are_too_small_are_refused(
    train_step: Any, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        train_step.main([option, "0"])
    assert "must be at least" in capsys.readouterr().err
