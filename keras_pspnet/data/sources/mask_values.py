"""Suggests a `labels.txt` for the values or colors in masks."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_pspnet.data.images import read_stored_mask
from keras_pspnet.data.sources.label_files import IGNORE, LABEL_FILE, Mark
from keras_pspnet.labels import IGNORE_LABEL

# Number of masks to read; maximum number of values or colors in one of them.
_MASKS, _MOST = 100, 64
# Maximum number of classes.
_CLASSES = 255


def suggest_labels(masks: Sequence[str], folder: Path) -> str:
    """Suggests a command that writes a `labels.txt` for masks.

    It only suggests, since the masks of another split may have more classes.

    Args:
        masks: Paths of masks. Only the first of them are read; unreadable
            ones are skipped.
        folder: Folder for `labels.txt`.

    Returns:
        The end of a sentence, with the command; "" if no mask can be read, if
        some masks have colors and others values, or if there are too many.
    """
    found: set[Mark] = set()
    kinds = set()
    for mask in masks[:_MASKS]:
        try:
            pixels = read_stored_mask(mask).pixels
        except (OSError, ValueError):
            continue
        kinds.add(pixels.ndim)
        marks = _marks(pixels)
        if len(marks) > _MOST:
            return (
                f"; but masks such as {mask!r} hold {len(marks)} values or "
                "colors: was it resized, or saved as JPEG?"
            )
        found |= set(marks)
    if len(kinds) != 1 or len(found) > _CLASSES:
        return ""
    names = (f"class_{number}" for number in itertools.count())
    lines = [
        f"{IGNORE if _is_ignored(mark, found) else next(names)} {_show(mark)}"
        for mark in sorted(found)
    ]
    text = "\\n".join(lines) + "\\n"
    path = shlex.quote(str(folder / LABEL_FILE))
    some = f"the first {_MASKS} of " if len(masks) > _MASKS else ""
    return (
        f"; this command writes it for {some}your masks, with class names to "
        f"edit: printf '{text}' > {path}"
    )


def _marks(pixels: np.ndarray) -> list[Mark]:
    """Lists the values (H, W) or colors (H, W, 3) of a mask."""
    if pixels.ndim == 2:
        return np.unique(pixels).tolist()
    # Numbers sort faster than rows.
    numbers = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1])
    return [
        (number >> 16, number >> 8 & 255, number & 255)
        for number in np.unique(numbers).tolist()
    ]


def _is_ignored(mark: Mark, found: set[Mark]) -> bool:
    """Tells whether a value is 255, and the masks have more than 0 and 255."""
    return mark == IGNORE_LABEL and found != {0, IGNORE_LABEL}


def _show(mark: Mark) -> str:
    return str(mark) if isinstance(mark, int) else " ".join(map(str, mark))
