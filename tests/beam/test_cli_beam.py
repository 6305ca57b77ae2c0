"""Tests of `keras-pspnet beam`."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pipelines import (
    RUNNER,
    errors,
    table,
    write_images,
)

from keras_pspnet.cli.main import main, parse
from keras_pspnet.data.images import read_mask
from keras_pspnet.inference.segment import segment

pytestmark = pytest.mark.beam
EVALUATE = ["beam", "evaluate", *RUNNER]


@pytest.fixture
def data(tmp_path, monkeypatch) -> None:
    """Three pairs in `set/images` and `set/masks` of the current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    write_images(tmp_path / "set/images", 3)
    Path("set/masks").mkdir()
    for index in range(3):
        mask = rng.integers(0, 3, (40 + index, 50), dtype="uint8")
        Image.fromarray(mask).save(f"set/masks/{index}.png")


def test_segment(photos, tmp_path, model_folder, model, capsys) -> None:
    (photos / "bad.png").write_text("no image")
    output = tmp_path / "out"
    arguments = ["--input", f"{photos}/*.png", "--model", model_folder]
    arguments += ["--output", str(output), "--flip", "--scales", "0.5", "1"]
    arguments += ["--max-side", "none", "--confidence", *RUNNER]
    assert main(["beam", "segment", *arguments]) == 1
    told = capsys.readouterr()
    assert told.out == (
        f"{output}: 3 images segmented, 0 there already, 1 failed\n"
    )
    assert told.err.endswith(f"error: see errors.jsonl in {output}\n")
    for row in table(output):
        want = segment(
            model, row["path"], (0.5, 1), flip=True, max_side=None
        ).mask
        np.testing.assert_array_equal(read_mask(output / row["mask"]), want)
        assert 0 < row["confidence"] <= 1
    (photos / "bad.png").unlink()
    assert main(["beam", "segment", *arguments]) == 0
    assert capsys.readouterr().out == (
        f"{output}: 0 images segmented, 3 there already, 0 failed\n"
    )
    assert errors(output) == {}


def test_evaluate_reports_what_keras_pspnet_evaluate_does(
    data, model_folder, capsys
) -> None:
    command = ["--data", "set", "--model", model_folder, "--flip"]
    command += ["--scales", "1", "0.5"]
    assert main(["evaluate", *command, "-o", "one.json"]) == 0
    one = capsys.readouterr().out
    assert main([*EVALUATE, *command, "-o", "many"]) == 0
    first, many = capsys.readouterr().out.split("\n", 1)
    assert first == "many: 3 images scored, 0 failed"
    assert one == f"{many}Written to one.json\n"
    report = Path("many/scores.json").read_bytes()
    assert json.loads(report) == json.loads(Path("one.json").read_bytes())


def test_evaluate_gives_no_scores_of_a_part(data, model_folder, capsys) -> None:
    Path("set/masks/1.png").write_text("no mask")
    command = ["--data", "set", "-o", "out", "--model", model_folder]
    assert main([*EVALUATE, *command]) == 1
    out, err = capsys.readouterr()
    assert out == "out: 2 images scored, 1 failed\n"
    assert err.endswith("error: see errors.jsonl in out\n")
    assert (
        "`mask` must be an index mask" in Path("out/errors.jsonl").read_text()
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("evaluate --data none", "`data` must be a folder that"),
        ("evaluate --data set --base 64", "`base` must be None for protocol"),
        (
            "evaluate --data set --model mars",
            "'cityscapes_paddleseg' or a folder",
        ),
        ("segment --input none", "`patterns` must match files. Received: 'no"),
    ],
)
def test_bad_input_is_refused(data, capsys, arguments: str, told: str) -> None:
    assert main(["beam", *arguments.split(), "-o", "out", *RUNNER]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("keras-pspnet: error: ") and err.count("\n") == 1
    assert told in err
    assert not Path("out").exists()


def test_what_is_not_known_is_for_beam() -> None:
    command = ["beam", "segment", "--runner", "FlinkRunner", "--input", "a"]
    options = parse([*command, "b", "-o", "c", "--flink_master=d:1", "--pre"])
    assert options.input == ["a", "b"]
    assert options.beam_options == [
        "--runner",
        "FlinkRunner",
        "--flink_master=d:1",
        # No abbreviation of --precision.
        "--pre",
    ]
