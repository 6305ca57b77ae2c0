"""What stands around pictures: legends, colour bars, tables of cells."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_pspnet.labels import Color
from keras_pspnet.visualization.colors import confidence_colors

_PAPER = (255, 255, 255)
_TEXT = (32, 33, 36)
_FRAME = (189, 193, 198)

_GAP = 8
_CELL = 320
# Narrower cells have no room for their captions.
_LEAST_CELL = 160
# A strip thinner than this is hard to see.
_THINNEST = 8


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of a legend.

    Args:
        name: Text, which is shortened where it is too long.
        color: Colour of the swatch.
        share: Text after the name, which is never shortened.
    """

    name: str
    color: Color
    share: str = ""


def text_size(width: int) -> int:
    """Returns the size of text, in pixels, that is read on a wide sheet."""
    # A large photograph is looked at from as far as a small one.
    return min(max(round(width / 48), 13), 96)


def stack(images: Sequence[Image.Image], width: int) -> Image.Image:
    """Puts pictures below each other, each in the middle of the width."""
    sheet = Image.new(
        "RGB", (width, sum(image.height for image in images)), _PAPER
    )
    top = 0
    for image in images:
        sheet.paste(image, ((width - image.width) // 2, top))
        top += image.height
    return sheet


def legend(entries: Sequence[Entry], width: int, size: int) -> Image.Image:
    """Draws swatches and their texts in as many columns as fit the width.

    Args:
        entries: What to show, at least one.
        width: Width of the picture in pixels.
        size: Size of the text in pixels.

    Returns:
        An RGB picture.
    """
    font = _font(size)
    margin, line = size, round(1.7 * size)
    lead = size + size // 2
    room = width - 2 * margin - lead
    texts = [_entry_text(entry, font, room) for entry in entries]
    longest = max(font.getlength(text) for text in texts)
    column = lead + int(longest) + 2 * size
    # The last column needs no space after it.
    columns = (width - 2 * margin + 2 * size) // column
    columns = max(min(columns, len(entries)), 1)
    rows = -(-len(entries) // columns)
    image = Image.new("RGB", (width, rows * line + margin), _PAPER)
    draw = ImageDraw.Draw(image)
    for number, (entry, text) in enumerate(zip(entries, texts, strict=True)):
        left = margin + number % columns * column
        middle = margin // 2 + number // columns * line + line // 2
        top = middle - size // 2
        box = left, top, left + size, top + size
        draw.rounded_rectangle(box, size // 4, entry.color, _FRAME)
        draw.text((left + lead, middle), text, _TEXT, font, "lm")
    return image


def color_bar(title: str, note: str, width: int, size: int) -> Image.Image:
    """Draws the colours of confidence with the numbers they stand for.

    Args:
        title: Text above the bar on the left.
        note: Text above it on the right.
        width: Width of the picture in pixels.
        size: Size of the text in pixels.

    Returns:
        An RGB picture.
    """
    font = _font(size)
    line = round(1.7 * size)
    left, right = size, width - size
    image = Image.new("RGB", (width, line + size + line), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((left, line / 2), title, _TEXT, font, "lm")
    draw.text((right, line / 2), note, _TEXT, font, "rm")
    bar = confidence_colors(np.linspace(0, 1, right - left))
    bar = np.ascontiguousarray(np.broadcast_to(bar, (size, *bar.shape)))
    image.paste(Image.fromarray(bar), (left, line))
    ticks = 4
    for tick in range(ticks + 1):
        x = left + tick * (right - left - 1) / ticks
        bottom = line + size
        draw.line((x, bottom, x, bottom + size // 3), _TEXT)
        # The outer numbers end where the bar does.
        anchor = "la" if not tick else "ra" if tick == ticks else "ma"
        draw.text(
            (x, bottom + size // 3 + 1),
            f"{tick / ticks:g}",
            _TEXT,
            font,
            anchor,
        )
    return image


def cell_size(height: int, width: int) -> tuple[int, int]:
    """Returns the (width, height) of a table's cells for pictures of a size.

    They have the ratio of the pictures, unless these are very wide or tall.
    """
    scale = _CELL / max(height, width)
    return (
        max(round(width * scale), _LEAST_CELL),
        max(round(height * scale), _LEAST_CELL),
    )


def fitting_size(
    height: int, width: int, cell: tuple[int, int]
) -> tuple[int, int]:
    """Returns the (width, height) at which a picture fills a cell.

    The ratio stays, unless the picture would be too thin to be seen.
    """
    scale = min(cell[0] / width, cell[1] / height)
    return (
        max(round(width * scale), _THINNEST),
        max(round(height * scale), _THINNEST),
    )


def table(
    titles: Sequence[str],
    rows: Sequence[Sequence[Image.Image]],
    captions: Sequence[str],
    cell: tuple[int, int],
) -> Image.Image:
    """Lays pictures out in cells of one size.

    Args:
        titles: Text above each column.
        rows: One picture per column, not larger than the cell.
        captions: Text below the right-hand picture of each row.
        cell: Width and height of the cells in pixels.

    Returns:
        An RGB picture.
    """
    total = len(titles) * (cell[0] + _GAP) + _GAP
    size = text_size(total)
    font = _font(size)
    small = _font(max(0.7 * size, 11))
    top = 2 * size
    pitch = cell[1] + round(1.5 * small.size) + _GAP
    sheet = Image.new("RGB", (total, top + len(rows) * pitch), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        left = _GAP + column * (cell[0] + _GAP)
        draw.text((left + cell[0] / 2, top / 2), title, _TEXT, font, "mm")
        for row, images in enumerate(rows):
            image = images[column]
            sheet.paste(
                image,
                (
                    left + (cell[0] - image.width) // 2,
                    top + row * pitch + (cell[1] - image.height) // 2,
                ),
            )
    for row, caption in enumerate(captions):
        middle = top + row * pitch + cell[1] + 0.75 * small.size
        center = total - _GAP - cell[0] / 2
        draw.text((center, middle), caption, _TEXT, small, "mm")
    return sheet


def _entry_text(entry: Entry, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The name, cut with an ellipsis to leave room, and the share."""
    text, end = entry.name, f"  {entry.share}" if entry.share else ""
    if font.getlength(text + end) <= width:
        return text + end
    cut = bisect.bisect_right(
        range(1, len(text)),
        width,
        key=lambda length: math.ceil(font.getlength(text[:length] + "…" + end)),
    )
    return text[: max(cut, 1)].rstrip() + "…" + end


@functools.lru_cache(maxsize=16)
def _font(size: float) -> ImageFont.FreeTypeFont:
    """Returns the font of all pictures.

    Args:
        size: Height of a line in pixels, roughly.
    """
    # Where a size is given, it is never the bitmap font.
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))


def percent(share: float) -> str:
    """Writes a share 0..1 so that no small one looks like none."""
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"
