"""Tests of recipes: their values, their files."""

import dataclasses
import inspect
from typing import Any

import pytest
from smoke_run import (
    SMOKE,
)

import keras_pspnet.recipes as recipe_files
import keras_pspnet.training.recipe as recipes
from keras_pspnet.data.augment.augmentation import train_augmentation
from keras_pspnet.labels import AERIAL, SCENES
from keras_pspnet.models.named_backbone import IMAGENET_MEAN
from keras_pspnet.presets import find_backbone_weights
from keras_pspnet.training.recipe import Recipe

PUBLISHED = tuple(
    name
    for name in recipe_files.RECIPES
    if name.endswith(("resnet18", "resnet50", "resnet101"))
)

# === Recipes ===


@pytest.mark.parametrize("name", ["scenes", "aerial"])
def test_a_recipe_builds_its_network(name: str) -> None:
    recipe = recipe_files.load_recipe(name)
    assert type(recipe) is Recipe
    assert recipe.name == name
    assert recipe.labels == {"aerial": AERIAL, "scenes": SCENES}[name]
    model = recipe.model()
    assert model.labels == recipe.labels
    assert set(model.output) == {"main", "aux"}
    size = recipe.crop if recipe.fixed_size else (None, None)
    assert model.input_shape == (None, *size, 3)
    # In float16 it fits into the package.
    assert 2 * model.count_params() < 30e6


@pytest.mark.parametrize("name", recipe_files.RECIPES)
def test_a_shrunk_recipe_is_the_same_run_but_smaller(name: str) -> None:
    recipe = recipe_files.load_recipe(name)
    small = recipe.smoke_test()
    changed = {
        field.name
        for field in dataclasses.fields(Recipe)
        if getattr(small, field.name) != getattr(recipe, field.name)
    }
    sizes = {"width", "crop", "batch_size", "steps", "steps_per_epoch"}
    sizes |= {"val_images", "evaluations"}
    assert changed - {"scenes", "backbone_weights"} == sizes
    assert small.backbone_weights is None
    assert small.steps <= 40


def test_a_run_is_a_whole_number_of_epochs() -> None:
    with pytest.raises(ValueError, match="`steps` must be.*=3, steps_per_ep"):
        dataclasses.replace(SMOKE, steps=3)


def test_a_recipe_comes_from_a_file(tmp_path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import dataclasses\n"
        "from keras_pspnet.recipes.aerial import RECIPE as AERIAL\n"
        "RECIPE = dataclasses.replace(AERIAL, name='mine', seed=7)\n"
    )
    recipe = recipe_files.load_recipe(str(path))
    assert (recipe.name, recipe.seed, recipe.rotate90) == ("mine", 7, True)


@pytest.mark.parametrize("content", ["", "RECIPE = 3", "RECIPE = None"])
def test_a_file_without_a_recipe_is_refused(tmp_path, content: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"whose RECIPE is a Recipe.*mine\.py"):
        recipe_files.load_recipe(str(path))


def test_unknown_recipes_are_refused() -> None:
    with pytest.raises(ValueError, match="one of scenes, aerial.*'mars'"):
        recipe_files.load_recipe("mars")
    with pytest.raises(FileNotFoundError, match=r"existing file.*'mars\.py'"):
        recipe_files.load_recipe("mars.py")


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_of_published_sets_have_the_paper_s_values(name: str) -> None:
    recipe = recipe_files.load_recipe(name)
    assert recipe.name == name
    assert (recipe.data, recipe.backbone) == tuple(
        name.replace("voc2012", "voc").split("_")
    )
    assert recipe.data == recipe.labels.name
    assert recipe.batch_size == 16
    assert recipe.learning_rate == 0.01
    assert recipe.scales == (0.5, 2.0)
    assert recipe.flip
    assert not recipe.rotate90
    # It would fail here if nobody published weights of this network.
    find_backbone_weights(recipe.backbone, "deep")
    assert (recipe.backbone_weights, recipe.width) == ("imagenet", 1.0)
    sizes = {
        "voc": ((473, 473), 30_000, 10.0, 0.5, "trainaug"),
        "ade20k": ((473, 473), 150_000, 10.0, 0.5, "train"),
        "cityscapes": ((713, 713), 90_000, 0.0, 0.0, "train"),
        "camvid": ((360, 480), 4600, 0.0, 0.0, "train"),
    }
    assert sizes[recipe.data] == (
        recipe.crop,
        recipe.steps,
        recipe.rotate,
        recipe.blur_probability,
        recipe.train_split,
    )


def test_all_changes_are_those_of_the_recipe(monkeypatch) -> None:
    names = inspect.signature(train_augmentation).parameters
    given: dict[str, Any] = {}

    def remember(*args: Any, **kwargs: Any) -> str:
        given.update(zip(names, args, strict=False), **kwargs)
        return "the changes"

    monkeypatch.setattr(recipes, "train_augmentation", remember)
    values: dict[str, Any] = {
        "crop": (8, 9),
        "scales": (0.75, 1.5),
        "flip": False,
        "rotate90": True,
        "base_size": (64, 32),
        "rotate": 5.0,
        "cat_max_ratio": 0.75,
        "center_padding": True,
        "blur_probability": 0.25,
        "photometric": True,
    }
    recipe = dataclasses.replace(SMOKE, **values)
    assert recipe.augmentation() == "the changes"
    assert given == values | {"mean": IMAGENET_MEAN}


def test_the_backbone_starts_from_the_recipe_s_weights(tmp_path) -> None:
    recipe = dataclasses.replace(
        SMOKE, backbone_weights=str(tmp_path / "none.pth")
    )
    with pytest.raises(FileNotFoundError, match=r"`backbone_weights`.*none\."):
        recipe.model()


@pytest.mark.parametrize(
    "epochs, evaluations, want",
    [
        (6, 10, [0, 1, 2, 3, 4, 5]),
        (6, 3, [1, 3, 5]),
        (7, 2, [3, 6]),
        (40, 1, [39]),
        (5, 4, [1, 2, 3, 4]),
    ],
)
def test_evaluations_are_spread_over_the_epochs(
    epochs: int, evaluations: int, want: list[int]
) -> None:
    recipe = dataclasses.replace(
        SMOKE, steps=2 * epochs, evaluations=evaluations
    )
    assert recipe.evaluated_epochs() == want


def test_a_run_has_an_evaluation() -> None:
    with pytest.raises(ValueError, match="`evaluations` must be an"):
        dataclasses.replace(SMOKE, evaluations=0)
