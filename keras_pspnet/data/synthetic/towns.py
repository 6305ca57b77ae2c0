"""Procedural coastal towns seen from above, for the shipped `aerial` model.

The package contains no photographs. A drawn town has the colors, sizes and
textures of the photographs that the model was trained on, so the model can be
shown beside exact ground truth without a download. No published score is
measured on these drawings.
"""

import numpy as np

from keras_pspnet.data.synthetic.scenes import checked_size

# In the order of `keras_pspnet.labels.AERIAL`.
BUILDING, LAND, ROAD, VEGETATION, WATER = range(5)

# RGB. The model was trained on photographs of a desert coast.
_SAND = (198, 192, 182)
_GRASS = (72, 82, 62)
_TREE = (34, 40, 32)
_YARD = (108, 104, 100)
_ROOF = (214, 212, 212)
_SHADOW = (26, 26, 30)
_ASPHALT = (112, 102, 100)
_VERGE = (168, 158, 150)
_WATER = (26, 38, 40)

# Distance between streets and between houses, in pixels.
_BLOCK, _PLOT = 84, 26


class _Canvas:
    """An image to paint.

    Args:
        rng: Source of all randomness.
        size: (height, width).

    Attributes:
        u: Position of each pixel along the streets, which bend a little.
        v: Position across the streets.
        image: RGB in 0..255; values may slightly exceed this range.
        mask: Classes.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng, self.size = rng, size
        angle = rng.uniform(0.2, 0.5)
        y, x = np.mgrid[: size[0], : size[1]].astype("float32")
        self.u = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle)
        self.v = across + 14 * np.sin(self.u / 130 + rng.uniform(0, 6))
        self.image = np.empty((*size, 3), "float32")
        self.image[:] = _SAND
        self.mask = np.full(size, LAND, "uint8")

    @property
    def right(self) -> np.ndarray:
        """Horizontal position of each pixel in 0..1, as (1, width)."""
        return np.arange(self.size[1], dtype="float32")[None] / self.size[1]

    def hills(self, grain: int) -> np.ndarray:
        """Returns smooth noise of unit variance, with hills `grain` wide."""
        # A small image would not contain wider hills.
        grain = min(grain, min(self.size) // 2)
        spectrum = np.fft.rfft2(self.rng.normal(size=self.size))
        rows = np.fft.fftfreq(self.size[0])[:, None]
        columns = np.fft.rfftfreq(self.size[1])
        spectrum *= np.exp(-2 * (grain * np.hypot(rows, columns)) ** 2)
        noise = np.fft.irfft2(spectrum, self.size)
        return (noise - noise.mean()) / noise.std()

    def paint(
        self,
        where: np.ndarray,
        color: tuple[int, int, int],
        label: int,
        relief: float = 0.3,
    ) -> None:
        """Colors pixels, and keeps a share of their relief."""
        if where.any():
            before = self.image[where]
            before -= before.mean(axis=0, keepdims=True)
            self.image[where] = np.array(color) + relief * before
            self.mask[where] = label


def make_town(
    seed: int, size: tuple[int, int] = (384, 512)
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a coast with gardens, streets and houses.

    Args:
        seed: Seed of the town, not negative.
        size: Height and width, at least 32 each. Small towns may lack some of
            the classes.

    Returns:
        The RGB image, uint8 (height, width, 3), and its mask, uint8
        (height, width), of the classes of the `aerial` model.

    Raises:
        TypeError: If `seed` is not an integer.
        ValueError: If `seed` is negative, or `size` is invalid.

    Examples:
        >>> from keras_pspnet.data.synthetic.towns import make_town
        >>> image, mask = make_town(seed=0, size=(256, 320))
        >>> image.shape, mask.shape
        ((256, 320, 3), (256, 320))
    """
    rng = np.random.default_rng(seed)
    canvas = _Canvas(rng, checked_size(size))
    canvas.image += 16 * canvas.hills(40)[..., None]
    town = canvas.hills(170) + (canvas.right - 0.5) * 2
    garden = canvas.hills(60) - 0.5 - 2 * np.maximum(town, 0)
    canvas.paint(garden > 0.4, _GRASS, VEGETATION)
    trees = (garden > 0) & (canvas.hills(3) > 1.2)
    canvas.paint(trees, _TREE, VEGETATION)
    _build(canvas, town > 0.1)
    _pave(canvas, town > 0.1)
    shore = canvas.hills(120) - 3 * (canvas.right - 0.2)
    canvas.paint(shore > 0.35, _SAND, LAND, 0.1)
    canvas.paint(shore > 0.6, _WATER, WATER, 0.05)
    canvas.image += rng.normal(0, 6, canvas.image.shape)
    image = np.rint(canvas.image).clip(0, 255).astype("uint8")
    return image, canvas.mask


def _build(canvas: _Canvas, where: np.ndarray) -> None:
    """Draws a house on each plot, in two rows between two streets."""
    block, plot = np.floor(canvas.v / _BLOCK), np.floor(canvas.u / _PLOT)
    across, along = canvas.v - block * _BLOCK, canvas.u - plot * _PLOT
    row = across > _BLOCK / 2
    number = (block * 97 + plot * 2 + row).astype(int) % 512
    # Roofs differ in size and brightness.
    wide, deep, bright = (
        canvas.rng.uniform(low, high, 512)[number]
        for low, high in ((14, 21), (12, 19), (0.7, 1.15))
    )
    down = np.where(row, across - 48, across - 16)
    # In the photographs, dense quarters are labeled building, with their yards.
    canvas.paint(where, _YARD, BUILDING)
    canvas.paint(where & (canvas.hills(3) > 1.0), _TREE, BUILDING)
    house = where & (along > 3) & (down > 0)
    shadow = house & (along < wide + 7) & (down < deep + 5)
    canvas.paint(shadow, _SHADOW, BUILDING)
    roof = house & (along < wide + 3) & (down < deep)
    canvas.image[roof] = np.array(_ROOF) * bright[roof][:, None]


def _pave(canvas: _Canvas, town: np.ndarray) -> None:
    """Draws the streets of the town, and two roads across the image."""
    street = np.minimum(canvas.v % _BLOCK, -canvas.v % _BLOCK)
    canvas.paint(town & (street < 7), _ASPHALT, ROAD)
    for across in (canvas.u - 330, canvas.v - 2 * _BLOCK):
        far = np.abs(across)
        canvas.paint(far < 20, _VERGE, ROAD)
        canvas.paint(far < 14, _ASPHALT, ROAD)
        canvas.paint(far < 1.5, _VERGE, ROAD)
