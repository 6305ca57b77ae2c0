"""Tests of `keras-pspnet train`."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import (
    LABELS,
    refusal,
)

import keras_pspnet.recipes as recipe_files
import keras_pspnet.training.run as training
from keras_pspnet.cli.main import main
from keras_pspnet.evaluation.evaluate import Scores


def test_train_passes_everything_on(photo, monkeypatch, capsys) -> None:
    calls = []

    def train(recipe: Any, *places: Any, **_: Any) -> Scores:
        calls.append((recipe, *places))
        return Scores(np.eye(3, dtype="int64"), LABELS)

    monkeypatch.setattr(training, "train", train)
    recipe = recipe_files.load_recipe("aerial")
    assert main(["train", "aerial", "--data", "dubai"]) == 0
    assert main(["train", "aerial", "--smoke", "-o", "here"]) == 0
    assert calls == [
        (recipe, os.path.join("runs", "aerial"), "dubai"),
        (recipe.smoke_test(), "here", None),
    ]
    out, err = capsys.readouterr()
    assert Scores(np.eye(3, dtype="int64"), LABELS).table() in out
    assert "Written to here: model/, scores.json, predictions.png" in out
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
        (["aerial", "--data", "empty"], "there is no pair of pictures in"),
        (["scenes", "-o", "photo.png"], "photo.png"),
    ],
)
def test_train_refuses(photo, capsys, arguments: list[str], told: str) -> None:
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            Path("empty", split, kind).mkdir(parents=True)
    assert told in refusal(capsys, "train", *arguments)


def test_train_passes_interruption_on(photo, monkeypatch, capsys) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", train)
    assert main(["train", "scenes"]) == 130
    assert capsys.readouterr().out == ""
