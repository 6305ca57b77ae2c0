"""What the values and colours of mask files mean: reading them as train ids."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping

import numpy as np

from keras_pspnet.data.images import mask_palette, named, read_mask
from keras_pspnet.data.sources.sbd import read_mat_mask
from keras_pspnet.labels import IGNORE_LABEL, Color, LabelSet


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How the masks of a set say which class a pixel belongs to.

    Args:
        train_ids: Class 0..C-1, or 255 to ignore, of every value that an index
            mask may hold. 255 is always allowed, and always means 255.
        colors: Colours that coloured masks may have, each with its class or
            255; empty if there are none.
        origin: Where the colours are listed, for errors.
    """

    train_ids: Mapping[int, int]
    colors: tuple[tuple[Color, int], ...]
    origin: str

    @functools.cached_property
    def _by_value(self) -> np.ndarray:
        """The class of each value, -1 where it has no meaning."""
        table = np.full(256, -1, np.int16)
        table[list(self.train_ids)] = list(self.train_ids.values())
        table[IGNORE_LABEL] = IGNORE_LABEL
        return table

    @functools.cached_property
    def _by_color(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted colours as integers, and the class of each."""
        classes: dict[int, int] = {}
        for color, train_id in self.colors:
            number = int.from_bytes(bytes(color))
            if classes.setdefault(number, train_id) != train_id:
                raise ValueError(
                    "`mask` must be an index mask where classes share a "
                    f"colour. Received: #{number:06x} twice in {self.origin}"
                )
        numbers = np.array(sorted(classes), np.int32)
        return numbers, np.array(
            [classes[number] for number in numbers.tolist()], np.uint8
        )

    def from_values(self, stored: np.ndarray, mask: str) -> np.ndarray:
        """Maps an index mask to classes.

        Args:
            stored: The mask, uint8 `(H, W)`.
            mask: What errors call it.

        Returns:
            Classes and 255, uint8 `(H, W)`.

        Raises:
            ValueError: If it holds a value without a meaning.
        """
        classes = self._by_value[stored]
        unknown = classes < 0
        if unknown.any():
            wrong = np.unique(stored[unknown])
            row, column = _first(stored == wrong[0])
            noun = "labels" if wrong.size > 1 else "label"
            raise ValueError(
                f"`mask` must hold labels within {_spans(self.train_ids)}, or "
                f"{IGNORE_LABEL} to ignore. Received: {noun} "
                f"{', '.join(map(str, wrong))}, the first at x={column}, "
                f"y={row}, in mask={mask}"
            )
        return classes.astype(np.uint8)

    def check_palette(
        self, palette: np.ndarray, stored: np.ndarray, mask: str
    ) -> None:
        """Refuses a palette of the listed colours in another order.

        Tools that write palettes anew sort the colours: the indices are then
        no classes. Palettes of other colours are for looks alone.

        Args:
            palette: Colours of the file, uint8 `(N, 3)`.
            stored: The indices, uint8 `(H, W)`.
            mask: What errors call it.

        Raises:
            ValueError: If the colour of an index in use is another class's.
        """
        listed = dict(self.colors)
        used = np.flatnonzero(np.bincount(stored.ravel(), minlength=256))
        wrong = None
        used = used[(used < len(palette)) & (used != IGNORE_LABEL)]
        for index in used.tolist():
            color = tuple(palette[index].tolist())
            if color not in listed:
                return
            train_id = listed[color]
            if self._by_value[index] != train_id and wrong is None:
                wrong = index, color, train_id
        if wrong is not None:
            index, color, train_id = wrong
            raise ValueError(
                "`mask` must have the palette in the order of "
                f"{self.origin}, or be saved as RGB, of which the colours "
                f"count. Received: index {index} with {list(color)}, the "
                f"colour of class {train_id}, in mask={mask}"
            )

    def from_colors(self, image: np.ndarray, mask: str) -> np.ndarray:
        """Maps a coloured mask to classes; colours must match exactly.

        Args:
            image: The mask, uint8 `(H, W, 3)`.
            mask: What errors call it.

        Returns:
            Classes and 255, uint8 `(H, W)`.

        Raises:
            ValueError: If there are no colours, if classes share one, or if
                a pixel has another.
        """
        if not self.colors:
            raise ValueError(
                "`mask` must be an index mask, one class index per pixel in a "
                f"grey or palette file, for {self.origin} lists no colours. "
                f"Received: the coloured mask={mask}"
            )
        numbers, classes = self._by_color
        red, green, blue = (image[..., k].astype(np.int32) for k in range(3))
        pixels = red << 16 | green << 8 | blue
        places = np.searchsorted(numbers, pixels).clip(max=len(numbers) - 1)
        unknown = numbers[places] != pixels
        if unknown.any():
            row, column = _first(unknown)
            color = image[row, column].tolist()
            raise ValueError(
                f"`mask` must have the colours that {self.origin} lists, "
                f"exactly. Received: {color} (#{bytes(color).hex()}) at "
                f"x={column}, y={row} in mask={mask}, which has "
                f"{unknown.sum()} pixels of colours not listed"
            )
        return classes[places]


def read_encoded(
    source: str | os.PathLike[str] | bytes, encoding: Encoding
) -> np.ndarray:
    """Reads a mask file as classes.

    Args:
        source: A path or the bytes of a file: an index mask as of
            `read_mask`, or a PNG file in colours of 8 bits per channel (alpha
            is dropped). Or the path of a `.mat` file of SBD.
        encoding: What its values or colours mean.

    Returns:
        Classes and 255, uint8 `(H, W)`.

    Raises:
        ImportError: If SciPy is needed and not installed.
        OSError: If the file cannot be opened.
        ValueError: If it cannot be decoded, or holds a label or colour
            without a meaning.
    """
    name = named(source)
    if not isinstance(source, bytes) and os.fspath(source).endswith(".mat"):
        return encoding.from_values(read_mat_mask(source), name)
    stored = read_mask(source, allow_colors=True)
    if stored.ndim == 3:
        return encoding.from_colors(stored, name)
    if encoding.colors:
        palette = mask_palette(source)
        if palette is not None:
            encoding.check_palette(palette, stored, name)
    return encoding.from_values(stored, name)


def plain_encoding(
    labels: LabelSet,
    origin: str,
    colors: Iterable[tuple[Color, int]] = (),
    ignore_label: int | None = None,
) -> Encoding:
    """Makes the encoding of masks that hold the classes as they are.

    Args:
        labels: The classes.
        origin: Where the colours are listed, for errors.
        colors: What coloured masks may have, each with its class or 255.
        ignore_label: Label to ignore besides 255; it may be a class. None
            is `labels.ignore_label`.

    Returns:
        The encoding.
    """
    values = {index: index for index in range(labels.num_classes)}
    if ignore_label is None:
        ignore_label = labels.ignore_label
    values[ignore_label] = IGNORE_LABEL
    return Encoding(
        values,
        tuple((color, values.get(index, index)) for color, index in colors),
        origin,
    )


def class_pairs(labels: LabelSet) -> list[tuple[Color, int]]:
    """Lists the colours of a label set, each with its class."""
    return [(color, index) for index, color in enumerate(labels.colors)]


def _first(where: np.ndarray) -> tuple[int, int]:
    """Returns the row and column of the first True."""
    row, column = divmod(int(where.argmax()), where.shape[1])
    return row, column


def _spans(values: Iterable[int]) -> str:
    """Writes 0, 1, 2, 11 as "0..2, 11", without the ignore label."""
    spans: list[list[int]] = []
    for value in sorted(set(values) - {IGNORE_LABEL}):
        if spans and spans[-1][1] == value - 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    return ", ".join(
        f"{first}..{last}" if first < last else str(first)
        for first, last in spans
    )
