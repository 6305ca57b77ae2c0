"""Drawn pictures to try the page with, where nobody has one at hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_pspnet.data.scenes import make_scene
from keras_pspnet.labels import LabelSet

SIZE = (480, 640)

# RGB. The photographs that the shipped model knows are of a desert's coast.
_SAND = (198, 192, 182)
_GRASS = (72, 82, 62)
_TREE = (34, 40, 32)
_YARD = (108, 104, 100)
_ROOF = (214, 212, 212)
_SHADOW = (26, 26, 30)
_ASPHALT = (112, 102, 100)
_VERGE = (168, 158, 150)
_WATER = (26, 38, 40)

# Pixels: from street to street, and from house to house.
_BLOCK, _PLOT = 84, 26


def examples(labels: LabelSet) -> dict[str, Callable[[], np.ndarray]]:
    """Lists the pictures that a model can be tried with.

    Args:
        labels: What the model tells apart.

    Returns:
        Title to a function that draws an RGB picture, uint8 (H, W, 3).
    """
    if labels.name == "aerial":
        return {
            "Coast": lambda: aerial_view(5),
            "Suburb": lambda: aerial_view(2),
        }
    return {
        "Street": lambda: make_scene(0, 1, SIZE)[0],
        "Bedroom": lambda: make_scene(0, 4, SIZE)[0],
    }


def aerial_view(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Draws a coast with gardens, streets and houses, seen from above.

    Args:
        seed: Non-negative number of the view.
        size: Height and width, at least 32 each.

    Returns:
        The RGB picture, uint8 (height, width, 3).
    """
    rng = np.random.default_rng(seed)
    # Along and across the streets, which bend a little.
    angle = rng.uniform(0.2, 0.5)
    y, x = np.mgrid[: size[0], : size[1]].astype("float32")
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    v = v + 14 * np.sin(u / 130 + rng.uniform(0, 6))

    image = np.empty((*size, 3), "float32")
    image[:] = _SAND
    image += 16 * _clouds(rng, size, 40)[..., None]
    town = _clouds(rng, size, 170) + (x / size[1] - 0.5) * 2
    garden = _clouds(rng, size, 60) - 0.5 - 2 * np.maximum(town, 0)
    _paint(image, garden > 0.4, _GRASS)
    _paint(image, (garden > 0) & (_clouds(rng, size, 3) > 1.2), _TREE)
    _build(image, rng, u, v, town > 0.1)
    _pave(image, u, v, town > 0.1)
    shore = _clouds(rng, size, 120) - 3 * (x / size[1] - 0.2)
    _paint(image, shore > 0.35, _SAND, 0.1)
    _paint(image, shore > 0.6, _WATER, 0.05)
    image += rng.normal(0, 6, image.shape)
    return np.clip(np.rint(image), 0, 255).astype("uint8")


def _clouds(
    rng: np.random.Generator, size: tuple[int, int], grain: int
) -> np.ndarray:
    """Draws smooth noise of unit variance whose hills are `grain` wide."""
    # Wider hills would leave a small picture without any.
    grain = min(grain, min(size) // 2)
    spectrum = np.fft.rfft2(rng.normal(size=size))
    rows = np.fft.fftfreq(size[0])[:, None]
    columns = np.fft.rfftfreq(size[1])
    spectrum *= np.exp(-2 * (grain * np.hypot(rows, columns)) ** 2)
    noise = np.fft.irfft2(spectrum, size)
    return (noise - noise.mean()) / noise.std()


def _paint(
    image: np.ndarray,
    where: np.ndarray,
    color: tuple[int, int, int],
    share: float = 0.3,
) -> None:
    """Colours pixels, with a share of the relief that they had."""
    if not where.any():
        return
    relief = image[where] - image[where].mean(axis=0, keepdims=True)
    image[where] = np.array(color) + share * relief


def _build(
    image: np.ndarray,
    rng: np.random.Generator,
    u: np.ndarray,
    v: np.ndarray,
    where: np.ndarray,
) -> None:
    """Sets a house on each plot, two rows of them between two streets."""
    block, plot = np.floor(v / _BLOCK), np.floor(u / _PLOT)
    across, along = v - block * _BLOCK, u - plot * _PLOT
    row = across > _BLOCK / 2
    number = (block * 97 + plot * 2 + row).astype(int) % 512
    # Roofs differ in their size and in how bright they are.
    wide, deep = (
        rng.uniform(14, 21, 512)[number],
        rng.uniform(12, 19, 512)[number],
    )
    bright = rng.uniform(0.7, 1.15, 512)[number]
    down = np.where(row, across - 48, across - 16)
    _paint(image, where, _YARD)
    _paint(image, where & (_clouds(rng, u.shape, 3) > 1.0), _TREE)
    over = (along > 3) & (down > 0)
    _paint(
        image, where & over & (along < wide + 7) & (down < deep + 5), _SHADOW
    )
    roof = where & over & (along < wide + 3) & (down < deep)
    image[roof] = np.array(_ROOF) * bright[roof][:, None]


def _pave(
    image: np.ndarray, u: np.ndarray, v: np.ndarray, town: np.ndarray
) -> None:
    """Lays the streets of the town, and two roads through all."""
    street = np.minimum(v % _BLOCK, -v % _BLOCK)
    _paint(image, town & (street < 7), _ASPHALT)
    for across in (u - 330, v - 2 * _BLOCK):
        _paint(image, np.abs(across) < 20, _VERGE)
        _paint(image, np.abs(across) < 14, _ASPHALT)
        _paint(image, np.abs(across) < 1.5, _VERGE)
