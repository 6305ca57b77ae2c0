"""Tests of `keras-pspnet evaluate`."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from command_line import LABELS, load_conv_model, refusal, replace_loading
from PIL import Image
from support import tiny_pspnet

from keras_pspnet.cli.main import main
from keras_pspnet.evaluation import evaluate as evaluation
from keras_pspnet.evaluation.evaluate import Scores, evaluate
from keras_pspnet.labels import LabelSet
from keras_pspnet.pretrained import load_pretrained

EVALUATE = ["evaluate", "--data", "set"]


def test_evaluate_prints_the_table_and_how_it_was_measured(
    data, model_folder, capsys
) -> None:
    options = ["--model", model_folder, "--confusion-plot", "c.png"]
    assert main([*EVALUATE, *options, "-o", "all.json"]) == 0
    model = load_pretrained(model_folder)
    want = evaluate(model, data)
    assert want.images == 5
    out, err = capsys.readouterr()
    assert err == ""
    table, measured = out.split("\n\n")
    assert table == want.table()
    lines = [line.split(maxsplit=1) for line in measured.splitlines()]
    assert lines[:6] == [
        ["protocol", "plain"],
        ["scales", "[1.0]"],
        ["flip", "false"],
        ["window", "null"],
        ["base", "null"],
        ["ignore", "label    255"],
    ]
    assert f"weights sha256  {want.weights_sha256}\n" in measured
    assert f"keras {keras.__version__}" in measured
    assert measured.endswith("\nWritten to all.json, c.png\n")

    scores = Scores.load("all.json")
    np.testing.assert_array_equal(scores.confusion, want.confusion)
    assert scores.labels == LABELS
    assert scores.weights_sha256 == want.weights_sha256
    assert scores.protocol == {
        **want.protocol,
        "ignore_label": 255,
        "precision": "float32",
    }
    with Image.open("c.png") as found:
        np.testing.assert_array_equal(found, want.confusion_plot())


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ("--protocol mmseg --base 64 48", {"base": (64, 48)}),
        ("--protocol semseg --base 40 --window 48", {"base": 40, "window": 48}),
        (
            "--protocol caffe --base 40 --window 48 --no-flip",
            {"base": 40, "window": 48, "flip": False},
        ),
        ("--protocol paddleseg --base 40 --flip", {"base": 40, "flip": True}),
        ("--scales 0.5 1 --flip", {"scales": (0.5, 1), "flip": True}),
        ("--window 16", {"window": 16}),
        ("--ignore-label 1", {"ignore_label": 1}),
    ],
)
def test_evaluate_measures_as_it_is_told(
    data, monkeypatch, options: str, arguments: dict[str, Any]
) -> None:
    model = load_conv_model(monkeypatch)
    words = options.split()
    if "--protocol" in words:
        arguments = {**arguments, "protocol": words[1]}
    if "--ignore-label" in words:
        # What is not ignored must be a class.
        for index, name in enumerate("abcde"):
            mask = data[index][1]
            mask[mask == 255] = 1
            Image.fromarray(mask).save(f"set/masks/{name}.png")
    assert main([*EVALUATE, "-o", "all.json", *words]) == 0
    want = evaluate(model, data, **arguments)
    scores = Scores.load("all.json")
    np.testing.assert_array_equal(scores.confusion, want.confusion)
    assert scores.pixels == want.pixels > 0
    label = arguments.get("ignore_label", 255)
    assert scores.protocol == {
        **want.protocol,
        "ignore_label": label,
        "precision": "float32",
    }


def test_evaluate_takes_the_model_s_ignore_label(data, monkeypatch) -> None:
    labels = LabelSet("three", LABELS.names, LABELS.colors, ignore_label=77)
    model = tiny_pspnet(labels=labels)
    replace_loading(monkeypatch, lambda *_, **__: model)
    for index, name in enumerate("abcde"):
        mask = data[index][1]
        mask[mask == 255] = 77
        Image.fromarray(mask).save(f"set/masks/{name}.png")
    assert main([*EVALUATE, "-o", "all.json"]) == 0
    scores = Scores.load("all.json")
    want = evaluate(model, data, ignore_label=77)
    np.testing.assert_array_equal(scores.confusion, want.confusion)
    assert scores.protocol["ignore_label"] == 77


def test_evaluate_reads_the_colors_that_train_takes(data, monkeypatch) -> None:
    load_conv_model(monkeypatch)
    colors = np.arange(3 * 256, dtype=np.uint8).reshape(256, 3)
    lines = [
        f"class_{index} {red} {green} {blue}\n"
        for index, (red, green, blue) in enumerate(colors[:4])
    ]
    lines.append("ignore {} {} {}\n".format(*colors[255]))
    Path("labels.txt").write_text("".join(lines))
    assert main([*EVALUATE, "-o", "indices.json"]) == 0
    for index, name in enumerate("abcde"):
        Image.fromarray(colors[data[index][1]]).save(f"set/masks/{name}.png")
    assert main([*EVALUATE, "-o", "colors.json"]) == 0
    want, scores = Scores.load("indices.json"), Scores.load("colors.json")
    np.testing.assert_array_equal(scores.confusion, want.confusion)
    assert scores.pixels == want.pixels > 0


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("images/e.png", "`image` must be a PNG file that can be decoded"),
        ("masks/e.png", "`mask` must be a PNG file that can be decoded"),
        ("size", "`mask` must have the size of its"),
        ("label", "`mask` must hold labels within 0..3, or 255 to ignore"),
    ],
)
def test_evaluate_stops_at_a_bad_pair_before_it_predicts(
    data, monkeypatch, capsys, broken: str, told: str
) -> None:
    load_conv_model(monkeypatch)

    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("images were predicted")

    monkeypatch.setattr(evaluation, "evaluate", run)
    name = f"set/{broken}"
    if broken in ("size", "label"):
        name = "set/masks/e.png"
        mask = data[4][1]
        mask = mask[:-1] if broken == "size" else mask + np.uint8(2)
        Image.fromarray(mask).save(name)
    else:
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) // 2])
    line = refusal(
        capsys, *EVALUATE, "-o", "all.json", "--confusion-plot", "c.png"
    )
    assert told in line
    assert f"'{name}'" in line
    assert os.listdir() == ["set"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--data none", "`data` must be a folder that exists"),
        ("--data set -o no/all.json", "No such file"),
        ("--data set --confusion-plot no/c.png", "No such file"),
        (
            "--data set --confusion-plot c.pdf",
            "`path` must end in .png or .jpg",
        ),
        ("--data set --scales 0", "`scales` must be a sequence of numbers"),
        ("--data set --window 8", "`window` must be an integer of at least"),
        ("--data set --base 64", "`base` must be None for protocol='plain'"),
        ("--data set --protocol mmseg --base 64", "must be (longest, short"),
        ("--data set --ignore-label 256", "must be an integer from 0 to 255"),
    ],
)
def test_evaluate_refuses_bad_input_before_loading_a_model(
    data, no_model, capsys, arguments: str, told: str
) -> None:
    assert told in refusal(capsys, "evaluate", *arguments.split())
    assert os.listdir() == ["set"]
