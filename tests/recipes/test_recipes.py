"""Tests of the recipes: each runs on its set, and starts where it says."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch_files
from data_trees import DRAWINGS, draw_camvid
from http_server import serving
from PIL import Image
from slow_cases import slow_but
from source_states import mmcv_state, random_pspnet
from support import numpy

import keras_pspnet.recipes as recipe_files
import keras_pspnet.training.run as training
from keras_pspnet import PSPNet, load_pretrained, presets
from keras_pspnet.callbacks import read_history
from keras_pspnet.cli.main import main
from keras_pspnet.data.sources.published import DATASETS
from keras_pspnet.presets import find_backbone_weights
from keras_pspnet.training.recipe import Recipe

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


@pytest.fixture
def one_replica(monkeypatch) -> None:
    monkeypatch.setattr(
        tf.distribute, "MirroredStrategy", tf.distribute.get_strategy
    )


# === Smoke runs ===


def check_run(output: Path, recipe: Recipe) -> None:
    """A run of a recipe ends with scores, a sheet and a model."""
    told = json.loads((output / "scores.json").read_text())
    assert told["recipe"] == recipe.name
    assert told["steps"] == recipe.smoke_test().steps
    assert list(told["iou"]) == list(recipe.labels.names)
    assert told["pixels"] > 0
    with Image.open(output / "predictions.png") as sheet:
        sheet.load()
        assert sheet.mode == "RGB"
        assert min(sheet.size) > 300
    model = load_pretrained(output / "model")
    assert model.labels == recipe.labels
    assert model.get_config()["backbone"] == recipe.backbone
    assert model.get_config()["width"] == 1 / 8


# A recipe with the least network: deep ones take minutes to trace.
SHALLOW = """
import dataclasses
from keras_pspnet.recipes import load_recipe

RECIPE = dataclasses.replace(load_recipe({name!r}), backbone="resnet18")
"""


def unlike() -> list[str]:
    """Names of recipes, one for each form of data."""
    names = {}
    for name in recipe_files.RECIPES:
        recipe = recipe_files.load_recipe(name)
        names.setdefault((recipe.data, recipe.scenes is None), name)
    return list(names.values())


def test_a_recipe_that_uses_a_former_name_is_refused(tmp_path) -> None:
    text = Path(recipe_files.__file__).with_name("scenes.py").read_text()
    assert "learning_rate=" in text
    path = tmp_path / "old.py"
    path.write_text(
        text.replace("learning_rate=", "head_rate_factor=10.0, learning_rate=")
    )
    with pytest.raises(
        ValueError,
        match="old.py, line .*: `head_rate_factor` is now called "
        "`head_lr_multiplier`. Received: head_rate_factor=10.0$",
    ):
        recipe_files.load_recipe(str(path))


# Drawn images; forms of files are read in tests/data/sources, and runs on files
# are in tests/training/test_run.py and test_run_data.py.
QUICK = ("scenes",)


@pytest.mark.parametrize("name", slow_but(QUICK, unlike()))
def test_a_smoke_run_learns_on_data_in_the_set_s_form(
    name: str, one_replica, tmp_path, capsys
) -> None:
    (tmp_path / "recipe.py").write_text(SHALLOW.format(name=name))
    path, output = str(tmp_path / "recipe.py"), tmp_path / "run"
    recipe = recipe_files.load_recipe(path)
    command = ["train", path, "--smoke", "--output", str(output)]
    if recipe.scenes is None:
        DRAWINGS[recipe.data](tmp_path / "data", 12, 2)
        command += ["--data-dir", str(tmp_path / "data")]
    assert main(command) == 0
    losses = [row["loss"] for row in read_history(output / "history.csv")]
    assert 0 < losses[-1] < 0.97 * losses[0]
    check_run(output, recipe)
    assert "mean IoU" in capsys.readouterr().out


def test_a_checkout_runs_a_recipe_as_a_module(tmp_path) -> None:
    draw_camvid(tmp_path / "data", 4, 1)
    command = [sys.executable, "-m", "training.train", "camvid_resnet18"]
    command += ["--data-dir", "data", "--check-data"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    assert b"0 errors" in done.stdout


# === Ablations ===


def test_the_pyramid_and_the_auxiliary_branch_are_the_recipe_s() -> None:
    recipe = recipe_files.load_recipe("scenes").smoke_test()
    config = recipe.model().get_config()
    assert (config["pooling"], config["reduce"]) == ("average", True)
    assert config["aux"]
    assert recipe.loss_weights == {"main": 1.0, "aux": 0.4}
    other = dataclasses.replace(
        recipe, bin_sizes=(1,), pooling="max", reduce=False, aux_weight=0
    )
    config = other.model().get_config()
    assert config["bin_sizes"] == (1,)
    assert (config["pooling"], config["reduce"]) == ("max", False)
    assert not config["aux"]
    assert other.loss_weights is None


@pytest.mark.parametrize("weight", [0, 0.9])
def test_a_run_weighs_the_auxiliary_loss(
    weight: float, one_replica, monkeypatch, tmp_path
) -> None:
    recipe = dataclasses.replace(
        recipe_files.load_recipe("scenes").smoke_test(), aux_weight=weight
    )
    started: list[PSPNet] = []
    compile_model = PSPNet.compile

    def stop(self: PSPNet, *args: Any, **kwargs: Any) -> None:
        compile_model(self, *args, **kwargs)
        started.append(self)
        raise InterruptedError("before the first step")

    monkeypatch.setattr(PSPNet, "compile", stop)
    with pytest.raises(InterruptedError):
        training.train(recipe, tmp_path / "run")
    (model,) = started
    assert model.aux == (weight > 0)
    # With one output, Keras leaves the weight out.
    want = {"main": 1.0, "aux": 0.9} if weight else None
    assert model.get_compile_config()["loss_weights"] == want


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    match = (
        "`aux_weight` must be a finite number, at least 0. "
        f"Received: aux_weight={weight}"
    )
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(
            recipe_files.load_recipe("scenes"), aux_weight=weight
        )


# === Bad input ===


def save(path: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(path)


def saved(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


# What is done to a mask, and what is told of which file.
DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "label out of range": (
        lambda mask: save(mask, saved(mask) + np.uint8(7)),
        "must hold labels within 0..4, or 255 to ignore",
    ),
    "missing": (Path.unlink, "has no mask in"),
    "without ground truth": (
        lambda mask: save(mask, np.full_like(saved(mask), 255)),
        "has no ground truth: all its pixels are ignored",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_command_names_the_file_of_every_fault(
    tmp_path, capsys, damage: str
) -> None:
    do, told = DAMAGES[damage]
    DRAWINGS[None](tmp_path, 3, 2)
    do(tmp_path / "train" / "masks" / "1.png")
    command = ["train", "aerial", "--check-data", "--data-dir", str(tmp_path)]
    # A mask without ground truth is wasted, but does no harm.
    assert main(command) == (0 if damage == "without ground truth" else 1)
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if told in line]
    kind = "images/1.jpg" if damage == "missing" else "masks/1."
    assert str(tmp_path / "train") in line
    assert kind in line


@pytest.mark.parametrize(
    "name", [name for name in recipe_files.RECIPES if name != "scenes"]
)
def test_the_command_tells_where_to_get_a_set(
    name: str, tmp_path, capsys
) -> None:
    for more in (["--check-data"], ["--smoke"]):
        command = ["train", name, "--data-dir", str(tmp_path), *more]
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(tmp_path) in line
        data = recipe_files.load_recipe(name).data
        if data is not None:
            assert DATASETS[data].expected in line
            assert DATASETS[data].source in line


# === The start from ImageNet ===


@pytest.fixture
def published(monkeypatch, tmp_path):
    """The file of ImageNet weights of ResNet-18 on a server, and its values."""
    source = random_pspnet(18, width=1.0)
    tensors = OrderedDict(
        (name, torch_files.tensor(value))
        for name, value in mmcv_state(source, 18).items()
    )
    path = torch_files.save(tmp_path / "weights.pth", tensors)
    row = find_backbone_weights("resnet18", "deep")
    place = "/" + row.url.rpartition("/")[2]
    monkeypatch.setenv("KERAS_PSPNET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KERAS_PSPNET_MIRROR", raising=False)
    with serving() as server:
        server.files[place] = path.read_bytes()
        row = dataclasses.replace(
            row,
            url=server.url(place),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        monkeypatch.setattr(presets, "BACKBONE_WEIGHTS", (row,))
        yield server, source.backbone


def test_a_recipe_starts_from_imagenet(
    published, one_replica, monkeypatch, tmp_path
) -> None:
    server, source = published
    recipe = recipe_files.load_recipe("camvid_resnet18")
    draw_camvid(tmp_path / "data", 2, 1)
    started: list[PSPNet] = []

    def stop(model: PSPNet, *args: Any, **kwargs: Any) -> None:
        started.append(model)
        raise InterruptedError("before the first step")

    monkeypatch.setattr(training.loop, "run", stop)
    for _ in range(2):
        with pytest.raises(InterruptedError):
            training.train(recipe, tmp_path / "run", tmp_path / "data")
    # The second run takes the file that the first has kept.
    assert len(server.seen) == 1

    model = started[1]
    for got, want in zip(model.backbone.weights, source.weights, strict=True):
        np.testing.assert_array_equal(numpy(got), numpy(want), want.path)

    # All else is as if there were no such file.
    keras.utils.set_random_seed(recipe.seed)
    fresh = dataclasses.replace(recipe, backbone_weights=None).model()
    backbone = {variable.path for variable in model.backbone.weights}
    for got, want in zip(model.weights, fresh.weights, strict=True):
        if got.path not in backbone and "seed_generator" not in got.path:
            assert got.path.startswith(("head_", "aux_"))
            np.testing.assert_array_equal(numpy(got), numpy(want), got.path)

    # And learns ten times as fast: step = rate * (gradient + 1e-4 * weight).
    before = [numpy(variable) for variable in model.trainable_variables]
    model.optimizer.apply([keras.ops.ones_like(v) for v in before])
    for variable, weight in zip(model.trainable_variables, before, strict=True):
        factor = 1 if variable.path in backbone else 10
        want = weight - 0.01 * factor * (1 + 1e-4 * weight)
        np.testing.assert_allclose(numpy(variable), want, rtol=1e-5, atol=1e-6)


def test_a_smoke_run_asks_for_no_published_weights(published) -> None:
    server, _ = published
    recipe_files.load_recipe("camvid_resnet18").smoke_test().model()
    assert not server.seen
