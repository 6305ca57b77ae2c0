"""Legends below images."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from keras_pspnet.labels import Color

PAPER = (255, 255, 255)
TEXT = (32, 33, 36)
_FRAME = (189, 193, 198)
_LONGEST_NAME = 28


def text_size(width: int) -> int:
    """Returns a text size, in pixels, that is readable at this width."""
    # Large images are usually shown smaller, so their text must be larger.
    return min(max(round(width / 48), 13), 96)


def shorten(name: str) -> str:
    """Shortens a long class name with an ellipsis."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 1].rstrip()}…"


def percent(share: float) -> str:
    """Formats a share 0..1; small shares do not show as zero."""
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"


def stack(images: Sequence[Image.Image], width: int) -> Image.Image:
    """Stacks images, each centered in the width."""
    height = sum(image.height for image in images)
    sheet = Image.new("RGB", (width, height), PAPER)
    top = 0
    for image in images:
        sheet.paste(image, ((width - image.width) // 2, top))
        top += image.height
    return sheet


def legend(entries: Sequence[tuple[str, Color]], width: int) -> Image.Image:
    """Draws color swatches with texts, in as many columns as fit.

    Args:
        entries: Texts and their colors, at least one.
        width: Width of the image in pixels.

    Returns:
        An RGB image.
    """
    size = text_size(width)
    font = ImageFont.load_default(size)
    line, lead = round(1.7 * size), round(1.5 * size)
    longest = max(font.getlength(text) for text, _ in entries)
    column = lead + round(longest) + 2 * size
    # The margins are as wide as the space after the last column.
    columns = min(max(width // column, 1), len(entries))
    rows = -(-len(entries) // columns)
    image = Image.new("RGB", (width, rows * line + size), PAPER)
    draw = ImageDraw.Draw(image)
    for number, (text, color) in enumerate(entries):
        left = size + number % columns * column
        middle = size // 2 + number // columns * line + line // 2
        top = middle - size // 2
        box = left, top, left + size, top + size
        draw.rounded_rectangle(box, size // 4, color, _FRAME)
        draw.text((left + lead, middle), text, TEXT, font, "lm")
    return image
