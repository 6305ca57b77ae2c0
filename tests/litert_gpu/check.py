"""Checks that LiteRT's GPU accelerator takes our files whole.

    python check.py CHROMIUM

The accelerator is the one of the package ai-edge-litert, which runs on Vulkan.
CHROMIUM is the folder of Debian's package: in it are SwiftShader, a driver in
software, and the loader of drivers. Prints what the accelerator refuses of a
file, or how far it is from the CPU, and fails unless it takes every operation
of every file and is as near as it should be.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from ai_edge_litert.interpreter import Interpreter

import keras_pspnet as kp
from keras_pspnet.export.verify import sample_images

# Neither side is a whole number of every bin size at a stride of 8.
SIZE = (104, 136)
RUN = Path(__file__).with_name("run.py")
# Weights, output, input, and how far the accelerator may be from the CPU: of
# the greatest logit, or of the pixels of a mask. It computes in floats what
# the CPU computes in 8 bits.
FILES = (
    ("float32", "logits", "float32", 1e-3),
    ("float32", "mask", "uint8", 1e-3),
    ("float16", "logits", "float32", 1e-3),
    ("float16", "mask", "uint8", 1e-3),
    ("dynamic", "logits", "float32", 5e-2),
    ("int8", "logits", "float32", 1e-1),
    ("int8", "mask", "uint8", 1e-1),
)
LINE = "{:<8} {:<6} {:<7}  {}"


def environment(chromium: Path) -> dict[str, str]:
    """Returns the variables by which the accelerator finds the driver."""
    driver = chromium / "vk_swiftshader_icd.json"
    if not driver.is_file():
        sys.exit(f"There is no {driver}.")
    return os.environ | {
        "VK_ICD_FILENAMES": str(driver),
        "VK_DRIVER_FILES": str(driver),
        "LD_LIBRARY_PATH": str(chromium),
        "XDG_RUNTIME_DIR": tempfile.gettempdir(),
    }


def difference(file: Path, image: np.ndarray, answer: np.ndarray) -> float:
    """Compares an answer with the CPU's.

    Returns:
        The greatest difference over the greatest logit, or of masks the share
        of pixels with another class.
    """
    runner = Interpreter(str(file)).get_signature_runner()
    ((output, wanted),) = runner(images=image).items()
    if output == "mask":
        return float((answer != wanted).mean())
    return float(np.abs(answer - wanted).max() / np.abs(wanted).max())


def reasons(log: str) -> str:
    """Finds in what the accelerator said which operations it refuses."""
    found = re.findall(r"^[A-Z_0-9]+: .*", log, re.MULTILINE)
    kept = [each for each in found if not re.match("INFO|WARNING|ERROR", each)]
    return "refused: " + ("; ".join(kept) or log[-2000:])


def main(chromium: Path) -> bool:
    """Prints a table, and returns whether all files are as they should be."""
    variables = environment(chromium.resolve())
    model = kp.load_pretrained("aerial")
    seen = [each for seed in range(8) for each in sample_images(SIZE, seed)]
    passed = True
    print(LINE.format("weights", "output", "input", "on the accelerator"))
    with tempfile.TemporaryDirectory() as folder:
        for index, (precision, output, dtype, most) in enumerate(FILES):
            path = Path(folder, f"{index}.tflite")
            calibration = seen if precision == "int8" else ()
            kp.export_litert(
                model, path, SIZE, precision, calibration, output, dtype
            )
            image = sample_images(SIZE, seed=9)[:1].round().astype(dtype)
            np.save(path.with_suffix(".in.npy"), image)
            command = [
                *(sys.executable, RUN, path),
                *(path.with_suffix(".in.npy"), path.with_suffix(".out.npy")),
            ]
            done = subprocess.run(
                command,
                env=variables,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                verdict, passed = reasons(done.stderr), False
            else:
                answer = np.load(path.with_suffix(".out.npy"))
                off = difference(path, image, answer)
                passed &= off <= most
                verdict = f"whole, {off:.1e} off" + " (too far)" * (off > most)
            line = LINE.format(precision, output, dtype, verdict)
            print(line, flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1])) else 1)
