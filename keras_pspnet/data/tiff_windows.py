"""Reads windows of TIFF files as they are needed."""

from __future__ import annotations

import copy
import itertools
from collections import OrderedDict
from typing import Any

import numpy as np

from keras_pspnet.data.bands import (
    as_values,
    declared_nodata,
    lacks_data,
    refuse_nan,
)
from keras_pspnet.data.decoders import Request

# Keep decoded tiles and strips up to this many bytes: enough for a row of
# windows that is 30,000 pixels wide, with 4 bands of 16 bits.
_KEPT = 2**28
# Rows to search at a time for pixels without data.
_ROWS = 256


class TiffWindows:
    """An image in a TIFF file, which can be sliced like an array.

    `image[rows, columns]` decodes the tiles or strips under the window, and
    returns the same values as `read_image`. The only step allowed is
    `[:, ::-1]`, which flips the image and reads nothing.

    Args:
        page: The page of tifffile, see `keras_pspnet.data.bands.open_bands`.
        request: Names the file in errors.

    Raises:
        ValueError: If the file is broken, or has NaN.
    """

    ndim = 3

    def __init__(self, page: Any, request: Request) -> None:
        self.shape = page.imagelength, page.imagewidth, page.samplesperpixel
        self.dtype = as_values(np.empty(0, page.dtype), page).dtype
        self._page = page
        self._flipped = False
        self._mapped: np.ndarray | None = None
        if page.is_memmappable:
            file = page.parent
            dtype = file.byteorder + page.dtype.char
            self._mapped = file.filehandle.memmap_array(
                dtype, page.shaped, page.dataoffsets[0]
            )
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._nodata = declared_nodata(page)
        # Replacement for pixels without data; None if there are none.
        self._means: np.ndarray | None = None
        self._means = self._find_means(request)

    def __getitem__(self, key: Any) -> Any:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if columns == slice(None, None, -1):
            flipped = copy.copy(self)
            flipped._flipped = not self._flipped
            return flipped
        height, width = self.shape[:2]
        top, bottom, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        if self._flipped:
            left, right = width - right, width - left
        part = self._read(top, bottom, left, right)
        if self._means is not None:
            for index, mean in enumerate(self._means):
                band = part[..., index]
                band[lacks_data(band, self._nodata)] = mean
        return part[:, ::-1] if self._flipped else part

    def _find_means(self, request: Request) -> np.ndarray | None:
        """Computes the mean of each band if there are pixels without data."""
        count = np.zeros(self.shape[-1], np.int64)
        total = np.zeros(self.shape[-1])
        for top in range(0, self.shape[0], _ROWS):
            part = self[top : top + _ROWS]
            for index in range(self.shape[-1]):
                band = part[..., index]
                bad = lacks_data(band, self._nodata)
                if bad.any():
                    if self._nodata is None:
                        refuse_nan(request, int(bad.sum()), index)
                    band = band[~bad]
                count[index] += band.size
                total[index] += band.sum(dtype=np.float64)
        if count.min() == self.shape[0] * self.shape[1]:
            return None
        return total / np.maximum(count, 1)

    def _read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Assembles a window, (rows, columns, bands)."""
        page = self._page
        # Bands are separate planes, or interleaved in each pixel.
        planes = page.shaped[0]
        if self._mapped is not None:
            found = self._mapped[:, 0, top:bottom, left:right]
            whole = found[..., 0].transpose(1, 2, 0) if planes > 1 else found[0]
            return np.array(as_values(whole, page))
        part = np.empty(
            (bottom - top, right - left, self.shape[-1]), self.dtype
        )
        height, width = page.chunks[:2]
        down, across = page.chunked[1:3] if planes > 1 else page.chunked[:2]
        for plane, row, column in itertools.product(
            range(planes),
            range(top // height, -(-bottom // height)),
            range(left // width, -(-right // width)),
        ):
            segment = self._segment((plane * down + row) * across + column)
            above, before = row * height, column * width
            first, last = max(top, above), min(bottom, above + height)
            begin, end = max(left, before), min(right, before + width)
            bands = slice(plane, plane + 1) if planes > 1 else slice(None)
            part[first - top : last - top, begin - left : end - left, bands] = (
                segment[
                    first - above : last - above, begin - before : end - before
                ]
            )
        return part

    def _segment(self, index: int) -> np.ndarray:
        """Decodes a tile or strip, (rows, columns, 1 or all bands)."""
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        page = self._page
        file = page.parent.filehandle
        file.seek(page.dataoffsets[index])
        data = file.read(page.databytecounts[index]) or None
        found, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
        if found is None:
            # GDAL omits parts without data.
            found = np.full(shape, page.nodata, page.dtype)
        self._kept[index] = as_values(found[0], page)
        size = sum(each.nbytes for each in self._kept.values())
        while size > _KEPT and len(self._kept) > 1:
            size -= self._kept.popitem(last=False)[1].nbytes
        return self._kept[index]
