"""Tests of the data of a run."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from smoke_run import (
    SMOKE,
    write_folder,
)
from support import picture

import keras_pspnet.recipes as recipe_files
import keras_pspnet.training.data as run_data
import keras_pspnet.training.run as training
from keras_pspnet.cli.main import main
from keras_pspnet.labels import AERIAL, CAMVID


def write_camvid(folder: Path) -> Path:
    """A train and a val pair as SegNet's CamVid has them, 11 is no truth."""
    for split in ("train", "val"):
        for suffix in ("", "annot"):
            (folder / f"{split}{suffix}").mkdir(parents=True)
        image = picture(50, 71)
        mask = (image.mean(-1) // 24).clip(0, 11).astype("uint8")
        mask[:3] = 11
        Image.fromarray(image).save(folder / split / "a.jpg")
        Image.fromarray(mask).save(folder / f"{split}annot" / "a.png")
    return folder


def test_a_recipe_reads_the_set_that_it_names(small, tmp_path) -> None:
    recipe = recipe_files.load_recipe("camvid_resnet18").smoke_test()
    data = write_camvid(tmp_path / "data")
    assert all(issue.is_warning for issue in run_data.check_data(recipe, data))
    scores = training.train(recipe, tmp_path / "run", data, verbose=0)
    assert scores.labels == CAMVID
    with Image.open(data / "valannot" / "a.png") as mask:
        valid = np.asarray(mask) != 11
    assert scores.confusion.sum() == valid.sum()
    assert (tmp_path / "run" / "predictions.png").is_file()


def test_a_set_of_other_classes_is_refused(tmp_path) -> None:
    recipe = recipe_files.load_recipe("camvid_resnet18")
    other = dataclasses.replace(recipe, labels=AERIAL)
    with pytest.raises(ValueError, match="those of 'camvid'.*'aerial'"):
        training.train(other, tmp_path / "run", write_camvid(tmp_path / "a"))


def test_every_fault_of_both_splits_is_found(tmp_path) -> None:
    recipe = recipe_files.load_recipe("aerial")
    data = write_folder(tmp_path / "data")
    (data / "train" / "masks" / "0.png").unlink()
    bad = data / "val" / "masks" / "1.png"
    Image.fromarray(np.full((51, 71), 77, "uint8")).save(bad)
    issues = [
        str(issue)
        for issue in run_data.check_data(recipe, data)
        if not issue.is_warning
    ]
    assert len(issues) == 2
    assert "train/images/0.png has no mask" in issues[0]
    assert "77" in issues[1]
    assert "val/masks/1.png" in issues[1]


def test_there_is_no_data_to_check_without_files(tmp_path) -> None:
    with pytest.raises(ValueError, match="reads data.*recipe='scenes'"):
        run_data.check_data(SMOKE, tmp_path)
    with pytest.raises(ValueError, match="`data` must be a folder"):
        run_data.check_data(recipe_files.load_recipe("aerial"), None)


def test_the_command_tells_faults_by_its_status(tmp_path, capsys) -> None:
    data = write_folder(tmp_path / "data")
    command = ["train", "aerial", "--check-data", "--data-dir", str(data)]
    assert main(command) == 0
    (data / "train" / "masks" / "0.png").unlink()
    (data / "val" / "images" / "1.png").unlink()
    capsys.readouterr()
    assert main(command) == 1
    out = capsys.readouterr().out
    assert "train/images/0.png has no mask" in out
    assert "val/masks/1.png has no picture" in out
    assert "2 errors" in out
