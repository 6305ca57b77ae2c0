"""Finds the problems of a data set before a training run does."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from keras_pspnet.data.dataset import SegmentationData
from keras_pspnet.data.images import (
    image_orientation,
    named,
    read_image,
    tiff_pages,
)
from keras_pspnet.data.pairs import size_issue
from keras_pspnet.data.sources.drawing import Drawing
from keras_pspnet.data.sources.encodings import (
    UnknownValuesError,
    count_values,
)
from keras_pspnet.data.sources.listing import Issue, Sample
from keras_pspnet.labels import IGNORE_LABEL

_SHOWN = 5


def check(data: SegmentationData) -> list[Issue]:
    """Reads a whole data set and lists all its problems.

    Errors are images and masks that are missing, occur twice, cannot be read
    or differ in size; mask values or colors without a class, with the number
    of pixels and masks that have them; splits without a pair or without any
    ground truth; and two classes stored as 0 and 255. Warnings are single
    masks without ground truth, classes that occur in no mask, and images
    whose EXIF orientation may differ from that of their masks.

    Args:
        data: The set, opened with `load(..., strict=False)`.

    Returns:
        The issues, in the order of the pairs; empty if there are none.
        `str(issue)` is a line to print.

    Raises:
        ImportError: If masks are MATLAB files and SciPy is not installed.

    Examples:
        >>> from keras_pspnet.data import check, load
        >>> check(load("data", "train", strict=False))
        []
    """
    issues = list(data.issues)
    counts = np.zeros(256, np.int64)
    binary = data.binary_masks()
    unknown = _Unknown()
    for sample in data.samples:
        mask = _check_sample(data, sample, issues, unknown)
        if mask is not None:
            counts += count_values(mask)
            if binary is not None:
                binary.add(mask)
    issues += unknown.issues()
    absent = [
        name
        for index, name in enumerate(data.labels.names)
        if not counts[index]
    ]
    if not counts.any():
        # No mask can be read; those are issues already.
        return issues
    # The folder that holds all masks.
    place = os.path.commonpath(
        [Path(each.mask).parent for each in data.samples]
    )
    if not counts[:IGNORE_LABEL].any():
        text = f"no mask in {place} has any ground truth: all pixels are "
        text += "ignored"
        issues.append(Issue(text, (place,)))
    elif absent:
        shown = ", ".join(absent[:_SHOWN])
        if len(absent) > _SHOWN:
            shown += f" and {len(absent) - _SHOWN} more"
        text = (
            f"no mask in {place} that can be read shows these classes: {shown}"
        )
        issues.append(Issue(text, (place,), is_warning=True))
    if binary is not None and binary.only_ignored > binary.with_object:
        text = f"{place}: {binary.message()}"
        is_warning = binary.with_object > 0
        issues.append(Issue(text, (place,), is_warning=is_warning))
    return issues


class _Unknown:
    """Counts values and colors without a class over all masks."""

    def __init__(self) -> None:
        self._pixels: Counter[str] = Counter()
        self._masks: Counter[str] = Counter()
        self._files: list[str] = []

    def add(self, error: UnknownValuesError, mask: str) -> None:
        self._pixels.update(error.counts)
        self._masks.update(error.counts.keys())
        self._files.append(mask)

    def issues(self) -> list[Issue]:
        """Summarizes several masks; a single mask has its own issue."""
        if len(self._files) < 2:
            return []
        shown = [
            f"{value} ({count} pixels in {self._masks[value]} masks)"
            for value, count in self._pixels.most_common(_SHOWN)
        ]
        if len(self._pixels) > _SHOWN:
            shown.append(f"{len(self._pixels) - _SHOWN} more")
        text = f"{len(self._files)} masks hold values or colors without a "
        text += f"class: {', '.join(shown)}"
        return [Issue(text, tuple(self._files))]


def _check_sample(
    data: SegmentationData,
    sample: Sample,
    issues: list[Issue],
    unknown: _Unknown,
) -> np.ndarray | None:
    """Adds the issues of a pair, and returns the mask if it can be read."""
    image = mask = None
    try:
        image = read_image(sample.image, data.max_pixels, data.bands)
    except (OSError, ValueError) as error:
        issues.append(Issue(str(error), (sample.image,)))
    try:
        mask = sample.ground_truth.read(sample.mask, data.max_pixels)
    except (OSError, ValueError) as error:
        issues.append(Issue(str(error), (sample.mask,)))
        if isinstance(error, UnknownValuesError):
            unknown.add(error, sample.mask)
    if mask is None:
        return None
    if image is not None:
        issues += _unread_pages(sample)
        text = size_issue(image, mask, named(sample.image), named(sample.mask))
        if text:
            issues.append(Issue(text, (sample.image, sample.mask)))
        elif _hides_orientation(sample, mask.shape):
            text = (
                f"{sample.image} is stored upside down or flipped (EXIF) and "
                f"read upright: {sample.mask} must be upright as well, which "
                "its size does not show"
            )
            files = (sample.image, sample.mask)
            issues.append(Issue(text, files, is_warning=True))
    if (mask == IGNORE_LABEL).all():
        text = f"{sample.mask} has no ground truth: all its pixels are ignored"
        issues.append(Issue(text, (sample.mask,), is_warning=True))
    return mask


def _unread_pages(sample: Sample) -> list[Issue]:
    """Warns about pages after the first, which are not read."""
    issues = []
    for file in dict.fromkeys((sample.image, sample.mask)):
        pages = tiff_pages(file)
        if pages > 1:
            text = f"{file} has {pages} pages, of which only the first is read"
            issue = Issue(f"{text}: save each as a file", (file,), True)
            issues.append(issue)
    return issues


def _hides_orientation(sample: Sample, size: tuple[int, ...]) -> bool:
    """Tells whether the sizes hide that only the image is turned upright."""
    orientation = image_orientation(sample.image)
    truth = sample.ground_truth
    if isinstance(truth, Drawing) and truth.size is None:
        # Annotations are drawn at the size of the upright image.
        return orientation > 1
    turned_by_quarters = orientation > 4
    return orientation > 1 and (not turned_by_quarters or size[0] == size[1])
