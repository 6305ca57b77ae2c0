"""Uses the installed package, as `make wheel-check` does on every Python.

    python -I use_wheel.py VERSION FOLDER

Run outside a checkout, in an environment that holds the wheel alone. FOLDER
holds photo.jpg, `expected.png`, the mask that the checkout's command wrote,
and `written.png`, that of the installed command.
"""

import sys
from pathlib import Path

# Rounding differs between kernels, and between releases of TensorFlow.
SAME_PIXELS = 0.999


def main() -> None:
    """Exits with an error at the first thing that is wrong."""
    version, folder = sys.argv[1], Path(sys.argv[2])
    import keras
    import numpy as np
    from PIL import Image

    import keras_pspnet as kp
    from keras_pspnet.recipes import load_recipe

    place = Path(kp.__file__)
    check(place.is_relative_to(sys.prefix), f"{place} is outside the venv")
    check(kp.__version__ == version, f"the version is {kp.__version__}")
    check(place.with_name("py.typed").exists(), "py.typed is missing")
    check(load_recipe("scenes").name == "scenes", "recipes are missing")
    expected, written = (
        np.asarray(Image.open(folder / f"{name}.png"))
        for name in ("expected", "written")
    )
    check(len(np.unique(expected)) > 2, "the photo shows too few classes")
    result = kp.segment(kp.load_pretrained("aerial"), folder / "photo.jpg")
    check(bool((result.mask == written).all()), "command and Python differ")
    same = float(np.mean(result.mask == expected))
    check(same >= SAME_PIXELS, f"{same:.3%} of the pixels equal the checkout's")
    print(f"  keras {keras.__version__}: {same:.2%} of the pixels are equal")


def check(holds: bool, otherwise: str) -> None:
    """Exits with an error unless a condition holds."""
    if not holds:
        raise SystemExit(f"wheel-check: {otherwise}")


if __name__ == "__main__":
    main()
