"""Maps the values and colors of mask files to classes."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from keras_pspnet.data.images import MAX_PIXELS, named, read_stored_mask
from keras_pspnet.data.sources.label_files import MAX_VALUE, Mark
from keras_pspnet.data.sources.sbd import read_mat_mask
from keras_pspnet.labels import IGNORE_LABEL, Color, LabelSet

# Number of values or colors that an error lists.
_SHOWN = 8


class UnknownValuesError(ValueError):
    """A mask holds values or colors without a class.

    Attributes:
        counts: Number of pixels of each, the most frequent first.
    """

    counts: Mapping[str, int] = {}


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Maps the values or colors of a set's masks to classes.

    Args:
        train_ids: Class 0..C-1, or 255 to ignore, of every value 0..65535
            that an index mask may hold. 255 is always allowed, and ignored
            unless it is listed.
        colors: Colors of colored masks, each with its class or 255; may be
            empty.
        origin: Source of the values and colors, for errors.
        ignore_unknown: Whether all other values and colors become 255
            instead of an error.
        lists_ignored: Whether the source lists 255 as ignored.
    """

    train_ids: Mapping[int, int]
    colors: tuple[tuple[Color, int], ...]
    origin: str
    ignore_unknown: bool = False
    lists_ignored: bool = False

    @property
    def holds_classes(self) -> bool:
        """Whether the values 0 and 1 of index masks are classes 0 and 1."""
        return [self.train_ids.get(value) for value in (0, 1)] == [0, 1]

    @functools.cached_property
    def _by_value(self) -> np.ndarray:
        """The class of each value, -1 without a class."""
        table = np.full(MAX_VALUE + 1, -1, np.int16)
        table[IGNORE_LABEL] = IGNORE_LABEL
        table[list(self.train_ids)] = list(self.train_ids.values())
        return table

    @functools.cached_property
    def _listed(self) -> dict[Color, set[int]]:
        """The classes of each color, since classes may share one."""
        listed: dict[Color, set[int]] = {}
        for color, train_id in self.colors:
            listed.setdefault(color, set()).add(train_id)
        return listed

    @functools.cached_property
    def _by_color(self) -> tuple[np.ndarray, np.ndarray]:
        """The sorted colors as integers, and the class of each."""
        classes: dict[int, int] = {}
        for color, train_id in self.colors:
            number = int.from_bytes(bytes(color))
            if classes.setdefault(number, train_id) != train_id:
                raise ValueError(
                    "`mask` must be an index mask where classes share a "
                    f"color. Received: #{number:06x} twice in {self.origin}"
                )
        numbers = np.array(sorted(classes), np.int32)
        return numbers, np.array(
            [classes[number] for number in numbers.tolist()], np.uint8
        )

    def read(
        self,
        source: str | os.PathLike[str] | bytes,
        max_pixels: int = MAX_PIXELS,
    ) -> np.ndarray:
        """Reads a mask file as classes.

        Args:
            source: The path or the bytes of a PNG, BMP, GIF or TIFF file: an
                index mask (gray or palette), or a colored mask of 8 bits per
                channel (alpha is dropped). If all colors of a palette are
                listed, its colors are used instead of its indices. Or the
                path of a `.mat` file of SBD.
            max_pixels: Larger files are refused before they are decoded.

        Returns:
            Classes and 255, uint8 `(H, W)`.

        Raises:
            ImportError: If SciPy is needed and not installed.
            OSError: If the file cannot be opened.
            UnknownValuesError: A `ValueError`, if it holds a value or color
                without a class.
            ValueError: If it cannot be decoded.
        """
        name = named(source)
        if not isinstance(source, bytes) and os.fspath(source).endswith(".mat"):
            return self.from_values(read_mat_mask(source), name)
        stored, palette = read_stored_mask(source, max_pixels)
        if stored.ndim == 3:
            return self.from_colors(stored, name)
        if (
            self.colors
            and palette is not None
            and self._palette_counts(palette, stored, name)
        ):
            return self.from_colors(palette[stored], name)
        return self.from_values(stored, name)

    def from_values(self, stored: np.ndarray, mask: str) -> np.ndarray:
        """Maps an index mask to classes.

        Args:
            stored: The mask, uint8 or uint16 `(H, W)`.
            mask: Name of the mask in errors.

        Returns:
            Classes and 255, uint8 `(H, W)`.

        Raises:
            UnknownValuesError: If it holds a value without a class.
        """
        if stored.dtype == np.uint8:
            table = self._by_value[:256]
            if not _holds_any(stored, table < 0):
                found = _look_up(stored, table.astype(np.uint8))
                return np.frombuffer(found, np.uint8).reshape(stored.shape)
        classes = self._by_value[stored]
        unknown = classes < 0
        if unknown.any():
            if not self.ignore_unknown:
                raise self._unknown(
                    f"hold labels within {self._spans()}, as {self.origin} "
                    "has them",
                    *("label", str, stored, unknown, mask),
                )
            classes[unknown] = IGNORE_LABEL
        return classes.astype(np.uint8)

    def _palette_counts(
        self, palette: np.ndarray, stored: np.ndarray, mask: str
    ) -> bool:
        """Tells whether to use the colors of a palette, not its indices.

        Some tools rewrite palettes and sort the colors, so that the indices
        are no longer classes. A palette with other colors is only decoration.

        Args:
            palette: Colors of the file, uint8 `(N, 3)`.
            stored: The indices, uint8 `(H, W)`.
            mask: Name of the mask in errors.

        Raises:
            ValueError: If a used index has the color of another class, but
                the palette also has colors that are not listed.
        """
        listed = self._listed
        colors = [tuple(color) for color in palette.tolist()]
        wrong = np.zeros(256, bool)
        for index, color in enumerate(colors):
            if color in listed and index != IGNORE_LABEL:
                wrong[index] = self._by_value[index] not in listed[color]
        if not _holds_any(stored, wrong):
            return False
        used = np.flatnonzero(count_values(stored)).tolist()
        indices = [index for index in used if index != IGNORE_LABEL]
        if any(k >= len(colors) or colors[k] not in listed for k in indices):
            return False
        # Black may be padding.
        others = {*colors} - {*listed, (0, 0, 0)}
        if not others and used[-1] < len(colors):
            return True
        index = next(index for index in indices if wrong[index])
        color = colors[index]
        raise ValueError(
            "`mask` must have its palette in the order of "
            f"{self.origin}, or be saved as RGB, whose colors are read. "
            f"Received: index {index} with {list(color)}, the color of "
            f"class {min(listed[color])}, in mask={mask}"
        )

    def from_colors(self, image: np.ndarray, mask: str) -> np.ndarray:
        """Maps a colored mask to classes; colors must match exactly.

        Args:
            image: The mask, uint8 `(H, W, 3)`.
            mask: Name of the mask in errors.

        Returns:
            Classes and 255, uint8 `(H, W)`.

        Raises:
            UnknownValuesError: If a pixel has another color.
            ValueError: If the encoding has no colors, or classes share one.
        """
        if not self.colors:
            raise ValueError(
                "`mask` must be an index mask, one class index per pixel in a "
                f"gray or palette file, since {self.origin} lists no colors. "
                f"Received: the colored mask={mask}"
            )
        numbers, classes = self._by_color
        red, green, blue = (image[..., k].astype(np.int32) for k in range(3))
        pixels = red << 16 | green << 8 | blue
        places = np.searchsorted(numbers, pixels).clip(max=len(numbers) - 1)
        unknown = numbers[places] != pixels
        found = classes[places]
        if unknown.any():
            if not self.ignore_unknown:
                raise self._unknown(
                    f"have the colors that {self.origin} lists, exactly",
                    *("color", _show_color, pixels, unknown, mask),
                )
            found[unknown] = IGNORE_LABEL
        return found

    def _spans(self) -> str:
        """Formats 0, 1, 2, 11 as "0..2, 11, or 255 to ignore"."""
        values = dict(self.train_ids)
        if values.setdefault(IGNORE_LABEL, IGNORE_LABEL) == IGNORE_LABEL:
            del values[IGNORE_LABEL]
        spans: list[list[int]] = []
        for value in sorted(values):
            if spans and spans[-1][1] == value - 1:
                spans[-1][1] = value
            else:
                spans.append([value, value])
        listed = ", ".join(
            f"{first}..{last}" if first < last else str(first)
            for first, last in spans
        )
        if IGNORE_LABEL not in values:
            listed += f", or {IGNORE_LABEL} to ignore"
        return listed

    def _unknown(
        self,
        rule: str,
        noun: str,
        show: Callable[[int], str],
        stored: np.ndarray,
        unknown: np.ndarray,
        mask: str,
    ) -> UnknownValuesError:
        """Returns the error for values or colors (H, W) without a class."""
        values, pixels = np.unique(stored[unknown], return_counts=True)
        order = np.argsort(-pixels, kind="stable").tolist()
        counts = {show(int(values[k])): int(pixels[k]) for k in order}
        row, column = divmod(int(unknown.argmax()), unknown.shape[1])
        listed = [
            f"{value} ({count} pixels)"
            for value, count in list(counts.items())[:_SHOWN]
        ]
        if len(counts) > _SHOWN:
            listed.append(f"{len(counts) - _SHOWN} more")
            rule += (
                f"; {len(counts)} others are many: was the mask resized, "
                "saved as JPEG, or drawn with soft edges?"
            )
        else:
            rule += " (load(..., ignore_unknown=True) ignores others)"
        error = UnknownValuesError(
            f"`mask` must {rule}. Received: "
            f"{noun}{'s' * (len(counts) > 1)} {', '.join(listed)}, the first "
            f"at x={column}, y={row}, in mask={mask}"
        )
        error.counts = counts
        return error


def plain_encoding(
    labels: LabelSet,
    origin: str,
    marks: Sequence[tuple[Mark, int]] = (),
    ignore_label: int | None = None,
) -> Encoding:
    """Makes the encoding of masks with classes, other values or colors.

    Args:
        labels: The classes.
        origin: Source of the values or colors, for errors.
        marks: Values of index masks that replace class ids, or colors of
            colored masks, each with its class or 255.
        ignore_label: Label to ignore besides 255; it may be a class. None
            is `labels.ignore_label`.

    Returns:
        The encoding.
    """
    if ignore_label is None:
        ignore_label = labels.ignore_label
    train_ids = {index: index for index in range(labels.num_classes)}
    train_ids[ignore_label] = IGNORE_LABEL
    values: dict[int, int] = {}
    colors: list[tuple[Color, int]] = []
    for mark, index in marks:
        train_id = train_ids.get(index, index)
        if isinstance(mark, int):
            values[mark] = train_id
        else:
            colors.append((mark, train_id))
    lists_ignored = values.get(IGNORE_LABEL) == IGNORE_LABEL
    if values and ignore_label >= labels.num_classes:
        values.setdefault(ignore_label, IGNORE_LABEL)
    return Encoding(
        values or train_ids,
        tuple(colors),
        origin,
        lists_ignored=lists_ignored,
    )


def class_pairs(labels: LabelSet) -> list[tuple[Color, int]]:
    """Lists the colors of a label set, each with its class."""
    return [(color, index) for index, color in enumerate(labels.colors)]


def count_values(mask: np.ndarray) -> np.ndarray:
    """Counts the values of a mask, uint8 (H, W); int64 (256,)."""
    # NumPy would first make a copy of 8 bytes per pixel.
    return np.array(Image.fromarray(mask).histogram(), np.int64)


def _holds_any(mask: np.ndarray, values: np.ndarray) -> bool:
    """Tells whether a uint8 mask holds a value marked in bool (256,)."""
    return 1 in _look_up(mask, values)


def _look_up(mask: np.ndarray, table: np.ndarray) -> bytearray:
    """Returns `table[mask]` for uint8 (H, W) and 256 bytes."""
    # NumPy takes several times as long, and counting values even longer.
    return bytearray(mask).translate(table.tobytes())


def _show_color(number: int) -> str:
    return f"{list(number.to_bytes(3))} (#{number:06x})"
