"""Checks the built site: `python docs/tools/check.py build/site`.

Every public name of the documented modules has to be there, and no page may
fetch anything from another host.
"""

from __future__ import annotations

import ast
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Of these every public function and class is documented, of the package itself
# every name that it exports.
MODULES = (
    "callbacks.best_model",
    "callbacks.checkpoint",
    "callbacks.history",
    "callbacks.stop_on_nan",
    "callbacks.tensorboard",
    "callbacks.validation_scores",
    "callbacks.weight_average",
    "data.augment.augmentation",
    "data.pipeline",
    "data.sources.tfds",
    "export.export",
    "export.verify",
    "labels",
    "layers.input_normalization",
    "layers.pyramid",
    "losses.cross_entropy",
    "losses.focal",
    "losses.lovasz",
    "losses.masks",
    "losses.names",
    "losses.overlap",
    "losses.pixel_loss",
    "losses.weighted_sum",
    "metrics",
    "models.pspnet",
    "inference.predictor",
    "optimizers",
    "presets",
    "pretrained.conversion",
    "pretrained.load",
    "pretrained.save",
    "evaluation.protocols",
    "backbones.dilate",
    "backbones.efficientnet_lite",
    "backbones.resnet",
    "layers.resize",
    "evaluation.scores",
    "visualization.segmentation",
    "beam.segment",
    "beam.evaluate",
)
# What a page fetches by itself; `href` of links to follow is not among it.
_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]*\ssrc=["']?(?:https?:)?//"""
    r"""|<link(?![^>]*rel=["']?(?:canonical|next|prev))[^>]*\shref=["']?"""
    r"""(?:https?:)?//|url\(["']?(?:https?:)?//|@import""",
)


def main(site: Path) -> int:
    """Prints what is wrong with a site; 1 if anything is."""
    faults = [*_missing(site), *_fetching(site)]
    for fault in faults:
        print(f"docs: {fault}")
    return 1 if faults else 0


def public_names(module: str) -> list[str]:
    """Returns the public functions and classes that a module defines."""
    return [
        node.name
        for node in _tree(f"keras_pspnet.{module}").body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
    ]


def exported() -> dict[str, str]:
    """Returns what the package exports: name -> where it is defined.

    Modules are left out: theirs is what they define.
    """
    return {
        alias.asname: _origin(str(node.module), alias.name)
        for node in _tree("keras_pspnet").body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
        and not alias.asname.startswith("_")
        # Modules and rooms come from the package itself.
        and node.module != "keras_pspnet"
    }


def _tree(module: str) -> ast.Module:
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _origin(module: str, name: str) -> str:
    """Returns where a name that a module has is defined."""
    for node in _tree(module).body:
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if any(alias.name == name for alias in node.names):
            return _origin(node.module, name)
    return f"{module}.{name}"


def _missing(site: Path) -> Iterator[str]:
    *_, packed = (site / "objects.inv").read_bytes().split(b"\n", 4)
    lines = zlib.decompress(packed).decode().splitlines()
    there = {line.partition(" ")[0] for line in lines}
    names = exported()
    for name in names:
        if f"keras_pspnet.{name}" not in there:
            yield f"keras_pspnet.{name} is not in the reference"
    reached = set(names.values())
    for module in MODULES:
        for name in public_names(module):
            path = f"keras_pspnet.{module}.{name}"
            if path not in there and path not in reached:
                yield f"{path} is not in the reference"


def _fetching(site: Path) -> Iterator[str]:
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        text = path.read_text(encoding="utf-8")
        for match in _FETCHED.finditer(text):
            around = text[match.start() : match.end() + 60]
            yield f"{path.relative_to(site)} fetches: {around}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
