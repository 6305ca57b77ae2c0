"""Tests of `keras-pspnet convert`."""

import os
from pathlib import Path

import numpy as np
import pytest
from command_line import refusal
from paddle_files import write_paddle
from source_states import (
    PADDLESEG,
    mmseg_state,
    paddleseg_state,
    random_pspnet,
)
from support import numpy
from torch_files import pickled, raw, tensor, write_zip

from keras_pspnet.cli.main import main
from keras_pspnet.pretrained import load_pretrained


@pytest.fixture
def checkpoint(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    state = {
        name: tensor(value)
        for name, value in mmseg_state(random_pspnet()).items()
    }
    content, storages = pickled({"state_dict": state})
    write_zip(tmp_path / "pspnet.pth", content, raw(storages))
    return "pspnet.pth"


def test_convert_writes_what_load_pretrained_reads(checkpoint, capsys) -> None:
    assert main(["convert", checkpoint, "-o", "made"]) == 0
    out, _ = capsys.readouterr()
    assert out == (
        "made: PSPNet(backbone='resnet18', num_classes=21, stem='deep', "
        "stride_on='3x3', contract_dilation=True, align_corners=False, "
        "output_stride=8, aux=True)\n"
    )
    model = load_pretrained("made", aux=True)
    want = random_pspnet()
    for got, expected in zip(model.weights, want.weights, strict=True):
        if "seed_generator" not in got.path:
            np.testing.assert_array_equal(numpy(got), numpy(expected))


def test_convert_reads_paddles_files(tmp_path, capsys) -> None:
    want = random_pspnet(50, head_channels=128, **PADDLESEG)
    path = tmp_path / "model.pdparams"
    write_paddle(path, paddleseg_state(want, 50))
    folder = str(tmp_path / "made")
    assert main(["convert", str(path), "-o", folder]) == 0
    assert "PSPNet(backbone='resnet50'" in capsys.readouterr().out
    model = load_pretrained(folder, aux=True)
    assert model.head_channels == 128
    for got, expected in zip(model.weights, want.weights, strict=True):
        if "seed_generator" not in got.path:
            np.testing.assert_allclose(numpy(got), numpy(expected), 1e-3)


def test_convert_takes_another_geometry(checkpoint, capsys) -> None:
    options = ["--align-corners", "--no-contract-dilation"]
    options += ["--output-stride", "16", "--mean", "1", "2", "3"]
    assert main(["convert", checkpoint, "-o", "made", *options]) == 0
    out, _ = capsys.readouterr()
    assert "contract_dilation=False, align_corners=True" in out
    config = load_pretrained("made").get_config()
    assert config["align_corners"] is True
    assert config["contract_dilation"] is False
    assert config["stride_on"] == "3x3"
    assert config["output_stride"] == 16
    assert config["mean"] == (1.0, 2.0, 3.0)


def test_convert_refuses_before_and_leaves_nothing(checkpoint, capsys) -> None:
    Path("page.pth").write_text("<html></html>")
    Path("there").mkdir()
    before = sorted(os.listdir())
    for arguments, told in (
        (["no.pth", "-o", "made"], "must be an existing file"),
        (["page.pth", "-o", "made"], "must be a PyTorch checkpoint"),
        ([checkpoint, "-o", "there"], "`folder` must not exist yet"),
        ([checkpoint, "-o", "made", "--stride-on", "1x1"], "must be '3x3'"),
    ):
        assert told in refusal(capsys, "convert", *arguments)
        assert sorted(os.listdir()) == before
