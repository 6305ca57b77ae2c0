"""Tests of runs without a recipe: one is made for the data."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from annotation_trees import labelme_shape, write_labelme
from PIL import Image
from smoke_run import write_camvid, write_folder
from source_states import PADDLESEG
from support import picture, tiny_pspnet

import keras_pspnet as kp
import keras_pspnet.training.recipe_for_data as own_data
from keras_pspnet.cli.main import main
from keras_pspnet.evaluation import Scores
from keras_pspnet.labels import CAMVID
from keras_pspnet.recipes import load_recipe
from keras_pspnet.training import memory
from keras_pspnet.training.recipe_file import write_recipe
from keras_pspnet.training.recipe_for_data import recipe_for_data

NAMES = ("sky", "tree", "road", "wall", "sign")


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> str:
    """A trained model that takes no time to train on."""
    folder = tmp_path_factory.mktemp("start") / "model"
    kp.save_pretrained(tiny_pspnet(4, bin_sizes=(1, 2)), folder)
    return str(folder)


@pytest.fixture
def split(tmp_path) -> Path:
    data = write_folder(tmp_path / "own", train=5)
    (data / "labels.txt").write_text("\n".join(NAMES))
    return data


@pytest.fixture
def whole(tmp_path) -> Path:
    """Images and masks without splits."""
    data = tmp_path / "whole"
    for kind in ("images", "masks"):
        (data / kind).mkdir(parents=True)
    for k in range(8):
        image = picture(40 + k, 61)
        mask = (image.mean(-1) // 52).astype("uint8")
        Image.fromarray(image).save(data / "images" / f"{k}.png")
        Image.fromarray(mask).save(data / "masks" / f"{k}.png")
    (data / "labels.txt").write_text("\n".join(NAMES))
    return data


def test_it_fits_the_data(split, start) -> None:
    recipe = recipe_for_data(split, start, epochs=7)
    assert recipe.labels.names == NAMES
    assert recipe.name == "own"
    assert (recipe.train_split, recipe.val_split) == ("train", "val")
    assert recipe.val_share is None
    # The median of 50 to 54, and of 71.
    assert recipe.crop == (52, 71)
    # All five images are one batch: seven steps see each seven times.
    assert (recipe.batch_size, recipe.steps) == (5, 7)
    assert (recipe.width, recipe.bin_sizes) == (1 / 16, (1, 2))
    assert recipe.start_from == start
    assert recipe.learning_rate == pytest.approx(0.01 * 5 / 16)


def test_a_part_validates_where_there_is_no_split(whole, start) -> None:
    recipe = recipe_for_data(whole, start, val_share=0.25)
    assert (recipe.train_split, recipe.val_split) == (None, None)
    assert recipe.val_share == 0.25
    assert recipe.batch_size == 6
    assert recipe.steps % recipe.steps_per_epoch == 0
    assert recipe.steps_per_epoch >= 20


def test_published_sets_are_known_by_their_folders(tmp_path, start) -> None:
    data = write_camvid(tmp_path / "CamVid")
    Image.fromarray(picture(50, 71)).save(data / "train" / "b.jpg")
    with Image.open(data / "trainannot" / "a.png") as mask:
        mask.save(data / "trainannot" / "b.png")
    recipe = recipe_for_data(data, start)
    assert recipe.data == "camvid"
    assert recipe.labels == CAMVID


def test_annotations_of_tools_have_classes(tmp_path, start) -> None:
    data = tmp_path / "labelme"
    for name in ("a", "b", "c"):
        square = [[1, 1], [5, 1], [5, 4], [1, 4]]
        write_labelme(data, name, labelme_shape("cat", square))
    recipe = recipe_for_data(data, start)
    assert recipe.labels.names == ("background", "cat")
    assert recipe.val_share == 0.2


def test_classes_are_balanced_by_the_training_pixels(whole, start) -> None:
    recipe = recipe_for_data(whole, start, class_weight="balanced")
    train, _ = kp.data.divide(kp.data.load(whole), 0.2, 0)
    counts = kp.data.class_counts(train).sum(0)
    weights = np.array([recipe.class_weight[k] for k in range(len(NAMES))])
    np.testing.assert_allclose(weights * counts, counts.sum() / len(NAMES))


@pytest.mark.parametrize(
    ("room", "batch"), [(1, 2), (2.9, 2), (3.5, 3), (99, 6)]
)
def test_a_batch_fits_into_the_memory(
    whole, start, monkeypatch, room, batch
) -> None:
    each = 1000
    monkeypatch.setattr(own_data, "step_bytes", lambda *_: each)
    monkeypatch.setattr(own_data, "free_bytes", lambda: room * each)
    recipe = recipe_for_data(whole, start, val_share=0.25)
    assert recipe.batch_size == batch


def test_memory_grows_with_crop_and_width() -> None:
    found = [
        memory.step_bytes(kp.PSPNet(3, "resnet18", width=width), crop)
        for width, crop in itertools.product(
            (1 / 8, 1 / 4), ((64, 64), (128, 64))
        )
    ]
    assert found[1] == pytest.approx(2 * found[0], rel=0.05)
    assert found[2] > 1.4 * found[0]
    assert 2**24 < memory.free_bytes() < 2**44


def test_a_recipe_is_read_back_from_its_file(whole, start, tmp_path) -> None:
    recipe = recipe_for_data(
        whole,
        start,
        loss={"cross_entropy": 1.0, "dice": 0.5},
        class_weight="balanced",
    )
    path = tmp_path / "recipe.py"
    write_recipe(recipe, path, "keras-pspnet train --data-dir 'a b'")
    assert load_recipe(str(path)) == recipe
    assert load_recipe(str(path)).identity() == recipe.identity()
    assert "keras-pspnet train --data-dir 'a b'" in path.read_text()
    # What is at its default is left out.
    assert "momentum" not in path.read_text()
    assert "flip" not in path.read_text()


def test_a_recipe_has_the_geometry_of_paddlesegs_networks(
    whole, tmp_path
) -> None:
    trained = tiny_pspnet(4, head_channels=7, **PADDLESEG)
    kp.save_pretrained(trained, tmp_path / "trained")
    recipe = recipe_for_data(whole, str(tmp_path / "trained"), epochs=3)
    write_recipe(recipe, tmp_path / "r.py", "keras-pspnet train")
    recipe = load_recipe(str(tmp_path / "r.py"))
    model = recipe.model()
    config = model.get_config()
    for name, value in (PADDLESEG | {"head_channels": 7}).items():
        assert config[name] == value, name
    np.testing.assert_array_equal(
        model.get_layer("head_conv").kernel,
        trained.get_layer("head_conv").kernel,
    )


def write_bad(folder: Path, case: str) -> None:
    if case == "class":
        path = folder / "val" / "masks" / "0.png"
        with Image.open(path) as mask:
            values = np.asarray(mask).copy()
        values[5:9] = 5
        Image.fromarray(values).save(path)
        (folder / "labels.txt").write_text("\n".join((*NAMES, "rare")))
    elif case == "labels":
        (folder / "labels.txt").unlink()
    elif case == "splits":
        (folder / "train").rename(folder / "test")


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("class", "class 'rare' in validation images only"),
        ("labels", "must hold labels.txt"),
        ("splits", "`data` must have a split called train, training"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(
    split, start, case, told
) -> None:
    write_bad(split, case)
    with pytest.raises((ValueError, OSError), match=told):
        recipe_for_data(split, start)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--epochs", "0"], "`epochs` must be"),
        (["--val-share", "1"], "`val_share` must be"),
        (["--loss", "dize=1"], "did you mean 'dice'"),
        (["--loss", "dice=much"], "`--loss` must be NAME or NAME=FACTOR"),
        (["--batch-size", "1"], "`batch_size` must be"),
        (["--from", "mars"], "`source` must be one of 'aerial'"),
    ],
)
def test_options_out_of_range_are_refused(
    whole, start, capsys, arguments, told
) -> None:
    options = ["--from", start, *arguments]
    assert main(["train", "--data-dir", str(whole), *options]) == 2
    assert told in capsys.readouterr().err


def test_options_belong_to_runs_without_a_recipe(capsys) -> None:
    assert main(["train", "scenes", "--epochs", "3"]) == 2
    assert (
        "`--epochs` cannot be combined with a recipe" in capsys.readouterr().err
    )
    assert main(["train"]) == 2
    assert (
        "`train` requires a recipe or `--data-dir`" in capsys.readouterr().err
    )


def test_a_run_from_start_to_end(
    whole, start, tmp_path, monkeypatch, capsys
) -> None:
    import tensorflow as tf

    monkeypatch.setattr(
        tf.distribute, "MirroredStrategy", tf.distribute.get_strategy
    )
    monkeypatch.chdir(tmp_path)
    command = ["train", "--data-dir", str(whole), "--from", start, "-o", "run"]
    command += ["--epochs", "2", "--loss", "cross_entropy", "dice=0.5"]
    assert main(command) == 0
    out, _ = capsys.readouterr()
    assert "5 classes: sky, tree, road, wall, sign" in out
    assert "validates on 20% of the images, drawn with seed 0" in out
    assert "keras-pspnet segment IMAGE --model run/model" in out
    # A network of any size needs one for LiteRT.
    size = " ".join(map(str, load_recipe("run/recipe.py").crop))
    assert f"export litert --model run/model --size {size} -o" in out
    found = {path.name for path in Path("run").iterdir()}
    assert found >= {
        *("recipe.py", "scores.json", "curves.png", "predictions.png"),
        *("model", "best", "history.csv", "checkpoints"),
    }
    scores = Scores.load("run/scores.json")
    assert scores.images == 2
    model = kp.load_pretrained("run/model")
    assert model.labels.names == NAMES
    # The recipe repeats the run.
    again = ["train", "run/recipe.py", "--data-dir", str(whole), "-o", "again"]
    assert main(again) == 0
    np.testing.assert_array_equal(
        Scores.load("again/scores.json").confusion, scores.confusion
    )
    # And the same command finds it done.
    assert main(command) == 0
    kept = Path("run/recipe.py").read_bytes()
    capsys.readouterr()
    assert main([*command, "--epochs", "3"]) == 2
    out, err = capsys.readouterr()
    assert "`output` must hold checkpoints of the same run" in err
    assert out == ""
    assert Path("run/recipe.py").read_bytes() == kept


@pytest.mark.parametrize("form", ["whole", "split"])
def test_check_data_lists_all_that_is_wrong(
    form, start, tmp_path, request, capsys
) -> None:
    data = request.getfixturevalue(form)
    command = ["train", "--data-dir", str(data), "--from", start]
    command += ["--check-data"]
    assert main(command) == 0
    assert "0 errors" in capsys.readouterr().out
    masks = data / "train" / "masks" if form == "split" else data / "masks"
    (masks / "0.png").unlink()
    for name in ("1.png", "2.png"):
        with Image.open(masks / name) as image:
            wrong = np.full((image.height, image.width), 77, "uint8")
        Image.fromarray(wrong).save(masks / name)
    sheet = tmp_path / "sheet.png"
    assert main([*command, "--sheet", str(sheet)]) == 1
    out = capsys.readouterr().out
    assert "0.png has no mask" in out
    assert out.count("label 77") == 2
    # One says how often 77 occurs in all masks.
    assert "4 errors" in out
    assert sheet.is_file()


def test_check_data_tries_to_make_the_recipe(split, start, capsys) -> None:
    for path in (split / "train" / "masks").iterdir():
        with Image.open(path) as image:
            mask = np.asarray(image)
        Image.fromarray(np.minimum(mask, 3)).save(path)
    command = ["train", "--data-dir", str(split), "--from", start]
    assert main([*command, "--check-data"]) == 2
    assert "in validation images only" in capsys.readouterr().err


def test_data_with_an_error_leaves_no_folder(
    whole, start, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    path = whole / "images" / "3.png"
    path.write_bytes(path.read_bytes()[:99])
    command = ["train", "--data-dir", str(whole), "--from", start, "-o", "run"]
    assert main(command) == 2
    assert str(path) in capsys.readouterr().err
    assert not Path("run").exists()


def test_smoke_runs_start_from_nothing(whole, start) -> None:
    recipe = recipe_for_data(whole, start).smoke_test()
    assert recipe.start_from is None
    assert dataclasses.replace(recipe, steps=40).width <= 1 / 8
