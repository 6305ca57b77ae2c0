"""What users write into recipes, and hand to the command that trains them."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from data_trees import row, write_own, write_text
from PIL import Image
from user_input import Case, each, run

from keras_pspnet.cli.main import main
from keras_pspnet.labels import generic_labels
from keras_pspnet.recipes import find
from keras_pspnet.training.recipe import Recipe

pytestmark = pytest.mark.user_input

RECIPE = dataclasses.replace(
    find.load_recipe("scenes").smoke_test(),
    name="own",
    scenes=None,
    labels=generic_labels(2),
    steps=4,
    steps_per_epoch=2,
    checkpoint_steps=1,
    evaluations=1,
)


def changed(**fields):
    return lambda: dataclasses.replace(RECIPE, **fields)


WRONG = [
    ({"crop": 48}, r"`crop` must be two integers.*Received: crop=48"),
    ({"crop": (48, 0)}, r"`crop` must be two integers.*\(48, 0\)"),
    ({"scales": 1.0}, "`scales` must be None or a least and a greatest"),
    ({"scales": (2.0, 0.5)}, "`scales` must be a least and a greatest"),
    ({"rotate": "10"}, "`rotate` must be a number of degrees.*'10'"),
    ({"rotate": 200.0}, r"`rotate` must be within 0\.\.180"),
    ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
    ({"steps_per_epoch": 0}, "`steps_per_epoch` must be an integer of at"),
    ({"steps": 5}, "`steps` must be a multiple of `steps_per_epoch`"),
    ({"learning_rate": float("nan")}, "`learning_rate` must be a number abo"),
    ({"seed": -1}, "`seed` must be an integer of at least 0"),
    ({"flip": "yes"}, "`flip` must be True or False. Received: flip='yes'"),
    ({"labels": ["a", "b"]}, "`labels` must be a LabelSet"),
    ({"backbone": "resnet51"}, "`backbone` must be one of resnet18"),
    ({"dtype_policy": "float8"}, "`dtype_policy` must be one of float32"),
    ({"data": "vok"}, "`data` must be None or one of voc"),
    ({"data": ["voc"]}, r"`data` must be None or one of voc.*\['voc'\]"),
    ({"data": {}}, "`data` must be None or one of voc.*data={}"),
    ({"backbone": ["resnet18"]}, r"`backbone` must be one of .*\['resnet18"),
    ({"batch_size": 1}, "`batch_size` must be at least 2 while batch norm"),
    ({"crop": (1, 1)}, r"`crop` must be two integers of at least 8.*\(1, 1\)"),
    ({"scales": (1e-9, 1e-9)}, r"`scales` must be .* at least 0\.05.*1e-09"),
    ({"width": 1e-9}, "`width` must be a number from 1/32.*width=1e-09"),
    ({"width": 9}, "`width` must be a number from 1/32.* to 8.*width=9"),
    ({"class_weight": "balanced"}, "`class_weight` must be .*'balanced' is f"),
    ({"class_weight": np.ones(1)}, "a factor for each of the 2 classes"),
    ({"class_weight": [1.0]}, "a factor for each of the 2 classes"),
    (
        {"network": {"freez": "backbone"}},  # codespell:ignore freez
        r"among .*stem.*\(did you mean `freeze`\?\)",
    ),
    (
        {"learning_rat": 1},
        r"`learning_rat` must be a field of Recipe \(did you mean "
        r"`learning_rate`\?\)\. Received: learning_rat=1",
    ),
    ({"turns": True}, "`turns` is now called `rotate90`. Received: turns=True"),
]


@each(
    [
        Case(f"recipe: {next(iter(fields))}", "Recipe", changed(**fields), rule)
        for fields, rule in WRONG
    ]
)
def test_fields(case):
    run(case)


@pytest.mark.parametrize(
    "fields",
    [{"network": {"freeze": "batch_norm"}}, {"bin_sizes": (2, 3)}],
)
def test_single_crops_train_where_statistics_are_of_more(fields):
    assert changed(batch_size=1, **fields)().batch_size == 1


def test_class_weights_in_an_array():
    recipe = changed(class_weight=np.array([1.0, 2.0]))()
    assert recipe == changed(class_weight=[1.0, 2.0])()
    assert recipe.identity()["class_weight"] == "[1.0, 2.0]"


def test_every_field_has_a_rule():
    from keras_pspnet.training.recipe_rules import _RULES

    assert set(_RULES) == {each.name for each in dataclasses.fields(Recipe)}


def test_what_was_not_there_before_is_not_part_of_old_runs():
    assert "network" not in RECIPE.identity()
    frozen = dataclasses.replace(RECIPE, network={"freeze": "batch_norm"})
    assert frozen.identity()["network"] == "{'freeze': 'batch_norm'}"
    assert not any(
        layer.trainable
        for layer in frozen.model().backbone.layers
        if layer.name.endswith("_bn")
    )


# === The command line ===


@pytest.fixture
def data(tmp_path, two_replicas, monkeypatch):
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: two_replicas)
    folder = tmp_path / "data"
    for split in ("train", "val"):
        write_own(folder / split, **{f"m{k}": row(0, 1) for k in range(4)})
    write_text(folder / "labels.txt", "class_0\nclass_1\n")
    return folder


def recipe_file(folder: Path, **fields) -> str:
    path = folder / "own.py"
    values = dataclasses.asdict(RECIPE) | fields
    values.pop("labels")
    listed = ", ".join(f"{name}={value!r}" for name, value in values.items())
    path.write_text(
        "from keras_pspnet.labels import generic_labels\n"
        "from keras_pspnet.training.recipe import Recipe\n"
        f"RECIPE = Recipe(labels=generic_labels(2), {listed})\n"
    )
    return str(path)


def train(tmp_path, capsys, recipe, data):
    """Runs the command; returns its status and stderr, and what it left."""
    output = tmp_path / "run"
    status = main(["train", recipe, "--data-dir", str(data), "-o", str(output)])
    errors = capsys.readouterr().err.strip().splitlines()
    return status, errors, output.exists()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("RECIPE = (", r"must be valid Python \('\(' was.*own.py, line 1"),
        ("\nimport nothing_here", r"own.py, line 2: No module named 'nothing"),
        ("1 / 0", "own.py, line 1: division by zero"),
        ("import sys\nsys.exit()", "own.py, line 2: a recipe must not exit"),
        ("exit(3)", "own.py, line 1: a recipe must not exit"),
        ("assert False", "own.py, line 1: AssertionError$"),
        ("x = 1\n\0", r"must be valid Python \(.*null bytes\).*own.py"),
    ],
)
def test_files_that_are_no_recipes(tmp_path, capsys, data, text, error):
    path = tmp_path / "own.py"
    path.write_text(text)
    status, errors, left = train(tmp_path, capsys, str(path), data)
    assert status == 2 and not left
    (line,) = errors
    assert re.search(error, line), line


def test_a_wrong_field_names_file_and_line(tmp_path, capsys, data):
    path = recipe_file(tmp_path, learning_rat=1)
    status, errors, left = train(tmp_path, capsys, path, data)
    assert status == 2 and not left
    (line,) = errors
    assert f"{path}, line 3: `learning_rat` must be a field" in line


def test_wrong_arguments_of_the_network_leave_nothing(tmp_path, capsys, data):
    path = recipe_file(tmp_path, network={"stem": "deepest"})
    status, errors, left = train(tmp_path, capsys, path, data)
    assert status == 2 and not left
    assert "`stem` must be one of" in errors[-1]


def spoil(path: Path, how: str) -> str:
    """Makes a training file wrong; returns what the error says of it."""
    mask = path / "masks/m2.png"
    if how == "label":
        Image.fromarray(row(0, 7)).save(mask)
        return f"label 7.*{mask}"
    if how == "size":
        Image.fromarray(row(0, 1)[1:]).save(mask)
        return f"size.*{mask}"
    image = path / "images/m2.jpg"
    if how == "truncated":
        image.write_bytes(image.read_bytes()[:200])
    else:
        image.unlink()
        image.symlink_to(path / "nowhere")
    return str(image)


@pytest.mark.parametrize("how", ["label", "size", "truncated", "link"])
def test_faulty_training_files_before_the_run(tmp_path, capsys, data, how):
    error = spoil(data / "train", how)
    path = recipe_file(tmp_path)
    status, errors, left = train(tmp_path, capsys, path, data)
    assert status == 2 and not left
    assert re.search(error, errors[-1]), errors
    assert not any("Traceback" in line for line in errors)


def test_a_training_file_that_goes_wrong_in_the_run(
    tmp_path, capsys, data, monkeypatch
):
    from keras_pspnet.training import run as training

    open_data = training.open_data

    def spoiled(*arguments):
        source = open_data(*arguments)
        monkeypatch.setattr(
            training, "_SPOILED", spoil(data / "train", "label"), False
        )
        return source

    monkeypatch.setattr(training, "open_data", spoiled)
    path = recipe_file(tmp_path, batch_size=2, network={"freeze": "batch_norm"})
    status, errors, left = train(tmp_path, capsys, path, data)
    assert status == 2 and left
    assert re.search(training._SPOILED, errors[-1]), errors
    assert not any("Traceback" in line for line in errors)


def test_warnings_come_before_the_first_step(tmp_path, capsys, data):
    write_own(data / "train", m1=row(0, 255), m2=row(0, 255), m3=row(255, 0))
    path = recipe_file(tmp_path, steps=2, bin_sizes=(1,))
    status, errors, left = train(tmp_path, capsys, path, data)
    assert status == 0 and left, errors
    (line,) = (each for each in errors if "warning" in each)
    assert line.startswith("keras-pspnet: warning: ")
    assert "3 of 4 masks that hold 0 and 255 without 1" in line


def test_masks_of_0_and_255_are_not_trained_on(tmp_path, capsys, data):
    for split in ("train", "val"):
        write_own(data / split, **{f"m{k}": row(0, 255) for k in range(4)})
    status, errors, left = train(tmp_path, capsys, recipe_file(tmp_path), data)
    assert status == 2 and not left
    assert "two classes must be 0 and 1" in errors[-1]
