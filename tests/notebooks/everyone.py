"""What holds for every notebook: tests that each of their files imports."""

import json
from pathlib import Path

import notebook_files
from execution import Session, unexpected, written
from notebook_files import code_cells, outline

from keras_pspnet.utils.files import write_atomically

BUILD = notebook_files.ROOT / "build" / "notebooks"


def test_it_runs_without_trouble(session: Session) -> None:
    """Nothing went wrong, and one core would do it in five minutes."""
    assert unexpected(session.notebook) == []
    # Not by the clock: others may use the machine as well.
    assert 1 < session.ask("sum(__import__('os').times()[:4])") < 300


def test_the_committed_outputs_are_its_own(session: Session, request) -> None:
    """The committed outputs are what the cells show, but for numbers."""
    update = request.config.getoption("update")
    text = written(session.notebook)
    BUILD.mkdir(parents=True, exist_ok=True)
    place = Path(notebook_files.path_of(session.name))
    for path in [BUILD / place.name, *([place] if update else [])]:
        write_atomically(path, text.encode())
    fresh = code_cells(json.loads(text))
    for cell, old in zip(
        fresh, code_cells(notebook_files.read(session.name)), strict=True
    ):
        assert outline(cell) == outline(old), cell["id"]
