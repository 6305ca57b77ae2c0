"""Reads and writes georeferences of GeoTIFF files."""

from __future__ import annotations

import dataclasses
from io import BytesIO
from typing import IO, Any

import numpy as np

from keras_pspnet.utils.tiff import is_tiff, open_tiff

# Tags of GeoTIFF 1.1 (OGC 19-008r4). TIFF types: 2 text, 3 short, 12 double.
_SCALE, _TIEPOINT, _MATRIX, _KEYS = 33550, 33922, 34264, 34735
_TYPES = {_SCALE: 12, _TIEPOINT: 12, _MATRIX: 12, _KEYS: 3, 34736: 12, 34737: 2}
_ORIENTATION, _GDAL_NODATA, _TEXT = 274, 42113, 2
# Keys of the directory, and values that stand for no code.
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2
_CODES = (3072, 2048)
_NO_CODE = (0, 32767)


@dataclasses.dataclass(frozen=True)
class Georeference:
    """The georeference of an image, as GeoTIFF stores it.

    Args:
        tags: Values of the tags, by number.
    """

    tags: dict[int, Any]

    @property
    def transform(self) -> np.ndarray | None:
        """The affine map from pixels to map coordinates.

        Returns:
            float64 (2, 3), which maps (column, row, 1) to (x, y); (0, 0) is
            the upper left corner of the first pixel. None if there are only
            control points.
        """
        matrix, scale = self.tags.get(_MATRIX), self.tags.get(_SCALE)
        tie = self.tags.get(_TIEPOINT, ())
        if matrix is not None and len(matrix) == 16:
            found = np.reshape(matrix, (4, 4))[:2, [0, 1, 3]]
        elif scale is not None and len(scale) >= 2 and len(tie) == 6:
            column, row, _, x, y, _ = tie
            left, top = x - column * scale[0], y + row * scale[1]
            found = np.array([[scale[0], 0, left], [0, -scale[1], top]])
        else:
            return None
        if self._keys().get(_RASTER_TYPE) == _PIXEL_IS_POINT:
            # The tags refer to the centers of pixels.
            found = found @ [[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]
        return np.asarray(found, np.float64)

    @property
    def epsg(self) -> int | None:
        """The EPSG code of the coordinate system, None if it has none."""
        keys = self._keys()
        codes = (keys.get(key) for key in _CODES)
        return next(
            (code for code in codes if code not in (None, *_NO_CODE)), None
        )

    def _keys(self) -> dict[int, int]:
        """Returns the keys whose value is in the directory itself."""
        keys = np.asarray(self.tags.get(_KEYS, ()))
        rows = keys[4 : len(keys) // 4 * 4].reshape(-1, 4).tolist()
        return {key: value for key, place, _, value in rows if not place}


def read_georeference(stream: IO[bytes]) -> Georeference | None:
    """Reads the georeference of a file.

    Args:
        stream: Any file, at its beginning.

    Returns:
        The georeference; None if the file is not a TIFF file or has none.
    """
    if not is_tiff(stream):
        return None
    try:
        tags: Any = open_tiff(stream).first.tags
        if tags.valueof(_ORIENTATION, default=1) != 1:
            # The image is turned when it is read: the tags no longer fit.
            return None
        values = {code: tags.valueof(code) for code in _TYPES}
        found = {
            code: each for code, each in values.items() if each is not None
        }
        for code, each in found.items():
            if _TYPES[code] != _TEXT:
                found[code] = tuple(np.atleast_1d(each).tolist())
        is_placed = any(code in found for code in (_SCALE, _TIEPOINT, _MATRIX))
        return Georeference(found) if is_placed else None
    # A corrupt file can raise anything. Reading its pixels reports it.
    except Exception:
        return None


def encode_geotiff(
    mask: np.ndarray,
    palette: np.ndarray,
    ignore_label: int,
    georeference: Georeference | None,
) -> bytes:
    """Encodes a mask as a palette TIFF, Deflate-compressed.

    Args:
        mask: uint8 (H, W).
        palette: uint8 (256, 3), the colors of its values.
        ignore_label: The value that GDAL treats as no data.
        georeference: The georeference; None makes a plain TIFF.

    Returns:
        The file.
    """
    from tifffile import imwrite

    tags = dict(georeference.tags) if georeference else {}
    tags[_GDAL_NODATA] = str(ignore_label)
    types = {**_TYPES, _GDAL_NODATA: _TEXT}
    stream = BytesIO()
    imwrite(
        stream,
        mask,
        photometric="palette",
        colormap=palette.T.astype(np.uint16) * 257,
        compression="zlib",
        metadata=None,
        software=False,
        extratags=[
            # tifffile computes the length of a text.
            (
                code,
                types[code],
                0 if types[code] == _TEXT else len(value),
                value,
                True,
            )
            for code, value in sorted(tags.items())
        ],
    )
    return stream.getvalue()
