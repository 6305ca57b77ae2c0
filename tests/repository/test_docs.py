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
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contract_server
import numpy as np
import pytest
import tensorflow as tf
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
    "losses": "squeeze_masks check_mask_shape broadcast_weights",
    "inference.predictor": "predict_logits fit_inside",
    "presets": "Preset BackboneWeights",
    "evaluation.protocols": "Protocol predict_mask mmseg_size",
    "backbones.resnet": "scaled",
    "layers.resize": "spatial_size apply_height divides at_least_float32",
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


def write_data(folder: Path) -> None:
    """A folder of somebody's own, of five classes."""
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(16):
            image, mask = make_scene(0, index, (96, 128))
            mask = np.where(mask == 255, 255, np.minimum(mask, 4))
            for kind, array in (("images", image), ("masks", mask)):
                path = folder / split / kind / f"{index}.png"
                Image.fromarray(array).save(path)
    (folder / "labels.txt").write_text("\n".join(SCENES.names[:5]))


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
    "add-backbone",
    "add-dataset",
    "add-weights",
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
        kp.export_litert(prelude["net"], "pspnet.tflite", (240, 240))
    # Graphs of training take longer to trace than the steps do.
    tf.config.run_functions_eagerly(True)
    try:
        names: dict[str, Any] = {}
        for block in blocks:
            exec(compile(block, f"docs/{name}.md", "exec"), names)
    finally:
        tf.config.run_functions_eagerly(False)


# === Nothing is left out, and no link leads nowhere ===


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


def slugs(text: str) -> set[str]:
    """Anchors of a page's headings, as MkDocs makes them."""
    found: list[str] = []
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        named = re.fullmatch(r"(.*) \{ #(\S+) \}", heading)
        plain = re.sub(r"[^\w\s-]", "", heading).strip().lower()
        found.append(named[2] if named else re.sub(r"[-\s]+", "-", plain))
    return set(found)


def test_every_link_and_anchor_leads_somewhere(tmp_path: Path) -> None:
    stage.stage(tmp_path)
    count = 0
    for page in tmp_path.rglob("*.md"):
        if page.is_relative_to(tmp_path / "source"):
            continue
        text = re.sub(
            r"^```.*?^```$|`[^`\n]+`", "", page.read_text(), flags=re.M | re.S
        )
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            other = page.parent / path if path else page
            assert other.is_file(), f"{page.name}: {target}"
            if anchor:
                shown = directives(other)
                is_shown = any(anchor.startswith(name) for name in shown)
                where = f"{page.name}: {target}"
                assert is_shown or anchor in slugs(other.read_text()), where
            count += 1
    assert count > 100


def test_no_line_becomes_a_heading_by_chance() -> None:
    for source in stage.pages():
        text = (ROOT / source).read_text()
        text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
        # As the number of an issue does at the start of a line.
        assert not re.findall(r"^#+[^# ].*$", text, re.MULTILINE), source


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    listed = re.findall(r"([\w/-]+\.md)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(stage.pages().values())


def test_a_link_to_nothing_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(stage, "ROOT", tmp_path)
    for text, message in {
        "[a](b.md)": "page.md: there is no b.md",
        "[`a`](../c.py#d)": r"page.md: there is no \.\./c.py#d",
        "<!-- section: page.md#Other -->": "page.md: there is no section",
    }.items():
        (tmp_path / "page.md").write_text(f"# Page\n\n`[x](y.md)`\n\n{text}\n")
        monkeypatch.setattr(stage, "pages", lambda: {"page.md": "page.md"})
        with pytest.raises(stage.BrokenLinkError, match=message):
            stage.stage(tmp_path / "out")


def test_the_check_of_the_site_finds_what_is_missing(
    tmp_path: Path, capsys
) -> None:
    names = [f"keras_pspnet.{name}" for name in check.exported()]
    names += [
        f"keras_pspnet.{module}.{name}"
        for module in check.MODULES
        for name in check.public_names(module)
    ]

    def write(names: list[str], page: str) -> None:
        lines = "".join(f"{name} py:function 1 x.html#$ -\n" for name in names)
        packed = zlib.compress(lines.encode())
        (tmp_path / "objects.inv").write_bytes(b"#\n#\n#\n#\n" + packed)
        (tmp_path / "index.html").write_text(page)

    write(names, '<a href="https://arxiv.org">paper</a><img src="a.png">')
    assert check.main(tmp_path) == 0
    write(names[1:], "")
    assert check.main(tmp_path) == 1
    assert f"{names[0]} is not in the reference" in capsys.readouterr().out
    for fetching in (
        '<script src="https://host/a.js">',
        "<link href=//fonts.host/css rel=stylesheet>",
        "<style>body{background:url(https://host/a.png)}</style>",
    ):
        write(names, fetching)
        assert check.main(tmp_path) == 1
        assert "index.html fetches" in capsys.readouterr().out


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
