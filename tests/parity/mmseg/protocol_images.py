"""Writes images with ground truth, and trained weights, for the peer.

    python protocol_images.py FOLDER [IMAGES]

IMAGES is a folder of images/ and masks/ of the classes of the aerial model;
some of them are used beside drawn ones. `protocol_peer.py` reads FOLDER.

The weights are those of this package's own trained model under
mmsegmentation's names: a trained network decides clearly almost everywhere,
while the classes of random ones are close to each other in many pixels.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

from keras_pspnet import load_pretrained
from keras_pspnet.data import load
from keras_pspnet.data.synthetic.scenes import make_scene
from keras_pspnet.labels import AERIAL, SCENES

sys.path.insert(0, str(Path(__file__).parents[2] / "helpers"))
from source_states import mmseg_state

# Square, wide and tall ones, and one that the longest side alone limits.
SIZES = ((128, 128), (150, 211), (211, 97), (64, 300), (300, 451), (97, 129))
GIVEN = 6
# What is in the scenes, as the aerial model would call it.
TRUTH = {
    "grass": "vegetation",
    "road": "road",
    "car": "road",
    "water": "water",
    "boat": "water",
    "building": "building",
    "skyscraper": "building",
    "wall": "land",
    "bed": "land",
    "pillow": "land",
}


def write(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    """Writes one pair losslessly: decoders of JPEG differ by a level."""
    for kind, array in (("images", image), ("masks", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / kind / f"{name}.png")


def main() -> None:
    """Makes the sets of images and the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("images", nargs="?", type=Path)
    options = parser.parse_args()
    sets = options.folder / "sets"
    truth = np.full(256, 255, "uint8")
    for theirs, ours in TRUTH.items():
        truth[SCENES.names.index(theirs)] = AERIAL.names.index(ours)
    for number, size in enumerate(SIZES):
        image, mask = make_scene(7, number, size)
        write(sets / "scenes", f"{number}", image, truth[mask])
    if options.images is not None:
        data = load(options.images, labels=AERIAL)
        step = max(1, len(data) // GIVEN)
        for number in range(min(GIVEN, len(data))):
            image, mask = data[number * step]
            write(sets / "given", f"{number}", image, mask)
    state = mmseg_state(load_pretrained("aerial", aux=True))
    np.savez(options.folder / "trained.npz", **state)


if __name__ == "__main__":
    main()
