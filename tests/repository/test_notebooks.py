"""Tests of the notebooks as files; `make notebooks` runs them."""

import base64
import configparser
import json
import re
from io import BytesIO

import notebook_files
import pytest
from notebook_files import (
    ADDRESS,
    NAMES,
    REPOSITORY,
    ROOT,
    code_cells,
    path_of,
    read,
    source,
    sources_sha256,
)
from PIL import Image

BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/"
    "colab-badge.svg)](https://colab.research.google.com/github/"
    f"{REPOSITORY}/blob/main/notebooks/{{}}.ipynb)"
)
PER_NAME = pytest.mark.parametrize("name", NAMES)


def test_there_are_no_others() -> None:
    found = sorted(path.stem for path in notebook_files.FOLDER.iterdir())
    assert found == list(NAMES)


@PER_NAME
def test_it_starts_with_a_title_and_a_badge(name: str) -> None:
    cells = read(name)["cells"]
    assert len(cells) <= 12
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert cells[0]["cell_type"] == "markdown"
    title, badge = source(cells[0]).split("\n\n")[:2]
    assert re.fullmatch("# [A-Z][a-z ]+", title)
    assert badge == BADGE.format(name)


@PER_NAME
def test_the_cell_that_installs_asks_for_what_there_is(name: str) -> None:
    lines = [
        line
        for cell in code_cells(read(name))
        for line in source(cell).splitlines()
        if "pip" in line.split()[:2] or "%pip" in line
    ]
    assert len(lines) == 1
    match = re.fullmatch(
        r'%pip install -q "keras-pspnet(?:\[([a-z,]+)\])?'
        rf'{re.escape(ADDRESS)}"( \{{kept\}})?',
        lines[0],
    )
    assert match, lines
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    extras = set(filter(None, (match[1] or "").split(",")))
    assert extras <= set(settings["options.extras_require"])


@PER_NAME
def test_links_lead_somewhere(name: str) -> None:
    for cell in read(name)["cells"]:
        if cell["cell_type"] == "markdown":
            for place in re.findall(r"\]\(([^)]+)\)", source(cell)):
                if "://" not in place:
                    assert (notebook_files.FOLDER / place).is_file(), place


@PER_NAME
def test_outputs_are_those_of_the_cells(name: str) -> None:
    """`make notebooks UPDATE=1` writes them."""
    notebook = read(name)
    assert notebook["metadata"]["sources_sha256"] == sources_sha256(notebook)
    cells = code_cells(notebook)
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1))
    assert sum(bool(cell["outputs"]) for cell in cells) >= len(cells) - 1
    kinds = {each["output_type"] for cell in cells for each in cell["outputs"]}
    assert kinds <= {"stream", "display_data", "execute_result"}


@PER_NAME
def test_outputs_are_of_no_machine_and_small(name: str) -> None:
    path = path_of(name)
    assert path.stat().st_size < 600_000
    shown = json.dumps(
        [cell["outputs"] for cell in code_cells(read(name))], indent=0
    )
    # Not in the pictures, whose letters may spell anything.
    shown = re.sub(r'"image/\w+": "[^"]*"', "", shown)
    for word in ("/home/", "/root", "/tmp", "/usr", "site-packages", "\\u001b"):
        assert word not in shown, word
    assert not re.search(r"0x[0-9a-f]{6}|stderr|Traceback|\\b|\\r", shown)


@PER_NAME
def test_pictures_can_be_seen(name: str) -> None:
    sizes = []
    for cell in code_cells(read(name)):
        for output in cell["outputs"]:
            for kind, data in output.get("data", {}).items():
                assert kind in ("image/png", "image/jpeg")
                with Image.open(BytesIO(base64.b64decode(data))) as picture:
                    picture.load()
                    sizes.append(picture.size)
    assert len(sizes) >= 2
    assert all(300 <= width <= 960 for width, _ in sizes), sizes
