"""Reads and segments GeoTIFFs that rasterio wrote.

    python segment.py FOLDER

See `peer.py`. Fails if a file has other values than rasterio wrote.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import keras_pspnet as kp
from keras_pspnet.data import read_image
from keras_pspnet.labels import generic_labels


def two_classes(images: np.ndarray) -> np.ndarray:
    """Logits of a network: class 1 where the first band is high."""
    high = images[..., 0] - 100
    return np.stack([-high, high], axis=-1)


def main(folder: Path) -> None:
    """Writes a mask and its outlines beside every image."""
    for path in sorted(folder.glob("*.npy")):
        wanted = np.load(path)
        image = path.with_suffix(".tif")
        bands = wanted.shape[-1]
        found = read_image(image, bands=bands)
        assert found.dtype == wanted.dtype, image
        np.testing.assert_array_equal(found, wanted, str(image))
        network = kp.Predictor(
            two_classes, generic_labels(2), fill=(0.0,) * bands
        )
        result = kp.segment(network, image)
        result.save(image.with_suffix(".mask.tif"))
        result.save(image.with_suffix(".mask.geojson"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
