"""Files that clients send: pictures, no pictures, and far too large ones."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from image_files import chunk, encoded
from PIL import Image
from support import picture

# Of `good`, (height, width) each.
SIZES = ((33, 47), (40, 21), (64, 64), (1, 1), (120, 75), (21, 90))

_SIZE = (33, 47)
_CUTS = 10
_PNG_START = b"\x89PNG\r\n\x1a\n"


def image(mode: str = "RGB", size: tuple[int, int] = _SIZE) -> Image.Image:
    """A picture of (height, width), converted to one of Pillow's modes."""
    return Image.fromarray(picture(*size)).convert(mode)


def good() -> list[bytes]:
    """PNG and JPEG files in turn, of `SIZES`."""
    return [
        encoded(image(size=size), form)
        for size, form in zip(SIZES, ("PNG", "JPEG") * 3, strict=True)
    ]


@functools.cache
def malformed() -> dict[str, tuple[bytes, str]]:
    """Files without a mask, and the status of each."""
    jpeg, png = encoded(image(), "JPEG"), encoded(image(), "PNG")
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9"/></svg>'
    place = png.index(b"IDAT") + 10
    wrong_sum = png[:place] + bytes([png[place] ^ 1]) + png[place + 1 :]
    unknown = "NOT_JPEG_OR_PNG"
    cases = {
        "empty": (b"", "EMPTY"),
        "text": (b"some notes", unknown),
        "HTML": (b"<!doctype html><title>404</title>", unknown),
        "SVG": (svg, unknown),
        "TIFF": (encoded(image(), "TIFF"), unknown),
        "WebP": (encoded(image(), "WEBP"), unknown),
        "GIF": (encoded(image(), "GIF"), unknown),
        "BMP": (encoded(image(), "BMP"), unknown),
        "PNG with a wrong sum": (wrong_sum, "DAMAGED"),
        "PNG that starts as a JPEG": (jpeg[:3] + png[3:], "DAMAGED"),
    }
    for form, data in (("JPEG", jpeg), ("PNG", png)):
        # All beyond the first bytes, by which a format is known. The last
        # cuts of a PNG take data away and not only its end mark.
        start, end = len(_PNG_START), len(data) - 20
        for cut in np.linspace(start, end, _CUTS, dtype=int):
            cases[f"{form} cut at {cut}"] = data[:cut], "DAMAGED"
    return cases


@functools.cache
def odd() -> dict[str, bytes]:
    """Files that are rare and right."""
    values = np.asarray(image("L")).astype("uint16") * 257
    cases = {
        "gray": encoded(image("L"), "JPEG"),
        "CMYK": encoded(image("CMYK"), "JPEG"),
        "palette": encoded(image("P"), "PNG"),
        "16 bits": encoded(Image.fromarray(values), "PNG"),
        "alpha": encoded(image("RGBA"), "PNG"),
        "1 bit": encoded(image("1"), "PNG"),
        "progressive": encoded(image(), "JPEG", progressive=True),
        "1x1": encoded(image(size=(1, 1)), "PNG"),
        "1x5000": encoded(image(size=(1, 5000)), "PNG"),
        "5000x1": encoded(image(size=(5000, 1)), "PNG"),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(image(), "JPEG", exif=exif)
        cases[f"EXIF orientation {orientation}"] = data
    return cases


@functools.cache
def bombs() -> dict[str, tuple[bytes, set[str]]]:
    """Small files that are huge when unpacked, and what may be said of them."""
    too_large = {"TOO_LARGE"}
    jpeg = encoded(image(), "JPEG")
    progressive = encoded(image(), "JPEG", progressive=True)
    png = encoded(image(), "PNG")
    # What stands beside the pixels may be left out, or be too much.
    beside = {"OK", "DAMAGED"}
    profile = chunk(b"iCCP", b"all\0\0" + _zeros(2**30))
    text = chunk(b"zTXt", b"all\0\0" + _zeros(2**30))
    return {
        "PNG of 20000x20000": (_black_png(20000, 20000), too_large),
        "PNG of 40000x40000": (_black_png(40000, 40000), too_large),
        "PNG 2^31-1 wide": (_black_png(1, 2**31 - 1, rows=0), too_large),
        "GIF of 65535x65535": (_gif(), {"NOT_JPEG_OR_PNG"}),
        "JPEG of 65500x65500": (_enlarged(jpeg, b"\xff\xc0"), too_large),
        "progressive JPEG of 65500x65500": (
            _enlarged(progressive, b"\xff\xc2"),
            too_large,
        ),
        "color profile of 1 GiB": (_withchunk(png, profile), beside),
        "text of 1 GiB": (_withchunk(png, text), beside),
    }


def flipped(count: int) -> Iterator[bytes]:
    """Pictures of five kinds with one to ten changed bytes each."""
    exif = Image.Exif()
    exif[0x0112] = 6
    seeds = (
        encoded(image(), "JPEG"),
        encoded(image(), "JPEG", progressive=True, exif=exif),
        encoded(image("L"), "JPEG"),
        encoded(image(), "PNG"),
        encoded(image("P"), "PNG"),
    )
    rng = np.random.default_rng(0)
    for number in range(count):
        data = np.frombuffer(seeds[number % len(seeds)], np.uint8).copy()
        places = rng.integers(len(data), size=rng.integers(1, 11))
        data[places] ^= rng.integers(1, 256, len(places), np.uint8)
        yield data.tobytes()


@functools.cache
def _zeros(count: int) -> bytes:
    """So many zeros, deflated."""
    return _deflated(2**20, count // 2**20)


def _deflated(size: int, times: int) -> bytes:
    packer = zlib.compressobj(9)
    block = bytes(size)
    packed = [packer.compress(block) for _ in range(times)]
    return b"".join([*packed, packer.flush()])


def _black_png(height: int, width: int, rows: int | None = None) -> bytes:
    """A PNG of one bit a pixel, with fewer rows than it tells if asked to."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = _deflated(1 + -(-width // 8), height if rows is None else rows)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return _PNG_START + b"".join(chunk(*each) for each in chunks)


def _withchunk(png: bytes, chunk: bytes) -> bytes:
    """Puts a chunk behind the header."""
    place = len(_PNG_START) + 25
    return png[:place] + chunk + png[place:]


def _gif() -> bytes:
    data = encoded(image(), "GIF")
    return data[:6] + struct.pack("<HH", 65535, 65535) + data[10:]


def _enlarged(jpeg: bytes, frame: bytes) -> bytes:
    """Changes the size that a JPEG's header tells."""
    place = jpeg.index(frame) + 5
    size = struct.pack(">HH", 65500, 65500)
    return jpeg[:place] + size + jpeg[place + 4 :]
