"""Pictures that people look at: class colours, overlays, legends, sheets."""

import dataclasses
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_pspnet.files import write_atomically
from keras_pspnet.labels import Color, LabelSet

_BACKGROUND = (255, 255, 255)
_TEXT = (32, 33, 36)
_FRAME = (189, 193, 198)
_CONTOUR = (255, 255, 255)
_IGNORED = (0, 0, 0)

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}

# Legend entries need this width to be readable under a thumbnail.
_LEAST_WIDTH = 320
_LONGEST_CELL = 320


def colorize(mask: np.ndarray, labels: LabelSet) -> np.ndarray:
    """Paints each class in its colour, and ignored pixels black.

    Args:
        mask: Integers of shape `(H, W)`, each a class of `labels` or its
            ignore label.
        labels: Classes and colours.

    Returns:
        A uint8 array of shape `(H, W, 3)`.

    Raises:
        TypeError: If `mask` does not hold integers.
        ValueError: If `mask` has another rank or holds another value.
    """
    _check_mask(mask, labels)
    return _palette(labels)[mask]


@dataclasses.dataclass(frozen=True, eq=False)
class Segmentation:
    """A picture and the class of each of its pixels.

    In a notebook it shows itself as `picture()`.

    Args:
        image: The picture, uint8 of shape `(H, W, 3)`.
        mask: Classes of `labels`, or its ignore label, as uint8 of shape
            `(H, W)`.
        labels: Names and colours of the classes.

    Raises:
        TypeError: If an array has another dtype.
        ValueError: If an array has another shape, the two differ in size, or
            the mask holds a value unknown to `labels`.
    """

    image: np.ndarray
    mask: np.ndarray
    labels: LabelSet

    def __post_init__(self) -> None:
        _check_image(self.image)
        if self.mask.dtype != np.uint8:
            raise TypeError(
                "`mask` must be uint8. Received: "
                f"mask of dtype {self.mask.dtype}"
            )
        _check_mask(self.mask, self.labels)
        _check_same_size(self.image, self.mask, "mask")

    def areas(self) -> dict[str, float]:
        """Returns the share of the picture that each class covers.

        Returns:
            Class name to share 0..1 of all pixels, ignored ones included,
            for the classes present, the largest first.
        """
        counts = np.bincount(self.mask.reshape(-1), minlength=256)
        counts = counts[: self.labels.num_classes]
        # A stable sort keeps the order of the classes among equals.
        order = np.argsort(-counts, kind="stable")
        return {
            self.labels.names[index]: float(counts[index] / self.mask.size)
            for index in order
            if counts[index]
        }

    def overlay(self, alpha: float = 0.55) -> np.ndarray:
        """Blends the class colours over the picture.

        Classes are parted by a thin light line, so that neighbours of similar
        colour stay apart.

        Args:
            alpha: The colours' share, 0 (the picture alone) to 1.

        Returns:
            A uint8 array of shape `(H, W, 3)`.

        Raises:
            ValueError: If `alpha` is outside 0..1.
        """
        if not 0 <= alpha <= 1:
            raise ValueError(
                f"`alpha` must be within 0..1. Received: alpha={alpha}"
            )
        colors = _palette(self.labels)[self.mask]
        blend = (1 - alpha) * self.image.astype(np.float32) + alpha * colors
        line = _contour(self.mask)
        blend[line] = (1 - alpha) * blend[line] + alpha * np.array(_CONTOUR)
        return np.rint(blend).astype(np.uint8)

    def picture(self) -> Image.Image:
        """Returns the overlay above a legend of the classes and their areas."""
        colors = dict(zip(self.labels.names, self.labels.colors, strict=True))
        areas = self.areas()
        entries = [
            (f"{name}  {_percent(share)}", colors[name])
            for name, share in areas.items()
        ]
        ignored = np.mean(self.mask == self.labels.ignore_label)
        if ignored:
            entries.append((f"ignored  {_percent(ignored)}", _IGNORED))
        overlay = Image.fromarray(self.overlay())
        width = max(overlay.width, _LEAST_WIDTH)
        legend = _legend(entries, width, _text_size(width))
        sheet = Image.new(
            "RGB", (width, overlay.height + legend.height), _BACKGROUND
        )
        sheet.paste(overlay, ((width - overlay.width) // 2, 0))
        sheet.paste(legend, (0, overlay.height))
        return sheet

    def save(self, path: str | os.PathLike[str], what: str = "picture") -> None:
        """Writes the result to a file, in the format of its suffix.

        Args:
            path: A `.png`, `.jpg` or `.jpeg` file to write or replace.
            what: `"picture"` for the overlay with its legend, or `"mask"` for
                an index mask in a palette PNG, which `read_mask` reads back.

        Raises:
            OSError: If the file cannot be written.
            ValueError: If `what` or the suffix is none of these.
        """
        suffix = check_suffix(path, what)
        if what == "picture":
            data = _encode(self.picture(), _FORMATS[suffix])
        else:
            data = _encode(self._index_picture(), "PNG")
        write_atomically(path, data)

    def _index_picture(self) -> Image.Image:
        height, width = self.mask.shape
        picture = Image.frombytes("P", (width, height), self.mask.tobytes())
        picture.putpalette(_palette(self.labels).tobytes())
        return picture

    def _repr_png_(self) -> bytes:
        return _encode(self.picture(), "PNG")


def check_suffix(path: str | os.PathLike[str], what: str = "picture") -> str:
    """Checks that a path's suffix names a format for what is to be saved.

    Args:
        path: Path of the file to write.
        what: `"picture"` or `"mask"`.

    Returns:
        The suffix in lower case.

    Raises:
        ValueError: If `what` or the suffix is none of those possible.
    """
    if what not in ("picture", "mask"):
        raise ValueError(
            f'`what` must be "picture" or "mask". Received: what={what!r}'
        )
    # A JPEG would turn indices into others.
    allowed = tuple(_FORMATS) if what == "picture" else (".png",)
    suffix = Path(path).suffix.lower()
    if suffix not in allowed:
        raise ValueError(
            f"`path` must end in {' or '.join(allowed)} for a {what}. "
            f"Received: path={os.fspath(path)!r}"
        )
    return suffix


def comparison_sheet(
    images: Sequence[np.ndarray] | np.ndarray,
    truths: Sequence[np.ndarray] | np.ndarray,
    predictions: Sequence[np.ndarray] | np.ndarray,
    labels: LabelSet,
    max_rows: int = 8,
) -> Image.Image:
    """Lays out rows of picture, truth and prediction above a legend.

    Args:
        images: Pictures, each uint8 of shape `(H, W, 3)`; sizes may differ,
            and the first one sets the shape of the cells.
        truths: One integer mask `(H, W)` per picture; ignored pixels are
            black.
        predictions: One integer mask `(H, W)` per picture.
        labels: Classes and colours.
        max_rows: Show at most this many of the pictures, the first ones.

    Returns:
        An RGB picture.

    Raises:
        TypeError: If an array has another dtype.
        ValueError: If there are no pictures, the counts differ, a mask has
            another size than its picture or a value unknown to `labels`, or
            `max_rows` is not positive.
    """
    if max_rows < 1:
        raise ValueError(
            f"`max_rows` must be positive. Received: max_rows={max_rows}"
        )
    counts = len(images), len(truths), len(predictions)
    if not counts[0] or len(set(counts)) > 1:
        raise ValueError(
            "`images`, `truths` and `predictions` must have the same number "
            "of entries, at least one. Received: {} images, {} truths, {} "
            "predictions".format(*counts)
        )
    rows = range(min(counts[0], max_rows))
    present: set[int] = set()
    for row in rows:
        _check_image(images[row])
        for name, mask in (
            ("truths", truths[row]),
            ("predictions", predictions[row]),
        ):
            _check_mask(mask, labels, name)
            _check_same_size(images[row], mask, name)
            present.update(np.unique(mask).tolist())
    table = _table(
        ("picture", "truth", "prediction"),
        [
            (
                images[row],
                colorize(truths[row], labels),
                colorize(predictions[row], labels),
            )
            for row in rows
        ],
    )
    entries = [
        (labels.names[index], labels.colors[index])
        for index in sorted(present - {labels.ignore_label})
    ]
    if labels.ignore_label in present:
        entries.append(("ignored", _IGNORED))
    legend = _legend(entries, table.width, _text_size(table.width))
    sheet = Image.new(
        "RGB", (table.width, table.height + legend.height), _BACKGROUND
    )
    sheet.paste(table, (0, 0))
    sheet.paste(legend, (0, table.height))
    return sheet


def _palette(labels: LabelSet) -> np.ndarray:
    """The colour of every uint8 value, shape `(256, 3)`."""
    palette = np.empty((256, 3), np.uint8)
    palette[:] = _IGNORED
    palette[: labels.num_classes] = labels.colors
    return palette


def _contour(mask: np.ndarray) -> np.ndarray:
    """Marks the pixels whose right or lower neighbour is of another class."""
    line = np.zeros(mask.shape, bool)
    # A single pixel would vanish when a large photograph is shown smaller.
    for step in range(1, 1 + max(1, round(max(mask.shape) / 900))):
        line[:, :-step] |= mask[:, :-step] != mask[:, step:]
        line[:-step] |= mask[:-step] != mask[step:]
    return line


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _text_size(width: int) -> int:
    return min(max(round(width / 48), 13), 36)


def _table(
    titles: Sequence[str], rows: Sequence[Sequence[np.ndarray]]
) -> Image.Image:
    """Draws RGB arrays in cells of one size, below the columns' titles."""
    height, width = rows[0][0].shape[:2]
    scale = _LONGEST_CELL / max(height, width)
    cell = max(round(width * scale), 1), max(round(height * scale), 1)
    gap = 8
    total = len(titles) * (cell[0] + gap) + gap
    size = _text_size(total)
    font = ImageFont.load_default(size=size)
    top = 2 * size
    sheet = Image.new(
        "RGB", (total, top + len(rows) * (cell[1] + gap)), _BACKGROUND
    )
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        left = gap + column * (cell[0] + gap)
        draw.text((left + cell[0] / 2, top / 2), title, _TEXT, font, "mm")
        for row, arrays in enumerate(rows):
            # Class colours must not mix at the borders of objects.
            resampling = (
                Image.Resampling.LANCZOS
                if column == 0
                else Image.Resampling.NEAREST
            )
            picture = _fit(Image.fromarray(arrays[column]), cell, resampling)
            sheet.paste(
                picture,
                (
                    left + (cell[0] - picture.width) // 2,
                    top
                    + row * (cell[1] + gap)
                    + (cell[1] - picture.height) // 2,
                ),
            )
    return sheet


def _fit(
    picture: Image.Image, cell: tuple[int, int], resampling: Image.Resampling
) -> Image.Image:
    """Resizes a picture to the largest size of its shape inside the cell."""
    scale = min(cell[0] / picture.width, cell[1] / picture.height)
    size = (
        max(round(picture.width * scale), 1),
        max(round(picture.height * scale), 1),
    )
    return picture.resize(size, resampling)


def _legend(
    entries: Sequence[tuple[str, Color]], width: int, size: int
) -> Image.Image:
    """Draws swatches and their texts in as many columns as fit the width."""
    font = ImageFont.load_default(size=size)
    margin, swatch, line = size, size, round(1.7 * size)
    longest = max(font.getlength(text) for text, _ in entries)
    column = swatch + size // 2 + int(longest) + 2 * size
    columns = max(min((width - margin) // column, len(entries)), 1)
    rows = -(-len(entries) // columns)
    legend = Image.new("RGB", (width, rows * line + margin), _BACKGROUND)
    draw = ImageDraw.Draw(legend)
    for number, (text, color) in enumerate(entries):
        left = margin + number % columns * column
        middle = margin // 2 + number // columns * line + line // 2
        draw.rounded_rectangle(
            (
                left,
                middle - swatch // 2,
                left + swatch,
                middle - swatch // 2 + swatch,
            ),
            radius=size // 4,
            fill=color,
            outline=_FRAME,
        )
        draw.text((left + swatch + size // 2, middle), text, _TEXT, font, "lm")
    return legend


def _encode(picture: Image.Image, form: str) -> bytes:
    stream = BytesIO()
    picture.save(stream, form, quality=92)
    return stream.getvalue()


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(
            "`image` must have the shape (height, width, 3). Received: "
            f"image of shape {image.shape}"
        )
    if image.dtype != np.uint8:
        raise TypeError(
            f"`image` must be uint8. Received: image of dtype {image.dtype}"
        )


def _check_mask(
    mask: np.ndarray, labels: LabelSet, argument: str = "mask"
) -> None:
    if mask.ndim != 2 or 0 in mask.shape:
        raise ValueError(
            f"`{argument}` must have the shape (height, width). Received: "
            f"{argument} of shape {mask.shape}"
        )
    if not np.issubdtype(mask.dtype, np.integer):
        raise TypeError(
            f"`{argument}` must hold integers. Received: "
            f"{argument} of dtype {mask.dtype}"
        )
    wrong = (mask < 0) | (mask >= labels.num_classes)
    wrong &= mask != labels.ignore_label
    if wrong.any():
        raise ValueError(
            f"`{argument}` must hold classes within "
            f"0..{labels.num_classes - 1}, or {labels.ignore_label} to "
            f"ignore. Received: {argument} with {int(mask[wrong][0])}"
        )


def _check_same_size(
    image: np.ndarray, mask: np.ndarray, argument: str
) -> None:
    if image.shape[:2] != mask.shape:
        raise ValueError(
            f"`{argument}` must have the size of its picture. Received: "
            f"{argument} of shape {mask.shape} for a picture of shape "
            f"{image.shape}"
        )
