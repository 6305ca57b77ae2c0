"""Draws the procedural scenes, with NumPy only."""

import functools
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# In the order of `keras_pspnet.labels.SCENES`.
SKY, GRASS, ROAD, WATER, BUILDING, SKYSCRAPER = range(6)
CAR, BOAT, WALL, BED, PILLOW = range(6, 11)
IGNORE = 255

# Colors that distinguish the contexts: (town, city) and (road, water).
HOUSE_COLORS = np.array([[0.6, 0.34, 0.25], [0.36, 0.42, 0.52]], "float32")
MARK_COLORS = np.array([[0.9, 0.75, 0.35], [0.75, 0.88, 0.95]], "float32")


class _Canvas(NamedTuple):
    """An image to paint, or a window of it that shares its memory."""

    rng: np.random.Generator  # Source of all randomness.
    height: int  # Of the whole image.
    width: int
    y: np.ndarray  # (rows, 1): row of each pixel in the whole image.
    x: np.ndarray  # (1, columns)
    image: np.ndarray
    labels: np.ndarray
    objects: np.ndarray  # 0 means no object.
    next_object: Iterator[int]

    def crop(
        self, top: float, bottom: float, left: float = 0.0, right: float = 1e9
    ) -> "_Canvas":
        """Returns the window of rows top..bottom, columns left..right.

        It is one pixel larger on each side, for the smooth edges.
        """
        rows = slice(max(0, math.floor(top) - 1), math.ceil(bottom) + 2)
        columns = slice(max(0, math.floor(left) - 1), math.ceil(right) + 2)
        return self._replace(
            y=self.y[rows],
            x=self.x[:, columns],
            image=self.image[rows, columns],
            labels=self.labels[rows, columns],
            objects=self.objects[rows, columns],
        )

    def paint(
        self,
        distance: np.ndarray,
        color: np.ndarray,
        label: int | None = None,
        is_object: bool = True,
    ) -> None:
        """Paints with smooth edges where `distance` is negative.

        Args:
            distance: Signed distance to the outline in pixels, one value
                per pixel or per row.
            color: RGB in 0..1, one color or one per pixel.
            label: Class id; `None` keeps the labels, for decorations.
            is_object: Whether the outline gets an ignored border.
        """
        alpha = np.clip(0.5 - distance, 0.0, 1.0)[..., None]
        self.image[...] += alpha * (color - self.image)
        if label is not None:
            inside = np.broadcast_to(distance < 0.0, self.labels.shape)
            self.labels[inside] = label
            self.objects[inside] = next(self.next_object) if is_object else 0

    def upright(
        self, center: float, rows: list[float], halves: list[float]
    ) -> np.ndarray:
        """Returns the distance to a shape symmetric about a vertical axis.

        Args:
            center: Column of the axis.
            rows: Ascending rows with a known half width.
            halves: Half widths of these rows; linear in between.
        """
        half = np.interp(self.y, rows, halves, left=-1e3, right=-1e3)
        return np.abs(self.x - center) - half.astype("float32")

    def clouds(self, rows: int, columns: int) -> np.ndarray:
        """Returns noise (height, width, 1), smooth between a grid of knots."""
        knots = self.rng.standard_normal((rows, columns), "float32")
        tall = _hats(self.y.size, rows)
        return (tall @ knots @ _hats(self.x.size, columns).T)[..., None]


@functools.lru_cache(maxsize=64)
def _hats(pixels: int, knots: int) -> np.ndarray:
    """Returns the weight of each knot at each pixel, (pixels, knots)."""
    places = np.linspace(0.0, knots - 1.0, pixels)[:, None]
    hats = np.maximum(0.0, 1.0 - np.abs(places - np.arange(knots)))
    return hats.astype("float32")


def draw_scene(
    rng: np.random.Generator,
    size: tuple[int, int],
    indoors: bool,
    on_water: bool,
    in_city: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a scene of the given kind, with light, noise and border.

    Args:
        rng: Source of all randomness.
        size: Height and width.
        indoors: Whether to draw a bedroom.
        on_water: Whether the surface outdoors is water or a road.
        in_city: Whether the towers stand in a city or in a town.

    Returns:
        The RGB image, uint8 (height, width, 3), and its mask, uint8
        (height, width).
    """
    canvas = _Canvas(
        rng,
        *size,
        np.arange(size[0], dtype="float32")[:, None],
        np.arange(size[1], dtype="float32")[None, :],
        np.zeros((*size, 3), "float32"),
        np.zeros(size, "uint8"),
        np.zeros(size, "uint8"),
        itertools.count(1),
    )
    if indoors:
        _draw_bedroom(canvas)
    else:
        _draw_outdoors(canvas, on_water, in_city)
    light = rng.uniform(0.75, 1.15) + 0.08 * canvas.clouds(3, 3)
    grain = rng.uniform(0.015, 0.04)
    cast = rng.uniform(0.96, 1.04, 3).astype("float32")
    image = rng.standard_normal(canvas.image.shape, "float32")
    image *= grain
    image += canvas.image * (light * cast)
    image = (np.clip(image, 0.0, 1.0, out=image) * 255.0).astype("uint8")
    mask = _with_border(canvas.labels, canvas.objects)
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def _with_border(labels: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Returns the labels, with an ignored border around objects."""
    mask = labels.copy()
    for ids, border in ((objects, mask), (objects.T, mask.T)):
        edge = ids[1:] != ids[:-1]
        border[1:][edge] = IGNORE
        border[:-1][edge] = IGNORE
    return mask


def _rgb(red: float, green: float, blue: float) -> np.ndarray:
    return np.array([red, green, blue], "float32")


def _color(
    rng: np.random.Generator, low: float, high: float, hue: float = 0.1
) -> np.ndarray:
    """Returns a gray between `low` and `high` with some hue."""
    gray = rng.uniform(low, high)
    return (gray + rng.uniform(-hue, hue, 3)).astype("float32")


def _draw_outdoors(canvas: _Canvas, on_water: bool, in_city: bool) -> None:
    """Draws towers and hulls at the left, and the cues to them at the right."""
    rng, height, width = canvas[:3]
    unit = min(height, width)
    # Separate generators, so that the objects do not depend on the cues.
    objects, cues = (canvas._replace(rng=own) for own in rng.spawn(2))
    horizon = rng.uniform(0.44, 0.5) * height
    ground = horizon - rng.uniform(0.02, 0.04) * height

    _draw_land(canvas, horizon, ground, WATER if on_water else ROAD)
    place = SKYSCRAPER if in_city else BUILDING
    hull = BOAT if on_water else CAR
    # Objects fill the near part of the image, whatever its width.
    near = max(0.7, 0.45 * width / unit)
    for middle in np.arange(0.13, near, 0.25):
        center = middle + objects.rng.uniform(-0.02, 0.02)
        _draw_tower(objects, center * unit, ground, place)
    for middle in np.arange(0.32, near, 0.56):
        for bottom in (0.76, 0.97):
            base = bottom + objects.rng.uniform(-0.03, 0.01)
            center = middle + objects.rng.uniform(-0.06, 0.06)
            _draw_hull(objects, center * unit, base * height, hull)

    start = cues.rng.uniform(0.7, 0.74) * width
    _draw_skyline(cues, start, ground, in_city)
    _draw_marks(cues, start, horizon + 0.05 * height, on_water)


def _draw_land(
    canvas: _Canvas, horizon: float, ground: float, surface: int
) -> None:
    """Draws the sky, a wet surface, and a strip of grass between."""
    rng, height, _ = canvas[:3]
    sky = canvas.crop(0.0, ground)
    light = _color(rng, 0.7, 0.8) + _rgb(-0.08, 0.0, 0.1)
    haze = (sky.y / ground)[..., None] * rng.uniform(-0.1, 0.2)
    color = light + haze + 0.05 * sky.clouds(7, 4)
    sky.paint(sky.y - ground, color, SKY, is_object=False)

    wet = canvas.crop(ground, height)
    color = _color(rng, 0.4, 0.55, hue=0.05) + _rgb(-0.05, 0.0, 0.05)
    streaks = 0.05 * wet.clouds(24, 6) + 0.07 * wet.clouds(4, 4)
    wet.paint(ground - wet.y, color + streaks, surface, is_object=False)

    grass = canvas.crop(ground, horizon + 0.05 * height)
    color = _rgb(0.3, 0.45, 0.2) + _color(rng, -0.04, 0.04, hue=0.06)
    blades = 1.0 + 0.25 * grass.clouds(6, 32)
    shore = horizon + 0.05 * height * rng.random()
    bank = shore + 0.015 * height * grass.clouds(1, 6)[..., 0]
    strip = np.maximum(ground - grass.y, grass.y - bank)
    grass.paint(strip, color * blades, GRASS, is_object=False)


def _draw_tower(
    canvas: _Canvas, center: float, ground: float, label: int
) -> None:
    """Draws a tower with windows, some of them lit."""
    rng, height, width = canvas[:3]
    unit = min(height, width)
    half = max(3.0, rng.uniform(0.1, 0.12) * unit)
    top = ground - rng.uniform(0.31, 0.4) * height
    facade = _color(rng, 0.35, 0.7)
    pitch_y = max(3.0, rng.uniform(0.035, 0.05) * height)
    pitch_x = max(3.0, rng.uniform(0.035, 0.05) * unit)
    glow = rng.uniform(-0.3, 0.25, (7, 5)).astype("float32")

    part = canvas.crop(top, ground, center - half, center + half)
    row = (part.y - top) / pitch_y
    column = (part.x - center + half) / pitch_x
    glass = (row % 1.0 > 0.45) & (column % 1.0 > 0.4)
    lit = glow[row.astype(int) % 7, column.astype(int) % 5]
    distance = part.upright(center, [top, ground], [half, half])
    part.paint(distance, facade + (glass * lit)[..., None], label)


def _draw_skyline(
    canvas: _Canvas, start: float, ground: float, in_city: bool
) -> None:
    """Draws a row of houses: gabled brick houses, or flat concrete blocks."""
    rng, height, width = canvas[:3]
    pitch = rng.uniform(0.15, 0.19) * min(height, width)
    part = canvas.crop(ground - 0.32 * height, ground, start)
    place = (part.x[0] - start) / pitch
    house = np.maximum(place, 0.0).astype(int)
    houses = house[-1] + 1
    talls = rng.uniform(0.24, 0.32, houses).astype("float32") * height
    hues = rng.uniform(-0.06, 0.06, (houses, 3)).astype("float32")
    colors = HOUSE_COLORS[int(in_city)] + hues

    slope = (0.0 if in_city else 1.2) * np.abs(place - house - 0.5)
    roof = ground - talls[house] * (1.0 - slope.astype("float32"))
    distance = np.maximum(roof - part.y, part.y - ground)
    distance = np.maximum(distance, start - part.x)
    part.paint(distance, colors[house], SKYSCRAPER if in_city else BUILDING)


def _draw_marks(
    canvas: _Canvas, start: float, top: float, on_water: bool
) -> None:
    """Draws wave crests or lane markings in three rows."""
    rng, height, width = canvas[:3]
    pitch_x = rng.uniform(0.11, 0.14) * min(height, width)
    pitch_y = (height - top) / 3
    thick = max(0.8, 0.015 * height)
    color = MARK_COLORS[int(on_water)]

    part = canvas.crop(top, height, start)
    row = np.clip((part.y - top) / pitch_y, 0, 2).astype(int)
    shift = rng.uniform(-0.2, 0.2, (2, 3)).astype("float32")[:, row]
    y = (part.y - top) - (row + 0.5 + shift[0]).astype("float32") * pitch_y
    x = ((part.x - start) / pitch_x + shift[1]) % 1.0 - 0.5
    if on_water:
        line = np.abs(y - 0.022 * height * np.sin(x * (2 * math.pi / 0.7)))
    else:
        line = np.abs(y - 0.3 * pitch_x * x) - 0.3 * thick
    distance = np.maximum(line - thick, (np.abs(x) - 0.4) * pitch_x)
    distance = np.maximum(distance, start - part.x)
    part.paint(distance, color)


def _draw_hull(
    canvas: _Canvas, center: float, bottom: float, label: int
) -> None:
    """Draws a body with a cabin and a shadow: a boat or a car."""
    rng, height, width = canvas[:3]
    half = max(4.0, rng.uniform(0.2, 0.24) * min(height, width))
    tall = max(6.0, rng.uniform(0.18, 0.22) * height)
    top, end = bottom - tall, bottom + 0.25 * tall
    deck = bottom - tall * rng.uniform(0.5, 0.6)
    body = rng.uniform(0.1, 0.9, 3).astype("float32")
    cabin = _color(rng, 0.2, 0.8)

    part = canvas.crop(top, end, center - half, center + half)
    shadow = part.upright(center, [bottom - 1.0, end], [half, 0.6 * half])
    part.paint(shadow, 0.6 * part.image)
    rows = [top, deck, deck + 0.01, bottom - 0.2 * tall, bottom]
    halves = [0.4 * half, 0.6 * half, half, 0.95 * half, 0.7 * half]
    color = np.where((part.y < deck)[..., None], cabin, body)
    part.paint(part.upright(center, rows, halves), color, label)
    rows = [top + 0.12 * tall, deck - 0.08 * tall]
    glass = part.upright(center, rows, [0.32 * half, 0.48 * half])
    part.paint(glass, _rgb(0.12, 0.14, 0.18))
    rows = [deck + 0.12 * tall, deck + 0.2 * tall]
    stripe = part.upright(center, rows, [0.95 * half] * 2)
    part.paint(stripe, 0.5 * body + 0.4)


def _draw_bedroom(canvas: _Canvas) -> None:
    """Draws a papered wall, and a bed with pillows of the same cloth."""
    rng, height, width = canvas[:3]
    edge = rng.uniform(0.35, 0.45) * height
    wall = canvas.crop(0.0, edge)
    waves = 2 * math.pi / (rng.uniform(0.04, 0.1) * width)
    stripes = rng.uniform(0.0, 0.08) * np.sin(wall.x * waves)[..., None]
    paper = _color(rng, 0.45, 0.75) + stripes + 0.03 * wall.clouds(3, 4)
    wall.paint(wall.y - height, paper, WALL, is_object=False)

    bed = canvas.crop(edge, height)
    angle = rng.uniform(0.0, math.pi)
    along = bed.x * math.cos(angle) + bed.y * math.sin(angle)
    waves = 2 * math.pi / (rng.uniform(0.06, 0.12) * height)
    weave = 0.08 * np.sin(along * waves)[..., None]
    cloth = _color(rng, 0.4, 0.75) + weave + 0.06 * bed.clouds(4, 6)
    bed.paint(edge - bed.y, cloth, BED)
    board_half = rng.uniform(0.3, 0.45) * width
    board_top = edge - rng.uniform(0.1, 0.14) * height
    board = canvas.upright(
        0.5 * width, [board_top, edge], [board_half, board_half]
    )
    canvas.paint(board, _color(rng, 0.25, 0.45), BED)
    for place in (0.28, 0.72):
        center = (place + rng.uniform(-0.05, 0.05)) * width
        middle = edge + rng.uniform(0.15, 0.36) * height
        half_x = rng.uniform(0.13, 0.2) * width
        half_y = rng.uniform(0.08, 0.11) * height
        x, y = (bed.x - center) / half_x, (bed.y - middle) / half_y
        distance = ((x**4 + y**4) ** 0.25 - 1.0) * min(half_x, half_y)
        fade = np.exp(-((distance / (0.02 * height)) ** 2))[..., None]
        bed.image[...] *= 1.0 - rng.uniform(0.25, 0.4) * fade
        bed.paint(distance, bed.image, PILLOW)
