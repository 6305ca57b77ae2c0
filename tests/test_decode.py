"""Tests of keras_pspnet.data.decode: what files say, and what is refused."""

import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from keras_pspnet.data import decode
from keras_pspnet.data.decode import (
    find_pairs,
    read_image,
    read_mask,
    read_pair,
)
from keras_pspnet.labels import VOC

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
INDEX = np.arange(35, dtype=np.uint8).reshape(5, 7)


def encoded(picture, form="PNG", **options):
    stream = BytesIO()
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(stream, form, **options)
    return stream.getvalue()


def palette_png(mask):
    picture = Image.frombytes("P", mask.shape[::-1], mask.tobytes())
    picture.putpalette([value for color in VOC.colors for value in color])
    return encoded(picture)


def png(width, height, bits, color_type, rows):
    """A PNG from its parts, for the forms Pillow does not write."""

    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + chunk(b"IEND", b"")
    )


# === Pictures ===


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats(form):
    options = {"lossless": True} if form == "WEBP" else {}
    image = read_image(encoded(RGB, form, **options))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, RGB)


def test_path_object_string_and_bytes_agree(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(RGB, "JPEG"))
    image = read_image(path)
    assert image.shape == (5, 7, 3)
    np.testing.assert_array_equal(image, read_image(str(path)))
    np.testing.assert_array_equal(image, read_image(path.read_bytes()))


def test_gif_gives_its_first_frame():
    frames = [Image.new("P", (4, 3), index) for index in (1, 2)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(
        read_image(data), np.full((3, 4, 3), (255, 0, 0), np.uint8)
    )


# What a viewer does for each EXIF orientation, in NumPy.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation(orientation, form):
    exif = Image.Exif()
    exif[274] = orientation
    image = read_image(encoded(RGB, form, exif=exif))
    np.testing.assert_array_equal(image, TURNS[orientation](RGB))


@pytest.mark.parametrize("orientation", [0, 9, 6])
def test_exif_in_jpeg(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    image = read_image(encoded(RGB, "JPEG", exif=exif))
    assert image.shape == ((7, 5, 3) if orientation == 6 else (5, 7, 3))


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


def test_16_bit_rgb():
    rows = [struct.pack(">6H", 0, 65535, 32896, 257, 514, 771)]
    image = read_image(png(2, 1, 16, 2, rows))
    np.testing.assert_array_equal(image, [[[0, 255, 128], [1, 2, 3]]])


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


def test_cmyk():
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for form in ("JPEG", "TIFF"):
        image = read_image(encoded(cmyk, form)).astype(int)
        assert np.abs(image - [255, 0, 0]).max() <= 8, form


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


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_truncated_files_refused(tmp_path, form):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(noise, form)
    path = tmp_path / "half"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="`image` must be a .*image='.*half'"):
        read_image(path)


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


def test_other_formats_refused():
    with pytest.raises(ValueError, match="`image` must be a picture file"):
        read_image(encoded(RGB, "PPM"))


def test_float_pictures_refused():
    data = encoded(np.ones((2, 2), np.float32), "TIFF")
    with pytest.raises(ValueError, match="8 or 16 bits per channel, not flo"):
        read_image(data)
    data = encoded(np.full((2, 2), 70000, np.int32), "TIFF")
    with pytest.raises(ValueError, match="`image` must have 8 or 16 bits per"):
        read_image(data)


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
                match=f"`{name}` must have at most 89478485 pixels. Received",
            ):
                read(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


def test_own_limit_holds_when_pillows_is_lifted(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ValueError, match="`image` must have at most"):
        read_image(png(9500, 9500, 8, 0, [b""]))
    monkeypatch.setattr(decode, "MAX_PIXELS", 35)
    np.testing.assert_array_equal(read_image(encoded(RGB)), RGB)
    monkeypatch.setattr(decode, "MAX_PIXELS", 34)
    with pytest.raises(ValueError, match="`image` must have at most 34 pixel"):
        read_image(encoded(RGB))


def test_threads_leave_the_warning_filters_alone():
    before = list(warnings.filters)
    data = encoded(RGB)
    threads = [
        threading.Thread(target=lambda: [read_image(data) for _ in range(30)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


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


def test_mask_turns_as_its_picture_does():
    exif = Image.Exif()
    exif[274] = 6
    np.testing.assert_array_equal(
        read_mask(encoded(INDEX, exif=exif)), np.rot90(INDEX, -1)
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
