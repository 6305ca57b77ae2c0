"""Builds image files of all kinds from their parts."""

import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
import PIL
import pytest
from PIL import Image

from keras_pspnet.labels import VOC

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
INDEX = np.arange(35, dtype=np.uint8).reshape(5, 7)
NOISE = np.random.default_rng(1).integers(0, 256, (24, 20, 3), np.uint8)
# What Colab has reads two rare kinds of TIFF less, and refuses these.
OLD_PILLOW = int(PIL.__version__.partition(".")[0]) < 13
needs_new_pillow = pytest.mark.skipif(OLD_PILLOW, reason="needs Pillow 13")


# What a viewer does for each EXIF orientation, in NumPy.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


def encoded(picture, form="PNG", **options):
    stream = BytesIO()
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    if form == "WEBP":
        options.setdefault("lossless", True)
    picture.save(stream, form, **options)
    return stream.getvalue()


def palette_png(mask):
    picture = Image.frombytes("P", mask.shape[::-1], mask.tobytes())
    picture.putpalette([value for color in VOC.colors for value in color])
    return encoded(picture)


def chunk(kind, data):
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc


def png(width, height, bits, color_type, rows, before=b"", after=b""):
    """Builds a PNG from its parts, for forms that Pillow cannot write."""
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + after
        + chunk(b"IEND", b"")
    )


def tiff(size, bits, photometric, data, order="<", **tags):
    """Builds a TIFF of one strip; `t259=[8]` sets tag 259."""
    values = {
        **{256: size[:1], 257: size[1:], 258: bits, 259: [1]},
        **{262: [photometric], 273: [0], 277: [len(bits)]},
        **{278: size[1:], 279: [len(data)]},
        **{int(name[1:]): value for name, value in tags.items()},
    }
    # Directory, then values of more than four bytes, then pixels.
    place = 8 + 2 + 12 * len(values) + 4
    pixels = place + sum(
        4 * len(value) for value in values.values() if len(value) > 1
    )
    values[273] = [pixels] * len(values[273])
    entries = further = b""
    for tag, value in sorted(values.items()):
        packed = struct.pack(f"{order}{len(value)}I", *value)
        if len(value) > 1:
            offset = struct.pack(order + "I", place + len(further))
            packed, further = offset, further + packed
        entries += struct.pack(order + "HHI", tag, 4, len(value)) + packed
    start = {"<": b"II*\0", ">": b"MM\0*"}[order]
    count = struct.pack(order + "H", len(values))
    return (
        start
        + struct.pack(order + "I", 8)
        + count
        + entries
        + bytes(4)
        + further
        + data
    )


def turned(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def refusal(read, source):
    """Reads a file that must be refused, and returns the error's text."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="Received: ") as caught:
            read(source)
    return str(caught.value)
