"""What all readers of TIFF files begin with."""

from __future__ import annotations

import logging
from typing import IO, Any

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_tiff(stream: IO[bytes]) -> bool:
    """Tells whether a file, at its beginning, is TIFF; it is left there."""
    start = stream.read(len(_STARTS[0]))
    stream.seek(0)
    return start in _STARTS


def open_tiff(stream: IO[bytes]) -> Any:
    """Opens a TIFF file.

    Args:
        stream: The file.

    Returns:
        Its pages, as tifffile has them. Broken bytes lead it into anything.
    """
    # It takes a while to import, imagecodecs with it.
    from tifffile import TiffFile

    # Errors say what is wrong with a file, once.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    return TiffFile(stream).pages
