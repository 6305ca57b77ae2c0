"""Reads the notebooks: their cells, and the outputs."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
NAMES = ("01_segment", "02_train_your_own", "03_export_and_serve")
# Where the project is published, for the badges.
REPOSITORY = "keras-pspnet/keras-pspnet"
# What `%pip` installs until there is a release.
ADDRESS = f" @ git+https://github.com/{REPOSITORY}"

Notebook = dict[str, Any]


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.ipynb"


def read(name: str) -> Notebook:
    return json.loads(path_of(name).read_text(encoding="utf-8"))


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def text(output: dict[str, Any]) -> str:
    return "".join(output["text"])


def code_cells(notebook: Notebook) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def sources_sha256(notebook: Notebook) -> str:
    """Returns a hash of the code cells that the outputs belong to."""
    sources = [source(cell) for cell in code_cells(notebook)]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def outline(cell: dict[str, Any]) -> list[str]:
    """Returns a cell's output without numbers, which vary between runs."""
    lines = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            masked = re.sub(r"\d+(?:[.,]\d+)*(?:e[-+]?\d+)?", "#", text(output))
            masked = re.sub("#m?s", "#", masked)
            lines += [" ".join(line.split()) for line in masked.splitlines()]
        else:
            lines += ["picture" for kind in output["data"] if "image/" in kind]
    return lines
