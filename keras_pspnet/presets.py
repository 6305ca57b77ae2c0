"""The published models, one row each."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Preset:
    """A model that `load_pretrained` knows by name.

    Args:
        name: What users type.
        folder: Folder below `keras_pspnet/weights`, as `save_pretrained`
            writes it.
        data: What it was trained on, and the terms of that data.
        mean_iou: Mean IoU on the data's validation split, single scale,
            no flip, at the pictures' own size.
    """

    name: str
    folder: str
    data: str
    mean_iou: float


PRESETS = {
    "aerial": Preset(
        name="aerial",
        folder="aerial",
        data="72 aerial photographs of Dubai, Humans in the Loop, CC0",
        mean_iou=0.603,
    ),
}
