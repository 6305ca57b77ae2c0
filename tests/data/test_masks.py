"""Tests of keras_pspnet.data.read_mask: indices, never colors."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from image_files import (
    INDEX,
    RGB,
    TURNS,
    encoded,
    palette_png,
    png,
    tiff,
    turned,
)
from PIL import Image

from keras_pspnet.data import decoders, read_mask


def test_palette_gives_indices_not_luminance():
    mask = np.array([[0, 1, 2, 20], [255, 15, 7, 1]], np.uint8)
    data = palette_png(mask)
    with Image.open(BytesIO(data)) as picture:
        luminance = np.asarray(picture.convert("L"))
    assert (luminance != mask).any()
    result = read_mask(data)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, mask)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "GIF"])
def test_grey_masks(form):
    np.testing.assert_array_equal(read_mask(encoded(INDEX, form)), INDEX)


# Color type 0 is gray and 3 is palette, which ends at 8 bits.
@pytest.mark.parametrize(
    ("color_type", "bits"),
    [*((0, bits) for bits in (1, 2, 4, 8, 16)), (3, 1), (3, 2), (3, 4), (3, 8)],
)
def test_every_bit_depth_gives_the_stored_value(color_type, bits):
    values = [0, 1, 1, 0] if bits == 1 else [0, 1, 2, 3]
    number = 0
    for value in values:
        number = number << bits | value
    row = (number << -4 * bits % 8).to_bytes(-(-4 * bits // 8), "big")
    data = png(4, 1, bits, color_type, [row])
    if color_type == 3:
        palette = bytes(range(0, 60, 5))[: 3 * min(2**bits, 4)]
        chunk = b"PLTE" + palette
        data = (
            data[:33]
            + struct.pack(">I", len(palette))
            + chunk
            + struct.pack(">I", zlib.crc32(chunk))
            + data[33:]
        )
    np.testing.assert_array_equal(read_mask(data), [values])


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize(
    ("bits", "data", "want"),
    [
        (1, b"\x60", [0, 1, 1, 0]),
        (2, b"\x1b", [0, 1, 2, 3]),
        (4, b"\x01\x2f", [0, 1, 2, 15]),
        (8, b"\0\1\2\xff", [0, 1, 2, 255]),
    ],
)
def test_every_bit_depth_in_tiff(bits, data, want, compression, order):
    if compression == 8:
        data = zlib.compress(data)
    mask = tiff([4, 1], [bits], 1, data, order, t259=[compression])
    np.testing.assert_array_equal(read_mask(mask), [want])


@pytest.mark.parametrize(
    ("bits", "data"), [(2, b"\x1b"), (4, b"\x01\x23"), (8, bytes(range(4)))]
)
def test_indices_count_from_black(bits, data):
    mask = read_mask(tiff([4, 1], [bits], 0, data))
    np.testing.assert_array_equal(mask, [2**bits - 1 - np.arange(4)])


@pytest.mark.parametrize("orientation", TURNS)
def test_mask_turns_as_its_picture_does(monkeypatch, orientation):
    monkeypatch.setattr(decoders, "_BLOCK", 3)
    np.testing.assert_array_equal(
        read_mask(encoded(INDEX, exif=turned(orientation))),
        TURNS[orientation](INDEX),
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colored_masks_refused(tmp_path, mode):
    path = tmp_path / "m.png"
    Image.fromarray(RGB).convert(mode).save(path)
    with pytest.raises(
        ValueError,
        match=f"`mask` must be an index mask.*not {mode}. Received: mask='.*m",
    ):
        read_mask(path)


def test_lossy_masks_refused():
    for form in ("JPEG", "WEBP"):
        rule = rf"`mask` must be an index mask file \(.*\), not {form}\. Rec"
        with pytest.raises(ValueError, match=rule):
            read_mask(encoded(RGB, form))
    with pytest.raises(ValueError, match=r"index mask file \(.*TIFF\)\. Rec"):
        read_mask(b"no image")


def test_labels_above_255_refused():
    data = encoded(np.array([[0, 300]], np.uint16))
    with pytest.raises(ValueError, match=r"indices within 0\.\.255, not 300"):
        read_mask(data)
    data = encoded(np.array([[-1, 3]], np.int32), "TIFF")
    with pytest.raises(ValueError, match=r"indices within 0\.\.255, not -1"):
        read_mask(data)


def test_mask_arrays():
    assert read_mask(INDEX) is INDEX
    result = read_mask(INDEX.astype(np.int64))
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, INDEX)
    with pytest.raises(ValueError, match=r"`mask` must have the shape.*\(5, "):
        read_mask(RGB)
    with pytest.raises(TypeError, match="`mask` must hold integers.*float64"):
        read_mask(np.zeros((2, 2)))
    for value in (-1, 256):
        with pytest.raises(ValueError, match=r"`mask` must have values withi"):
            read_mask(np.full((2, 2), value))
