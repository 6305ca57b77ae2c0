"""The plan of a segmentation: everything that does not depend on pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_pspnet.inference.resize import Axis, Span, axes_of, split
from keras_pspnet.inference.sliding_window import Grid, place_windows
from keras_pspnet.utils import as_integer, check_rule

# Bytes of scores to process at a time, and limit for the scores of rows of
# windows.
_BAND_BYTES = 2**25
_WINDOW_BYTES = 2**30


@dataclasses.dataclass(frozen=True)
class View:
    """One view of an image.

    Args:
        size: (height, width) to which the image is resized.
        flipped: Whether it is flipped left to right.
    """

    size: tuple[int, int]
    flipped: bool = False


@dataclasses.dataclass(frozen=True)
class Strip:
    """A range of columns; strips are computed in turn to fit in memory.

    Args:
        columns: Columns of the mask.
        seen: Columns of the network's image that they depend on.
        grids: Windows of each view that they depend on.
    """

    columns: Span
    seen: Span
    grids: tuple[Grid, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The steps from an image to its mask.

    Args:
        seen: (height, width) of the image that the network sees. The scores
            of all views are resized to it.
        size: (height, width) of the mask. The mean of the scores is resized
            to it.
        views: Views of the image.
        strips: Columns of the mask, and what they depend on.
        bands: Rows of each strip, in order.
        average: Whether to average probabilities. For a single view the
            logits are enough, unless they are resized twice.
        align_corners: How to resize the scores of a view.
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
        """The number of windows; a whole view is one window."""
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
        scales: Scales of the views, relative to the image.
        flip: Whether to add a flipped copy of each view.
        window: Side of sliding windows, None for whole views.
        size: (height, width) of the mask; None is that of the image.
        sizes: (height, width) of the views, None to derive them from the
            scales.
        align_corners: As in `Plan`.
        of_logits: Whether to average logits, not probabilities.

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
    """Returns the columns of a view that show columns of the image.

    Args:
        view: The view.
        width: Width of the image.
        columns: Columns of the image.
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
    """Cuts a mask into strips whose rows of windows fit into memory."""
    each = sum(
        4 * classes * min(window, view.size[0]) * view.size[1] for view in views
    )
    strips = -(-each // _WINDOW_BYTES)
    # Windows on the border of two strips are computed for both, so strips
    # must be wide compared with the windows.
    narrowest = max(4 * window * width // view.size[1] for view in views)
    return split(width, max(-(-width // strips), narrowest))


def scaled(size: tuple[int, ...], scale: float) -> tuple[int, int]:
    """Returns the (height, width) of an image at another scale.

    Args:
        size: (height, width).
        scale: Factor.
    """
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def check_scales(scales: Any) -> tuple[float, ...]:
    """Checks scales and returns them as floats.

    Args:
        scales: The argument of the caller.

    Raises:
        ValueError: Unless they are one or more numbers from 0.1 to 10.
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
    """Refuses arguments that require logits, for files that compute masks.

    Args:
        scales: As in `make_plan`.
        flip: Likewise.
        window: Likewise.
        confidence: Whether the confidence is requested.

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
            "`model` must compute logits, not masks, for several views, "
            f"windows or a confidence. Received: {text}"
        )


def check_window(window: Any) -> int | None:
    """Checks the side of windows.

    Args:
        window: The argument of the caller.

    Returns:
        The window, an int or None.

    Raises:
        ValueError: Unless it is an integer of at least 16, or None.
    """
    number = as_integer(window, least=16)
    rule = "be an integer of at least 16 or None"
    check_rule("window", window, rule, window is None or number is not None)
    return number
