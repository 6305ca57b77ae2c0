"""Runs of a small network."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from smoke_run import SMOKE, Interrupted, small_network

import keras_pspnet.training.run as training
from keras_pspnet.backbones import BLOCKS
from keras_pspnet.evaluation.evaluate import Scores
from keras_pspnet.training import checkpoints
from keras_pspnet.training.recipe import Recipe


@contextlib.contextmanager
def small_runs() -> Iterator[None]:
    """Runs train a small and shallow network on one replica."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recipe, "model", small_network)
        patch.setitem(BLOCKS, 18, (1, 1, 1, 1))
        patch.setattr(
            tf.distribute, "MirroredStrategy", tf.distribute.get_strategy
        )
        # To trace a step takes longer than to take four.
        tf.config.run_functions_eagerly(True)
        try:
            yield
        finally:
            tf.config.run_functions_eagerly(False)


@pytest.fixture
def small() -> Iterator[None]:
    with small_runs():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Scores]:
    output = tmp_path_factory.mktemp("runs") / "scenes"
    with small_runs():
        return output, training.train(SMOKE, output, verbose=0)


@pytest.fixture(scope="module")
def half_way(tmp_path_factory) -> Path:
    """The folder of a run that was interrupted after one of two epochs."""
    output = tmp_path_factory.mktemp("half")
    with small_runs(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "SaveCheckpoints", Interrupted)
        with pytest.raises(KeyboardInterrupt, match="000002.safetensors"):
            training.train(SMOKE, output, verbose=0)
    return output
