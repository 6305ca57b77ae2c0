"""Writes LiteRT files, an image, and the masks that they should give.

    python export.py FOLDER

See `peer.py`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import keras_pspnet as kp
from keras_pspnet.export.verify import sample_images

SIZE = (104, 136)
# Precision and input; MediaPipe takes logits alone.
FILES = (("float32", "float32"), ("float16", "uint8"), ("int8", "uint8"))


def main(folder: Path) -> None:
    """Writes `NAME.tflite` and `NAME.npy`, and `image.npy` for all."""
    folder.mkdir(parents=True)
    model = kp.load_pretrained("aerial")
    image = sample_images(SIZE, seed=9)[0].round().astype("uint8")
    np.save(folder / "image.npy", image)
    (folder / "labels.txt").write_text("\n".join(model.labels.names))
    seen = [each for seed in range(8) for each in sample_images(SIZE, seed)]
    for precision, dtype in FILES:
        path = folder / f"{precision}-{dtype}.tflite"
        calibration = seen if precision == "int8" else ()
        kp.export_litert(
            model, path, SIZE, precision, calibration, input_dtype=dtype
        )
        network = kp.inference.load_exported(path)
        np.save(path.with_suffix(".npy"), kp.segment(network, image).mask)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
