"""A model and images for the tests of pipelines."""

from pathlib import Path
from typing import Any

import keras
import pytest
from pipelines import (
    LABELS,
    write_images,
)
from support import tiny_pspnet

import keras_pspnet.inference.load as load_module
from keras_pspnet.models.pspnet import PSPNet
from keras_pspnet.pretrained import load_pretrained, save_pretrained

LOADED: dict[tuple[Any, ...], PSPNet] = {}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    # Before the seed that every test gets.
    keras.utils.set_random_seed(0)
    save_pretrained(tiny_pspnet(labels=LABELS, aux=False), folder)
    return str(folder)


@pytest.fixture(scope="session")
def model(model_folder) -> PSPNet:
    return load_pretrained(model_folder)


@pytest.fixture(autouse=True)
def _load_once(monkeypatch) -> None:
    """Keeps models between tests: most of the time would be building them."""

    def load(source: str, **options: Any) -> PSPNet:
        config = Path(source, "config.json")
        if not config.exists():
            return load_pretrained(source, **options)
        key = (config.read_bytes(), *options.items())
        if key not in LOADED:
            LOADED[key] = load_pretrained(source, **options)
        return LOADED[key]

    monkeypatch.setattr(load_module, "load_pretrained", load)


@pytest.fixture
def photos(tmp_path) -> Path:
    write_images(tmp_path / "photos", 3)
    return tmp_path / "photos"
