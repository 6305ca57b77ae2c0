"""Start and memory of SavedModels: the second table of `export.py`.

A fresh process loads each through TensorFlow's C interface, as servers do,
without Python's TensorFlow. Memory is the resident memory of the whole process.
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
from comparison import IMAGE_FILE, measured

HELPERS = Path(__file__).parents[1] / "tests/helpers"
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
    """Measurements of one process.

    Args:
        imported: Memory in MB before loading the model.
        load: Seconds to load the model.
        first: Seconds of the first request.
        loaded: Memory after loading.
        answered: Memory after the first request.
        all_signatures: Memory after a request to every signature.
    """

    imported: float
    load: float
    first: float
    loaded: float
    answered: float
    all_signatures: float


def start_saved_model(folder: Path, path: Path) -> Start:
    """Loads a SavedModel and sends an image to each of its signatures.

    Args:
        folder: The SavedModel.
        path: File of an array, uint8 (H, W, 3), with `IMAGE_FILE` beside it.
    """
    sys.path.insert(0, str(HELPERS))
    c_session = importlib.import_module("c_session")
    c_session.load_library()
    image = np.load(path)[None]
    file = np.array([path.with_name(IMAGE_FILE).read_bytes()], "O")
    float_image = image.astype("float32")
    inputs = {"image_bytes": file, "predict_uint8": image}

    imported = measured.resident_memory()
    begin = time.perf_counter()
    session = c_session.CSession(folder)
    load, loaded = time.perf_counter() - begin, measured.resident_memory()

    def run(signature: str) -> None:
        (name,) = session.signatures[signature].inputs
        value = inputs.get(name, inputs.get(signature, float_image))
        session.run(signature, {name: value})

    # `predict_array` does what Keras's only signature does.
    first, *others = sorted(session.signatures, key="predict_array".__ne__)
    begin = time.perf_counter()
    run(first)
    seconds, answered = time.perf_counter() - begin, measured.resident_memory()
    for signature in others:
        run(signature)
    return Start(
        imported, load, seconds, loaded, answered, measured.resident_memory()
    )


def write(result: Start, path: Path) -> None:
    """Writes a measurement as JSON."""
    path.write_text(json.dumps(result))


def read(path: Path) -> Start:
    """Reads a measurement that `write` wrote."""
    return Start(*json.loads(path.read_text()))


def table(starts: Mapping[str, Start], reference: str) -> list[str]:
    """Returns the lines of the table.

    Args:
        starts: Measurements by engine.
        reference: Engine to compare the others with, by the time to load and
            answer the first request, and by the memory after one signature and
            after all.
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
