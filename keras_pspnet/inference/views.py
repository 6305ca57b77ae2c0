"""The plan of a segmentation: all that does not depend on pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_pspnet.inference.resize import Axis, Span, axes_of, split
from keras_pspnet.inference.sliding_window import Grid, place_windows
from keras_pspnet.utils import as_integer, check_rule

# Bytes of scores that are resized, normalized and compared at a time, and
# those that rows of windows may take together.
_BAND_BYTES = 2**25
_WINDOW_BYTES = 2**30


@dataclasses.dataclass(frozen=True)
class View:
    """One way to look at an image.

    Args:
        size: (height, width) to which it is resized.
        flipped: Whether left and right change places.
    """

    size: tuple[int, int]
    flipped: bool = False


@dataclasses.dataclass(frozen=True)
class Strip:
    """Columns that are computed one after the other, so as to fit in memory.

    Args:
        columns: Of the mask.
        seen: Of the image that the network sees: those they are made of.
        grids: The windows of each view that these are made of.
    """

    columns: Span
    seen: Span
    grids: tuple[Grid, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How an image becomes a mask.

    Args:
        seen: (height, width) of the image that the network sees, to which
            the scores of all views are resized.
        size: (height, width) of the mask, to which their mean is resized.
        views: How the image is looked at.
        strips: The mask's columns, and what each is computed of.
        bands: The rows of each strip, in turn.
        average: Whether the mean is of probabilities, not of logits. The
            logits of a single view tell as much, unless they are resized twice.
        align_corners: How the scores of a view are resized.
    """

    seen: tuple[int, int]
    size: tuple[int, int]
    views: tuple[View, ...]
    strips: tuple[Strip, ...]
    bands: tuple[Span, ...]
    average: bool
    align_corners: bool = False

    @property
    def windows(self) -> int:
        """How many windows are computed; a whole view is one."""
        return sum(grid.count for strip in self.strips for grid in strip.grids)


def make_plan(
    seen: tuple[int, ...],
    classes: int,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    window: int | None = None,
    *,
    size: tuple[int, ...] | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
    align_corners: bool = False,
    of_logits: bool = False,
) -> Plan:
    """Plans the segmentation of an image.

    Args:
        seen: (height, width) of the image.
        classes: Number of classes.
        scales: Sizes of the views, relative to the image's.
        flip: Whether every view is also seen flipped.
        window: Side of sliding windows, None for whole views.
        size: (height, width) of the mask; None is the image's.
        sizes: (height, width) of the views, None for those of the scales.
        align_corners: As of `Plan`.
        of_logits: Whether the mean of the views is of logits, not of
            probabilities.

    Examples:
        >>> from keras_pspnet.inference.views import make_plan
        >>> plan = make_plan((100, 150), 21, (0.5,), flip=True, window=48)
        >>> plan.views[1]
        View(size=(50, 75), flipped=True)
        >>> plan.windows, plan.strips[0].grids[0].lefts
        (8, (0, 27))
    """
    height, width = seen
    out_height, out_width = size or seen
    sizes = sizes or [scaled(seen, scale) for scale in scales]
    views = tuple(
        View(each, flipped)
        for each in sizes
        for flipped in ((False, True) if flip else (False,))
    )
    to_mask = Axis(width, out_width)

    def strip(columns: Span) -> Strip:
        needed = to_mask.needed(*columns)
        grids = []
        for view in views:
            across = axes_of(view.size, seen, align_corners)[1]
            part = across.needed(*columns_in(view, width, needed))
            grids.append(place_windows(view.size, window, part))
        return Strip(columns, needed, tuple(grids))

    spans: tuple[Span, ...] = ((0, out_width),)
    if window is not None:
        spans = _strips(views, window, out_width, classes)
    resized_twice = (out_height, out_width) != (height, width) != sizes[0]
    return Plan(
        (height, width),
        (out_height, out_width),
        views,
        tuple(strip(columns) for columns in spans),
        bands_of((out_height, out_width), classes),
        not of_logits and (len(views) > 1 or resized_twice),
        align_corners,
    )


def columns_in(view: View, width: int, columns: Span) -> Span:
    """Returns where an image's columns are in a view of it.

    Args:
        view: The view.
        width: The image's.
        columns: Of the image.
    """
    first, last = columns
    return (width - last, width - first) if view.flipped else columns


def bands_of(size: tuple[int, ...], classes: int) -> tuple[Span, ...]:
    """Cuts an image into bands of rows whose scores take 32 MiB.

    Args:
        size: (height, width).
        classes: Number of classes.
    """
    return split(size[0], max(1, _BAND_BYTES // (4 * size[1] * classes)))


def _strips(
    views: Sequence[View], window: int, width: int, classes: int
) -> tuple[Span, ...]:
    """Cuts a mask into columns whose rows of windows fit into memory."""
    each = sum(
        4 * classes * min(window, view.size[0]) * view.size[1] for view in views
    )
    strips = -(-each // _WINDOW_BYTES)
    # Windows on the border of two strips are computed for both: narrow
    # strips would be nothing but borders.
    narrowest = max(4 * window * width // view.size[1] for view in views)
    return split(width, max(-(-width // strips), narrowest))


def scaled(size: tuple[int, ...], scale: float) -> tuple[int, int]:
    """Returns the (height, width) of an image at another scale.

    Args:
        size: (height, width).
        scale: Relative to it.
    """
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def check_scales(scales: Any) -> tuple[float, ...]:
    """Returns scales as floats.

    Args:
        scales: What a caller gave.

    Raises:
        ValueError: Unless they are numbers from 0.1 to 10, at least one.
    """
    try:
        values = tuple(float(scale) for scale in scales)
    except (TypeError, ValueError):
        values = ()
    rule = "be a sequence of numbers from 0.1 to 10"
    kept = bool(values) and all(0.1 <= value <= 10 for value in values)
    check_rule("scales", scales, rule, kept)
    return values


def check_single_view(
    scales: Sequence[float],
    flip: bool,
    window: int | None,
    confidence: bool = False,
) -> None:
    """Refuses what takes logits, for a file whose output is the mask.

    Args:
        scales: As of `make_plan`.
        flip: Likewise.
        window: Likewise.
        confidence: Whether the probability of each class is asked for.

    Raises:
        ValueError: If there is more than one view, or a confidence.
    """
    asked: dict[str, Any] = {
        "flip": flip,
        "window": window,
        "confidence": confidence,
    }
    asked |= {"scales": scales if len(scales) > 1 else None}
    text = ", ".join(
        f"{key}={value!r}" for key, value in asked.items() if value
    )
    if text:
        raise ValueError(
            "`model` must be a file of logits, not of masks, for several "
            f"views, windows or a confidence. Received: {text}"
        )


def check_window(window: Any) -> int | None:
    """Refuses windows that are no side of a square.

    Args:
        window: What a caller gave.

    Returns:
        The window, an int or None.

    Raises:
        ValueError: Unless it is an integer of at least 16, or None.
    """
    number = as_integer(window, least=16)
    rule = "be an integer of at least 16 or None"
    check_rule("window", window, rule, window is None or number is not None)
    return number
