"""Runs of a small network."""

from pathlib import Path

import pytest
import tensorflow as tf
from smoke_run import SMOKE, Interrupted, small_network

import keras_pspnet.training.run as training
from keras_pspnet.evaluation.evaluate import Scores
from keras_pspnet.training import checkpoints
from keras_pspnet.training.recipe import Recipe


@pytest.fixture
def small(monkeypatch) -> None:
    """Runs train a small network on one replica."""
    monkeypatch.setattr(Recipe, "model", small_network)
    monkeypatch.setattr(
        tf.distribute, "MirroredStrategy", tf.distribute.get_strategy
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Scores]:
    output = tmp_path_factory.mktemp("runs") / "scenes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recipe, "model", small_network)
        patch.setattr(
            tf.distribute, "MirroredStrategy", tf.distribute.get_strategy
        )
        return output, training.train(SMOKE, output, verbose=0)


@pytest.fixture
def half_way(small, monkeypatch, tmp_path_factory) -> Path:
    """The folder of a run that ended after the first of two epochs."""
    output = tmp_path_factory.mktemp("half")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "SaveCheckpoints", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            training.train(SMOKE, output, verbose=0)
    return output
