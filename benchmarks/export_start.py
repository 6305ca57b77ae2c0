"""Start and memory of SavedModels: the second table of `export.py`.

Each is loaded by a fresh process through TensorFlow's C interface, without
Python's TensorFlow, as servers have it. Memory is the resident memory of the
whole process.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measured import resident_memory

HELPERS = Path(__file__).parents[1] / "tests/helpers"
PICTURE_FILE = "picture.png"
LINE = "{:<19} {:>9} {:>6} {:>8} {:>7} {:>9} {:>8} {:>7} {:>8} {:>7}"
HEADINGS = (
    "engine",
    "import MB",
    "load s",
    "first s",
    "/keras",
    "loaded MB",
    "first MB",
    "/keras",
    "all MB",
    "/keras",
)


class Start(NamedTuple):
    """What one process measured.

    Args:
        imported: Its memory in MB before it loads the artefact.
        load: Seconds until the artefact is loaded.
        first: Seconds of the first request.
        loaded: Memory when the artefact is loaded.
        answered: Memory after the first request.
        all_signatures: Memory when every signature has answered.
    """

    imported: float
    load: float
    first: float
    loaded: float
    answered: float
    all_signatures: float


def start_saved_model(folder: Path, picture: Path) -> Start:
    """Loads a SavedModel and sends a picture to each of its signatures.

    Args:
        folder: The SavedModel.
        picture: uint8 (H, W, 3), with `PICTURE_FILE` beside it.
    """
    sys.path.insert(0, str(HELPERS))
    c_session = importlib.import_module("c_session")
    c_session.load_library()
    image = np.load(picture)[None]
    file = np.array([picture.with_name(PICTURE_FILE).read_bytes()], "O")
    float_image = image.astype("float32")
    inputs = {"image_bytes": file, "predict_uint8": image}

    imported = resident_memory()
    begin = time.perf_counter()
    session = c_session.CSession(folder)
    load, loaded = time.perf_counter() - begin, resident_memory()

    def run(signature: str) -> None:
        (name,) = session.signatures[signature].inputs
        value = inputs.get(name, inputs.get(signature, float_image))
        session.run(signature, {name: value})

    # Ours is the one that does what Keras's only one does.
    first, *others = sorted(session.signatures, key="predict_array".__ne__)
    begin = time.perf_counter()
    run(first)
    seconds, answered = time.perf_counter() - begin, resident_memory()
    for signature in others:
        run(signature)
    return Start(imported, load, seconds, loaded, answered, resident_memory())


def write(result: Start, path: Path) -> None:
    """Writes what `read` reads."""
    path.write_text(json.dumps(result))


def read(path: Path) -> Start:
    """Reads what a process has measured."""
    return Start(*json.loads(path.read_text()))


def table(starts: Mapping[str, Start], reference: str) -> list[str]:
    """Returns the lines of the table.

    Args:
        starts: By the engine's name.
        reference: The engine that the others are compared with: load and
            first request together, memory after one signature, after all.
    """
    lines = [LINE.format(*HEADINGS)]
    other = starts.get(reference)
    for name, each in starts.items():
        ratios = ["", "", ""]
        if other is not None and name != reference:
            shares = (
                (each.load + each.first) / (other.load + other.first),
                each.answered / other.answered,
                each.all_signatures / other.all_signatures,
            )
            ratios = [f"{share:.2f}" for share in shares]
        lines.append(
            LINE.format(
                name,
                f"{each.imported:.0f}",
                f"{each.load:.2f}",
                f"{each.first:.2f}",
                ratios[0],
                f"{each.loaded:.0f}",
                f"{each.answered:.0f}",
                ratios[1],
                f"{each.all_signatures:.0f}",
                ratios[2],
            )
        )
    return lines
