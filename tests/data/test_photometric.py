"""Tests of colors and sharpness, against loops over pixels in float64."""

import colorsys
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from keras_pspnet.data.augment.photometric import (
    BLUR_KERNEL,
    distort,
    gaussian_blur,
    random_blur,
    random_distortion,
)

# Two grays tell brightness and contrast, a pale color saturation and hue:
# no change that is drawn takes any of the three to the ends of 0..255.
PROBES = np.float32([[[100] * 3, [120] * 3, [90, 100, 120]]])


class Changes(NamedTuple):
    brightness: float
    contrast: float
    saturation: float
    hue: float


def random_image(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height * 100 + width)
    return rng.uniform(0, 255, (height, width, 3)).astype("float32")


def distorted(
    image: np.ndarray, changes: Changes, contrast_first: bool
) -> np.ndarray:
    """One pixel and one change at a time, colors by Python's colorsys."""
    out = np.empty(image.shape)
    for place in np.ndindex(image.shape[:2]):
        pixel = np.clip(
            image[place].astype("float64") + changes.brightness, 0, 255
        )
        if contrast_first:
            pixel = np.clip(pixel * changes.contrast, 0, 255)
        h, s, v = colorsys.rgb_to_hsv(*pixel / 255)
        s = min(s * changes.saturation, 1)
        h = (h + changes.hue / 360) % 1
        pixel = 255 * np.array(colorsys.hsv_to_rgb(h, s, v))
        if not contrast_first:
            pixel = np.clip(pixel * changes.contrast, 0, 255)
        out[place] = pixel
    return out


def blurred(image: np.ndarray, kernel: tuple[float, ...]) -> np.ndarray:
    """Sums over the square of the kernel; edges mirror without repeating."""
    margin = len(kernel) // 2
    padded = np.pad(
        image.astype("float64"), [(margin,) * 2] * 2 + [(0, 0)], "reflect"
    )
    out = np.zeros(image.shape)
    for row, a in enumerate(kernel):
        for column, b in enumerate(kernel):
            height, width = image.shape[:2]
            out += a * b * padded[row : row + height, column : column + width]
    return out


def changes_of(probes: np.ndarray) -> Changes:
    """What was done to `PROBES`."""
    gray, lighter, color = probes[0].astype("float64")
    contrast = (lighter[0] - gray[0]) / 20
    before = colorsys.rgb_to_hsv(*PROBES[0, 2].tolist())
    after = colorsys.rgb_to_hsv(*color)
    # Brightness makes colors paler.
    brightness = gray[0] / contrast - 100
    paler = before[1] * before[2] / (before[2] + brightness)
    turn = (after[0] - before[0] + 0.5) % 1 - 0.5
    return Changes(brightness, contrast, after[1] / paler, 360 * turn)


def draw(image: np.ndarray, count: int) -> np.ndarray:
    """`random_distortion` under so many seeds, (count, H, W, 3)."""
    dataset = tf.data.Dataset.range(count).map(
        lambda k: random_distortion(image, tf.stack([5, tf.cast(k, "int32")]))
    )
    return np.stack(list(dataset.as_numpy_iterator()))


# === Blur ===


@pytest.mark.parametrize("kernel", [BLUR_KERNEL, (0.2, 0.5, 0.3), (1.0,)])
@pytest.mark.parametrize("size", [(3, 3), (9, 12), (16, 7)])
def test_blur_is_the_sum_over_the_kernel(size, kernel) -> None:
    image = random_image(*size)
    # A kernel that is not symmetric tells correlation from convolution.
    want = blurred(image, kernel)
    np.testing.assert_allclose(gaussian_blur(image, kernel), want, atol=1e-4)


def test_blur_keeps_one_color_and_the_mean_of_a_spot() -> None:
    image = np.full((8, 9, 3), (10, 200, 255), "float32")
    np.testing.assert_allclose(gaussian_blur(image), image, atol=1e-4)
    spot = np.zeros((9, 9, 3), "float32")
    spot[4, 4] = 256
    # What `cv2.GaussianBlur(spot, (5, 5), 0)` makes of its middle row.
    row = gaussian_blur(spot)[4, :, 0].numpy()
    np.testing.assert_array_equal(row, [0, 0, 6, 24, 36, 24, 6, 0, 0])


def test_blur_comes_as_often_as_it_is_said() -> None:
    image = random_image(5, 6)
    smooth = gaussian_blur(image).numpy()
    for probability in (0.0, 0.25, 1.0):
        dataset = tf.data.Dataset.range(400).map(
            lambda k, share=probability: random_blur(
                image, tf.stack([1, tf.cast(k, "int32")]), share
            )
        )
        results = list(dataset.as_numpy_iterator())
        changed = sum(np.array_equal(each, smooth) for each in results)
        kept = sum(np.array_equal(each, image) for each in results)
        assert changed + kept == 400
        # Five standard deviations.
        spread = 5 * np.sqrt(400 * probability * (1 - probability))
        assert abs(changed - 400 * probability) <= spread


# === Colors ===


@pytest.mark.parametrize("contrast_first", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        Changes(-32, 1, 1, 0),
        Changes(32, 1, 1, 0),
        Changes(0, 0.5, 1, 0),
        Changes(0, 1.5, 1, 0),
        Changes(0, 1, 0.5, 0),
        Changes(0, 1, 1.5, 0),
        Changes(0, 1, 1, -36),
        Changes(0, 1, 1, 36),
        Changes(20, 1.4, 1.3, 25),
        Changes(-25, 0.7, 0.6, -11),
    ],
)
def test_colors_are_what_colorsys_makes_of_them(
    changes: Changes, contrast_first: bool
) -> None:
    image = random_image(8, 9)
    image[0, :4] = [[0] * 3, [255] * 3, [128] * 3, [0, 0, 255]]
    have = distort(image, *map(float, changes), contrast_first)
    want = distorted(image, changes, contrast_first)
    np.testing.assert_allclose(have, want, rtol=0, atol=2e-3)
    assert np.abs(want - image).max() > 10


def test_no_change_is_none_bit_for_bit() -> None:
    image = random_image(6, 7)
    np.testing.assert_array_equal(distort(image), image)


def test_every_change_is_made_half_the_time_within_its_range() -> None:
    count = 500
    found = np.array([changes_of(each) for each in draw(PROBES, count)])
    for values, neutral, low, high in zip(
        found.T,
        (0, 1, 1, 0),
        (-32, 0.5, 0.5, -36),
        (32, 1.5, 1.5, 36),
        strict=True,
    ):
        span = high - low
        made = values[np.abs(values - neutral) > 1e-3 * span]
        # Five standard deviations.
        assert abs(len(made) - count / 2) <= 5 * np.sqrt(count / 4)
        assert abs(made.mean() - neutral) <= 5 * span / np.sqrt(12 * len(made))
        assert low - 1e-3 * span <= made.min() < low + 0.05 * span
        assert high - 0.05 * span < made.max() <= high + 1e-3 * span
    # Each is drawn for itself.
    made = np.abs(found - (0, 1, 1, 0)) > (0.06, 1e-3, 1e-3, 0.07)
    assert len(np.unique(made, axis=0)) == 16


def test_contrast_is_first_or_last_as_often() -> None:
    image = np.concatenate([PROBES, random_image(1, 24)], axis=1)
    first = last = 0
    for have in draw(image, 80):
        changes = changes_of(have[:, :3])
        fits = [
            np.allclose(
                have, distorted(image, changes, order), rtol=0, atol=0.05
            )
            for order in (True, False)
        ]
        assert any(fits)
        first += fits == [True, False]
        last += fits == [False, True]
    # The order shows where contrast and another change meet.
    assert min(first, last) >= 5
