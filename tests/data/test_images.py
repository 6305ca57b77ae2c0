"""Tests of keras_pspnet.data.read_image: what files of all kinds say."""

import itertools
import struct
import warnings
from io import BytesIO

import numpy as np
import pytest
from image_files import (
    INDEX,
    NOISE,
    OLD_PILLOW,
    RGB,
    TURNS,
    chunk,
    encoded,
    needs_new_pillow,
    png,
    refusal,
    tiff,
    turned,
)
from PIL import Image, ImageCms

from keras_pspnet.data import decoders, read_image

LOSSLESS = ("PNG", "BMP", "TIFF", "WEBP")


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
    gray = np.full(shape, 77, np.uint8)
    for form in ("JPEG", "GIF"):
        image = read_image(encoded(gray, form))
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


# The blocks of three do not fit into the picture, those of 512 hold it.
@pytest.mark.parametrize("block", [3, 512])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation(monkeypatch, orientation, form, block):
    monkeypatch.setattr(decoders, "_BLOCK", block)
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
def test_16_bit_color(order):
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
def test_transparent_color_is_dropped(rows, bits, color_type, transparent):
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
    gray = tiff([1, 1], [8, 8], 1, bytes([100, 100]), t338=[1])
    assert "TIFF file that can be decoded" in refusal(read_image, gray)
    red = Image.new("RGB", (16, 16), "red").convert("YCbCr")
    data = encoded(red, "TIFF", compression="raw")
    assert "must not have subsampled colors" in refusal(read_image, data)


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
    # Under this one, the pixels would be other colors.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    data = encoded(NOISE, form, icc_profile=profile)
    with Image.open(BytesIO(data)) as picture:
        assert picture.info["icc_profile"] == profile
    np.testing.assert_array_equal(
        read_image(data), read_image(encoded(NOISE, form))
    )
