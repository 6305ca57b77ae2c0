"""Changes what the masks of a listing mean: other values, ignored labels."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from keras_pspnet.data.images import MAX_PIXELS
from keras_pspnet.data.sources.encodings import Encoding
from keras_pspnet.data.sources.listing import GroundTruth, Listing
from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.utils import check_integer


@dataclasses.dataclass(frozen=True)
class Ignoring:
    """Ground truth of which one class counts as 255.

    Args:
        ground_truth: The ground truth.
        label: The class.
    """

    ground_truth: GroundTruth
    label: int

    def read(
        self,
        source: str | os.PathLike[str] | bytes,
        max_pixels: int = MAX_PIXELS,
    ) -> np.ndarray:
        """Reads a mask, as the ground truth does."""
        mask = self.ground_truth.read(source, max_pixels)
        return np.where(mask == self.label, np.uint8(IGNORE_LABEL), mask)


def replace_encoding(
    listing: Listing, argument: str, change: Callable[[Encoding], Encoding]
) -> Listing:
    """Changes what the values of mask files mean.

    Args:
        listing: The pairs.
        argument: What asks for it, for errors.
        change: From the old meaning to the new one.

    Returns:
        The pairs that are read so.

    Raises:
        ValueError: If the pairs have no mask files.
    """

    def changed(truth: GroundTruth) -> GroundTruth:
        if not isinstance(truth, Encoding):
            raise ValueError(
                f"`{argument}` cannot be combined with {listing.form}, which "
                f"has no mask files. Received: {listing.samples[0].mask!r}"
            )
        return change(truth)

    return _changed(listing, changed)


def ignore(
    listing: Listing, ignore_label: int | None, ignore_unknown: bool
) -> Listing:
    """Reads some pixels as 255.

    Args:
        listing: The pairs.
        ignore_label: A class, or another value 0..255 of index masks, whose
            pixels are ignored; None adds none.
        ignore_unknown: Whether values and colors without a class are.

    Returns:
        The pairs that are read so.

    Raises:
        ValueError: If the label is out of range, or pairs without mask files
            are to ignore unknown values.
    """
    if ignore_unknown:
        listing = replace_encoding(
            listing,
            "ignore_unknown",
            lambda truth: dataclasses.replace(truth, ignore_unknown=True),
        )
    if ignore_label is None:
        return listing
    label = check_integer("ignore_label", ignore_label, 255, 0)

    def changed(truth: GroundTruth) -> GroundTruth:
        if isinstance(truth, Encoding) and label not in truth.train_ids:
            ids = {**truth.train_ids, label: IGNORE_LABEL}
            truth = dataclasses.replace(truth, train_ids=ids)
        if label < listing.labels.num_classes:
            return Ignoring(truth, label)
        return truth

    return _changed(listing, changed)


def _changed(
    listing: Listing, change: Callable[[GroundTruth], GroundTruth]
) -> Listing:
    # One object for all that have the same: it may hold a table.
    new: dict[int, GroundTruth] = {}
    samples = []
    for sample in listing.samples:
        key = id(sample.ground_truth)
        if key not in new:
            new[key] = change(sample.ground_truth)
        samples.append(dataclasses.replace(sample, ground_truth=new[key]))
    return dataclasses.replace(listing, samples=samples)
