"""Tests of masks read as classes: values, colors, palettes, file formats."""

from io import BytesIO

import numpy as np
import pytest
from image_files import encoded, png, tiff
from PIL import Image

from keras_pspnet.data.sources import encodings
from keras_pspnet.data.sources.encodings import (
    Encoding,
    UnknownValuesError,
    plain_encoding,
)
from keras_pspnet.labels import named_labels

LABELS = named_labels(["a", "b", "c"])
COLORS = np.array([(0, 0, 0), (255, 0, 0), (10, 200, 30)], np.uint8)
CLASSES = np.arange(24, dtype=np.uint8).reshape(4, 6) % 3
BY_COLOR = plain_encoding(
    LABELS,
    "labels.txt",
    [(tuple(color), k) for k, color in enumerate(COLORS.tolist())],
)


def by_value(*values, **options):
    """The encoding of masks that hold these values for a, b, c ..."""
    marks = [(value, index) for index, value in enumerate(values)]
    labels = named_labels([f"c{k}" for k in range(len(values))])
    return plain_encoding(labels, "labels.txt", marks, **options)


def palette_file(form, colors, pixels=CLASSES):
    picture = Image.fromarray(pixels)
    picture.putpalette(np.asarray(colors, np.uint8).tobytes())
    return encoded(picture, form)


# === Values ===


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((0, 255), np.uint8),
        ((0, 1, 2, 127), np.uint8),
        ((1, 2, 3), np.uint8),
        ((9, 300, 65535), np.uint16),
        ((7, 300), np.uint16),
        # In the order of the lines.
        ((5, 4, 0), np.uint8),
    ],
)
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_values_become_classes(values, dtype, form) -> None:
    classes = np.arange(24).reshape(4, 6) % len(values)
    stored = np.array(values, dtype)[classes]
    read = by_value(*values).read(encoded(stored, form))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, classes)


def test_255_is_ignored_unless_it_is_a_class() -> None:
    data = encoded(np.array([[0, 255, 128]], np.uint8))
    np.testing.assert_array_equal(by_value(0, 128).read(data), [[0, 255, 1]])
    np.testing.assert_array_equal(by_value(0, 128, 255).read(data), [[0, 2, 1]])


@pytest.mark.parametrize(
    ("ignore_label", "want"),
    [(None, [[0, 1, 255]]), (1, [[0, 255, 255]]), (7, [[0, 1, 255]])],
)
def test_an_ignore_label_is_a_class_or_a_value(ignore_label, want) -> None:
    encoding = by_value(0, 128, ignore_label=ignore_label)
    third = 255 if ignore_label is None else ignore_label
    if third == 1:
        third = 255
    stored = np.array([[0, 128, third]], np.uint8)
    np.testing.assert_array_equal(encoding.read(encoded(stored)), want)


def test_values_without_a_class_are_counted() -> None:
    stored = np.array([[0, 3, 3], [127, 3, 9]], np.uint8)
    with pytest.raises(
        UnknownValuesError,
        match=r"labels within 0, 127, or 255 to ignore, as labels\.txt "
        r"has them \(load\(\.\.\., ignore_unknown=True\) ignores others\)\. "
        r"Received: labels 3 \(3 pixels\), 9 \(1 pixels\), the "
        r"first at x=1, y=0, in mask=<",
    ) as caught:
        by_value(0, 127).read(encoded(stored))
    assert caught.value.counts == {"3": 3, "9": 1}


def test_many_values_are_those_of_a_resized_mask() -> None:
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    with pytest.raises(
        ValueError,
        match=r"253 others are many: was the mask resized, .*labels 2 \(1 "
        r"pixels\).*, 245 more, the first at x=2",
    ):
        by_value(0, 1).read(encoded(stored))


def test_long_values_without_a_class() -> None:
    stored = np.full((2, 2), 65535, np.uint16)
    with pytest.raises(ValueError, match=r"within 0\.\.2, .*label 65535 \(4 "):
        plain_encoding(LABELS, "labels.txt").read(encoded(stored))


def test_others_are_ignored_on_request() -> None:
    stored = np.array([[0, 3, 127]], np.uint8)
    encoding = Encoding({0: 0, 127: 1}, (), "", ignore_unknown=True)
    np.testing.assert_array_equal(encoding.read(encoded(stored)), [[0, 255, 1]])
    colors = Encoding({0: 0}, (((9, 9, 9), 0),), "", ignore_unknown=True)
    stored = np.array([[(9, 9, 9), (9, 9, 8)]], np.uint8)
    np.testing.assert_array_equal(colors.read(encoded(stored)), [[0, 255]])


def test_one_bit_masks_hold_0_and_1() -> None:
    picture = Image.fromarray(CLASSES == 1)
    assert picture.mode == "1"
    for form in ("PNG", "TIFF", "BMP"):
        read = by_value(0, 1).read(encoded(picture, form))
        np.testing.assert_array_equal(read, CLASSES == 1)


# === Colors ===


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colors_in_every_lossless_format(form, mode) -> None:
    picture = Image.fromarray(COLORS[CLASSES]).convert(mode)
    data = encoded(picture, form)
    np.testing.assert_array_equal(BY_COLOR.read(data), CLASSES)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_colors_in_compressed_tiff(compression) -> None:
    data = encoded(COLORS[CLASSES], "TIFF", compression=compression)
    np.testing.assert_array_equal(BY_COLOR.read(data), CLASSES)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "GIF"])
def test_a_palette_of_listed_colors_counts(form) -> None:
    order = [2, 0, 1]
    data = palette_file(form, COLORS[order])
    with Image.open(BytesIO(data)) as picture:
        assert picture.mode == "P"
        seen = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(BY_COLOR.read(data), np.array(order)[CLASSES])
    np.testing.assert_array_equal(
        BY_COLOR.read(encoded(seen)), np.array(order)[CLASSES]
    )


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "GIF"])
def test_a_palette_for_looks_alone_does_not(form) -> None:
    data = palette_file(form, [(1, 2, 3), (255, 0, 0), (0, 0, 0)])
    np.testing.assert_array_equal(BY_COLOR.read(data), CLASSES)
    # Nor do colors where values are listed.
    data = palette_file(form, COLORS[::-1])
    read = by_value(2, 1, 0).read(data)
    np.testing.assert_array_equal(read, 2 - CLASSES)


def test_a_palette_with_a_listed_and_another_color_is_refused() -> None:
    colors = [COLORS[1], COLORS[0], (7, 7, 7)]
    with pytest.raises(
        ValueError,
        match=r"palette in the order of labels\.txt, or be saved as RGB.*index "
        r"0 with \[255, 0, 0\], the color of class 1",
    ):
        BY_COLOR.read(palette_file("PNG", colors, CLASSES % 2))


def test_classes_that_share_a_color_have_their_palette(tmp_path) -> None:
    colors = COLORS[[0, 1, 1]]
    marks = [(tuple(color), k) for k, color in enumerate(colors.tolist())]
    encoding = plain_encoding(LABELS, "labels.txt", marks)
    data = palette_file("PNG", colors)
    np.testing.assert_array_equal(encoding.read(data), CLASSES)
    with pytest.raises(
        ValueError, match=r"share a color.*#ff0000 twice in lab"
    ):
        encoding.read(palette_file("PNG", colors[[1, 0, 2]]))


def test_a_file_is_opened_once(tmp_path, monkeypatch) -> None:
    path = tmp_path / "m.png"
    path.write_bytes(palette_file("PNG", COLORS))
    opened = []
    monkeypatch.setattr(
        "builtins.open",
        lambda *args, real=open, **kwargs: (
            opened.append(args[0]) or real(*args, **kwargs)
        ),
    )
    np.testing.assert_array_equal(BY_COLOR.read(path), CLASSES)
    assert opened == [path]


def test_colors_not_listed_are_counted() -> None:
    colors = COLORS[CLASSES].copy()
    colors[1, 2] = colors[3, 3] = 1, 2, 3
    colors[3, 0] = 4, 5, 6
    with pytest.raises(
        UnknownValuesError,
        match=r"colors that labels\.txt lists, exactly \(load\(.*colors "
        r"\[1, 2, 3\] \(#010203\) \(2 pixels\), \[4, 5, 6\] \(#040506\) \(1 pi"
        r".*first at x=2, y=1, in mask=",
    ):
        BY_COLOR.read(encoded(colors))


# === Counts ===


@pytest.mark.parametrize("step", [1, 3])
def test_values_are_counted(step: int) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (9, 21), np.uint8)
    mask = mask[:, ::step]
    values, pixels = np.unique(mask, return_counts=True)
    want = np.zeros(256)
    want[values] = pixels
    np.testing.assert_array_equal(encodings.count_values(mask), want)


def test_good_masks_are_not_counted(monkeypatch) -> None:
    # Counting takes longer than decoding, and runs in the training pipeline.
    monkeypatch.setattr(encodings, "count_values", None)
    padded = np.zeros((256, 3), np.uint8)
    padded[: len(COLORS)] = COLORS
    for data in (palette_file("PNG", padded), encoded(CLASSES)):
        np.testing.assert_array_equal(BY_COLOR.read(data), CLASSES)


# === Refused ===


def test_other_kinds_of_colors_are_refused() -> None:
    deep = png(1, 1, 16, 2, [b"\0\1" * 3])
    deep_tiff = tiff([1, 1], [16, 16, 16], 2, b"\0\1" * 3)
    for data in (deep, deep_tiff, encoded(Image.new("CMYK", (2, 2)), "TIFF")):
        with pytest.raises(
            ValueError, match="`mask` must be an index mask, .*"
        ):
            BY_COLOR.read(data)


def test_jpeg_inside_tiff_is_refused() -> None:
    data = encoded(COLORS[CLASSES].repeat(8, 0), "TIFF", compression="jpeg")
    with pytest.raises(ValueError, match="without loss, not as JPEG in TIFF"):
        BY_COLOR.read(data)


def test_limit_of_pixels() -> None:
    data = encoded(CLASSES)
    assert by_value(0, 1, 2).read(data, max_pixels=24).shape == (4, 6)
    with pytest.raises(ValueError, match="at most 23 pixels, or `max_pixels`"):
        by_value(0, 1, 2).read(data, max_pixels=23)
