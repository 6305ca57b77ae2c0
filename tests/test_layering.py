"""Tests of the source itself: who imports whom, and who may print."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import keras_pspnet

PACKAGE = Path(keras_pspnet.__file__).parent

# A module imports only from those above it, wherever in the file it does so.
ORDER = (
    "version",
    "files",
    "locks",
    "labels",
    "replicas",
    "batch_norm",
    "dropout",
    "sampling",
    "resizing",
    "layers",
    "resnet",
    "download",
    "convert.assign",
    "convert.pickle_values",
    "convert.pickle_machine",
    "convert.torch_file",
    "convert.torch_resnet",
    "convert.mmseg",
    "convert.semseg",
    "convert.imagenet",
    "convert.caffe_file",
    "convert.caffe",
    "convert.source",
    "presets",
    "backbone_weights",
    "losses",
    "metrics",
    "optimizers",
    "fitting",
    "trainer",
    "model",
    "model_card",
    "data.decode",
    "data.sbd",
    "data.encodings",
    "data.label_files",
    "data.listing",
    "data.trees",
    "data.folders",
    "data.readers",
    "data.checks",
    "data.builders.examples",
    "data.builders.camvid.dataset_builder",
    "data.builders.voc2012_segmentation.dataset_builder",
    "data.builders",
    "data.tfds",
    "data",
    "data.drawing",
    "data.scenes",
    "data.towns",
    "data.affine",
    "data.photometric",
    "data.augment",
    "data.pipeline",
    "pretrained",
    "picture_checks",
    "palettes",
    "regions",
    "layout",
    "curves",
    "sheets",
    "visualize",
    "scores",
    "folding",
    "network",
    "artefacts",
    "windows",
    "inference",
    "protocols",
    "evaluation",
    "beam.storage",
    "beam",
    "history",
    "event_files",
    "callbacks",
    "export.logs",
    "export.pictures",
    "export.signature",
    "export.verify",
    "export.warmup",
    "export.saved_model",
    "export.litert_metadata",
    "export.litert",
    "export.onnx",
    "export",
    "training",
    "demo.results",
    "demo.page",
    "demo.server",
    "demo",
    "cli_shared",
    "cli_segment",
    "cli_evaluate",
    "cli_demo",
    "cli",
    "cli_beam",
    "beam.__main__",
)
# Folders whose own module holds a docstring alone.
EMPTY = (
    "convert",
    "data.builders.camvid",
    "data.builders.voc2012_segmentation",
    "demo",
)
# The package is imported where TensorFlow is not: with JAX or torch.
NEEDS_TENSORFLOW = {
    "data.affine",
    "data.photometric",
    "data.augment",
    "data.pipeline",
    "folding",
    "export.pictures",
    "export.signature",
    "export.warmup",
    "export.saved_model",
    "export.litert_metadata",
    "export.litert",
    "export.onnx",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of all that is imported, at any depth of the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "the package imports by full names"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def own_modules(tree: ast.AST) -> set[str]:
    """The modules in ORDER that a tree imports something from."""
    found = set()
    for name in imported(tree):
        if name.split(".")[0] != "keras_pspnet":
            continue
        inner = name.removeprefix("keras_pspnet.") + "."
        matches = [each for each in ORDER if inner.startswith(each + ".")]
        assert matches, f"{name} is in no module of ORDER"
        # Of `export` and `export.signature` the longer one is meant.
        found.add(max(matches, key=len))
    return found


def names_called(tree: ast.AST) -> Iterator[str]:
    """`f` of every call f(...), `a.f` of every call a.f(...)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def at_module_level(tree: ast.Module) -> ast.Module:
    """The tree without functions and what only a type checker reads."""

    class Pruned(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.If | None:
            typing = ast.unparse(node.test).endswith("TYPE_CHECKING")
            return None if typing else node

    return Pruned().visit(tree)


def test_the_order_names_every_module() -> None:
    # Folders' own modules hold nothing but `export`'s function.
    listed = set(ORDER) - {"training"} | {"", *EMPTY}
    assert set(MODULES) == listed
    for name in EMPTY:
        assert len(parse(MODULES[name]).body) == 1


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_a_module_imports_only_from_those_above_it(name: str) -> None:
    if name in EMPTY:
        return
    above = set(ORDER[: ORDER.index(name)])
    assert own_modules(parse(MODULES[name])) <= above


@pytest.mark.parametrize("name", MODULES)
def test_tensorflow_is_imported_where_it_is_needed(name: str) -> None:
    roots = {
        each.split(".")[0]
        for each in imported(at_module_level(parse(MODULES[name])))
    }
    assert ("tensorflow" in roots) == (name in NEEDS_TENSORFLOW)
    assert roots.isdisjoint({"tf_keras", "torch", "jax"})


def test_the_package_itself_only_gives_names() -> None:
    tree = parse(MODULES[""])
    assert ast.get_docstring(tree)
    for node in tree.body[1:]:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name
            assert getattr(keras_pspnet, alias.name) is not None


@pytest.mark.parametrize("name", MODULES)
def test_only_the_command_line_prints_and_exits(name: str) -> None:
    calls = set(names_called(parse(MODULES[name])))
    exits = {"print", "sys.exit", "exit", "quit", "os._exit", "input"}
    assert name.startswith("cli") or calls.isdisjoint(exits)
