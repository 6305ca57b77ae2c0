"""Tests of commands that run exported models."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from command_line import refusal
from support import (
    assert_is_argmax,
    conv_logits,
    conv_model,
    picture,
)

from keras_pspnet.cli.main import main
from keras_pspnet.data.images import read_mask
from keras_pspnet.evaluation.evaluate import Scores
from keras_pspnet.inference import exported_sha256


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> str:
    """The path of a SavedModel that computes as `conv_model`."""
    folder = tmp_path_factory.mktemp("exported") / "served"
    model = conv_model()

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3), name="images")]
    )
    def logits(images: Any) -> Any:
        return {"logits": model(images)}

    module = tf.Module()
    module.model = model
    tf.saved_model.save(module, str(folder), {"logits": logits})
    return str(folder)


def test_exported_models_segment_and_are_scored(photo, exported) -> None:
    model = ["--model", exported]
    assert main(["segment", photo, "-o", "out.png", "--mask", *model]) == 0
    scores = conv_logits(conv_model(), picture(33, 47)[None])[0]
    assert_is_argmax(read_mask("out.png"), scores)
    for name in ("images", "masks"):
        Path(name).mkdir()
    os.replace(photo, "images/a.png")
    os.replace("out.png", "masks/a.png")
    assert main(["evaluate", "--data", ".", *model, "-o", "all.json"]) == 0
    scores = Scores.load("all.json")
    assert scores.pixel_accuracy == 1
    assert "precision" not in scores.protocol
    assert scores.weights_sha256 == exported_sha256(exported)


def test_the_hash_is_of_all_files(exported, tmp_path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"content")
    want = hashlib.sha256(b"content").hexdigest()
    assert exported_sha256(tmp_path / "model.onnx") == want
    folder = shutil.copytree(exported, tmp_path / "copy")
    before = exported_sha256(folder)
    assert before == exported_sha256(exported)
    with open(folder / "variables/variables.index", "ab") as stream:
        stream.write(b"x")
    assert exported_sha256(folder) != before


@pytest.mark.parametrize(
    "option", ["--backbone resnet50", "--precision bfloat16"]
)
def test_exported_models_have_their_own_backbone_and_precision(
    photo, capsys, option: str
) -> None:
    command = ("segment", photo, "-o", "out.png", "--model", "my.tflite")
    line = refusal(capsys, *command, *option.split())
    name, value = option.removeprefix("--").split()
    assert f"`{name}` must be left out for an exported model" in line
    assert f"Received: {name}='{value}', model='my.tflite'" in line


def test_a_published_name_is_no_exported_folder(photo) -> None:
    Path("aerial").mkdir()
    Path("aerial/saved_model.pb").write_bytes(b"")
    command = ["segment", photo, "-o", "out.png", "--model", "aerial"]
    assert main(command) == 0
