"""Tests of `make demo`."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from forked import run_code
from support import conv_model

import keras_pspnet
import keras_pspnet.inference.segment
import keras_pspnet.recipes as recipe_files
import keras_pspnet.training.run as training
from keras_pspnet.evaluation.evaluate import Scores
from keras_pspnet.labels import LabelSet
from training import demo

# === The demo ===


@pytest.fixture
def small_demo(monkeypatch, tmp_path) -> Path:
    """A demo whose network is one convolution."""
    model = conv_model(11, size=recipe_files.load_recipe("scenes").crop)
    monkeypatch.setattr(keras_pspnet, "load_pretrained", lambda folder: model)
    return tmp_path / "saved_model" / "1"


def test_the_demo_accepts_the_model_s_masks_alone(
    small_demo, monkeypatch, capsys
) -> None:
    # A process that need not import TensorFlow first.
    monkeypatch.setattr(demo, "subprocess", SimpleNamespace(run=run_code))
    assert demo._export(small_demo.parent, small_demo) == 0
    assert (small_demo / "saved_model.pb").is_file()
    out = capsys.readouterr().out
    assert "predicts the model's masks for 8 scenes" in out

    kept = shutil.copytree(small_demo, small_demo.parent / "kept")
    monkeypatch.setattr(
        keras_pspnet,
        "export_saved_model",
        lambda model, folder: shutil.copytree(kept, folder),
    )
    predict = keras_pspnet.inference.segment.predict_masks

    def wrong(model: keras.Model, images: np.ndarray) -> np.ndarray:
        masks = predict(model, images)
        masks[:, -1] += 1
        return masks

    monkeypatch.setattr(keras_pspnet.inference.segment, "predict_masks", wrong)
    assert demo._export(small_demo.parent, small_demo) == 1
    assert "masks differ from the model's" in capsys.readouterr().err
    assert not small_demo.exists()


def test_the_demo_has_a_floor(monkeypatch, tmp_path, capsys) -> None:
    labels = LabelSet("two", ("a", "b"), ((1, 2, 3), (4, 5, 6)))
    scores = Scores(np.array([[0, 5], [5, 0]], "int64"), labels)
    monkeypatch.setattr(training, "train", lambda *_: scores)
    monkeypatch.setattr(demo, "FLOOR", 0.01)
    assert demo._train_and_export(tmp_path) == 1
    out, err = capsys.readouterr()
    assert scores.table() in out
    assert "mean IoU 0.000 is below the floor 0.01" in err


def test_a_finished_demo_is_not_trained_again(tmp_path, capsys) -> None:
    (tmp_path / "saved_model" / "1").mkdir(parents=True)
    (tmp_path / "scores.json").write_text('{"mean_iou": 0.5}')
    assert demo._train_and_export(tmp_path) == 0
    assert "mean IoU 0.500; delete it" in capsys.readouterr().out
