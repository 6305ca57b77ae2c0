"""Tests of masks with the georeference of their image."""

from io import BytesIO

import numpy as np
import pytest
import tifffile
from band_files import CORNER, EPSG, PLACED, SCALE, band_tiff, tile
from image_files import RGB, encoded

from keras_pspnet.data import image_georeference, read_mask
from keras_pspnet.labels import VOC
from keras_pspnet.utils.georeference import Georeference, read_georeference
from keras_pspnet.visualization import Segmentation, class_colors

POINT = (1, 1, 0, 2, 1025, 0, 1, 2, 2048, 0, 1, 4326)
MATRIX = (2, 1, 0, 30, 1, -2, 0, 40, 0, 0, 0, 0, 0, 0, 0, 1)


def result(georeference=None):
    mask = np.random.default_rng(0).integers(0, 21, (20, 30), np.uint8)
    mask[0] = 255
    image = np.zeros((20, 30, 3), np.uint8)
    return Segmentation(image, mask, VOC, georeference=georeference)


def saved_tags(path):
    with tifffile.TiffFile(path) as file:
        tags = file.pages.first.tags
        return {code: tags.valueof(code) for code in (*PLACED, 34264, 42113)}


@pytest.mark.parametrize(
    "options", [{}, {"byteorder": ">"}, {"bigtiff": True}, {"tile": (16, 16)}]
)
def test_a_mask_has_the_tags_of_its_image(tmp_path, options) -> None:
    file = band_tiff(tile(), PLACED, **options)
    georeference = image_georeference(file)
    assert georeference is not None
    found = result(georeference)
    found.save(tmp_path / "mask.tif")
    tags = saved_tags(tmp_path / "mask.tif")
    assert {code: tags[code] for code in PLACED} == {
        code: values for code, (_, values) in PLACED.items()
    }
    assert tags[42113] == "255"
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif"), found.mask)
    # It can be the image's successor in turn.
    again = image_georeference(tmp_path / "mask.tif")
    assert again == georeference
    with tifffile.TiffFile(tmp_path / "mask.tif") as file:
        page = file.pages.first
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        colors = (page.colormap.T // 257).astype(np.uint8)
    np.testing.assert_array_equal(colors, class_colors(VOC))


def test_texts_and_doubles_are_kept(tmp_path) -> None:
    tags = PLACED | {34736: (12, (6378137.0, 298.25))}
    file = band_tiff(tile(), tags)
    georeference = image_georeference(file)
    assert georeference is not None
    tags = georeference.tags | {34737: "WGS 84|meter|"}
    result(Georeference(tags)).save(tmp_path / "mask.tiff")
    assert image_georeference(tmp_path / "mask.tiff") == Georeference(tags)


def test_a_mask_without_a_map_is_a_plain_tiff(tmp_path) -> None:
    found = result()
    found.save(tmp_path / "mask.tif", colorblind=True)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif"), found.mask)
    assert image_georeference(tmp_path / "mask.tif") is None


def test_transforms_and_codes() -> None:
    placed = image_georeference(band_tiff(tile(), PLACED))
    assert placed is not None and placed.epsg == EPSG
    assert placed.transform.tolist() == [
        [SCALE[0], 0, CORNER[0]],
        [0, -SCALE[1], CORNER[1]],
    ]
    # A tiepoint may be anywhere, and stand for the center of a pixel.
    tie = (4.0, 2.0, 0.0, 100.0, 50.0, 0.0)
    moved = Georeference({33550: (10.0, 5.0, 0.0), 33922: tie})
    assert moved.transform.tolist() == [[10, 0, 60], [0, -5, 60]]
    assert moved.epsg is None
    point = Georeference(moved.tags | {34735: POINT})
    assert point.transform.tolist() == [[10, 0, 55], [0, -5, 62.5]]
    assert point.epsg == 4326
    matrix = Georeference({34264: tuple(map(float, MATRIX))})
    assert matrix.transform.tolist() == [[2, 1, 30], [1, -2, 40]]
    user = Georeference({34735: (1, 1, 0, 1, 3072, 0, 1, 32767)})
    assert user.epsg is None and user.transform is None


@pytest.mark.parametrize(
    "file",
    [
        encoded(RGB),
        encoded(RGB, "TIFF"),
        band_tiff(tile(), PLACED)[:100],
        b"II*\0" + bytes(40),
        b"",
        # Where it is read turned, the tags are for another image.
        band_tiff(tile(), PLACED | {274: (3, (6,))}),
    ],
)
def test_other_files_have_none(file) -> None:
    assert read_georeference(BytesIO(file)) is None


def test_what_a_suffix_means(tmp_path) -> None:
    found = result()
    for name, what in (("a.tif", "overlay"), ("a.geojson", "confidence")):
        with pytest.raises(ValueError, match="`path` must end in .png or .jpg"):
            found.save(tmp_path / name, what)
    with pytest.raises(ValueError, match="must end in .png or .tif"):
        found.save(tmp_path / "a.jpg", "mask")
    assert not list(tmp_path.iterdir())
