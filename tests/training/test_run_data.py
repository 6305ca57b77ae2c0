"""Tests of the data of a run."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from smoke_run import (
    SMOKE,
    write_camvid,
    write_folder,
)

import keras_pspnet.recipes as recipe_files
import keras_pspnet.training.data as run_data
import keras_pspnet.training.run as training
from keras_pspnet.cli.main import main
from keras_pspnet.labels import AERIAL, CAMVID


@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
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


def test_labels_txt_says_what_masks_hold(tmp_path) -> None:
    recipe = recipe_files.load_recipe("aerial")
    data = write_folder(tmp_path / "data")
    for path in data.glob("*/masks/*.png"):
        with Image.open(path) as mask:
            classes = np.asarray(mask).astype("uint16")
        values = np.where(classes == 255, 255, classes * 300).astype("uint16")
        Image.fromarray(values).save(path)
    assert run_data.check_data(recipe, data)
    lines = [f"{name} {k * 300}\n" for k, name in enumerate(AERIAL.names)]
    (data / "labels.txt").write_text("".join(lines))
    found = run_data.check_data(recipe, data)
    assert all(issue.is_warning for issue in found)
    run = run_data.open_data(recipe, data)
    masks = [mask for _, mask in run.pairs]
    assert {int(each.max()) for each in masks} <= {0, 1, 2, 3, 4, 255}
    # What lies above is nothing to do with a recipe.
    (tmp_path / "labels.txt").write_text("a\na\n")
    assert all(each.is_warning for each in run_data.check_data(recipe, data))
    # Another file's classes are not the recipe's.
    (data / "labels.txt").write_text("sky 0\nroad 300\n")
    with pytest.raises(ValueError, match="must list the 5 classes of the mod"):
        run_data.check_data(recipe, data)


def test_there_is_no_data_to_check_without_files(tmp_path) -> None:
    with pytest.raises(
        ValueError, match="read data from disk.*recipe='scenes'"
    ):
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
    assert "val/masks/1.png has no image" in out
    assert "2 errors" in out
    # What can be read is shown all the same.
    sheet = tmp_path / "sheet.png"
    assert main([*command, "--sheet", str(sheet)]) == 1
    with Image.open(sheet) as image:
        assert image.width > 600
    capsys.readouterr()
    assert main(["train", "aerial", "--sheet", str(sheet)]) == 2
    assert "`--sheet` requires --check-data" in capsys.readouterr().err
