"""Tests of keras_pspnet.data.images: what is refused, and the memory taken."""

import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import (
    INDEX,
    NOISE,
    RGB,
    chunk,
    encoded,
    needs_new_pillow,
    png,
    refusal,
    tiff,
    turned,
)
from PIL import Image

from keras_pspnet.data import decoders, read_image, read_mask

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


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
        match=rf"`{name}` must be a file that can be read \(No such .*\). "
        f"Received: {name}='none.png'",
    ):
        read("none.png")
    with pytest.raises(IsADirectoryError, match=f"`{name}` must be a file th"):
        read(tmp_path)
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
        assert told.startswith("`image` must be a"), told
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
        (b"", "must be an image file (JPEG, PNG, WEBP, BMP, GIF, TIFF)."),
        (b"Dear diary", "must be an image file (JPEG, PNG, WEBP, BMP, GIF, "),
        (b"BM, as in the car", "must be a BMP file that can be decoded ("),
        (b"\xff\xd8\xff", "must be a JPEG file that can be decoded ("),
        (encoded(RGB, "PPM"), "must be an image file (JPEG, PNG, WEBP, BMP"),
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
            patch.setattr(decoders.PngImageFile, name, fail)
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


def test_subsampled_colors_without_compression_refused():
    # Six bytes for four pixels; of twelve, Pillow makes four other pixels.
    for further in (bytes(6), b""):
        data = tiff([2, 2], [8] * 3, 6, b"\x4c\x4c\x4c\x4c\x55\xff" + further)
        told = refusal(read_image, data)
        assert "`image` must not have subsampled colors uncompressed" in told


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
                match=f"`{name}` must have at most 89478485 pixels, or "
                "`max_pixels` be larger. Received: "
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

    monkeypatch.setattr(decoders._READERS[form][1], "load", load)
    assert refusal(lambda file: read_image(file, max_pixels=34), "a.png") == (
        "`image` must have at most 34 pixels, or `max_pixels` be larger. "
        "Received: image='a.png' of 7x5"
    )


def test_limit_of_pixels_of_masks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m.png").write_bytes(encoded(INDEX))
    assert read_mask("m.png", max_pixels=35).shape == (5, 7)
    assert refusal(lambda file: read_mask(file, max_pixels=34), "m.png") == (
        "`mask` must have at most 34 pixels, or `max_pixels` be larger. "
        "Received: mask='m.png' of 7x5"
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
        pattern, _ = decoders._READERS[name]
        monkeypatch.setitem(decoders._READERS, name, (pattern, read))
        told = refusal(lambda file: read_image(file, max_pixels=34), data)
        assert told.endswith(" of 7x5")


def test_frames_that_exceed_their_gif():
    frame = b",\0\0\0\0" + struct.pack("<HHB", 30, 20, 0) + b"\x08\0;"
    data = b"GIF89a" + struct.pack("<HHBBB", 2, 3, 0, 0, 0) + frame
    told = refusal(lambda file: read_image(file, max_pixels=599), data)
    assert "`image` must have at most 599 pixels," in told
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
    monkeypatch.setattr(decoders, "_BLOCK", 22)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    filters = list(warnings.filters)
    seen = []
    pattern, reader = decoders._READERS[form]

    class Watched(reader):
        def load(self):
            seen.append((Image.MAX_IMAGE_PIXELS, warnings.filters == filters))
            return super().load()

    monkeypatch.setitem(decoders._READERS, form, (pattern, Watched))
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
    # The packages stand empty, since others of their modules need Keras.
    code = (
        "import re, sys, types\n"
        "for name, path in zip(('keras_pspnet', 'keras_pspnet.data'), "
        "sys.argv[1:3]):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "    sys.modules[name].__path__ = [path]\n"
        "from keras_pspnet.data.images import read_image as read\n"
        "def peak(path):\n"
        "    size = read(path).size\n"
        "    status = open('/proc/self/status').read()\n"
        "    kilobytes = re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]\n"
        "    return int(kilobytes) * 1024, size\n"
        "before, _ = peak(sys.argv[3])\n"
        "after, size = peak(sys.argv[4])\n"
        "print((after - before) / size)\n"
    )
    data = Path(decoders.__file__).parent
    command = [sys.executable, "-c", code, data.parent, data, small, large]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # The result is 1; Pillow's own picture has a fourth byte per pixel.
    assert 1.0 < float(done.stdout) < 2.6
