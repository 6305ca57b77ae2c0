"""Tests of the documentation: its examples run, and it leaves nothing out."""

import ast
import contextlib
import doctest
import importlib
import importlib.util
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
import tensorflow as tf
from data_trees import draw_own
from paddle_files import write_paddle
from PIL import Image
from small import Small
from source_states import mmseg_state, random_pspnet
from threshold_model import SIGNATURES
from torch_files import save, tensor

import keras_pspnet as kp
from keras_pspnet.data.synthetic.scenes import make_scene
from keras_pspnet.inference.model_info import description
from keras_pspnet.labels import SCENES
from keras_pspnet.layers.resize import adaptive_pooling_matrix

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Public names that others' work needs, and users seldom call.
HELPERS = {
    "callbacks.history": "read_history write_history",
    "callbacks.stop_on_nan": "NonFiniteError check_weights_finite",
    "data.pipeline": "Pairs",
    "data.sources.tfds": "TfdsData",
    "export.verify": "ExportError Row Parity default_images sample_images",
    "losses.masks": "squeeze_masks check_mask_shape broadcast_weights are_bad "
    "to_labels shape_hint refuse_bad_labels",
    "losses.pixel_loss": "Pixels PixelLoss shared_by_replicas",
    "inference.predictor": "predict_logits fit_inside",
    "presets": "Preset BackboneWeights",
    "evaluation.protocols": "Protocol predict_mask mmseg_size",
    "backbones.resnet": "scaled",
    "layers.resize": "spatial_size apply_height divides at_least_float32 "
    "adaptive_bins adaptive_weights interpolation_weights",
    "visualization.segmentation": "check_suffix",
}


def program(path: Path) -> Any:
    """Imports a file that is not part of the package."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check, commands, stage = (
    program(DOCS / f"tools/{name}.py")
    for name in ("check", "commands", "stage")
)
draw = program(DOCS / "drawings/draw.py")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


# === Examples of docstrings ===


def modules() -> Iterator[Any]:
    """Every module whose docstrings are public, and the client of servers."""
    names = [
        found.name
        for found in pkgutil.walk_packages(kp.__path__, "keras_pspnet.")
        if not re.search(
            r"\.(training|recipes|builders|demo|cli.*|__main__)\b", found.name
        )
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
    draw_own(folder / "data", 16, 16)
    (folder / "data/labels.txt").write_text("\n".join(SCENES.names[:5]))
    Image.fromarray(make_scene(0, 3, (96, 128))[0]).save(folder / "photo.jpg")
    side_file = folder / "models/pspnet/1/assets.extra/pspnet.json"
    side_file.parent.mkdir(parents=True)
    side_file.write_text(json.dumps(description(names["model"])))
    state = mmseg_state(random_pspnet())
    tensors = {name: tensor(value) for name, value in state.items()}
    save(folder / "pspnet.pth", {"state_dict": tensors})
    write_paddle(
        folder / "model.pdparams", {"head.conv.bias": np.zeros(21, "float32")}
    )
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


def test_what_users_call_has_an_example() -> None:
    with_example = {test.name for test in EXAMPLES}
    for name, where in check.exported().items():
        assert where in with_example, name
    for module in check.MODULES:
        names = set(check.public_names(module))
        without = {
            name
            for name in names
            if f"keras_pspnet.{module}.{name}" not in with_example
        }
        assert without == set(HELPERS.get(module, "").split()), module


def test_only_what_takes_long_is_skipped() -> None:
    skipped = {
        test.name
        for test in EXAMPLES
        for example in test.examples
        if doctest.SKIP in example.options
    }
    # Preparing a set, and exporting, which has tests of its own.
    assert skipped == {
        "keras_pspnet.data.sources.tfds.load_tfds",
        "keras_pspnet.export.export.export_saved_model",
    }


# === Python on pages ===


PAGES = sorted(ROOT / source for source in [*stage.pages(), "README.md"])
# With all that they need at hand, and in a moment.
RUN = (
    pytest.param("add-backbone", marks=pytest.mark.slow),
    "add-dataset",
    "add-loss",
    pytest.param("add-weights", marks=pytest.mark.slow),
    "deployment",
    "evaluation",
    "index",
    "models",
    "recipes",
    "segment",
    "start",
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_of_pages_compiles(page: Path) -> None:
    for block in code_blocks(page):
        ast.parse(block, str(page))


@pytest.mark.filterwarnings("ignore:Even though the .*functions_eagerly")
@pytest.mark.parametrize("name", RUN)
def test_python_of_pages_runs(
    name: str, prelude: dict[str, Any], monkeypatch
) -> None:
    monkeypatch.chdir(prelude["folder"])
    blocks = code_blocks(DOCS / f"{name}.md")
    assert blocks
    if name == "deployment":
        kp.export_onnx(prelude["net"], "pspnet.onnx")
        size = (240, 240)
        kp.export_litert(prelude["net"], "pspnet.tflite", size)
        kp.export_litert(
            prelude["net"],
            "pspnet_mask.tflite",
            size,
            output="mask",
            input_dtype="uint8",
        )
    # Graphs of training take longer to trace than the steps do.
    tf.config.run_functions_eagerly(True)
    try:
        names: dict[str, Any] = {}
        for block in blocks:
            exec(compile(block, f"docs/{name}.md", "exec"), names)
    finally:
        tf.config.run_functions_eagerly(False)


# === Nothing is left out; `make docs` checks anchors ===


def directives(page: Path) -> list[str]:
    """The names whose docstrings a page shows."""
    return re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)


def test_every_public_name_is_in_the_reference() -> None:
    shown = {
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in directives(page)
    }
    exported = check.exported()
    assert len(exported) > 15
    for name in exported:
        assert f"keras_pspnet.{name}" in shown
    for module in check.MODULES:
        path = f"keras_pspnet.{module}"
        names = check.public_names(module)
        assert names, module
        for name in names:
            whole = f"{path}.{name}"
            assert {path, whole} & shown or whole in exported.values(), whole


def test_the_page_of_commands_is_what_the_parsers_say() -> None:
    written = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert written == commands.text(), "run docs/tools/commands.py"


def test_every_link_leads_to_a_file(tmp_path: Path) -> None:
    stage.stage(tmp_path)


def test_no_line_becomes_a_heading_by_chance() -> None:
    for source in stage.pages():
        text = (ROOT / source).read_text()
        text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
        # As the number of an issue does at the start of a line.
        assert not re.findall(r"^#+[^# ].*$", text, re.MULTILINE), source


@pytest.mark.parametrize("name", ["network", "dilation", "bins", "shortcut"])
def test_drawings_are_what_their_program_draws(
    name: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(draw, "HERE", tmp_path)
    getattr(draw, name)()
    drawn = (tmp_path / f"{name}.svg").read_text()
    assert drawn == (DOCS / f"drawings/{name}.svg").read_text()


@pytest.mark.parametrize("size, bins", [(60, 6), (10, 6), (7, 3), (2, 6)])
def test_drawn_bins_are_those_of_the_package(size: int, bins: int) -> None:
    matrix = np.asarray(adaptive_pooling_matrix(size, bins))
    for row, (start, end) in zip(matrix, draw.bins_of(size, bins), strict=True):
        np.testing.assert_array_equal(np.nonzero(row)[0], range(start, end))
