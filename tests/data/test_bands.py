"""Tests of images of other bands than RGB: their values as they are stored."""

import re
import struct
import zlib

import numpy as np
import pytest
from band_files import band_tiff, tile
from image_files import RGB as PICTURE
from image_files import TURNS, encoded, png, refusal, tiff, turned
from PIL import Image

from keras_pspnet.data import bands, read_image

LAYOUTS = {
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (16, 16)},
    "deflate": {"compression": "zlib", "predictor": 2},
    "bands apart": {"planarconfig": "separate", "tile": (16, 16)},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_values_and_dtype_are_those_of_the_file(layout, dtype) -> None:
    options = dict(LAYOUTS[layout])
    if dtype == "float32":
        options.pop("predictor", None)
    image = tile(5, dtype)
    found = read_image(band_tiff(image, **options), bands=5)
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative and found.flags.c_contiguous
    np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize("dtype", ["int8", "uint32", "int32", "float64"])
def test_other_numbers_become_float32(dtype) -> None:
    image = tile(1, dtype) if dtype != "int8" else tile(1, "uint8") // 2
    found = read_image(band_tiff(image.astype(dtype)), bands=1)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, image.astype("float32"))


def test_compression_of_an_extra() -> None:
    pytest.importorskip("imagecodecs")
    image = tile(4, "float32")
    file = band_tiff(image, compression="lzw", predictor=3)
    np.testing.assert_array_equal(read_image(file, bands=4), image)


def test_compression_without_the_extra(monkeypatch) -> None:
    import tifffile

    def missing(*args: object, **kwargs: object) -> None:
        raise ValueError("<LZW: 5> requires the 'imagecodecs' package")

    file = band_tiff(tile(4), compression="zlib")
    monkeypatch.setattr(tifffile.TiffPage, "asarray", missing)
    with pytest.raises(ImportError, match=r"keras-pspnet\[tiff\]"):
        read_image(file, bands=4)


def test_min_is_white_is_counted_from_black() -> None:
    image = tile(1, "uint16")
    file = band_tiff(image, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(file, bands=1), 65535 - image)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
def test_one_band_of_colors_is_grey(form) -> None:
    found = read_image(encoded(PICTURE, form), bands=1)
    gray = Image.fromarray(PICTURE).convert("L")
    np.testing.assert_array_equal(found[..., 0], gray)
    assert found.shape[-1] == 1 and found.dtype == np.uint8


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG"])
def test_one_band_of_grey_is_itself(form) -> None:
    gray = np.full((9, 8), 77, np.uint8)
    np.testing.assert_array_equal(
        read_image(encoded(gray, form), bands=1)[..., 0], gray
    )


def test_one_band_keeps_16_bits_of_png() -> None:
    image = tile(1, "uint16", (4, 6))[..., 0]
    found = read_image(encoded(image), bands=1)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found[..., 0], image)


def test_black_and_white_is_0_and_255() -> None:
    bits = PICTURE[..., 0] > 99
    for form in ("PNG", "TIFF"):
        found = read_image(encoded(Image.fromarray(bits), form), bands=1)
        np.testing.assert_array_equal(found[..., 0], bits * np.uint8(255))


@pytest.mark.parametrize("orientation", TURNS)
def test_grey_photographs_are_upright(orientation) -> None:
    gray = PICTURE[..., 0]
    file = encoded(gray, "PNG", exif=turned(orientation))
    found = read_image(file, bands=1)[..., 0]
    np.testing.assert_array_equal(found, TURNS[orientation](gray))


def test_alpha_is_the_fourth_band() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    for form in ("PNG", "TIFF"):
        found = read_image(encoded(image, form), bands=4)
        np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize(
    ("file", "bands", "message"),
    [
        (encoded(PICTURE), 4, "must be a TIFF file of 4 bands, .* not RGB"),
        (encoded(PICTURE), 5, "must be a TIFF file of 5 bands"),
        (
            png(1, 1, 16, 6, [struct.pack(">4H", 1, 2, 3, 4)]),
            4,
            "channels of 8 bits, not RGBA;16B",
        ),
        (band_tiff(tile(5)), 4, "must have as many bands .*, 4, not 5"),
        (band_tiff(tile(2)), 1, "must have as many bands .*, 1, not 2"),
        (band_tiff(tile(4).astype("complex64")), 4, "integers or floats"),
        (band_tiff(tile(4))[:900], 4, "must be a (whole )?TIFF file"),
        (b"II*\0" + bytes(20), 4, "must be a TIFF file that can be decoded"),
        (b"II*\0\x08\0\0\0\xff\xff", 2, "must be a TIFF file that can be"),
        (b"no image", 4, "must be an image file"),
        (
            tiff((4, 4), [16] * 2, 1, bytes(64), t274=[3]),
            2,
            r"must be stored upright, not turned \(3\)",
        ),
    ],
)
def test_what_is_refused(file, bands, message) -> None:
    text = refusal(lambda source: read_image(source, bands=bands), file)
    assert re.search(message, text), text
    assert "\n" not in text


def test_giant_files_are_refused_before_they_are_read() -> None:
    giant = tiff((2**16, 2**16), [16] * 4, 1, b"")
    assert "pixels" in refusal(lambda f: read_image(f, bands=4), giant)
    # A tile may be far larger than its image.
    side = [2**20]
    tiled = tiff(
        (4, 4), [16] * 4, 1, b"", t322=side, t323=side, t324=[8], t325=[9]
    )
    assert "pixels" in refusal(lambda f: read_image(f, bands=4), tiled)
    small = band_tiff(tile(4))
    text = refusal(lambda f: read_image(f, max_pixels=599, bands=4), small)
    assert "at most 599 pixels" in text


def test_deflate_without_the_extra_has_a_bound(monkeypatch) -> None:
    find_spec = bands.importlib.util.find_spec
    monkeypatch.setattr(
        bands.importlib.util,
        "find_spec",
        lambda name: None if name == "imagecodecs" else find_spec(name),
    )
    image = tile(4)
    for layout in ({}, {"tile": (32, 32)}, {"rowsperstrip": 3}):
        file = band_tiff(image, compression="zlib", **layout)
        np.testing.assert_array_equal(read_image(file, bands=4), image)
    bomb = zlib.compress(bytes(2**24))
    file = tiff((4, 4), [16] * 4, 1, bomb, t259=[8])
    text = refusal(lambda f: read_image(f, bands=4), file)
    assert "must not become larger than its size says" in text


def test_nan_is_refused_by_band_and_count() -> None:
    image = tile(3 + 1, "float32")
    image[2, 3:5, 1] = np.nan
    image[0, 0, 3] = np.inf
    text = refusal(lambda f: read_image(f, bands=4), band_tiff(image))
    assert "2 pixels of band 2 are NaN or infinite" in text
    assert "gdal_edit -a_nodata nan" in text


@pytest.mark.parametrize("nodata", ["nan", "-9999", "-3.4028234663852886e+38"])
def test_declared_nodata_gets_the_mean_of_its_band(nodata) -> None:
    image = tile(2, "float32")
    marked = image.copy()
    marked[4:9, :, 1] = np.float32(nodata)
    found = read_image(band_tiff(marked, nodata=nodata), bands=2)
    np.testing.assert_array_equal(found[..., 0], image[..., 0])
    rest = np.delete(image[..., 1], range(4, 9), axis=0)
    np.testing.assert_allclose(found[4:9, :, 1], rest.mean(), rtol=1e-6)
    np.testing.assert_array_equal(
        np.delete(found[..., 1], range(4, 9), 0), rest
    )


def test_nodata_of_integers_and_of_a_whole_file() -> None:
    image = np.array([[[7], [0], [9]]], np.uint16)
    found = read_image(band_tiff(image, nodata="0"), bands=1)
    assert found.ravel().tolist() == [7, 8, 9]
    empty = band_tiff(np.full((2, 2, 1), np.nan, "float32"), nodata="nan")
    assert not read_image(empty, bands=1).any()
    # What is no number declares nothing.
    found = read_image(band_tiff(image, nodata="none"), bands=1)
    assert found.ravel().tolist() == [7, 0, 9]


def test_arrays() -> None:
    for dtype in ("uint8", "uint16", "int16", "float32"):
        image = tile(4, dtype)
        assert read_image(image, bands=4) is image
    assert read_image(tile(4, "int64"), bands=4).dtype == np.float32
    with pytest.raises(ValueError, match=r"height, width, 4.*\(20, 30, 3\)"):
        read_image(tile(3), bands=4)
    with pytest.raises(TypeError, match="integers or floats.*bool"):
        read_image(tile(4, "bool"), bands=4)
    broken = np.full((2, 2, 1), np.nan)
    with pytest.raises(ValueError, match="finite values.*4 values"):
        read_image(broken, bands=1)
    with pytest.raises(ValueError, match="`bands` must be a positive int.*=0"):
        read_image(broken, bands=0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bands", [3, 4])
def test_rgb_of_16_bits_is_scaled_in_any_layout(layout, bands) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 2**16, (20, 30, bands)).astype("uint16")
    options = {"photometric": "rgb", **LAYOUTS[layout]}
    if bands == 4:
        options["extrasamples"] = ["unassalpha"]
    found = read_image(band_tiff(image, **options))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.rint(image[..., :3] / 257))
