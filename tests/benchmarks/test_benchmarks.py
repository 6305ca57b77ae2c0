"""Tests that benchmarks run the work that they say they compare."""

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support import assert_close, conv_model, picture, randomize, tiny_pspnet

import keras_pspnet as kp
from keras_pspnet.inference.segment import predict_masks, segment
from keras_pspnet.losses import SegmentationLoss
from keras_pspnet.models.arguments import LOSS_WEIGHTS

pytestmark = pytest.mark.long

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    # The process of the tests has its threads already.
    for kind in ("intra", "inter"):
        monkeypatch.setattr(
            f"tensorflow.config.threading.set_{kind}_op_parallelism_threads",
            lambda threads: None,
        )
    return importlib.import_module


def test_plain_form_is_the_same_network(benchmark: Any) -> None:
    head: ModuleType = benchmark("head")
    setting = head.Setting(65, "resnet18", 1 / 16, 2, True, "float32")
    shortcut = head.build(setting)
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


@pytest.mark.slow
# What Keras does on the way to ONNX.
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")
def test_all_exports_give_the_masks_of_the_model(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    export: ModuleType = benchmark("export")
    made = []

    def tiny(*args: object, **kwargs: object) -> kp.PSPNet:
        made.append(PSPNet(*args, **{"width": 1 / 16, **kwargs}))
        return made[-1]

    PSPNet = kp.PSPNet
    monkeypatch.setattr(kp, "PSPNet", tiny)
    # Every export that only the benchmark makes, and one of each of ours.
    names = ["keras-savedmodel", "keras-onnx", "savedmodel-float32"]
    names += ["onnx", "litert-float32"]
    export.write(tmp_path, names, "resnet18", 49)
    any_size, fixed = made
    assert any_size.input_shape == (None, None, None, 3)
    assert fixed.input_shape == (None, 49, 49, 3)
    image = np.load(tmp_path / export.IMAGE)[None].astype("float32")
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


@pytest.mark.slow
def test_start_asks_every_signature_of_a_saved_model(
    benchmark: Any, tmp_path: Path
) -> None:
    export: ModuleType = benchmark("export")
    module: ModuleType = benchmark("export_start")
    benchmark("comparison").write_image(tmp_path, 33)
    kp.export_saved_model(conv_model(), tmp_path / "float32")
    options = ["--child", "start-savedmodel-float32", "--folder", str(tmp_path)]
    export.run_to_end("start", [sys.executable, export.__file__, *options])
    (path,) = tmp_path.glob("*.start.json")
    start = module.read(path)
    assert path.name == "savedmodel-float32.start.json"
    assert start.load > 0 and start.first > 0
    assert 0 < start.imported < start.loaded < start.answered
    # A signature that is new to the session has a graph of its own.
    assert start.answered < start.all_signatures


def test_the_table_of_starts_compares_with_keras(benchmark: Any) -> None:
    module: ModuleType = benchmark("export_start")
    starts = {
        "keras": module.Start(400, 1.5, 2.5, 800, 1000, 1000),
        "ours": module.Start(400, 1.0, 2.0, 600, 700, 800),
    }
    _, keras, ours = (line.split() for line in module.table(starts, "keras"))
    assert "0.75" not in keras
    assert ours[0] == "ours" and (ours[4], ours[7], ours[9]) == (
        "0.75",
        "0.70",
        "0.80",
    )


def test_ours_is_what_segment_does(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference: ModuleType = benchmark("inference")
    model = tiny_pspnet(4)
    monkeypatch.setattr("keras_pspnet.convert_file", lambda path: model)
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


def test_ours_makes_all_batches_of_a_round(
    benchmark: Any, tmp_path: Path
) -> None:
    module: ModuleType = benchmark("input")
    module.write_pairs(tmp_path, 3)
    options: argparse.Namespace = module.parse(
        ["--folder", str(tmp_path), "--size", "33", "--steps", "2"]
    )
    shapes = module.load(options)(np.zeros(0))
    assert shapes.tolist() == [16, 33, 33, 3, 16, 33, 33]


def test_ours_trains_from_the_weights_of_the_file(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step: ModuleType = benchmark("train_step")
    model = tiny_pspnet(21, dropout=0.5)
    monkeypatch.setattr("keras_pspnet.convert_file", lambda path: model)
    _, engine = train_step.engines_of("float32")
    run = train_step.load(2, engine, Path("weights"), 2)
    image = picture(40, 40)[None].astype("float32")
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


def test_losses_that_differ_end_the_benchmark(benchmark: Any) -> None:
    train_step: ModuleType = benchmark("train_step")
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
