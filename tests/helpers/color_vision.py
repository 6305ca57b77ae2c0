"""Measures how colors look with each kind of color vision."""

import numpy as np

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for
# Simulation of Color Vision Deficiency", IEEE TVCG 15(6), 2009, severity 1.0,
# on linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}

_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def lab(colors, matrix=VISIONS["normal"]):
    """Returns CIELAB of sRGB colors (..., 3) after a vision's matrix."""
    share = np.asarray(colors, float) / 255
    linear = np.where(
        share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4
    )
    xyz = np.clip(linear @ matrix.T, 0, 1) @ _XYZ.T / _WHITE
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (841 / 108) * xyz + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def distances(colors, others):
    """Returns the least CIELAB distance (N, M) over all visions."""
    return np.min(
        [
            np.linalg.norm(
                lab(colors, matrix)[:, None] - lab(others, matrix), axis=-1
            )
            for matrix in VISIONS.values()
        ],
        axis=0,
    )


def least_distance(colors):
    """Returns the distance of the two colors hardest to tell apart."""
    pairs = np.triu_indices(len(colors), 1)
    return distances(colors, colors)[pairs].min()
