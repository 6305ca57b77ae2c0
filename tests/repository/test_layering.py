"""Tests of the source itself: who imports whom, and who may print."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import keras_pspnet

PACKAGE = Path(keras_pspnet.__file__).parent

# From top to bottom: a room imports only from rooms below it, wherever in the
# file it does so.
ROOMS = (
    "cli",
    "beam",
    "demo",
    "recipes",
    "training",
    "callbacks",
    "export",
    "evaluation",
    "inference",
    "pretrained",
    "models",
    "convert",
    "backbones",
    "data",
    "visualization",
    "metrics",
    "optimizers",
    "losses",
    "layers",
    "utils",
    "labels",
    "presets",
    "version",
)
# The one exception: methods that users of KerasHub expect on the class.
UPWARD = {("models.pspnet", "pretrained")}
# What may lie flat beside the rooms.
FLAT = {
    "__init__",
    "labels",
    "metrics",
    "optimizers",
    "presets",
    "version",
}
MAX_LINES = 400
# Names of the standard library and of Pillow that begin with an underscore.
NOT_OF_KERAS = {"_exit", "_new", "_replace"}
# The package is imported where TensorFlow is not: with JAX or torch. What needs
# TensorFlow is imported by those who use it, never by a room's own module.
NEEDS_TENSORFLOW = {
    "data.augment.affine",
    "data.augment.augmentation",
    "data.augment.photometric",
    "data.pipeline",
    "export.decode_graph",
    "export.flatbuffer",
    "export.graph_ops",
    "export.litert",
    "export.metadata",
    "export.onnx",
    "export.saved_model",
    "export.serving_graph",
    "export.warmup",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
# TensorFlow Datasets finds builders by folder: their classes share a name.
INITS = [
    name
    for name, path in MODULES.items()
    if path.stem == "__init__" and not name.startswith("data.builders")
]


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


def own_imports(tree: ast.AST) -> set[str]:
    """Names below `keras_pspnet` that a tree imports, wherever it does so."""
    prefix = "keras_pspnet."
    return {
        name.removeprefix(prefix)
        for name in imported(tree)
        if name.startswith(prefix)
    }


def room_of(name: str) -> str:
    return name.split(".")[0]


def module_of(name: str) -> str:
    """The module that a name is imported from: `a.b.f` -> `a.b`."""
    while name not in MODULES:
        name = name.rpartition(".")[0]
    return name


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


def test_every_module_is_in_a_room() -> None:
    found = {room_of(name) for name in MODULES if name}
    assert found == set(ROOMS)
    flat = {path.stem for path in PACKAGE.glob("*.py")}
    assert flat == FLAT


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_a_room_imports_only_from_rooms_below_it(name: str) -> None:
    room = room_of(name)
    below = ROOMS[ROOMS.index(room) :]
    for other in own_imports(parse(MODULES[name])):
        upward = (name, room_of(other)) in UPWARD
        assert room_of(other) in below or upward, f"{name} imports {other}"


@pytest.mark.parametrize("room", ROOMS)
def test_modules_of_a_room_import_in_no_circle(room: str) -> None:
    graph = {
        name: {
            module_of(other)
            for other in own_imports(parse(MODULES[name]))
            if room_of(other) == room
        }
        - {name}
        for name in MODULES
        if room_of(name) == room
    }
    while graph:
        leaves = {name for name, needs in graph.items() if not needs}
        assert leaves, f"a circle: {graph}"
        graph = {
            name: needs - leaves
            for name, needs in graph.items()
            if name not in leaves
        }


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_no_longer_than_one_concern(name: str) -> None:
    lines = MODULES[name].read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_LINES


@pytest.mark.parametrize("name", MODULES)
def test_tensorflow_is_imported_where_it_is_needed(name: str) -> None:
    roots = {
        each.split(".")[0]
        for each in imported(at_module_level(parse(MODULES[name])))
    }
    if room_of(name) != "training":
        assert ("tensorflow" in roots) == (name in NEEDS_TENSORFLOW)
    assert roots.isdisjoint({"tf_keras", "torch", "jax"})


def private_names_read(tree: ast.AST) -> set[str]:
    """`_a` of every `x._a` that is read or called."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and re.match("_[a-z]", node.attr)
        and isinstance(node.ctx, ast.Load)
    }


@functools.cache
def defined_names() -> set[str]:
    """Functions, classes, and all that is assigned, in the whole package."""
    found = set()
    trees = (parse(path) for path in MODULES.values())
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(getattr(node, "ctx", None), ast.Store):
            found.add(getattr(node, "attr", getattr(node, "id", "")))
    return found


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name != "utils.keras_private"]
)
def test_private_names_of_keras_are_in_one_module(name: str) -> None:
    """A private name that nothing here defines is a library's."""
    foreign = private_names_read(parse(MODULES[name])) - defined_names()
    assert foreign <= NOT_OF_KERAS


@pytest.mark.parametrize("name", INITS)
def test_a_room_only_exports(name: str) -> None:
    """Its own module has a docstring and names that it gives to others."""
    tree = parse(MODULES[name])
    assert ast.get_docstring(tree)
    for node in tree.body[1:]:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name
        assert module_of(
            f"{node.module}.x".removeprefix("keras_pspnet.")
        ) not in (NEEDS_TENSORFLOW)


@pytest.mark.parametrize("name", MODULES)
def test_only_the_command_line_prints_and_exits(name: str) -> None:
    calls = set(names_called(parse(MODULES[name])))
    exits = {"print", "sys.exit", "exit", "quit", "os._exit", "input"}
    assert room_of(name) == "cli" or calls.isdisjoint(exits)
