"""Tests of the protocols against their sources' steps, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import reference
from support import assert_is_argmax, picture

from keras_pspnet.evaluation.evaluate import evaluate
from keras_pspnet.evaluation.protocols import (
    make_protocol,
    mmseg_size,
    predict_mask,
)
from keras_pspnet.evaluation.reference_resize import matlab_resize
from keras_pspnet.inference.predictor import Predictor
from keras_pspnet.labels import generic_labels

CLASSES = 4
FILL = (123.68, 116.779, 103.939)
# A square, both ways of being longer, a strip and an image that grows much.
SIZES = ((37, 37), (31, 46), (44, 29), (18, 61), (9, 13))
SEVERAL = (0.5, 1.0, 1.75)

Score = Callable[[np.ndarray], np.ndarray]


def logits_of(images: np.ndarray) -> np.ndarray:
    """A network that sees neighbors, left and right, and its borders.

    Args:
        images: (B, h, w, 3).

    Returns:
        float64 (B, h, w, C).
    """
    rng = np.random.default_rng(1)
    kernel = rng.normal(0, 0.02, (3, 3, 3, CLASSES))
    # Zero mean over the colors: differences decide, not the brightness.
    kernel -= kernel.mean(axis=2, keepdims=True)
    down, across = rng.normal(0, 1.5, (2, CLASSES))
    height, width = images.shape[1:3]
    y, x = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    place = y[:, None, None] * down + x[:, None] * across
    return reference.conv2d(images, kernel, padding=1) + place


def network(align_corners: bool = False) -> Predictor:
    return Predictor(
        lambda images: logits_of(images).astype("float32"),
        generic_labels(CLASSES),
        fill=FILL,
        align_corners=align_corners,
    )


def run(image: np.ndarray) -> np.ndarray:
    return logits_of(image[None].astype("float32"))[0]


def slid(score: Score, image: np.ndarray, window: int) -> np.ndarray:
    """Mean scores of windows two thirds of their side apart."""
    height, width = image.shape[:2]
    stride = math.ceil(window * 2 / 3)
    total = np.zeros((height, width, CLASSES))
    count = np.zeros((height, width, 1))
    for row in range(math.ceil(max(height - window, 0) / stride) + 1):
        for column in range(math.ceil(max(width - window, 0) / stride) + 1):
            bottom = min(row * stride + window, height)
            right = min(column * stride + window, width)
            here = np.s_[
                max(bottom - window, 0) : bottom,
                max(right - window, 0) : right,
            ]
            total[here] += score(image[here])
            count[here] += 1
    return total / count


def padded(
    image: np.ndarray, window: int, top: int, left: int, fill: np.ndarray
) -> np.ndarray:
    height, width = image.shape[:2]
    whole = np.zeros((max(height, window), max(width, window), 3)) + fill
    whole[top : top + height, left : left + width] = image
    return whole


# === The sources, step by step ===


def mmseg(
    image: np.ndarray,
    scales: tuple[float, ...],
    flip: bool,
    window: int | None,
    base: tuple[int, int],
    align_corners: bool = False,
) -> np.ndarray:
    """Scores (H, W, C) by mmsegmentation.

    Its test pipeline resizes bytes into a box; logits of windows, if there
    are any, are averaged, flipped back and resized to the image's own
    size; only several of them go through a softmax.
    """
    height, width = image.shape[:2]
    views = []
    for scale in scales:
        longest, shortest = int(base[0] * scale), int(base[1] * scale)
        factor = min(
            longest / max(height, width), shortest / min(height, width)
        )
        size = int(height * factor + 0.5), int(width * factor + 0.5)
        seen = reference.opencv_fixed_point(image, size)
        for flipped in (False, True) if flip else (False,):
            shown = seen[:, ::-1] if flipped else seen
            logits = slid(run, shown, window) if window else run(shown)
            if flipped:
                logits = logits[:, ::-1]
            views.append(
                reference.bilinear(
                    logits[None], (height, width), align_corners
                )[0]
            )
    if len(views) == 1:
        return views[0]
    return np.mean([reference.softmax(view) for view in views], axis=0)


def semseg(
    image: np.ndarray,
    scales: tuple[float, ...],
    flip: bool,
    window: int,
    base: int,
) -> np.ndarray:
    """Scores (H, W, C) by hszhao/semseg.

    Images are floats when they are resized, and padded on all sides; the
    probabilities of a window and of its flipped image are averaged, then those
    of the windows, then resized.
    """

    def score(crop: np.ndarray) -> np.ndarray:
        plain = reference.softmax(run(crop))
        if not flip:
            return plain
        flipped = reference.softmax(run(crop[:, ::-1]))
        return (plain + flipped[:, ::-1]) / 2

    height, width = image.shape[:2]
    total = np.zeros((height, width, CLASSES))
    for scale in scales:
        longest = round(scale * base)
        if height > width:
            size = longest, round(longest / height * width)
        else:
            size = round(longest / width * height), longest
        seen = reference.bilinear(image[None], size)[0]
        top = max(window - size[0], 0) // 2
        left = max(window - size[1], 0) // 2
        whole = padded(seen, window, top, left, np.array(FILL))
        scores = slid(score, whole, window)
        scores = scores[top : top + size[0], left : left + size[1]]
        total += reference.bilinear(scores[None], (height, width))[0]
    return total / len(scales)


def caffe(
    image: np.ndarray,
    scales: tuple[float, ...],
    flip: bool,
    window: int,
    base: int,
) -> np.ndarray:
    """Scores (H, W, C) by hszhao/PSPNet.

    MATLAB resizes bytes to one pixel more than the base; what fits into one
    window is padded with the exact mean, and with the rounded one otherwise,
    at the bottom and on the right; logits of a window and of its flipped image
    are added before the softmax; probabilities are resized by MATLAB as well,
    and divided by their sum.
    """

    def score(crop: np.ndarray) -> np.ndarray:
        logits = run(crop)
        if flip:
            logits = logits + run(crop[:, ::-1])[:, ::-1]
        return reference.softmax(logits)

    height, width = image.shape[:2]
    total = np.zeros((height, width, CLASSES))
    for scale in scales:
        longest = int(base * scale) + 1
        ratio = np.float32(longest) / np.float32(max(height, width))
        other = math.floor(float(ratio * np.float32(min(height, width))) + 0.5)
        size = (longest, other) if height > width else (other, longest)
        # Of sums that are exactly a half, rounding decides (test_resizing).
        seen = matlab_resize(image, size)
        fill = np.array(FILL)
        if longest > window:
            fill = np.floor(fill + 0.5)
        whole = padded(seen, window, 0, 0, fill)
        scores = slid(score, whole, window)[: size[0], : size[1]]
        scores = reference.matlab_bilinear(scores, (height, width))
        total += scores / scores.sum(axis=-1, keepdims=True)
    return total / len(scales)


def paddleseg(
    image: np.ndarray,
    scales: tuple[float, ...],
    flip: bool,
    window: int | None,
    base: int,
) -> np.ndarray:
    """Scores (H, W, C) by PaddleSeg.

    Images are padded with half of the range, at the bottom and on the right,
    where they are smaller than the base; resized as floats, flipped, and
    their logits flipped back and resized to the padded size, always at
    half-pixel centers; these are averaged without any softmax, and cut.
    """
    height, width = image.shape[:2]
    whole = padded(image, base, 0, 0, np.array(127.5))
    total = np.zeros((*whole.shape[:2], CLASSES))
    for scale in scales:
        size = tuple(math.floor(side * scale + 0.5) for side in whole.shape[:2])
        seen = reference.bilinear(whole[None], size)[0]
        for flipped in (False, True) if flip else (False,):
            shown = seen[:, ::-1] if flipped else seen
            logits = slid(run, shown, window) if window else run(shown)
            if flipped:
                logits = logits[:, ::-1]
            total += reference.bilinear(logits[None], whole.shape[:2])[0]
    return (total / (len(scales) * (1 + flip)))[:height, :width]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("scales", "flip", "window", "base"),
    [
        ((1.0,), False, None, (80, 36)),
        ((1.0,), True, None, (50, 36)),
        (SEVERAL, True, None, (60, 37)),
        ((1.0,), False, 16, (64, 40)),
        (SEVERAL, True, 23, (64, 40)),
        ((0.75,), False, 100, (90, 61)),
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_mmseg(size, scales, flip, window, base, align_corners) -> None:
    image = picture(*size)
    protocol = make_protocol("mmseg", scales, flip, window, base)
    mask = predict_mask(network(align_corners), image, protocol)
    want = mmseg(image, scales, flip, window, base, align_corners)
    assert_is_argmax(mask, want)


# Smaller than the window as a whole, in one direction, and larger.
BY_SIDE = pytest.mark.parametrize(
    ("scales", "flip", "window", "base"),
    [
        ((1.0,), True, 33, 28),
        ((1.0,), True, 33, 48),
        ((1.0,), False, 24, 60),
        (SEVERAL, True, 25, 40),
        (SEVERAL, False, 40, 40),
    ],
)


@BY_SIDE
@pytest.mark.parametrize("size", SIZES)
def test_semseg(size, scales, flip, window, base) -> None:
    image = picture(*size)
    protocol = make_protocol("semseg", scales, flip, window, base)
    mask = predict_mask(network(), image, protocol)
    assert_is_argmax(mask, semseg(image, scales, flip, window, base))


@BY_SIDE
@pytest.mark.parametrize("size", SIZES)
def test_caffe(size, scales, flip, window, base) -> None:
    image = picture(*size)
    protocol = make_protocol("caffe", scales, flip, window, base)
    mask = predict_mask(network(), image, protocol)
    assert_is_argmax(mask, caffe(image, scales, flip, window, base))


@pytest.mark.parametrize(
    ("scales", "flip", "window", "base"),
    [
        # Padded on both sides, on one, on none.
        ((1.0,), False, None, 61),
        ((1.0,), True, None, 40),
        (SEVERAL, True, None, 33),
        (SEVERAL, False, None, 1),
        ((1.0,), False, 16, 48),
        (SEVERAL, True, 23, 40),
        # Windows larger than the image.
        ((0.75,), True, 100, 64),
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_paddleseg(size, scales, flip, window, base) -> None:
    image = picture(*size)
    protocol = make_protocol("paddleseg", scales, flip, window, base)
    # However the network resizes, PaddleSeg's views are half-pixel.
    mask = predict_mask(network(align_corners=True), image, protocol)
    assert_is_argmax(mask, paddleseg(image, scales, flip, window, base))


def test_paddleseg_averages_logits_not_probabilities() -> None:
    # Two small views against one large, which is surer of its class.
    def by_size(images: np.ndarray) -> np.ndarray:
        first = 9.0 if images.shape[2] > 30 else -3.0
        logits = np.zeros((*images.shape[:3], 2), "float32")
        return logits + np.array([first, 0], "float32")

    predictor = Predictor(by_size, generic_labels(2), fill=FILL)
    scales = (0.5, 0.75, 2.0)
    for protocol, winner in (
        (make_protocol("paddleseg", scales, base=1), 0),
        (make_protocol("plain", scales), 1),
    ):
        mask = predict_mask(predictor, picture(20, 30), protocol)
        assert (mask == winner).all()


def test_paddleseg_pads_other_bands_with_the_model_s_fill() -> None:
    fill = (1000.0, 30.0, 2.0, 7.0)
    seen = []

    def run_bands(images: np.ndarray) -> np.ndarray:
        seen.append(images[0])
        return images[..., :2]

    predictor = Predictor(run_bands, generic_labels(2), fill=fill)
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 1000, (9, 30, 4)).astype("float32")
    mask = predict_mask(predictor, image, make_protocol("paddleseg", base=20))
    assert mask.shape == (9, 30)
    (whole,) = seen
    assert whole.shape == (20, 30, 4)
    np.testing.assert_array_equal(whole[:9], image)
    np.testing.assert_array_equal(whole[9:], np.broadcast_to(fill, (11, 30, 4)))


# === Sizes ===


@pytest.mark.parametrize(
    ("size", "base", "scale", "want"),
    [
        # What mmcv.rescale_size gives.
        ((375, 500), (2048, 512), 1.0, (512, 683)),
        ((500, 375), (2048, 512), 1.0, (683, 512)),
        ((375, 500), (2048, 512), 0.75, (384, 512)),
        ((1024, 2048), (2048, 1024), 1.0, (1024, 2048)),
        ((1024, 2048), (2049, 1025), 1.75, (1793, 3585)),
        # The longest side decides.
        ((100, 900), (2048, 512), 1.0, (228, 2048)),
        # Where it would give no pixel at all.
        ((1, 5000), (2048, 512), 1.0, (1, 2048)),
    ],
)
def test_sizes_of_mmseg(size, base, scale, want) -> None:
    assert mmseg_size(size, base, scale) == want


@pytest.mark.parametrize("name", ["mmseg", "semseg", "caffe", "paddleseg"])
def test_images_of_a_pixel_or_a_row(name: str) -> None:
    base = (40, 20) if name == "mmseg" else 20
    protocol = make_protocol(name, window=16, base=base)
    for size in ((1, 1), (1, 90), (90, 1)):
        mask = predict_mask(network(), picture(*size), protocol)
        assert mask.shape == size


@pytest.mark.parametrize("name", ["mmseg", "semseg", "caffe", "paddleseg"])
def test_floats_are_rounded_to_bytes(name: str) -> None:
    image = picture(31, 46)
    protocol = make_protocol(
        name, window=24, base=(60, 40) if name == "mmseg" else 40
    )
    rng = np.random.default_rng(0)
    floats = image + rng.uniform(-0.4, 0.4, image.shape).astype("float32")
    np.testing.assert_array_equal(
        predict_mask(network(), floats, protocol),
        predict_mask(network(), image, protocol),
    )


# === Settings ===


@pytest.mark.parametrize(
    ("name", "flip", "window", "base"),
    [
        ("plain", False, None, None),
        ("mmseg", False, None, (2048, 512)),
        ("semseg", True, 473, 512),
        ("caffe", True, 473, 512),
        ("paddleseg", False, None, 512),
    ],
)
def test_what_the_sources_do_by_default(name, flip, window, base) -> None:
    assert make_protocol(name).to_dict() == {
        "name": name,
        "scales": (1.0,),
        "flip": flip,
        "window": window,
        "base": base,
    }


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"name": "voc"}, r"`protocol` must be.*caffe.*'voc'"),
        ({"scales": ()}, r"`scales` must be.*scales=\(\)"),
        ({"window": 15}, r"`window` must be.*at least 16.*window=15"),
        ({"base": 512}, r"`base` must be None for protocol='plain'.*512"),
        ({"name": "mmseg", "base": 512}, r"must be \(longest, shortest\).*512"),
        ({"name": "mmseg", "base": (512, 2048)}, r"shortest\).*\(512, 2048\)"),
        ({"name": "mmseg", "base": (512, 0)}, r"shortest\).*\(512, 0\)"),
        ({"name": "mmseg", "base": (3, 2, 1)}, r"shortest\).*\(3, 2, 1\)"),
        ({"name": "semseg", "base": (512, 9)}, r"longest side.*\(512, 9\)"),
        ({"name": "semseg", "base": 0}, r"longest side, a positive.*base=0"),
        ({"name": "caffe", "base": "big"}, r"longest side.*base='big'"),
        ({"name": "paddleseg", "base": 0}, r"padded side, a pos.*base=0"),
        ({"name": "paddleseg", "base": (9, 9)}, r"padded side.*\(9, 9\)"),
    ],
)
def test_settings_are_checked(settings, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make_protocol(**settings)


# === Sets ===


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mmseg", {"scales": SEVERAL, "flip": True, "base": (60, 40)}),
        ("semseg", {"window": 24, "base": 40}),
        ("caffe", {"window": 24, "base": 40, "flip": False}),
        ("paddleseg", {"scales": SEVERAL, "flip": True, "base": 40}),
    ],
)
def test_a_set_is_scored_by_the_protocol(name, settings) -> None:
    rng = np.random.default_rng(0)
    data, want = [], 0
    for size in SIZES[:2]:
        image = picture(*size)
        mask = rng.integers(0, CLASSES, size, dtype="uint8")
        prediction = predict_mask(
            network(), image, make_protocol(name, **settings)
        )
        want = want + reference.confusion_matrix(mask, prediction, CLASSES)
        data.append((image, mask))
    scores = evaluate(network(), data, name, **settings)
    np.testing.assert_array_equal(scores.confusion, want)
    assert scores.protocol["name"] == name
