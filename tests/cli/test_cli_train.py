"""Tests of `keras-pspnet train`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import LABELS, refusal

import keras_pspnet.recipes as recipe_files
import keras_pspnet.training.data as run_data
import keras_pspnet.training.run as training
from keras_pspnet.cli.main import main
from keras_pspnet.evaluation.evaluate import Scores


def test_train_passes_everything_on(photo, monkeypatch, capsys) -> None:
    calls = []

    def train(recipe: Any, *places: Any, **_: Any) -> Scores:
        calls.append((recipe, *places))
        return Scores(np.eye(3, dtype="int64"), LABELS)

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(run_data, "check_data", lambda *_: [])
    recipe = recipe_files.load_recipe("aerial")
    assert main(["train", "aerial", "--data", "dubai"]) == 0
    assert main(["train", "aerial", "--smoke", "-o", "here"]) == 0
    assert calls == [
        (recipe, os.path.join("runs", "aerial"), "dubai"),
        (recipe.smoke_test(), "here", None),
    ]
    out, err = capsys.readouterr()
    assert Scores(np.eye(3, dtype="int64"), LABELS).table() in out
    assert out.endswith("\nWritten to here\n")
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["mars"], "`recipe` must be one of scenes, aerial, "),
        (["mars.py"], "`recipe` must be an existing file"),
        (
            ["aerial"],
            "`data` must be a folder (--data-dir) for recipe 'aerial'",
        ),
        (["aerial", "--data", "none"], "`name_or_dir` must be an existing"),
        (["aerial", "--data", "empty"], "there is no pair of"),
        (["scenes", "--smoke", "-o", "photo.png"], "photo.png"),
    ],
)
def test_train_refuses(photo, capsys, arguments: list[str], told: str) -> None:
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            Path("empty", split, kind).mkdir(parents=True)
    assert told in refusal(capsys, "train", *arguments)


def test_a_lost_worker_is_one_line_and_status_75(tmp_path) -> None:
    code = (
        "import sys\n"
        "from keras_pspnet.training import cluster, run\n"
        "def train(*_, **__):\n"
        "    raise cluster.WorkerLostError('worker 1 is lost')\n"
        "run.train = train\n"
        "from keras_pspnet.cli.main import main\n"
        "main(['train', 'scenes', '-o', sys.argv[1]])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 75
    assert done.stderr.splitlines()[-1:] == [
        "keras-pspnet: error: worker 1 is lost"
    ]
