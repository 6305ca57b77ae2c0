"""Scores as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def score_table(
    names: Sequence[str],
    iou: np.ndarray,
    accuracy: np.ndarray,
    share: np.ndarray,
    summary: Mapping[str, str],
) -> str:
    """Lays scores out as lines of text.

    Args:
        names: The class names.
        iou: IoU of each class, (C,).
        accuracy: Accuracy of each class, (C,).
        share: Share 0..1 of the pixels that are of each class, (C,).
        summary: Name -> text of the lines below those of the classes.

    Returns:
        A line of titles, one a class, and those of the summary.
    """
    width = max(map(len, (*names, *summary)))
    lines = [f"{'class':{width}}  {'IoU':6}  accuracy   share"]
    for name, *values in zip(names, iou, accuracy, share, strict=True):
        lines.append(
            f"{name:{width}}  {shown(values[0]):6}  {shown(values[1]):8}  "
            f"{shown(values[2], '6.2%'):>6}"
        )
    lines += [f"{name:{width}}  {text}" for name, text in summary.items()]
    return "\n".join(lines)


def shown(value: float, form: str = ".4f") -> str:
    """Formats a score; "-" where it is NaN."""
    return "-" if np.isnan(value) else f"{value:{form}}"
