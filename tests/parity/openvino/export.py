"""Exports ONNX files of every precision and output, and what they answer.

    python export.py FOLDER

The `aerial` model for any size and for a fixed one. For each file `NAME.onnx`
there is `NAME.npz`: images, and the classes of ONNX Runtime. See `peer.py`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import onnxruntime

import keras_pspnet as kp
from keras_pspnet.data.synthetic.towns import make_town
from keras_pspnet.export import ONNX_PRECISIONS, OUTPUTS

# The second batch has two images of another size.
SIZES = ((1, 129, 161), (2, 97, 96))
FIXED = (129, 161)


def main(folder: Path) -> None:
    """Writes the files."""
    folder.mkdir(parents=True)
    any_size = kp.load_pretrained("aerial")
    fixed = kp.PSPNet(**{**any_size.get_config(), "input_shape": (*FIXED, 3)})
    fixed.set_weights(any_size.get_weights())
    towns = [make_town(100 + index, FIXED)[0] for index in range(8)]
    for name, model in (("any", any_size), ("fixed", fixed)):
        sizes = SIZES if name == "any" else SIZES[:1]
        for precision in ONNX_PRECISIONS:
            for output in OUTPUTS:
                path = folder / f"{name}-{precision}-{output}.onnx"
                seen = towns if precision == "int8" else ()
                kp.export_onnx(model, path, precision, seen, output)
                answer(path, sizes)


def answer(path: Path, sizes: tuple[tuple[int, int, int], ...]) -> None:
    """Runs a file in ONNX Runtime, and keeps images and classes."""
    session = onnxruntime.InferenceSession(path)
    found = {}
    for batch, height, width in sizes:
        images = np.stack(
            [make_town(i, (height, width))[0] for i in range(batch)]
        ).astype("float32")
        (values,) = session.run(None, {"images": images})
        classes = values.argmax(-1) if values.ndim == 4 else values
        found[f"images_{batch}"] = images
        found[f"classes_{batch}"] = classes.astype("uint8")
    np.savez(path.with_suffix(".npz"), **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
