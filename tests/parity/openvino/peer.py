"""Runs ONNX files of this package in OpenVINO, on the processor.

    python peer.py FOLDER

Fails if the classes of a file written by `export.py` are not those of ONNX
Runtime.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import openvino

# Least share of pixels of the same class. Each engine rounds 16 and 8 bits in
# its own places.
LEAST = {"float32": 0.9999, "float16": 0.999, "int8": 0.98}
LINE = "{:<26} {:>10} {:>9}"


def main(folder: Path) -> int:
    """Prints a table; returns how many files differ."""
    core = openvino.Core()
    paths = sorted(folder.glob("*.onnx"))
    assert paths, f"no files in {folder}"
    print(LINE.format("OpenVINO", "same", "at least"))
    failed = 0
    for path in paths:
        _, precision, _ = path.stem.split("-")
        # Without the hint it computes in bfloat16 where the processor can.
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        network = core.compile_model(path, "CPU", settings)
        wanted = np.load(path.with_suffix(".npz"))
        shares = []
        for name in wanted:
            if name.startswith("images"):
                values = network(wanted[name])[0]
                classes = values.argmax(-1) if values.ndim == 4 else values
                expected = wanted[name.replace("images", "classes")]
                assert classes.shape == expected.shape, path
                shares.append(float((classes == expected).mean()))
        failed += min(shares) < LEAST[precision]
        print(LINE.format(path.stem, f"{min(shares):.3%}", LEAST[precision]))
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
