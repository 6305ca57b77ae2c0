"""Drawn pictures to try the page with, where nobody has one at hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_pspnet.data.scenes import make_scene
from keras_pspnet.data.towns import make_town
from keras_pspnet.labels import LabelSet

SIZE = (480, 640)


def examples(labels: LabelSet) -> dict[str, Callable[[], np.ndarray]]:
    """Lists the pictures that a model can be tried with.

    Args:
        labels: What the model tells apart.

    Returns:
        Title to a function that draws an RGB picture, uint8 (H, W, 3).
    """
    if labels.name == "aerial":
        return {
            "Coast": lambda: make_town(5, SIZE)[0],
            "Suburb": lambda: make_town(2, SIZE)[0],
        }
    return {
        "Street": lambda: make_scene(0, 1, SIZE)[0],
        "Bedroom": lambda: make_scene(0, 4, SIZE)[0],
    }
