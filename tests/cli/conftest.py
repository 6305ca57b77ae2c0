"""A model, an image and a data set for the tests of the commands."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from command_line import LABELS, replace_loading
from PIL import Image
from support import picture, tiny_pspnet

from keras_pspnet.pretrained import save_pretrained


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("cli") / "model"
    # Before the seed that every test gets.
    keras.utils.set_random_seed(0)
    save_pretrained(tiny_pspnet(labels=LABELS, aux=False), folder)
    return str(folder)


@pytest.fixture
def photo(tmp_path, monkeypatch) -> str:
    """An image in the current folder, which holds nothing else."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture(33, 47)).save("photo.png")
    return "photo.png"


@pytest.fixture
def no_model(monkeypatch) -> None:
    """Fails if a model is loaded: bad input must show before."""

    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    replace_loading(monkeypatch, load)


@pytest.fixture
def data(tmp_path, monkeypatch) -> list[tuple[np.ndarray, np.ndarray]]:
    """Five pairs in `set/images` and `set/masks`."""
    monkeypatch.chdir(tmp_path)
    pairs = []
    rng = np.random.default_rng(11)
    for name in ("images", "masks"):
        Path("set", name).mkdir(parents=True)
    for index, name in enumerate("abcde"):
        image = picture(24 + index, 31)
        mask = rng.integers(0, 3, image.shape[:2], dtype="uint8")
        mask[:, :3] = 255
        Image.fromarray(image).save(f"set/images/{name}.png")
        Image.fromarray(mask).save(f"set/masks/{name}.png")
        pairs.append((image, mask))
    return pairs
