"""Tests of the documentation: its examples run, and it leaves nothing out."""

import ast
import contextlib
import doctest
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contract_server
import numpy as np
import pytest
from PIL import Image
from small import Small
from source_states import mmseg_state, random_pspnet
from test_serving import SIGNATURES
from torch_files import save, tensor

import keras_pspnet as kp
from keras_pspnet.data.scenes import make_scene
from keras_pspnet.labels import SCENES
from keras_pspnet.network import description

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


# === Examples of docstrings ===


def modules() -> Iterator[Any]:
    """Every module whose docstrings are public, and the client of servers."""
    names = [
        found.name
        for found in pkgutil.walk_packages(kp.__path__, "keras_pspnet.")
        if not re.search(r"\.(training|builders|cli.*|__main__)\b", found.name)
    ]
    for name in ["keras_pspnet", *names, "client"]:
        yield importlib.import_module(name)


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    with contextlib.ExitStack() as stack:
        sys.path.insert(0, str(ROOT / "serving"))
        stack.callback(sys.path.remove, str(ROOT / "serving"))
        found = [
            test
            for module in modules()
            for test in finder.find(module, module.__name__, module, {})
            if test.examples
        ]
    return sorted(found, key=lambda test: test.name)


EXAMPLES = examples()


def code_blocks(page: Path) -> list[str]:
    """The Python of a page."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)


def write_data(folder: Path) -> None:
    """A folder of somebody's own: scenes, in the form that `load` reads."""
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(16):
            image, mask = make_scene(0, index, (96, 128))
            for kind, array in (("images", image), ("masks", mask)):
                path = folder / split / kind / f"{index}.png"
                Image.fromarray(array).save(path)
    (folder / "labels.txt").write_text("\n".join(SCENES.names))


@pytest.fixture(scope="module")
def prelude(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """What `docs/reference/index.md` says that examples begin with."""
    (block,) = code_blocks(DOCS / "reference/index.md")
    names: dict[str, Any] = {}
    exec(compile(block, "docs/reference/index.md", "exec"), names)
    names["net"] = net = Small(aux=False)
    net.compile(total_steps=1000)
    rng = np.random.default_rng(0)
    names["images"] = rng.integers(0, 256, (4, 33, 33, 3), np.uint8)
    names["masks"] = rng.integers(0, 3, (4, 33, 33), np.uint8)
    names["pairs"] = list(zip(names["images"], names["masks"], strict=True))

    folder = tmp_path_factory.mktemp("examples")
    write_data(folder / "data")
    Image.fromarray(make_scene(0, 3, (96, 128))[0]).save(folder / "photo.jpg")
    side_file = folder / "models/pspnet/1/assets.extra/pspnet.json"
    side_file.parent.mkdir(parents=True)
    side_file.write_text(json.dumps(description(names["model"])))
    state = mmseg_state(random_pspnet())
    tensors = {name: tensor(value) for name, value in state.items()}
    save(folder / "pspnet.pth", {"state_dict": tensors})
    with contract_server.serving(SIGNATURES) as server:
        names |= {"address": server.rest, "grpc_address": server.grpc}
        names["folder"] = folder
        yield names


@pytest.mark.parametrize("test", EXAMPLES, ids=lambda test: test.name)
def test_examples_of_docstrings(
    test: doctest.DocTest, prelude: dict[str, Any], monkeypatch
) -> None:
    monkeypatch.chdir(prelude["folder"])
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.syspath_prepend(str(ROOT / "serving"))
    test.globs = dict(prelude)
    output: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, out=output.append)
    assert not runner.failures, "".join(output)
