"""All that is wrong with a data set, before it costs a training run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from keras_pspnet.data.dataset import SegmentationData, size_issue
from keras_pspnet.data.images import image_orientation, named, read_image
from keras_pspnet.data.sources.encodings import read_encoded
from keras_pspnet.data.sources.listing import Issue, Sample
from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.utils.plausibility import BinaryMasks

_SHOWN = 5


def check(data: SegmentationData) -> list[Issue]:
    """Reads a whole data set and lists everything that is wrong with it.

    Issues are images and masks that are missing or occur twice, that
    cannot be read, or whose sizes differ; masks with labels or colours
    without a meaning; and splits without a pair, or without any truth in all
    their masks; and two classes given as 0 and 255. Warnings are single masks
    without ground truth, classes that no mask shows, and images whose EXIF
    orientation may not be that of their masks.

    Args:
        data: The set, opened with `load(..., strict=False)`.

    Returns:
        The issues, those of pairs in the order of the pairs; empty if all is
        well. `str(issue)` is a line for people.

    Raises:
        ImportError: If masks are MATLAB files and SciPy is not installed.

    Examples:
        >>> from keras_pspnet.data import check, load
        >>> check(load("data", "train", strict=False))
        []
    """
    issues = list(data.issues)
    counts = np.zeros(256, np.int64)
    binary = BinaryMasks()
    for sample in data.samples:
        mask = _check_sample(sample, issues)
        if mask is not None:
            counts += np.bincount(mask.reshape(-1), minlength=256)
            binary.add(mask)
    absent = [
        name
        for index, name in enumerate(data.labels.names)
        if not counts[index]
    ]
    if not counts.any():
        # No mask can be read: others than those that are issues already.
        return issues
    # The folder that holds all masks.
    place = os.path.commonpath(
        [Path(each.mask).parent for each in data.samples]
    )
    if not counts[:IGNORE_LABEL].any():
        text = f"no mask in {place} has any truth: all pixels are ignored"
        issues.append(Issue(text, (place,)))
    elif absent:
        shown = ", ".join(absent[:_SHOWN])
        if len(absent) > _SHOWN:
            shown += f" and {len(absent) - _SHOWN} more"
        text = (
            f"no mask in {place} that can be read shows these classes: {shown}"
        )
        issues.append(Issue(text, (place,), is_warning=True))
    if data.num_classes == 2 and binary.only_ignored > binary.with_object:
        text = f"{place}: {binary.message()}"
        is_warning = binary.with_object > 0
        issues.append(Issue(text, (place,), is_warning=is_warning))
    return issues


def _check_sample(sample: Sample, issues: list[Issue]) -> np.ndarray | None:
    """Adds what is wrong with a pair, and returns the mask if there is one."""
    image = mask = None
    try:
        image = read_image(sample.image)
    except (OSError, ValueError) as error:
        issues.append(Issue(str(error), (sample.image,)))
    try:
        mask = read_encoded(sample.mask, sample.encoding)
    except (OSError, ValueError) as error:
        issues.append(Issue(str(error), (sample.mask,)))
    if mask is None:
        return None
    if image is not None:
        text = size_issue(image, mask, named(sample.image), named(sample.mask))
        if text:
            issues.append(Issue(text, (sample.image, sample.mask)))
        elif _hides_orientation(image_orientation(sample.image), mask.shape):
            text = (
                f"{sample.image} is stored upside down or flipped (EXIF) and "
                f"read upright: {sample.mask} must be upright as well, which "
                "its size does not show"
            )
            files = (sample.image, sample.mask)
            issues.append(Issue(text, files, is_warning=True))
    if (mask == IGNORE_LABEL).all():
        text = f"{sample.mask} has no truth: all its pixels are ignored"
        issues.append(Issue(text, (sample.mask,), is_warning=True))
    return mask


def _hides_orientation(orientation: int, size: tuple[int, ...]) -> bool:
    """Tells whether turning an image upright leaves its size as it was."""
    turned_by_quarters = orientation > 4
    return orientation > 1 and (not turned_by_quarters or size[0] == size[1])
