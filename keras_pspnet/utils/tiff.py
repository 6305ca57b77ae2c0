"""Opens TIFF files, for all readers."""

from __future__ import annotations

import logging
from typing import IO, Any

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_tiff(stream: IO[bytes]) -> bool:
    """Returns whether a stream at its beginning is a TIFF file; rewinds it."""
    start = stream.read(len(_STARTS[0]))
    stream.seek(0)
    return start in _STARTS


def open_tiff(stream: IO[bytes]) -> Any:
    """Opens a TIFF file.

    Args:
        stream: The file.

    Returns:
        tifffile's pages. Corrupt files can make tifffile raise anything.
    """
    # Slow to import, above all with imagecodecs.
    from tifffile import TiffFile

    # Errors already say what is wrong with a file.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    return TiffFile(stream).pages
