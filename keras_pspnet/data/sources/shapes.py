"""Draws the shapes of annotation tools into masks.

The first pixel covers 0..1 in x and y. A `Polygon` fills the pixels whose
centers it contains (by the even-odd rule), which matches COCO's converters to a
fifth of a pixel. labelme's converter draws with Pillow, whose shapes include
their outline: a `PillowShape`.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageDraw

from keras_pspnet.data.images import MAX_PIXELS, read_stored_mask
from keras_pspnet.data.sources.runs import Part

Box = tuple[float, float, float, float]
# Number of corners of the polygons for ellipses.
_CORNERS = 360
# Limit for coordinates: beyond any image, and exact in all arithmetic.
_FARTHEST = 2.0**31
# Limit for the crossings of edges and columns, which take about 100 bytes each.
_MOST_CROSSINGS = 2**22


class Shape(Protocol):
    """A region of an image."""

    def box(self) -> Box:
        """Returns left, top, right and bottom."""
        ...

    def draw(self, canvas: Image.Image, value: int) -> int:
        """Draws the region.

        Args:
            canvas: 8-bit gray image.
            value: Gray value to draw.

        Returns:
            The number of decoded pixels; 0 for outlines.

        Raises:
            OSError: If a file cannot be opened.
            ValueError: If the shape cannot be decoded, or is too large.
        """
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Polygon:
    """A polygon.

    Args:
        points: Corners, float64 `(N, 2)`.
        relative: Whether they are shares 0..1 of the image's width and
            height.
    """

    points: np.ndarray
    relative: bool = False

    def box(self) -> Box:
        """Returns left, top, right and bottom."""
        return (*self.points.min(axis=0), *self.points.max(axis=0))

    def draw(self, canvas: Image.Image, value: int) -> int:
        """Draws the polygon."""
        scale = canvas.size if self.relative else (1, 1)
        inside, left, top = _fill(self.points * scale, canvas.size)
        _paste(canvas, inside, left, top, value)
        return 0


@dataclasses.dataclass(frozen=True, eq=False)
class PillowShape:
    """A shape as Pillow draws it, including its outline.

    Args:
        kind: `"polygon"`, `"rectangle"`, `"ellipse"` or `"line"`.
        points: Corners; for rectangles and ellipses the first and the last.
        width: Width of a line in pixels.
    """

    kind: str
    points: np.ndarray
    width: int = 0

    def box(self) -> Box:
        """Returns left, top, right and bottom."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        return (*(low - self.width), *(high + self.width))

    def draw(self, canvas: Image.Image, value: int) -> int:
        """Draws the shape."""
        ends = np.roll(self.points, -1, axis=0)
        # Pillow's time grows with the outline, and with edges times rows.
        length = np.abs(self.points - ends).sum()
        if max(length, len(ends) * canvas.height / 16) > MAX_PIXELS:
            raise ValueError(
                f"an outline must be at most {MAX_PIXELS} pixels long, and "
                "have few points"
            )
        pen = ImageDraw.Draw(canvas)
        corners = [(x, y) for x, y in self.points.tolist()]
        if self.kind == "line":
            pen.line(corners, fill=value, width=self.width)
        else:
            draw: Callable[..., None] = getattr(pen, self.kind)
            draw(corners, fill=value, outline=value)
        return 0


@dataclasses.dataclass(frozen=True, eq=False)
class Bitmap:
    """A region given pixel by pixel, decoded when it is drawn.

    Args:
        decode: Function from `encoded` and `size` to a part `(H, W)`, zero
            outside the region, and its left and top.
        encoded: Text, bytes or numbers.
        size: Width and height.
        corner: Left and top.
    """

    decode: Callable[[Any, tuple[int, int]], Part]
    encoded: Any
    size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)

    def box(self) -> Box:
        """Returns left, top, right and bottom."""
        (left, top), (width, height) = self.corner, self.size
        return left, top, left + width, top + height

    def draw(self, canvas: Image.Image, value: int) -> int:
        """Draws the region."""
        width, height = self.size
        most = canvas.width * canvas.height
        if min(self.size) < 1 or width * height > most:
            raise ValueError(
                f"a bitmap must have 1 to {most} pixels, as its image has, "
                f"not {width}x{height}"
            )
        part, left, top = self.decode(self.encoded, self.size)
        inside = (part != 0) * np.uint8(255)
        x, y = self.corner
        _paste(canvas, inside, x + left, y + top, value)
        return inside.size


def polygon(values: Any, relative: bool = False) -> Polygon:
    """Makes a polygon.

    Args:
        values: Corners as x and y in pairs, or one after the other.
        relative: As in `Polygon`.

    Raises:
        TooFewPointsError: If there are fewer than three.
        ValueError: If they are no pairs of finite numbers.
    """
    points = points_of(values)
    if len(points) < 3:
        raise TooFewPointsError(
            f"a polygon must have at least three points, not {len(points)}"
        )
    return Polygon(points, relative)


class TooFewPointsError(ValueError):
    """A polygon without area, such as a stray click."""


def points_of(values: Any) -> np.ndarray:
    """Returns points as float64 `(N, 2)`.

    Raises:
        ValueError: If they are no pairs of finite numbers.
    """
    points = np.asarray(values, np.float64)
    if points.ndim == 1 and points.size % 2 == 0:
        points = points.reshape(-1, 2)
    if points.size and (points.ndim != 2 or points.shape[1] != 2):
        raise ValueError("points must be pairs of x and y")
    # NaN fails every comparison, so this asks for what is right.
    if not (np.abs(points) < _FARTHEST).all():
        raise ValueError(f"coordinates must be within {_FARTHEST:g}")
    return points.reshape(-1, 2)


def rectangle(left: float, top: float, right: float, bottom: float) -> Polygon:
    """Makes an upright rectangle."""
    return polygon([left, top, right, top, right, bottom, left, bottom])


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Polygon:
    """Makes an upright ellipse of its center and radii."""
    angles = np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
    offsets = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return polygon(offsets * (radius_x, radius_y) + (x, y))


def rotated(
    shape: Polygon, degrees: float, center: Sequence[float] | None = None
) -> Polygon:
    """Turns a polygon clockwise.

    Args:
        shape: The polygon.
        degrees: The angle.
        center: Center of rotation; None is the center of its box.
    """
    left, top, right, bottom = shape.box()
    if center is None:
        center = (left + right) / 2, (top + bottom) / 2
    angle = math.radians(degrees)
    sine, cosine = math.sin(angle), math.cos(angle)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    return polygon((shape.points - center) @ turn + center)


def decode_png(encoded: Any, size: tuple[int, int]) -> Part:
    """Decodes the region of a `Bitmap` from a PNG file.

    Args:
        encoded: Base64 text, or the path of a file.
        size: Width and height.

    Returns:
        `(H, W)`, zero outside the region, with the maximum over the channels
        of colors; and 0, 0.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it cannot be decoded or has another size.
    """
    if isinstance(encoded, str):
        encoded = base64.b64decode(encoded, validate=True)
    pixels = read_stored_mask(encoded).pixels
    if pixels.ndim == 3:
        pixels = pixels.max(axis=2)
    if pixels.shape[::-1] != tuple(size):
        height, width = pixels.shape
        raise ValueError(
            f"a bitmap of {size[0]}x{size[1]} must have that size, not "
            f"{width}x{height}"
        )
    return pixels, 0, 0


def _fill(
    points: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, int, int]:
    """Finds the pixels whose centers a polygon contains.

    Args:
        points: Corners, float64 `(N, 2)`.
        size: Width and height of the image.

    Returns:
        uint8 `(H, W)` of a part of the image, 255 inside and 0 outside, and
        its left and top.
    """
    # Move the centers of pixels to integers.
    starts = points - 0.5
    ends = np.roll(starts, -1, axis=0)
    low = np.ceil(starts.min(axis=0)).clip(0, size)
    high = np.ceil(starts.max(axis=0)).clip(low, size)
    left, top = low.astype(int).tolist()
    columns, rows = (high - low).astype(int).tolist()
    # The columns first..last-1 whose centers an edge crosses.
    passed = np.ceil(np.sort([starts[:, 0], ends[:, 0]], axis=0))
    first, last = passed.clip(left, left + columns).astype(int)
    counts = last - first
    crossings = int(counts.sum())
    if crossings > _MOST_CROSSINGS:
        raise ValueError(
            f"a polygon must cross at most {_MOST_CROSSINGS} columns in all, "
            f"not {crossings}"
        )
    edge = np.repeat(np.arange(len(points)), counts)
    column = np.arange(crossings) + np.repeat(
        first - np.cumsum(counts) + counts, counts
    )
    (x, y), (run, rise) = starts[edge].T, (ends - starts)[edge].T
    row = np.ceil(y + (column - x) * rise / run).clip(top, top + rows)
    # Every crossing inverts all pixels below it.
    inside = np.zeros((rows + 1, columns), np.uint8)
    places = row.astype(int) - top, column - left
    np.bitwise_xor.at(inside, places, np.uint8(255))
    np.bitwise_xor.accumulate(inside, axis=0, out=inside)
    return inside[:-1], left, top


def _paste(
    canvas: Image.Image, inside: np.ndarray, left: int, top: int, value: int
) -> None:
    if inside.size:
        canvas.paste(value, (left, top), Image.fromarray(inside))
