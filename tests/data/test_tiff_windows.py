"""Tests of windows of TIFF files, which are those of the whole image."""

import tracemalloc

import numpy as np
import pytest
import tifffile
from band_files import band_tiff, tile

import keras_pspnet as kp
from keras_pspnet.data import image_windows, read_image, tiff_windows
from keras_pspnet.labels import generic_labels
from keras_pspnet.visualization import as_rgb

LAYOUTS = {
    "one strip": {},
    "big-endian": {"byteorder": ">"},
    "bands apart": {"planarconfig": "separate"},
    "strips": {"compression": "zlib", "rowsperstrip": 7},
    "tiles": {"compression": "zlib", "predictor": 2, "tile": (16, 16)},
    "tiles of bands": {"planarconfig": "separate", "tile": (32, 16)},
    "strips of bands": {
        "planarconfig": "separate",
        "compression": "zlib",
        "rowsperstrip": 7,
    },
    "white is 0": {"photometric": "miniswhite", "tile": (16, 16)},
}
WINDOWS = (
    np.s_[:, :],
    np.s_[3:4, 5:6],
    np.s_[6:41, 15:34],
    np.s_[30:],
    np.s_[:9],
)


def same(path, bands: int) -> None:
    """Windows, flipped ones too, have the values of the whole."""
    whole = read_image(path, bands=bands)
    with image_windows(path, bands=bands) as image:
        assert not isinstance(image, np.ndarray)
        assert image.shape == whole.shape and image.dtype == whole.dtype
        for seen, want in ((image, whole), (image[:, ::-1], whole[:, ::-1])):
            for window in WINDOWS:
                np.testing.assert_array_equal(seen[window], want[window])
        np.testing.assert_array_equal(image[:, ::-1][:, ::-1][:], whole)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bands", [1, 4])
def test_values_of_windows(tmp_path, monkeypatch, layout, bands) -> None:
    # Parts are decoded again and again.
    monkeypatch.setattr(tiff_windows, "_KEPT", 1000)
    path = tmp_path / "tile.tif"
    image = tile(bands, "uint16", (45, 50))
    path.write_bytes(band_tiff(image, **LAYOUTS[layout]))
    same(path, bands)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_dtypes(tmp_path, dtype) -> None:
    path = tmp_path / "tile.tif"
    path.write_bytes(band_tiff(tile(4, dtype, (45, 50)), tile=(16, 16)))
    same(path, 4)


def test_pixels_without_data_have_their_band_s_mean(tmp_path) -> None:
    image = tile(2, "float32", (45, 50)).round()
    image[:, 20:30, 0] = np.nan
    image[40:, :, 1] = -9999
    path = tmp_path / "tile.tif"
    path.write_bytes(band_tiff(image, nodata="-9999", tile=(16, 16)))
    same(path, 2)
    path.write_bytes(band_tiff(image))
    with (
        pytest.raises(ValueError, match="450 pixels of band 1 are NaN"),
        image_windows(path, bands=2),
    ):
        pass


def test_parts_that_are_not_stored(tmp_path) -> None:
    path = tmp_path / "sparse.tif"
    stored = tile(4, "uint16", (16, 16))
    tifffile.imwrite(
        path,
        iter([None if index % 3 == 1 else stored for index in range(12)]),
        shape=(45, 50, 4),
        dtype="uint16",
        photometric="minisblack",
        planarconfig="contig",
        tile=(16, 16),
        compression="zlib",
    )
    same(path, 4)


@pytest.mark.parametrize("layout", ["one strip", "tiles"])
def test_truncated_files_are_refused(tmp_path, layout) -> None:
    path = tmp_path / "tile.tif"
    data = band_tiff(tile(4, "uint16", (45, 50)), **LAYOUTS[layout])
    path.write_bytes(data[: len(data) - 900])
    with pytest.raises(ValueError, match=r"`image` must.*tile\.tif"):
        image_windows(path, bands=4).__enter__()
    with pytest.raises(ValueError, match="at most 99 pixels"):
        image_windows(path, 99, 4).__enter__()


@pytest.mark.parametrize("options", [{}, {"window": 32, "flip": True}])
def test_segment_reads_windows_and_gives_the_whole_s_mask(
    tmp_path, options
) -> None:
    def run(images):
        light = images.mean(axis=-1) - 2000
        return np.stack([-light, light], axis=-1)

    image = tile(4, "uint16", (45, 50))
    path = tmp_path / "tile.tif"
    path.write_bytes(band_tiff(image, tile=(16, 16)))
    network = kp.Predictor(run, generic_labels(2), fill=(0,) * 4)
    for more in ({}, {"max_side": 40}):
        found = kp.segment(network, path, **options, **more)
        want = kp.segment(network, image, **options, **more)
        np.testing.assert_array_equal(found.mask, want.mask)
        np.testing.assert_array_equal(found.image, want.image)
        assert len(np.unique(found.mask)) == 2


def test_no_copy_of_a_large_image_is_made(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tiff_windows, "_KEPT", 2**21)
    path = tmp_path / "large.tif"
    image = np.zeros((3000, 2000, 8), np.uint16)
    image[:, 1000:] = 3000
    tifffile.imwrite(
        path,
        image,
        photometric="minisblack",
        planarconfig="contig",
        tile=(256, 256),
        compression="zlib",
    )
    del image
    tracemalloc.start()
    try:
        with image_windows(path, bands=8) as opened:
            shown = as_rgb(opened)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert shown.shape == (3000, 2000, 3)
    # The image is 96 MB, and what is shown of it 18.
    assert peak < 60e6
