"""What holds for every notebook."""

import json
from pathlib import Path

import notebook_files
from execution import Session, unexpected, written
from notebook_files import code_cells, outline

from keras_pspnet.files import write_atomically

BUILD = notebook_files.ROOT / "build" / "notebooks"


def check_run(session: Session) -> None:
    """Nothing went wrong, and it took no longer than it says."""
    assert unexpected(session.notebook) == []
    assert session.seconds < 300


def check_or_write_outputs(session: Session, update: bool) -> None:
    """The committed outputs are what the cells show, but for numbers."""
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
