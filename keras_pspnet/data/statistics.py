"""Measures mean and standard deviation of the bands of a data set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_pspnet.data.dataset import SegmentationData
from keras_pspnet.data.images import read_image
from keras_pspnet.utils import check_rule


class BandStatistics(NamedTuple):
    """The values that `PSPNet` normalizes each band with.

    Args:
        mean: Mean of each band.
        std: Standard deviation of each band.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def band_statistics(data: SegmentationData) -> BandStatistics:
    """Measures mean and standard deviation of each band over all pixels.

    Args:
        data: The set, from `keras_pspnet.data.load`. Its masks are not read.

    Returns:
        Both, in the units of the images, rounded to 6 digits.

    Raises:
        OSError: If a file cannot be opened.
        ValueError: If there is no image, one cannot be decoded, or a band has
            the same value everywhere, so its standard deviation is zero.

    Examples:
        >>> from keras_pspnet.data import band_statistics, load
        >>> mean, std = band_statistics(load("data", "train"))
        >>> len(mean), len(std)
        (3, 3)
    """
    check_rule("data", len(data), "hold at least one image", len(data) > 0)
    count = 0
    mean = squares = np.zeros(data.bands)
    for sample in data.samples:
        image = read_image(sample.image, bands=data.bands)
        pixels = image.reshape(-1, data.bands)
        # Plain sums of squares would lose precision if the mean is large, so
        # merge deviations as in Chan, Golub and LeVeque, 1979.
        number = len(pixels)
        own = pixels.mean(axis=0, dtype=np.float64)
        own_squares = number * pixels.var(axis=0, dtype=np.float64)
        total = count + number
        apart = own - mean
        squares = squares + own_squares + apart**2 * (count * number / total)
        mean = mean + apart * (number / total)
        count = total
    std = np.sqrt(squares / count)
    flat = np.flatnonzero(std == 0)
    if len(flat):
        raise ValueError(
            "`data` must have bands of more than one value. Received: band "
            f"{flat[0] + 1} with {mean[flat[0]]:g} in all {len(data)} images"
        )
    return BandStatistics(_rounded(mean), _rounded(std))


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)
