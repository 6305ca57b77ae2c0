"""Where the regions of a mask end, and where in them a number fits."""

from __future__ import annotations

import numpy as np

# Spots need not be exact to the pixel: they are sought on at most this side.
_SIDE = 256


def contour(mask: np.ndarray, width: int = 1) -> np.ndarray:
    """Marks the right and lower ends of regions.

    Args:
        mask: Integers of shape `(H, W)`.
        width: Width of the line in pixels. A region not wider than this keeps
            its pixels, so that no line hides a pole.

    Returns:
        A bool array of shape `(H, W)`.
    """
    line = np.zeros(mask.shape, bool)
    # Along the columns, and by views of the same arrays along the rows.
    for ends, classes in ((line, mask), (line.T, mask.T)):
        wide = classes[width:] == classes[:-width]
        for step in range(1, 1 + width):
            ends[width:-step] |= wide[:-step] & (
                classes[width:-step] != classes[width + step :]
            )
    return line


def spots(mask: np.ndarray, radius: float) -> list[tuple[int, int, int]]:
    """Finds the middles of regions, the roomiest first.

    A region has one spot; one that goes on far from there, such as a road,
    has more of them.

    Args:
        mask: Integers of shape `(H, W)`.
        radius: Half the side of the square around a spot that lies within
            the picture and in one class, but for details that are finer than
            a 256th of the picture.

    Returns:
        `(class, x, y)` of each spot, the coordinates in pixels.
    """
    step = -(-max(mask.shape) // _SIDE)
    mask = mask[step // 2 :: step, step // 2 :: step]
    room = _room(mask)
    found = []
    # The step that a coarse mask may be off by is spared on each side.
    while room.max(initial=0) * step >= radius + step:
        y, x = _middle_of_roomiest(room, mask)
        found.append(
            (int(mask[y, x]), x * step + step // 2, y * step + step // 2)
        )
        reach = max(3 * int(room[y, x]), max(mask.shape) // 4)
        window = np.s_[
            max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1
        ]
        room[window][mask[window] == mask[y, x]] = 0
    return found


def _room(mask: np.ndarray) -> np.ndarray:
    """The least number of steps, also slanted ones, that leave the class."""
    padded = np.pad(mask.astype(np.int64), 1, constant_values=-1)
    middle = padded[1:-1, 1:-1]
    inside = (
        (middle == padded[:-2, 1:-1])
        & (middle == padded[2:, 1:-1])
        & (middle == padded[1:-1, :-2])
        & (middle == padded[1:-1, 2:])
    )
    room = np.ones(mask.shape, np.int64)
    while inside.any():
        room += inside
        padded = np.pad(inside, 1)
        wide = padded[:, :-2] & padded[:, 1:-1] & padded[:, 2:]
        inside = wide[:-2] & wide[1:-1] & wide[2:]
    return room


def _middle_of_roomiest(room: np.ndarray, mask: np.ndarray) -> tuple[int, int]:
    """The pixel in the midst of those with the most room."""
    rows, columns = np.nonzero(room == room.max())
    same = mask[rows, columns] == mask[rows[0], columns[0]]
    rows, columns = rows[same], columns[same]
    distance = np.hypot(rows - rows.mean(), columns - columns.mean())
    nearest = distance.argmin()
    return int(rows[nearest]), int(columns[nearest])
