"""Drawn towns by the sea, seen from above, for the shipped `aerial` model.

The package carries no photographs. A drawn town has the colours, sizes and
textures of the photographs that the model was trained on, so that it can show
what it does, beside a truth, without any download. Nothing is measured on
them but whether everything still works.
"""

import numpy as np
from PIL import Image

from keras_pspnet.data.scenes import checked_integer, checked_size

# In the order of `keras_pspnet.labels.AERIAL`.
BUILDING, LAND, ROAD, VEGETATION, WATER = range(5)

MIN_SIDE = 128
_BLOCK, _LOT, _STREET = 64, 16, 9  # pixels
_TREE = 11

# RGB, as far as the photographs go; what varies is added to them.
_SAND = (205.0, 208.0, 214.0)
_BEACH = (232.0, 230.0, 222.0)
_SEA = (14.0, 24.0, 20.0)
_STREETS = (96.0, 92.0, 92.0)
_ASPHALT = (58.0, 54.0, 54.0)
_VERGE = (188.0, 184.0, 180.0)
_YARD = (78.0, 80.0, 74.0)
_SHADOW = (30.0, 30.0, 30.0)
_LAWN = (128.0, 138.0, 112.0)
_LEAVES = (44.0, 62.0, 36.0)


class _Picture:
    """A picture under the brush, in axes that are turned against its own.

    Args:
        rng: What decides everything.
        size: (height, width).

    Attributes:
        u: Place of each pixel along the first turned axis.
        v: Place along the second, which points down.
        image: RGB, 0..255, a little beyond at times.
        mask: Classes.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng, self.size = rng, size
        angle = rng.uniform(-0.3, 0.3)
        middle = np.array(size)[:, None, None] / 2
        y, x = np.mgrid[: size[0], : size[1]] - middle
        self.u = x * np.cos(angle) + y * np.sin(angle) + middle[1]
        self.v = y * np.cos(angle) - x * np.sin(angle) + middle[0]
        self.image = np.zeros((*size, 3), "float32")
        self.mask = np.full(size, LAND, "uint8")

    def paint(
        self,
        where: np.ndarray,
        color: tuple[float, float, float],
        noise: float,
        label: int,
    ) -> None:
        """Paints with one colour, whose brightness varies by pixel."""
        grain = self.rng.normal(0, noise, (int(where.sum()), 1))
        self.image[where] = color + grain
        self.mask[where] = label

    def clouds(self, cell: int) -> np.ndarray:
        """Smooth noise in 0..1, of spots down from `cell` pixels."""
        total = np.zeros(self.size, "float32")
        weights = 0.0
        height, width = self.size
        while cell >= 2:
            rows, columns = height // cell + 2, width // cell + 2
            coarse = self.rng.random((rows, columns)).astype("float32")
            fine = Image.fromarray(coarse).resize(
                (columns * cell, rows * cell), Image.Resampling.BICUBIC
            )
            start = cell // 2
            weight = cell**0.8
            total += weight * np.asarray(fine)[start:, start:][:height, :width]
            weights += weight
            cell //= 2
        return total / weights

    def of_each(self, cell: int, low: float, high: float) -> np.ndarray:
        """A random number for each square of a grid, at each of its pixels."""
        rows, columns = (
            (axis // cell).astype(int) for axis in (self.v, self.u)
        )
        rows, columns = rows - rows.min(), columns - columns.min()
        shape = rows.max() + 1, columns.max() + 1
        return self.rng.uniform(low, high, shape)[rows, columns]

    def within(self, cell: int) -> tuple[np.ndarray, np.ndarray]:
        """The place of each pixel in its square: across and down, 0..cell."""
        return self.u % cell, self.v % cell


def make_town(
    seed: int, size: tuple[int, int] = (384, 512)
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a town with its park, a main road and the sea.

    Args:
        seed: Non-negative number of the town.
        size: Height and width, at least 128 each.

    Returns:
        The RGB image, uint8 (height, width, 3), and its mask, uint8
        (height, width), of the classes of the `aerial` model.

    Raises:
        TypeError: If `seed` is not an integer.
        ValueError: If `seed` is negative, or `size` is another.

    Example:
        >>> from keras_pspnet.data.towns import make_town
        >>> image, mask = make_town(seed=0, size=(256, 320))
        >>> image.shape, mask.shape
        ((256, 320, 3), (256, 320))
    """
    rng = np.random.default_rng(checked_integer("seed", seed))
    picture = _Picture(rng, checked_size(size, MIN_SIDE))
    _draw_land(picture)
    _draw_town(picture)
    _draw_park(picture)
    _draw_road(picture)
    _draw_sea(picture)
    return np.rint(picture.image.clip(0, 255)).astype("uint8"), picture.mask


def _draw_land(picture: _Picture) -> None:
    everywhere = np.ones(picture.size, bool)
    picture.paint(everywhere, _SAND, 5, LAND)
    picture.image += 85 * (picture.clouds(96)[..., None] - 0.5)


def _draw_town(picture: _Picture) -> None:
    """Draws blocks of houses with their yards, and streets between them."""
    height, width = picture.size
    town = (picture.u > 0.45 * width) & (picture.v < 0.62 * height)
    picture.paint(town, _YARD, 14, BUILDING)
    left, across, down = picture.of_each(_LOT, 2, 5), *picture.within(_LOT)
    built = town & (picture.of_each(_LOT, 0, 1) < 0.85)
    # The shadow first, a little to the right and below.
    for shift, brightness in ((2, None), (0, picture.of_each(_LOT, 150, 250))):
        roof = built & (np.minimum(across, down) > left + shift)
        roof &= (across < _LOT - 2 + shift) & (down < _LOT - 3 + shift)
        picture.paint(roof, _SHADOW, 6, BUILDING)
        if brightness is not None:
            picture.image[roof] += brightness[roof][:, None]
    streets = np.minimum(*picture.within(_BLOCK)) < _STREET
    picture.paint(town & streets, _STREETS, 5, ROAD)


def _draw_park(picture: _Picture) -> None:
    """Draws a lawn with trees."""
    height, width = picture.size
    far = np.hypot(picture.u - 0.22 * width, 1.2 * (picture.v - 0.28 * height))
    shape = picture.clouds(48) - 0.5
    park = far < (0.2 + 0.2 * shape) * min(picture.size)
    picture.paint(park, _LAWN, 8, VEGETATION)
    radius = picture.of_each(_TREE, 0.2, 0.55) * _TREE
    across, down = picture.within(_TREE)
    trees = park & (np.hypot(across - _TREE / 2, down - _TREE / 2) < radius)
    picture.paint(trees, _LEAVES, 10, VEGETATION)


def _draw_road(picture: _Picture) -> None:
    """Draws a main road of two lanes that winds between town and sea."""
    height = picture.size[0]
    far = np.abs(picture.v - 0.7 * height - 12 * np.sin(picture.u / 90))
    picture.paint(far < 15, _VERGE, 6, ROAD)
    picture.paint((far > 2) & (far < 12), _ASPHALT, 5, ROAD)


def _draw_sea(picture: _Picture) -> None:
    height = picture.size[0]
    bays = picture.clouds(96) - 0.5
    depth = picture.v - (0.84 + 0.18 * bays) * height
    picture.paint((depth > -7) & (depth <= 0), _BEACH, 4, LAND)
    picture.paint(depth > 0, _SEA, 4, WATER)
