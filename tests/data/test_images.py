"""Tests of keras_pspnet.data.images: what files say, and what is refused."""

import itertools
import os
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageCms

from keras_pspnet.data import images as decode
from keras_pspnet.data.images import (
    find_images,
    find_pairs,
    read_image,
    read_mask,
    read_pair,
)
from keras_pspnet.labels import VOC

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
INDEX = np.arange(35, dtype=np.uint8).reshape(5, 7)
NOISE = np.random.default_rng(1).integers(0, 256, (24, 20, 3), np.uint8)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
LOSSLESS = ("PNG", "BMP", "TIFF", "WEBP")
# What Colab has reads two rare kinds of TIFF less, and refuses these.
OLD_PILLOW = int(PIL.__version__.partition(".")[0]) < 13
needs_new_pillow = pytest.mark.skipif(OLD_PILLOW, reason="needs Pillow 13")


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
    """A PNG from its parts, for the forms Pillow does not write."""
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
    """A TIFF of one strip from its parts; `t259=[8]` sets tag 259."""
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
    """What the one error says that reading ends in."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="Received: ") as caught:
            read(source)
    return str(caught.value)


# === Pictures ===


@pytest.mark.parametrize("form", LOSSLESS)
def test_lossless_formats(form):
    image = read_image(encoded(RGB, form))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, RGB)


@pytest.mark.parametrize("form", LOSSLESS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (700, 1100)])
def test_sizes(form, shape):
    rng = np.random.default_rng(2)
    # Smooth pictures are quick to write.
    rows, columns = rng.integers(0, 128, (2, 3))
    image = np.add.outer(np.arange(shape[0]) // 5, np.arange(shape[1]) // 7)
    image = (image[..., None] * rows + columns).astype(np.uint8)
    np.testing.assert_array_equal(read_image(encoded(image, form)), image)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_sizes_in_jpeg_and_gif(shape):
    grey = np.full(shape, 77, np.uint8)
    for form in ("JPEG", "GIF"):
        image = read_image(encoded(grey, form))
        np.testing.assert_array_equal(image, np.full((*shape, 3), 77))


@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]
)
def test_compressed_tiff_from_paths_and_bytes(tmp_path, compression):
    data = encoded(NOISE, "TIFF", compression=compression)
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    for source in (data, path):
        np.testing.assert_array_equal(read_image(source), NOISE)


def test_path_object_string_and_bytes_agree(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(RGB, "JPEG"))
    image = read_image(path)
    assert image.shape == (5, 7, 3)
    np.testing.assert_array_equal(image, read_image(str(path)))
    np.testing.assert_array_equal(image, read_image(path.read_bytes()))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_of_frames_and_pages(form):
    frames = [
        Image.new("RGB", (4, 3), color) for color in ("red", "lime", "blue")
    ]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    with Image.open(BytesIO(data)) as picture:
        assert picture.n_frames == 3
    np.testing.assert_array_equal(read_image(data), frames[0])


def test_png_whose_picture_is_not_of_its_animation():
    frames = [Image.new("RGB", (4, 3), color) for color in ("lime", "blue")]
    data = encoded(
        Image.new("RGB", (4, 3), "red"),
        save_all=True,
        default_image=True,
        append_images=frames,
    )
    assert (read_image(data) == (255, 0, 0)).all()


def test_phones_files_of_several_pictures():
    data = encoded(
        NOISE,
        "MPO",
        save_all=True,
        append_images=[Image.new("RGB", (9, 9), "blue")],
        exif=turned(6),
    )
    want = np.rot90(read_image(encoded(NOISE, "JPEG")), -1)
    np.testing.assert_array_equal(read_image(data), want)
    # An index that promises more than there is.
    index = b"MPF\0II*\0\x08\0\0\0\x01\0\x01\xb0\x04\0\x02\0"
    plain = encoded(NOISE, "JPEG")
    segment = b"\xff\xe2" + struct.pack(">H", 2 + len(index)) + index
    np.testing.assert_array_equal(
        read_image(plain[:2] + segment + plain[2:]), read_image(plain)
    )


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


# The blocks of three do not fit into the picture, those of 512 hold it.
@pytest.mark.parametrize("block", [3, 512])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation(monkeypatch, orientation, form, block):
    monkeypatch.setattr(decode, "_BLOCK", block)
    image = read_image(encoded(RGB, form, exif=turned(orientation)))
    # With JPEG, what the pixels are is not known from RGB.
    stored = read_image(encoded(RGB, form))
    if form != "JPEG":
        np.testing.assert_array_equal(stored, RGB)
    np.testing.assert_array_equal(image, TURNS[orientation](stored))


@pytest.mark.parametrize("orientation", [0, 9])
def test_orientations_that_do_not_exist(orientation):
    image = read_image(encoded(RGB, exif=turned(orientation)))
    np.testing.assert_array_equal(image, RGB)


def test_damaged_exif_does_not_cost_the_picture():
    image = read_image(encoded(RGB, "PNG", exif=b"Exif\0\0II*\0\xff\xff"))
    np.testing.assert_array_equal(image, RGB)


def test_grey_and_bilevel():
    np.testing.assert_array_equal(
        read_image(encoded(INDEX)), np.stack([INDEX] * 3, axis=-1)
    )
    bilevel = Image.fromarray(INDEX % 2 * 255).convert("1")
    assert set(np.unique(read_image(encoded(bilevel)))) == {0, 255}


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(form):
    values = np.array([[0, 128, 129, 257, 32768, 65407, 65535]], np.uint16)
    image = read_image(encoded(values, form))
    expected = np.rint(values / 257).astype(np.uint8)
    assert image.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_array_equal(image[..., channel], expected)


@pytest.mark.parametrize(
    ("bits", "photometric", "order", "data", "want"),
    [
        # Black is 0 with photometric 1, and white with 0.
        (1, 0, "<", b"\x40", [255, 0]),
        (4, 0, "<", b"\x0f", [255, 0]),
        (4, 1, ">", b"\x0f", [0, 255]),
        (8, 0, ">", b"\x01\xff", [254, 0]),
        (12, 1, "<", b"\xff\xf8\x00", [255, 128]),
        (16, 0, "<", b"\x01\x01\xff\xff", [254, 0]),
        (16, 1, ">", b"\x01\x01\xff\xff", [1, 255]),
    ],
)
def test_grey_tiff(bits, photometric, order, data, want):
    image = read_image(tiff([2, 1], [bits], photometric, data, order))
    np.testing.assert_array_equal(image[0, :, 0], want)
    assert (image == image[..., :1]).all()


@pytest.mark.parametrize("order", "<>")
def test_16_bit_colour(order):
    values = [0, 65535, 32896, 257, 514, 771]
    want = [[[0, 255, 128], [1, 2, 3]]]
    rows = [struct.pack(">6H", *values)]
    np.testing.assert_array_equal(read_image(png(2, 1, 16, 2, rows)), want)
    data = tiff([2, 1], [16] * 3, 2, struct.pack(order + "6H", *values), order)
    np.testing.assert_array_equal(read_image(data), want)
    grey_alpha = [struct.pack(">4H", 257, 9, 65535, 0)]
    image = read_image(png(2, 1, 16, 4, grey_alpha))
    np.testing.assert_array_equal(image[0], [[1] * 3, [255] * 3])


@pytest.mark.parametrize("kind", ["transparent", "opaque"])
@pytest.mark.parametrize("form", ["PNG", "GIF", "TIFF", "BMP"])
def test_palettes_give_colors(form, kind):
    picture = Image.frombytes("P", (2, 1), b"\0\1")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    options = {"transparency": 0} if kind == "transparent" else {}
    image = read_image(encoded(picture, form, **options))
    np.testing.assert_array_equal(image, [[[10, 20, 30], [40, 50, 60]]])


def test_palette_with_transparency_gives_colors():
    picture = Image.frombytes("P", (2, 1), b"\0\1")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    data = encoded(picture, transparency=b"\0\x80")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(data)
    np.testing.assert_array_equal(image, [[[10, 20, 30], [40, 50, 60]]])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped(mode):
    picture = Image.fromarray(RGB).convert(mode)
    picture.putalpha(Image.fromarray(INDEX))
    color = RGB
    if mode == "LA":
        color = np.asarray(Image.fromarray(RGB).convert("L").convert("RGB"))
    np.testing.assert_array_equal(read_image(encoded(picture)), color)


@pytest.mark.parametrize(
    ("rows", "bits", "color_type", "transparent"),
    [
        (b"\x80", 1, 0, b"\0\1"),
        (b"\xff\x00", 8, 0, b"\0\xff"),
        (b"\xff\xff\xff\0\0\0", 8, 2, b"\0\xff" * 3),
        (b"\xff\xff\0\0", 16, 0, b"\xff\xff"),
    ],
)
def test_transparent_colour_is_dropped(rows, bits, color_type, transparent):
    data = png(2, 1, bits, color_type, [rows], chunk(b"tRNS", transparent))
    np.testing.assert_array_equal(
        read_image(data), [[[255, 255, 255], [0, 0, 0]]]
    )


@pytest.mark.parametrize(
    ("photometric", "samples", "extra", "want"),
    [
        (1, [100, 50], 2, [100] * 3),
        # Premultiplied by alpha: 100 is 255 where alpha is 100.
        pytest.param(1, [100, 100], 1, [255] * 3, marks=needs_new_pillow),
        (2, [1, 2, 3, 99], 0, [1, 2, 3]),
        (2, [50, 100, 20, 100], 1, [127, 255, 51]),
        (3, [2, 50], 2, [2, 253, 7]),
    ],
)
def test_alpha_of_tiff_is_dropped(photometric, samples, extra, want):
    ramp = [256 * index for index in range(256)]
    palette = {"t320": ramp + ramp[::-1] + [7 * 256] * 256}
    data = tiff(
        [1, 1],
        [8] * len(samples),
        photometric,
        bytes(samples),
        t338=[extra],
        **palette if photometric == 3 else {},
    )
    np.testing.assert_allclose(read_image(data)[0, 0], want, atol=1)


def test_cmyk():
    inks = np.array(list(itertools.product((0, 90, 255), repeat=4)), np.uint8)
    # Ink takes light away, black ink from what the others leave.
    light = 255.0 - inks
    want = light[:, :3] * light[:, 3:] / 255
    patches = np.tile(np.repeat(inks, 16, axis=0), (16, 1, 1))
    picture = Image.frombytes("CMYK", patches.shape[1::-1], patches.tobytes())
    image = read_image(encoded(picture, "TIFF"))
    np.testing.assert_allclose(image[8, 8::16], want, atol=1)
    # Pillow inverts the inks, as Adobe does, in JPEG files alone.
    image = read_image(encoded(picture, "JPEG", quality=100))
    np.testing.assert_allclose(image[8, 8::16], want, atol=3)


def test_ycck():
    # Cyan light in YCbCr is what inks have that let red through; the rest is
    # as in the test above: inverted, and no black.
    planes = (255 - 179, 255 - 171, 255 - 1, 0)
    data = bytearray(encoded(Image.new("CMYK", (16, 16), planes), "JPEG"))
    data[data.index(b"Adobe") + 11] = 2
    np.testing.assert_allclose(
        read_image(bytes(data))[8, 8], [255, 0, 0], atol=6
    )


def test_jpeg_that_stores_rgb():
    data = encoded(NOISE, "JPEG", keep_rgb=True, quality=100)
    np.testing.assert_allclose(read_image(data).astype(int), NOISE, atol=3)


@pytest.mark.parametrize(
    "compression",
    [pytest.param("raw", marks=needs_new_pillow), "tiff_lzw", "jpeg"],
)
def test_ycbcr_tiff(compression):
    red = Image.new("RGB", (16, 16), "red").convert("YCbCr")
    image = read_image(encoded(red, "TIFF", compression=compression))
    np.testing.assert_allclose(image[8, 8], [255, 0, 0], atol=3)


@pytest.mark.skipif(not OLD_PILLOW, reason="Pillow 13 reads both")
def test_what_old_pillows_cannot_read_is_refused():
    grey = tiff([1, 1], [8, 8], 1, bytes([100, 100]), t338=[1])
    assert "TIFF file that can be decoded" in refusal(read_image, grey)
    red = Image.new("RGB", (16, 16), "red").convert("YCbCr")
    data = encoded(red, "TIFF", compression="raw")
    assert "must not have subsampled colours" in refusal(read_image, data)


def test_lab_tiff():
    colors = np.array(
        [[255, 255, 255], [128, 128, 128], [200, 80, 60], [60, 120, 200]]
    )
    linear = np.where(
        colors > 0.04045 * 255,
        ((colors / 255 + 0.055) / 1.055) ** 2.4,
        colors / 255 / 12.92,
    )
    # sRGB under D50, as CIE L*a*b* is in profiles; relative to white.
    xyz = linear @ np.array(
        [[0.4361, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971]]
        + [[0.1431, 0.0606, 0.7142]]
    )
    x, y, z = np.cbrt(xyz / [0.9642, 1, 0.8251]).T
    lab = [(116 * y - 16) * 2.55, 500 * (x - y), 200 * (y - z)]
    samples = np.rint(np.stack(lab, axis=-1)).astype(int)
    data = b"".join(struct.pack("Bbb", *sample) for sample in samples)
    image = read_image(tiff([4, 1], [8] * 3, 8, data))
    np.testing.assert_allclose(image[0], colors, atol=3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_profiles_are_not_applied(form):
    # Under this one, the pixels would be other colours.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    data = encoded(NOISE, form, icc_profile=profile)
    with Image.open(BytesIO(data)) as picture:
        assert picture.info["icc_profile"] == profile
    np.testing.assert_array_equal(
        read_image(data), read_image(encoded(NOISE, form))
    )


def test_arrays_pass():
    assert read_image(RGB) is RGB
    single = RGB.astype(np.float32)
    assert read_image(single) is single
    for dtype in (np.float16, np.float64):
        image = read_image(RGB.astype(dtype))
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, RGB)


@pytest.mark.parametrize(
    "shape", [(5, 7), (5, 7, 1), (5, 7, 4), (2, 5, 7, 3), (0, 7, 3), (3,)]
)
def test_array_shapes_refused(shape):
    with pytest.raises(
        ValueError, match=r"`image` must have the shape \(height, width, 3\).*"
    ) as caught:
        read_image(np.zeros(shape, np.uint8))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.5, 255.5])
def test_array_values_refused(value):
    image = RGB.astype(np.float32)
    image[2, 3, 1] = value
    with pytest.raises(ValueError, match=r"`image` must have values within 0"):
        read_image(image)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, bool, complex])
def test_array_dtypes_refused(dtype):
    with pytest.raises(TypeError, match="`image` must be uint8, or floats"):
        read_image(np.zeros((2, 2, 3), dtype))


@pytest.mark.parametrize("source", [None, 3, [[1]], bytearray(b"x")])
def test_types_refused(source):
    with pytest.raises(TypeError, match="`image` must be a path, bytes or a"):
        read_image(source)
    with pytest.raises(TypeError, match="`mask` must be a path, bytes or a"):
        read_mask(source)


@pytest.mark.parametrize(
    ("read", "name"), [(read_image, "image"), (read_mask, "mask")]
)
def test_unreadable_files_refused(tmp_path, monkeypatch, read, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError,
        match=f"`{name}` must be a file that exists. "
        f"Received: {name}='none.png'",
    ):
        read("none.png")
    with pytest.raises(IsADirectoryError, match=f"`{name}` must be a file th"):
        read(tmp_path)
    with pytest.raises(ValueError, match=f"`{name}` must be a valid path"):
        read("a\0b")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for file in ("notes.txt", "empty.png"):
        with pytest.raises(
            ValueError,
            match=rf"`{name}` must be an? .* file \(.*PNG.*\). "
            rf"Received: {name}='{file}'",
        ):
            read(file)
    with pytest.raises(ValueError, match=rf"Received: {name}=<7 bytes>"):
        read(b"nothing")


@pytest.mark.parametrize(
    ("form", "options"),
    [
        *((form, {}) for form in FORMATS),
        ("JPEG", {"progressive": True}),
        ("WEBP", {"lossless": False}),
        *(
            ("TIFF", {"compression": compression})
            for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")
        ),
    ],
)
def test_truncated_files_refused(tmp_path, form, options):
    data = encoded(NOISE, form, **options)
    path = tmp_path / "cut.jpg"
    for length in (*range(0, len(data) - 24, 17), len(data) - 24):
        path.write_bytes(data[:length])
        told = refusal(read_image, path)
        assert told.startswith("`image` must be a "), told
        assert told.endswith(f"Received: image={str(path)!r}"), told
    # What follows the last pixel may be missing.
    for length in range(len(data) - 24, len(data)):
        path.write_bytes(data[:length])
        try:
            image = read_image(path)
        except ValueError:
            continue
        np.testing.assert_array_equal(image, read_image(data))


@pytest.mark.parametrize("order", "<>")
def test_strips_that_are_cut_or_missing_refused(order):
    pixels = NOISE.tobytes()
    for compression, data in ((1, pixels), (8, zlib.compress(pixels))):
        settings = {"order": order, "t259": [compression]}
        whole = tiff([20, 24], [8] * 3, 2, data, **settings)
        np.testing.assert_array_equal(read_image(whole), NOISE)
        # One strip where two are needed.
        single = tiff([20, 24], [8] * 3, 2, data, **settings, t278=[12])
        for broken in (whole[:-1], whole[: -len(data)], single):
            told = refusal(read_image, broken)
            assert "`image` must be a TIFF file that can be decoded" in told


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP"])
def test_broken_bytes_end_in_a_picture_or_a_value_error(form):
    data = encoded(np.repeat(np.repeat(RGB, 4, 0), 4, 1), form)
    rng = np.random.default_rng(2)
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 4):
            broken[place] = rng.integers(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                image = read_image(bytes(broken))
            except ValueError:
                continue
        assert image.ndim == 3 and image.dtype == np.uint8


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "must be a picture file (JPEG, PNG, WEBP, BMP, GIF, TIFF)."),
        (b"Dear diary", "must be a picture file (JPEG, PNG, WEBP, BMP, GIF, "),
        (b"BM, as in the car", "must be a BMP file that can be decoded ("),
        (b"\xff\xd8\xff", "must be a JPEG file that can be decoded ("),
        (encoded(RGB, "PPM"), "must be a picture file (JPEG, PNG, WEBP, BMP"),
    ],
)
def test_other_files_refused(tmp_path, monkeypatch, data, told):
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(data)
    message = refusal(read_image, "a.jpg")
    assert message.startswith(f"`image` {told}")
    assert message.endswith("Received: image='a.jpg'")


def test_missing_parts_of_png_refused():
    no_palette = png(2, 1, 8, 3, [b"\0\1"])
    assert "`image` must have a palette" in refusal(read_image, no_palette)
    data = encoded(INDEX)
    no_pixels = data[:33] + data[-12:]
    told = "` must be a PNG file that can be decoded (cannot load this image)"
    assert told in refusal(read_image, no_pixels)
    assert told in refusal(read_mask, no_pixels)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "start"),
    [
        (b"zTXt", b"k\0\0"),
        (b"iTXt", b"k\0\1\0\0\0"),
        (b"iCCP", b"k\0\0"),
    ],
)
def test_bombs_in_metadata_refused(place, kind, start):
    bomb = chunk(kind, start + zlib.compress(bytes(2**25)))
    data = png(2, 1, 8, 0, [b"\1\2"], **{place: bomb})
    tracemalloc.start()
    try:
        told = refusal(read_image, data)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()
    assert "`image` must be a PNG file that can be decoded (Decompre" in told
    harmless = chunk(kind, start + zlib.compress(bytes(2**10)))
    data = png(2, 1, 8, 0, [b"\1\2"], **{place: harmless})
    np.testing.assert_array_equal(read_image(data)[0, :, 0], [1, 2])


def test_lack_of_memory_is_told_as_such(monkeypatch):
    def fail(_):
        raise MemoryError

    data = encoded(RGB)
    for name in ("load", "_open"):
        with monkeypatch.context() as patch:
            patch.setattr(decode.PngImageFile, name, fail)
            with pytest.raises(MemoryError):
                read_image(data)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("bits", "sample_format", "code"),
    [(8, 2, "b"), (16, 2, "h"), (32, 1, "I"), (32, 2, "i"), (32, 3, "f")],
)
def test_channels_without_a_white_refused(order, bits, sample_format, code):
    pixels = struct.pack(order + 2 * code, 0, 100)
    data = tiff([2, 1], [bits], 1, pixels, order, t339=[sample_format])
    told = refusal(read_image, data)
    if code == "I" and order == ">":
        # Pillow has no decoder for it.
        assert "must be a TIFF file that can be decoded (unknown pix" in told
    else:
        assert "must have unsigned channels of at most 16 bits, not" in told


def test_subsampled_colours_without_compression_refused():
    # Six bytes for four pixels; of twelve, Pillow makes four other pixels.
    for further in (bytes(6), b""):
        data = tiff([2, 2], [8] * 3, 6, b"\x4c\x4c\x4c\x4c\x55\xff" + further)
        told = refusal(read_image, data)
        assert "`image` must not have subsampled colours uncompressed" in told


@pytest.mark.parametrize(
    "data",
    [
        png(9000, 9000, 8, 2, [b"\0"]),
        tiff([9000, 9000], [8] * 3, 2, b"\0"),
    ],
)
def test_files_that_promise_more_than_they_hold_refused(data):
    told = refusal(read_image, data)
    assert " file that can be decoded (image file is truncated (" in told


def test_longer_floats_refused():
    data = tiff([2, 1], [64], 1, struct.pack("<2d", 0, 1), t339=[3])
    told = refusal(read_image, data)
    assert "must be a TIFF file that can be decoded (unknown pixel m" in told


# === Limits ===


@pytest.mark.parametrize("side", [9500, 20000])
@pytest.mark.parametrize(
    ("read", "name"), [(read_image, "image"), (read_mask, "mask")]
)
def test_bombs_refused_without_allocating(read, name, side):
    bomb = png(side, side, 8, 0, [b"\0" * 10])
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(
                ValueError,
                match=f"`{name}` must have at most 89478485 pixels. Received: "
                f"{name}=<68 bytes> of {side}x{side}",
            ):
                read(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", FORMATS)
def test_limit_of_pixels(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(encoded(RGB, form))
    assert read_image("a.png", max_pixels=35).shape == (5, 7, 3)

    def load(_):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(decode._READERS[form][1], "load", load)
    assert refusal(lambda file: read_image(file, max_pixels=34), "a.png") == (
        "`image` must have at most 34 pixels. Received: image='a.png' of 7x5"
    )


def test_limit_of_pixels_of_masks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m.png").write_bytes(encoded(INDEX))
    assert read_mask("m.png", max_pixels=35).shape == (5, 7)
    assert refusal(lambda file: read_mask(file, max_pixels=34), "m.png") == (
        "`mask` must have at most 34 pixels. Received: mask='m.png' of 7x5"
    )


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("frames", [1, 2])
def test_sizes_are_known_before_readers_allocate(
    monkeypatch, lossless, frames
) -> None:
    def read(_):
        raise AssertionError("a reader was called")

    image = Image.fromarray(RGB)
    options = {"save_all": True, "append_images": [image.rotate(180)]}
    if frames == 1:
        options = {}
    files = {
        "WEBP": encoded(image, "WEBP", lossless=lossless, **options),
        "GIF": encoded(image, "GIF", **options),
    }
    for name, data in files.items():
        pattern, _ = decode._READERS[name]
        monkeypatch.setitem(decode._READERS, name, (pattern, read))
        told = refusal(lambda file: read_image(file, max_pixels=34), data)
        assert told.endswith(" of 7x5")


def test_frames_that_exceed_their_gif():
    frame = b",\0\0\0\0" + struct.pack("<HHB", 30, 20, 0) + b"\x08\0;"
    data = b"GIF89a" + struct.pack("<HHBBB", 2, 3, 0, 0, 0) + frame
    told = refusal(lambda file: read_image(file, max_pixels=599), data)
    assert "`image` must have at most 599 pixels." in told
    assert told.endswith(" of 30x20")


@pytest.mark.parametrize("max_pixels", [0, -1, True, 1e6, None, "9"])
@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("source", [RGB, encoded(RGB), "none.png"])
def test_limits_that_are_none_refused(read, source, max_pixels):
    with pytest.raises(
        ValueError,
        match="`max_pixels` must be an integer of at least 1. Received: "
        f"max_pixels={max_pixels!r}",
    ):
        read(source, max_pixels=max_pixels)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        *((form, {}) for form in ("JPEG", "PNG", "BMP", "GIF", "TIFF")),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"exif": turned(6)}),
    ],
)
def test_pillows_limit_neither_holds_nor_changes(monkeypatch, form, options):
    data = encoded(NOISE, form, **options)
    want = read_image(data)
    # Less than half of a block, where Pillow raises instead of warning.
    monkeypatch.setattr(decode, "_BLOCK", 22)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    filters = list(warnings.filters)
    seen = []
    pattern, reader = decode._READERS[form]

    class Watched(reader):
        def load(self):
            seen.append((Image.MAX_IMAGE_PIXELS, warnings.filters == filters))
            return super().load()

    monkeypatch.setitem(decode._READERS, form, (pattern, Watched))
    np.testing.assert_array_equal(read_image(data), want)
    assert set(seen) == {(200, True)}
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    told = refusal(lambda file: read_image(file, max_pixels=479), data)
    assert "`image` must have at most 479 pixels" in told


@needs_new_pillow
def test_pillows_limit_in_webp_is_told(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    told = refusal(read_image, encoded(NOISE, "WEBP"))
    assert "`image` must be a WEBP file that can be decoded (Image s" in told
    assert "exceeds limit of 400 pixels" in told


def test_hundred_megapixels_on_request():
    # Pillow itself would warn, which is an error here.
    data = png(10000, 10000, 1, 0, [b"\xf0" * 1250] * 10000)
    image = read_image(data, max_pixels=10**8)
    assert image.shape == (10000, 10000, 3)
    np.testing.assert_array_equal(
        image[::999, -8:, 1], np.full((11, 8), [255] * 4 + [0] * 4)
    )
    with pytest.raises(ValueError, match="at most 99999999 pix.*10000x10000"):
        read_image(data, max_pixels=10**8 - 1)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"exif": turned(6)}),
        ("BMP", {}),
        ("TIFF", {}),
    ],
)
def test_peak_of_memory(tmp_path, form, options):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(encoded(RGB, form, **options))
    large.write_bytes(encoded(Image.new("RGB", (3000, 2500)), form, **options))
    code = (
        "import re, runpy, sys\n"
        "read = runpy.run_path(sys.argv[1])['read_image']\n"
        "def peak(path):\n"
        "    size = read(path).size\n"
        "    status = open('/proc/self/status').read()\n"
        "    kilobytes = re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]\n"
        "    return int(kilobytes) * 1024, size\n"
        "before, _ = peak(sys.argv[2])\n"
        "after, size = peak(sys.argv[3])\n"
        "print((after - before) / size)\n"
    )
    command = [sys.executable, "-c", code, decode.__file__, small, large]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # The result is 1; Pillow's own picture has a fourth byte per pixel.
    assert 1.0 < float(done.stdout) < 2.6


def test_needs_no_keras():
    # The file alone, since its package may import more.
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); "
        "sys.exit(bool({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, decode.__file__]
    assert subprocess.run(command).returncode == 0


# === Masks ===


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


# Colour type 0 is grey and 3 is palette, which ends at 8 bits.
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
    monkeypatch.setattr(decode, "_BLOCK", 3)
    np.testing.assert_array_equal(
        read_mask(encoded(INDEX, exif=turned(orientation))),
        TURNS[orientation](INDEX),
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_coloured_masks_refused(tmp_path, mode):
    path = tmp_path / "m.png"
    Image.fromarray(RGB).convert(mode).save(path)
    with pytest.raises(
        ValueError,
        match=f"`mask` must be an index mask.*not {mode}. Received: mask='.*m",
    ):
        read_mask(path)


def test_lossy_masks_refused():
    with pytest.raises(ValueError, match="`mask` must be an index mask file"):
        read_mask(encoded(INDEX, "JPEG"))


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


# === Pairs ===


@pytest.fixture
def folders(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    return images, masks


def touch(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")


def test_pairs_by_stem_in_order(folders):
    images, masks = folders
    touch(images, "b.JPG", "a.x.jpeg", "c.webp", "notes.txt", "._b.jpg")
    touch(masks, "c.TIF", "b.png", "a.x.PNG", "classes.json", "d.jpg")
    assert find_pairs(images, str(masks)) == [
        (str(images / "a.x.jpeg"), str(masks / "a.x.PNG")),
        (str(images / "b.JPG"), str(masks / "b.png")),
        (str(images / "c.webp"), str(masks / "c.TIF")),
    ]


def test_missing_folders_refused(folders, tmp_path):
    images, masks = folders
    touch(tmp_path, "file")
    with pytest.raises(FileNotFoundError, match="`images_dir` must.*'.*none'"):
        find_pairs(tmp_path / "none", masks)
    with pytest.raises(FileNotFoundError, match="`masks_dir` must.*'.*none'"):
        find_pairs(images, tmp_path / "none")
    with pytest.raises(NotADirectoryError, match="`masks_dir` must be a fold"):
        find_pairs(images, tmp_path / "file")


def test_no_pairs_refused(folders):
    images, masks = folders
    with pytest.raises(
        ValueError,
        match=r"images_dir='.*images' \(0 pictures\), masks_dir='.*masks' \(0",
    ):
        find_pairs(images, masks)
    touch(images, "a.jpg")
    touch(masks, "b.png")
    with pytest.raises(ValueError, match=r"\(1 pictures\).*\(1 masks\)"):
        find_pairs(images, masks)


def test_lonely_files_refused(folders):
    images, masks = folders
    touch(images, *(f"{index}.jpg" for index in range(7)))
    touch(masks, "0.png")
    with pytest.raises(
        ValueError,
        match=r"`masks_dir` must hold a mask for each.*6 have none: 1\.jpg, "
        r"2\.jpg, 3\.jpg, 4\.jpg, 5\.jpg, \.\.\.\. Received: masks_dir=",
    ):
        find_pairs(images, masks)
    touch(masks, *(f"{index}.png" for index in range(8)))
    with pytest.raises(
        ValueError,
        match=r"`images_dir` must hold a picture for.*1 have none: 7\.png\. ",
    ):
        find_pairs(images, masks)


def test_repeated_stems_refused(folders):
    images, masks = folders
    touch(images, "a.jpg", "a.png")
    touch(masks, "a.png")
    with pytest.raises(
        ValueError, match="`images_dir` must hold each name once.*'a.jpg' and "
    ):
        find_pairs(images, masks)


def test_folders_named_like_pictures_are_passed_over(folders):
    images, masks = folders
    touch(images, "a.jpg")
    touch(masks, "a.png")
    (images / "b.jpg").mkdir()
    assert find_pairs(images, masks) == [
        (str(images / "a.jpg"), str(masks / "a.png"))
    ]


@pytest.fixture
def pair(tmp_path):
    def write(mask):
        paths = tmp_path / "a.png", tmp_path / "m.png"
        paths[0].write_bytes(encoded(RGB))
        paths[1].write_bytes(encoded(mask))
        return paths

    return write


def test_read_pair(pair):
    mask = INDEX % 5
    mask[0, 0] = 255
    image, result = read_pair(*pair(mask), num_classes=5)
    np.testing.assert_array_equal(image, RGB)
    np.testing.assert_array_equal(result, mask)
    mask[0, 0] = 11
    read_pair(*pair(mask), num_classes=5, ignore_label=11)


def test_pair_of_different_sizes_refused(pair):
    with pytest.raises(
        ValueError,
        match="`mask` must have the size of its picture. Received: "
        "mask='.*m.png' of 5x7, image='.*a.png' of 7x5",
    ):
        read_pair(*pair(np.ascontiguousarray(INDEX.T)), num_classes=35)


def test_labels_out_of_range_refused(pair):
    mask = INDEX % 5
    mask[3, 3] = 9
    with pytest.raises(
        ValueError,
        match=r"within 0\.\.4, or 255 to ignore. Received: label 9 in "
        "mask='.*m.png'",
    ):
        read_pair(*pair(mask), num_classes=5)
    mask[3, 3] = 255
    with pytest.raises(ValueError, match="label 255 in"):
        read_pair(*pair(mask), num_classes=5, ignore_label=11)


# === Pictures in folders ===


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Folders of empty files, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for folder in ("photos/2024/may", "photos/.trash", "photos/c.jpg", "none"):
        Path(folder).mkdir(parents=True)
    touch(Path("photos"), "b.JPG", "a.webp", "notes.txt", "._b.jpg", "d.gif")
    touch(Path("photos/2024"), "b.tif", "a.png")
    touch(Path("photos/2024/may"), "a.bmp")
    touch(Path("photos/.trash"), "a.png")
    touch(Path("none"), "notes.txt", ".a.jpg")
    touch(Path(), "x[1].png", "x1.png", "y.dat")


def listed(*paths):
    found = find_images(paths)
    assert all(isinstance(path, Path) for path in found)
    return [path.as_posix() for path in found]


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("y.dat", ["y.dat"]),
        ("photos/._b.jpg", ["photos/._b.jpg"]),
        ("photos", ["photos/a.webp", "photos/b.JPG"]),
        ("photos/2024/", ["photos/2024/a.png", "photos/2024/b.tif"]),
        ("photos/*", ["photos/a.webp", "photos/b.JPG"]),
        ("photos/[a-c].*", ["photos/a.webp", "photos/b.JPG"]),
        ("p*/*/a.???", ["photos/2024/a.png"]),
        (
            "photos/**",
            [
                *("photos/2024/a.png", "photos/2024/b.tif"),
                *("photos/2024/may/a.bmp", "photos/a.webp", "photos/b.JPG"),
            ],
        ),
        ("**/a.[bp]*", ["photos/2024/a.png", "photos/2024/may/a.bmp"]),
        # A file of this name, and nothing that the pattern matches.
        ("x[1].png", ["x[1].png"]),
        ("x[12].png", ["x1.png"]),
    ],
)
def test_find_pictures(photos, path, want):
    assert listed(path) == want
    assert listed(Path(path)) == want
    assert listed(os.path.abspath(path)) == [
        Path(file).absolute().as_posix() for file in want
    ]


def test_found_pictures_keep_their_order_and_come_once(photos):
    assert listed("x1.png", "photos/*.JPG", "photos", "./x1.png", "y.dat") == [
        "x1.png",
        "photos/b.JPG",
        "photos/a.webp",
        "y.dat",
    ]


def test_links_that_lead_nowhere_are_not_passed_over(photos):
    Path("none/b.png").symlink_to("nowhere.png")
    assert listed("none") == ["none/b.png"]
    with pytest.raises(FileNotFoundError, match="Received: image='none/b.png"):
        read_image("none/b.png")


def test_paths_without_pictures_refused(photos):
    with pytest.raises(
        FileNotFoundError,
        match="`paths` must be files, folders or patterns of files that exist. "
        "Received: paths='no.png'",
    ):
        find_images(["x1.png", "no.png"])
    for path, count in (("none/*", 1), ("*.webp", 0)):
        with pytest.raises(
            FileNotFoundError, match="`paths` must be patterns that match pict"
        ) as caught:
            find_images([path])
        assert str(caught.value).endswith(
            f". Received: paths={path!r}, which matches {count} files, none "
            "of them a picture"
        )
    with pytest.raises(
        ValueError,
        match=r"`paths` must be pictures, or folders that hold some \(\.jpg, "
        r".*\)\. Received: paths='none' without a picture",
    ):
        find_images(["photos", Path("none")])
    with pytest.raises(ValueError, match=r"`paths` must not be empty.*\[\]"):
        find_images([])


@pytest.mark.parametrize("paths", ["photos", Path("photos"), b"photos"])
def test_single_paths_refused(paths):
    with pytest.raises(TypeError, match="`paths` must be a sequence of paths"):
        find_images(paths)


@pytest.mark.parametrize("path", [None, 3, b"photos"])
def test_paths_of_other_types_refused(path):
    with pytest.raises(TypeError, match="`paths` must hold strings or path ob"):
        find_images([path])
