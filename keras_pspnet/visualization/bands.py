"""Shows images with any number of bands in RGB."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_pspnet.utils import as_integers, check_rule

# Percentiles of the values that become black and white.
_LOW, _HIGH = 2, 98
# Pixels of a large image to estimate them from.
_SAMPLE = 2**20
_ROWS = 32


def as_rgb(
    image: np.ndarray, show_bands: Sequence[int] | None = None
) -> np.ndarray:
    """Shows three bands as red, green and blue, or one as gray.

    Bytes are shown as they are. Other values are stretched, so that 2 % of
    each band are black and 2 % are white.

    Args:
        image: (H, W, bands).
        show_bands: Three bands, or one, counted from 1 as in GDAL. None is
            the first three, or the first one if there are fewer.

    Returns:
        uint8 (H, W, 3); an image of three uint8 bands is returned unchanged.

    Raises:
        ValueError: If the image does not have these bands.

    Examples:
        >>> from keras_pspnet.visualization import as_rgb
        >>> tile = np.zeros((2, 2, 4), "uint16")  # R, G, B, near infrared
        >>> as_rgb(tile, show_bands=(4, 1, 2)).shape
        (2, 2, 3)
    """
    count = image.shape[-1]
    if show_bands is None:
        show_bands = (1, 2, 3) if count >= 3 else (1,)
    chosen = as_integers(show_bands) or ()
    rule = f"be three bands, or one, of 1 to {count}"
    kept = len(chosen) in (1, 3) and max(chosen) <= count
    check_rule("show_bands", show_bands, rule, kept)
    if image.dtype == np.uint8 and count == 3 and chosen == (1, 2, 3):
        return image
    # Row by row, so that large images need no second copy of their bands.
    height, width = image.shape[:2]
    step = max(1, int((height * width / _SAMPLE) ** 0.5))
    tops = range(0, height, _ROWS * step)
    spans = [slice(top, top + _ROWS * step) for top in tops]
    indices = [band - 1 for band in chosen]
    limits = [(0.0, 255.0)] * len(indices)
    if image.dtype != np.uint8:
        sampled = [image[span][::step, ::step][..., indices] for span in spans]
        found = np.percentile(np.concatenate(sampled), (_LOW, _HIGH), (0, 1))
        limits = list(zip(*found.tolist(), strict=True))
    shown = np.empty((height, width, len(indices)), np.uint8)
    for span in spans:
        rows = image[span]
        for place, (band, limit) in enumerate(
            zip(indices, limits, strict=True)
        ):
            shown[span, :, place] = _stretched(rows[..., band], *limit)
    return np.repeat(shown, 3 // len(indices), axis=-1)


def _stretched(band: np.ndarray, low: float, high: float) -> np.ndarray:
    if band.dtype == np.uint8:
        return band
    scaled = (band.astype(np.float32) - low) * (255 / max(high - low, 1e-12))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
