"""Tests of `keras-pspnet masks`."""

import numpy as np
import pytest
from annotation_trees import labelme_shape, mask_of, write_labelme
from command_line import refusal
from data_trees import full, row, write_own, write_text
from PIL import Image

from keras_pspnet.cli.main import main
from keras_pspnet.data import load


def test_annotations_become_masks(tmp_path, capsys) -> None:
    for name, label in (("a", "cat"), ("b", "dog")):
        shape = labelme_shape(label, [[2, 1], [5, 4]], "rectangle")
        write_labelme(tmp_path / "source", name, shape)
    output, sheet = tmp_path / "output", tmp_path / "sheet.png"
    arguments = [str(tmp_path / "source"), "-o", str(output)]
    assert main(["masks", *arguments, "--sheet", str(sheet)]) == 0
    out, err = capsys.readouterr()
    assert "labelme JSON: 2 pairs written to" in out and err == ""
    data = load(output)
    assert data.labels.names == ("background", "cat", "dog")
    for (_, mask), value in zip(data, (1, 2), strict=True):
        np.testing.assert_array_equal(mask, mask_of(value))
    with Image.open(sheet) as image:
        assert image.width > 1000


def test_splits_go_into_folders(tmp_path, capsys) -> None:
    for split, value in (("train", 0), ("val", 1)):
        write_own(tmp_path / "source" / split, a=full(value))
    write_text(tmp_path / "source/labels.txt", "sky 0\nroad 1\n")
    arguments = ["masks", str(tmp_path / "source"), "-o"]
    assert main([*arguments, str(tmp_path / "all")]) == 0
    assert main([*arguments, str(tmp_path / "one"), "--split", "val"]) == 0
    assert (load(tmp_path / "all", "train")[0][1] == 0).all()
    for data in (load(tmp_path / "all", "val"), load(tmp_path / "one")):
        assert (data[0][1] == 1).all()
        assert data.labels.names == ("sky", "road")


def test_labels_of_a_file_and_unknown_values(tmp_path, capsys) -> None:
    source = write_own(tmp_path / "source", a=row(0, 255, 7), b=row(255))
    write_text(tmp_path / "own.txt", "background 0\nmembrane 255\n")
    arguments = [str(source), "-o", str(tmp_path / "output")]
    arguments += ["--labels", str(tmp_path / "own.txt")]
    assert main(["masks", *arguments]) == 1
    out, err = capsys.readouterr()
    assert "1 pairs written" in out and "label 7" in err
    # Nothing is mixed with what is there.
    line = refusal(capsys, "masks", *arguments, "--ignore-unknown")
    assert "`output` must be a new or empty folder" in line
    arguments[2] = str(tmp_path / "again")
    assert main(["masks", *arguments, "--ignore-unknown"]) == 0
    first, second = load(tmp_path / "again")
    np.testing.assert_array_equal(first[1], row(0, 1, 255))
    np.testing.assert_array_equal(second[1], full(1))


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, "`name_or_dir` must hold"),
        ({"images/a.jpg": "", "masks/b.png": ""}, "must hold labels.txt"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path, capsys, files, text) -> None:
    (tmp_path / "source").mkdir()
    for name, content in files.items():
        (tmp_path / "source" / name).parent.mkdir()
        write_text(tmp_path / "source" / name, content)
    output = tmp_path / "output"
    line = refusal(capsys, "masks", str(tmp_path / "source"), "-o", str(output))
    assert text in line
    assert not output.exists()


def test_what_is_interrupted_has_no_labels(tmp_path, monkeypatch, capsys):
    source = write_own(tmp_path / "source", a=full(0), b=full(1))
    write_text(source / "labels.txt", "sky 0\nroad 1\n")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_pspnet.data.write.index_image", interrupted)
    output = tmp_path / "output"
    assert main(["masks", str(source), "-o", str(output)]) == 130
    assert not (output / "labels.txt").exists()
