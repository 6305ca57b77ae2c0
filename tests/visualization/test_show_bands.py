"""Tests of how images of any bands are shown."""

import numpy as np
import pytest

from keras_pspnet.visualization import as_rgb


def ramp(bands, dtype="uint16"):
    values = np.arange(101 * 40, dtype="float32").reshape(40, 101, 1)
    return (values * np.arange(1, bands + 1)).astype(dtype)


def test_three_bytes_are_shown_as_they_are() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    assert as_rgb(image) is image
    np.testing.assert_array_equal(as_rgb(image, (3, 2, 1)), image[..., ::-1])


def test_chosen_bytes_are_shown_as_they_are() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 6), np.uint8)
    np.testing.assert_array_equal(as_rgb(image), image[..., :3])
    np.testing.assert_array_equal(
        as_rgb(image, (6, 1, 4)), image[..., [5, 0, 3]]
    )
    np.testing.assert_array_equal(
        as_rgb(image, (5,)), np.repeat(image[..., 4:5], 3, axis=-1)
    )


@pytest.mark.parametrize("bands", [1, 2])
def test_fewer_than_three_bands_are_grey(bands) -> None:
    shown = as_rgb(ramp(bands))
    assert (shown == shown[..., :1]).all()


@pytest.mark.parametrize("dtype", ["uint16", "float32", "int16"])
def test_numbers_are_stretched_between_percentiles(dtype) -> None:
    image = ramp(4, dtype if dtype != "int16" else "float32")
    image = image.astype(dtype) if dtype == "int16" else image
    shown = as_rgb(image, (4, 1, 2))
    assert shown.dtype == np.uint8 and shown.shape == (40, 101, 3)
    for place, band in enumerate((3, 0, 1)):
        low, high = np.percentile(image[..., band], (2, 98))
        wanted = np.clip((image[..., band] - low) / (high - low), 0, 1) * 255
        np.testing.assert_allclose(shown[..., place], wanted, atol=0.51)


def test_a_constant_band_is_black() -> None:
    assert not as_rgb(np.full((3, 4, 1), 900, "uint16")).any()


@pytest.mark.parametrize("chosen", [(1, 2), (1, 2, 5), (0, 1, 2), "abc", 3])
def test_other_choices_are_refused(chosen) -> None:
    with pytest.raises(ValueError, match="three bands, or one, of 1 to 4"):
        as_rgb(ramp(4), chosen)
