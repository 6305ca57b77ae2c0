"""Tests of `keras-pspnet benchmark`."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import LABELS, refusal
from onnx import TensorProto, helper, save
from PIL import Image
from support import picture

from keras_pspnet import inference
from keras_pspnet.cli.main import main
from keras_pspnet.evaluation.evaluate import evaluate
from keras_pspnet.inference import SIDE_ENTRY, benchmark, load_exported
from keras_pspnet.inference.benchmark import Measurement


@pytest.fixture
def onnx_file(data) -> str:
    """A file whose logits are the bands, in the folder of the data."""
    tensors = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, ["batch", "height", "width", 3]
        )
        for name in ("images", "logits")
    ]
    node = helper.make_node("Identity", ["images"], ["logits"])
    graph = helper.make_graph([node], "net", tensors[:1], tensors[1:])
    opset = [helper.make_opsetid("", 17)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=8)
    entry = proto.metadata_props.add()
    said = {"labels": LABELS.to_dict(), "fill": [0] * 3, "align_corners": False}
    entry.key, entry.value = SIDE_ENTRY, json.dumps(said)
    save(proto, "net.onnx")
    return "net.onnx"


def test_a_table_and_a_report_of_each(
    data, onnx_file, monkeypatch, capsys
) -> None:
    loaded = []

    def load_predictor(path: str) -> Any:
        loaded.append(path)
        return load_exported(path)

    monkeypatch.setattr(inference, "load_predictor", load_predictor)
    shutil.copy(onnx_file, "again.onnx")
    command = ["benchmark", onnx_file, "again.onnx", "--rounds", "2"]
    command += ["--threads", "1", "--size", "24", "40", "--data", "set"]
    assert main([*command, "-o", "report.json"]) == 0
    assert loaded == [onnx_file, "again.onnx"]
    out, _ = capsys.readouterr()
    heading, _, *rows, foot, written = [
        line.split() for line in out.splitlines()
    ]
    assert heading[0] == "size" and heading[-1] == "mIoU"
    assert [row[0] for row in rows] == ["net.onnx", "again.onnx"]
    report = json.loads(Path("report.json").read_text())
    assert report["threads"] == 1
    scores = evaluate(load_exported(onnx_file), data)
    for row, found in zip(rows, report["artifacts"], strict=True):
        assert row[:2] == [found["path"], "24x40"]
        assert row[5] == f"{1e3 * found['median_seconds']:.1f}"
        assert row[9] == f"{found['peak'] - found['started']:.0f}"
        assert row[10] == f"{scores.mean_iou:.4f}"
        assert found["mean_iou"] == scores.mean_iou
        assert found["size"] == [24, 40]
        assert len(found["seconds"]) == 2
    assert " ".join(foot).startswith("Median and middle half of 2 rounds")
    assert written == ["Written", "to", "report.json"]


def measurement(path: Any, image: np.ndarray) -> Measurement:
    seconds = (0.4, 0.1, 0.2, 0.3, 0.5)
    size = image.shape[:2]
    memory = (30.0, 50.0, 130.0, 230.0, 330.0)
    return Measurement(path, "model", 12.7, size, 1.5, 0.9, seconds, *memory)


def test_figures_are_the_median_and_what_python_does_not_take(
    model_folder, photo, monkeypatch, capsys
) -> None:
    seen = []

    def measure(paths: Any, image: Any, *_: Any, **__: Any) -> Any:
        seen.append(image)
        return [measurement(path, image) for path in paths]

    monkeypatch.setattr(benchmark, "benchmark", measure)
    for options in (
        [],
        ["--image", photo],
        ["--image", photo, "--size", *"88"],
    ):
        assert main(["benchmark", model_folder, *options]) == 0
        (row,) = (
            line.split()[1:]
            for line in capsys.readouterr().out.splitlines()
            if line.strip().startswith(model_folder)
        )
        figures = "12.7 1.50 0.90 300.0 200.0-400.0 100 200 300"
        assert row[1:] == figures.split()
    assert [each.shape for each in seen] == [
        (473, 473, 3),
        (33, 47, 3),
        (8, 8, 3),
    ]
    np.testing.assert_array_equal(seen[1], picture(33, 47))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("photo.png", "`paths` must be folders of SavedModels"),
        ("gone.onnx", "`paths` must exist. Received: path='gone.onnx'"),
        ("net.onnx net.onnx", "`paths` must hold each artifact once"),
        ("net.onnx --data gone", "`data` must be a folder that exists"),
        ("net.onnx --data empty", "empty"),
        ("net.onnx --image notes.txt", "`image`"),
        ("net.onnx -o missing/report.json", "`path` must be writable"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(
    onnx_file, monkeypatch, capsys, options: str, told: str
) -> None:
    def measure(*_: Any, **__: Any) -> None:
        raise AssertionError("it was measured")

    monkeypatch.setattr(benchmark, "benchmark", measure)
    Image.fromarray(picture(8, 8)).save("photo.png")
    Path("notes.txt").write_text("some notes")
    Path("empty").mkdir()
    before = sorted(os.listdir())
    assert told in refusal(capsys, "benchmark", *options.split())
    assert sorted(os.listdir()) == before


def test_what_does_not_run_is_one_line(photo, capsys) -> None:
    Path("net.onnx").write_bytes(b"no model at all")
    assert main(["benchmark", "net.onnx"]) == 1
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert "error: net.onnx ended with status 1:" in line
    assert "INVALID_PROTOBUF" in line
    assert out == ""


def test_a_model_folder_is_measured(model_folder, photo, capsys) -> None:
    command = ["benchmark", model_folder, "--image", photo, "--rounds", "1"]
    assert main([*command, "-o", "report.json"]) == 0
    (found,) = json.loads(Path("report.json").read_text())["artifacts"]
    assert (found["kind"], found["size"]) == ("model", [33, 47])
    assert found["mean_iou"] is None
    assert "mIoU" not in capsys.readouterr().out
