"""Changes the meaning of masks in a listing: values and ignored labels."""

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
    """Ground truth in which one class becomes 255.

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
        """Reads a mask, as in `GroundTruth`."""
        mask = self.ground_truth.read(source, max_pixels)
        return np.where(mask == self.label, np.uint8(IGNORE_LABEL), mask)


def replace_encoding(
    listing: Listing, argument: str, change: Callable[[Encoding], Encoding]
) -> Listing:
    """Changes the meaning of the values in mask files.

    Args:
        listing: The pairs.
        argument: Argument that requests the change, for errors.
        change: Function from the old encoding to the new one.

    Returns:
        The pairs with the new encoding.

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
    """Ignores some pixels, which become 255.

    Args:
        listing: The pairs.
        ignore_label: A class or another value 0..255 of index masks to
            ignore; None adds none.
        ignore_unknown: Whether to ignore values and colors without a class.

    Returns:
        The pairs with these pixels ignored.

    Raises:
        ValueError: If the label is out of range, or `ignore_unknown` is set
            for pairs without mask files.
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
    # Pairs that shared an object still do, since it may hold a large table.
    new: dict[int, GroundTruth] = {}
    samples = []
    for sample in listing.samples:
        key = id(sample.ground_truth)
        if key not in new:
            new[key] = change(sample.ground_truth)
        samples.append(dataclasses.replace(sample, ground_truth=new[key]))
    return dataclasses.replace(listing, samples=samples)
