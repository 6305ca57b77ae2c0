"""Uses the installed package, as `make wheel-check` does on every Python.

    python -I use_wheel.py VERSION PHOTO EXPECTED WRITTEN

VERSION is what must be installed, EXPECTED a checkout's mask of PHOTO and
WRITTEN that of the installed command.
"""

import importlib.metadata
import sys
import time
from pathlib import Path

# Of the processor; it takes a fifth of that.
IMPORT_SECONDS = 0.3
# Rounding differs between kernels, and between releases of TensorFlow.
SAME_PIXELS = 0.999


def main() -> None:
    """Ends with an error at the first thing that is not as it must be."""
    version, photo, expected, written = sys.argv[1:]
    import keras

    start = time.process_time()
    import keras_pspnet

    seconds = time.process_time() - start
    place = Path(keras_pspnet.__file__)
    check(place.is_relative_to(sys.prefix), f"{place} is elsewhere")
    check(keras_pspnet.__version__ == version, "it is another version")
    check(seconds < IMPORT_SECONDS, f"the import takes {seconds:.2f} s")
    said = importlib.metadata.metadata("keras-pspnet")
    check(said["License-Expression"] == "Apache-2.0", "no licence is named")
    check(place.with_name("py.typed").exists(), "there is no py.typed")

    from keras_pspnet.training.train import load_recipe

    check(load_recipe("scenes").name == "scenes", "there are no recipes")
    same = compare(keras_pspnet, photo, Path(expected), Path(written))
    print(
        f"  keras {keras.__version__}: imported in {seconds:.2f} s beyond it, "
        f"{same:.2%} of the pixels as in the checkout"
    )


def compare(
    package: object, photo: str, expected: Path, written: Path
) -> float:
    """Segments the photo; returns which share of the pixels is as expected."""
    import numpy as np
    from PIL import Image

    with Image.open(expected) as picture:
        wanted = np.asarray(picture)
    with Image.open(written) as picture:
        found = np.asarray(picture)
    model = package.load_pretrained("aerial")
    mask = package.segment(model, photo).mask
    check(bool((mask == found).all()), "the command gives another mask")
    same = float(np.mean(mask == wanted))
    check(same >= SAME_PIXELS, f"{same:.3%} of the pixels are as expected")
    return same


def check(holds: bool, otherwise: str) -> None:
    """Ends the process unless something holds."""
    if not holds:
        raise SystemExit(f"Not as it must be: {otherwise}")


if __name__ == "__main__":
    main()
