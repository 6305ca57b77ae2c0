"""Tests of segmentation: masks of the image's size, from any source.

The network is one convolution, so that NumPy tells what every mask must be.
"""

import subprocess
import sys
from io import BytesIO

import keras
import numpy as np
import pytest
import reference
from PIL import Image
from support import (
    assert_close,
    assert_is_argmax,
    conv_logits,
    conv_model,
    picture,
    tiny_pspnet,
)

from keras_pspnet.inference import views
from keras_pspnet.inference.predictor import (
    Predictor,
    as_predictor,
    predict_logits,
)
from keras_pspnet.inference.segment import predict_masks, segment
from keras_pspnet.inference.sliding_window import place_windows
from keras_pspnet.labels import LabelSet

LABELS = LabelSet(
    "four", ("a", "b", "c", "d"), ((9, 0, 0), (0, 9, 0), (0, 0, 9), (9, 9, 9))
)


def png(image: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def shrunk(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What `max_side` makes of an image."""
    small = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(small)


def mean_logits(
    model: keras.Model, image: np.ndarray, window: int | None = None
) -> np.ndarray:
    """The mean of all windows, (H, W, C), by arrays of the whole image."""
    if window is None:
        return conv_logits(model, image[None])[0]
    grid = place_windows(image.shape[:2], window)
    total = np.zeros((*image.shape[:2], model.output.shape[-1]))
    count = np.zeros((*image.shape[:2], 1))
    for top in grid.tops:
        for left in grid.lefts:
            here = np.s_[top : top + window, left : left + window]
            total[here] += conv_logits(model, image[here][None])[0]
            count[here] += 1
    return total / count


def mean_probabilities(
    model: keras.Model,
    image: np.ndarray,
    scales: tuple[float, ...],
    flip: bool,
    window: int | None = None,
) -> np.ndarray:
    """The mean of all views, (H, W, C), at the image's size."""
    height, width = image.shape[:2]

    def view(source: np.ndarray, scale: float) -> np.ndarray:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        inside = reference.bilinear(source[None], size)[0]
        logits = mean_logits(model, inside, window)
        return reference.softmax(
            reference.bilinear(logits[None], (height, width))
        )[0]

    found = [view(image, scale) for scale in scales]
    if flip:
        found += [view(image[:, ::-1], scale)[:, ::-1] for scale in scales]
    return np.mean(found, axis=0)


# === Sources and sizes ===


def test_path_bytes_and_array_give_the_same_mask(tmp_path) -> None:
    model, image = conv_model(), picture(33, 47)
    path = tmp_path / "photo.png"
    path.write_bytes(png(image))
    for source in (path, str(path), png(image), image):
        result = segment(model, source)
        np.testing.assert_array_equal(result.image, image)
        assert_is_argmax(result.mask, conv_logits(model, image[None])[0])


def test_pspnet_gives_the_argmax_of_its_main_logits() -> None:
    model, image = tiny_pspnet(), picture(33, 47)
    want = model(image[None].astype("float32"), training=False)["main"]
    result = segment(model, image)
    assert_is_argmax(result.mask, np.asarray(want)[0])
    single = segment(model.inference_model(), image)
    np.testing.assert_array_equal(single.mask, result.mask)


def test_values_between_whole_numbers_count() -> None:
    model = conv_model()
    image = picture(9, 11).astype("float32") * 0.75
    result = segment(model, image)
    assert_is_argmax(result.mask, conv_logits(model, image[None])[0])
    assert result.image.dtype == np.uint8
    assert np.abs(result.image - image).max() <= 0.5


@pytest.mark.parametrize("size", [(33, 47), (15, 90), (24, 40), (5, 6)])
def test_a_network_of_fixed_size_serves_every_image(
    size: tuple[int, int],
) -> None:
    model, image = conv_model(size=(24, 40)), picture(*size)
    factor = min(24 / size[0], 40 / size[1])
    fitted = [max(1, round(side * factor)) for side in size]
    inside = np.zeros((1, 24, 40, 3), "float32")
    seen = np.s_[:, : fitted[0], : fitted[1]]
    inside[seen] = reference.bilinear(image[None], fitted)
    logits = conv_logits(model, inside)[seen]
    want = reference.bilinear(logits, size)[0]
    assert_is_argmax(segment(model, image).mask, want)
    assert_is_argmax(predict_masks(model, image[None])[0], want)
    assert_close(predict_logits(model, image[None]), logits, 1e-5)


# The mask of the tall one is upsampled in several parts.
@pytest.mark.parametrize(
    ("size", "inside"), [((30, 51), (12, 20)), ((150, 43), (20, 6))]
)
def test_max_side_shrinks_what_the_network_sees_alone(
    size: tuple[int, int], inside: tuple[int, int]
) -> None:
    model, image = conv_model(), picture(*size)
    logits = conv_logits(model, shrunk(image, inside)[None])
    result = segment(model, image, max_side=20)
    np.testing.assert_array_equal(result.image, image)
    assert_is_argmax(result.mask, reference.bilinear(logits, size)[0])


def test_large_images_are_shrunk_unless_told_otherwise() -> None:
    model, image = conv_model(), picture(2, 1100)
    whole = segment(model, image, max_side=None).mask
    assert_is_argmax(whole, conv_logits(model, image[None])[0])
    assert (segment(model, image).mask != whole).any()
    inside = shrunk(image, (2, 1024))[None]
    logits = reference.bilinear(conv_logits(model, inside), (2, 1100))[0]
    assert_is_argmax(segment(model, image).mask, logits)


def test_images_seen_in_windows_are_not_shrunk_unless_told() -> None:
    model, image = conv_model(), picture(2, 1100)
    want = mean_logits(model, image, 64)
    assert_is_argmax(segment(model, image, window=64).mask, want)
    inside = mean_logits(model, shrunk(image, (1, 500)), 64)
    want = reference.bilinear(inside[None], (2, 1100))[0]
    assert_is_argmax(segment(model, image, window=64, max_side=500).mask, want)


def test_larger_files_than_allowed_are_refused() -> None:
    data = png(picture(10, 12))
    assert segment(conv_model(), data, max_pixels=120).mask.shape == (10, 12)
    with pytest.raises(ValueError, match="119"):
        segment(conv_model(), data, max_pixels=119)


# === Scales and flip ===


@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(0.5, 1.0, 1.75), (1.0,), (2,)])
def test_probabilities_of_all_views_are_averaged(
    scales: tuple[float, ...], flip: bool, window: int | None
) -> None:
    model, image = conv_model(), picture(21, 30)
    want = mean_probabilities(model, image, scales, flip, window)
    result = segment(model, image, scales, flip, window=window, confidence=True)
    if scales == (1.0,) and not flip:
        # One view's logits tell, without their probabilities.
        assert_is_argmax(result.mask, mean_logits(model, image, window))
    else:
        assert_is_argmax(result.mask, want)
    assert result.confidence.dtype == np.float32
    np.testing.assert_allclose(result.confidence, want.max(-1), atol=1e-5)


# === Windows ===


@pytest.mark.parametrize(
    "size", [(16, 16), (17, 30), (60, 16), (37, 53), (5, 40)]
)
def test_windows_average_their_logits(size: tuple[int, int]) -> None:
    model, image = conv_model(), picture(*size)
    result = segment(model, image, window=16)
    assert_is_argmax(result.mask, mean_logits(model, image, 16))
    assert result.confidence is None


@pytest.mark.parametrize("window", [None, 16, 473])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_the_smallest_images_in_windows_and_views(size, window) -> None:
    model, image = conv_model(), picture(*size)
    for scales, flip in (((1.0,), False), ((0.1, 1, 3), True)):
        want = mean_probabilities(model, image, scales, flip, window)
        result = segment(model, image, scales, flip, window, confidence=True)
        np.testing.assert_array_equal(result.mask, want.argmax(-1))
        np.testing.assert_allclose(result.confidence, want.max(-1), atol=1e-5)


@pytest.mark.parametrize("window", [15, 0, -16, 16.0, True, "64", (64, 64)])
def test_windows_are_checked(window) -> None:
    match = "`window` must be an integer of at least 16 or None. Received: w"
    with pytest.raises(ValueError, match=match):
        segment(conv_model(), picture(5, 5), window=window)


def test_a_network_of_fixed_size_sees_windows_fitted() -> None:
    model, image = conv_model(size=(8, 12)), picture(20, 40)
    grid = place_windows((20, 40), 16)
    total, count = np.zeros((20, 40, 4)), np.zeros((20, 40, 1))
    for top in grid.tops:
        for left in grid.lefts:
            here = np.s_[top : top + 16, left : left + 16]
            inside = np.zeros((1, 8, 12, 3))
            inside[:, :, :8] = reference.bilinear(image[here][None], (8, 8))
            logits = conv_logits(model, inside)[:, :, :8]
            total[here] += reference.bilinear(logits, (16, 16))[0]
            count[here] += 1
    assert_is_argmax(segment(model, image, window=16).mask, total / count)


# === In pieces ===


VIEWS = {
    "one view": {"window": 16},
    "flipped": {"window": 16, "flip": True},
    "scales": {"window": 16, "scales": (0.6, 1.5), "flip": True},
    "shrunk": {"window": 16, "max_side": 150, "flip": True},
    "shrunk, one view": {"window": 16, "max_side": 200},
}


@pytest.mark.parametrize("arguments", VIEWS.values(), ids=VIEWS)
def test_strips_and_bands_change_nothing(
    arguments, monkeypatch, capsys
) -> None:
    computed = []
    model = conv_model()

    def run(images: np.ndarray) -> np.ndarray:
        computed.append(len(images))
        return as_predictor(model).run(images)

    network, image = Predictor(run, LABELS), picture(37, 290)

    def found() -> tuple[np.ndarray, np.ndarray, int]:
        computed.clear()
        result = segment(
            network, image, **arguments, confidence=True, verbose=True
        )
        # The bar ends with what was computed.
        count = sum(computed)
        last = capsys.readouterr().out.splitlines()[-1]
        assert f"{count}/{count}" in last
        return result.mask, result.confidence, count

    mask, confidence, count = found()
    counts = set()
    for windows in (views._WINDOW_BYTES, 1):
        monkeypatch.setattr(views, "_WINDOW_BYTES", windows)
        # All rows at a time, several, and one.
        for bands in (views._BAND_BYTES, 2**14, 1):
            with monkeypatch.context() as context:
                context.setattr(views, "_BAND_BYTES", bands)
                again = found()
            np.testing.assert_array_equal(again[0], mask)
            np.testing.assert_allclose(again[1], confidence, atol=1e-6)
            counts.add(again[2])
    # Windows on the borders of strips are computed for both.
    assert min(counts) == count < max(counts)
    assert len(counts) == 2


@pytest.mark.parametrize("size", [2**10, 1])
def test_whole_images_in_bands_are_the_same(size, monkeypatch) -> None:
    model, image = conv_model(size=(8, 12)), picture(61, 40)
    every = {"scales": (0.3, 1.0), "flip": True, "confidence": True}
    whole = segment(model, image, **every)
    monkeypatch.setattr(views, "_BAND_BYTES", size)
    found = segment(model, image, **every)
    np.testing.assert_array_equal(found.mask, whole.mask)
    np.testing.assert_allclose(found.confidence, whole.confidence, atol=1e-6)


# A large image in a process of its own: memory that was needed once counts.
LARGE = """
import resource, sys
import keras
import numpy as np
from keras_pspnet.inference.segment import segment

height, width, classes, window = map(int, sys.argv[1:])
image = keras.Input((None, None, 3))
layer = keras.layers.Conv2D(classes, 1)
model = keras.Model(image, layer(image))
picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), "uint8")

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

segment(model, picture[:200], window=window)
before = peak()
assert segment(model, picture, window=window).mask.shape == (height, width)
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_image() -> None:
    sizes = {"height": 6000, "width": 600, "classes": 64, "window": 96}
    process = subprocess.run(
        [sys.executable, "-c", LARGE, *map(str, sizes.values())],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    grown = int(process.stdout.splitlines()[-1])
    scores = 4 * sizes["height"] * sizes["width"] * sizes["classes"]
    assert grown < scores / 2


# === Confidence ===


@pytest.mark.parametrize("flip", [False, True])
def test_confidence_of_shrunk_images_has_their_size(flip: bool) -> None:
    model, image = conv_model(), picture(30, 51)
    small = shrunk(image, (12, 20))
    if flip:
        inside = mean_probabilities(model, small, (1.0,), True)
        want = reference.bilinear(inside[None], (30, 51))[0]
    else:
        # The logits are upsampled, and not their probabilities.
        logits = conv_logits(model, small[None])
        want = reference.softmax(reference.bilinear(logits, (30, 51)))[0]
    result = segment(model, image, flip=flip, max_side=20, confidence=True)
    assert_is_argmax(result.mask, want)
    np.testing.assert_allclose(result.confidence, want.max(-1), atol=1e-5)


# === Progress ===


@pytest.mark.parametrize(
    ("arguments", "count"),
    # 37 x 53: three rows of windows, five columns; 18 x 26: two and two.
    [({}, 1), ({"flip": True}, 2), ({"window": 16, "scales": (0.5, 1)}, 19)],
)
def test_the_bar_counts_windows(arguments, count: int, capsys) -> None:
    model, image = conv_model(), picture(37, 53)
    segment(model, image, **arguments)
    assert capsys.readouterr() == ("", "")
    segment(model, image, **arguments, verbose=True)
    shown = capsys.readouterr().out
    assert f"{count}/{count}" in shown.splitlines()[-1]
    assert shown.endswith("\n")


# === One network for all ===


def test_images_of_all_sizes_run_one_trace() -> None:
    model = conv_model()
    for size in ((9, 14), (1, 50), (40, 33)):
        image = picture(*size)
        segment(model, image, window=16)
        segment(model, image, scales=(0.5, 1.3), flip=True, max_side=20)
        predict_masks(model, image[None])
    assert as_predictor(model).traces() == 1


@pytest.mark.parametrize(
    "scales", [(), (1.0, 0.05), (11,), "abc", 1.0, None, (float("nan"),)]
)
def test_scales_are_checked(scales) -> None:
    with pytest.raises(ValueError, match=r"`scales` must.*0\.1 to 10\. Rec"):
        segment(conv_model(), picture(5, 5), scales=scales)


@pytest.mark.parametrize("max_side", [0, -5, 1.5, True, "1024"])
def test_max_side_is_checked(max_side) -> None:
    with pytest.raises(
        ValueError, match="`max_side` must.*None or 'auto'.*max_side="
    ):
        segment(conv_model(), picture(5, 5), max_side=max_side)


@pytest.mark.parametrize(
    ("source", "error", "match"),
    [
        ("no_such.jpg", FileNotFoundError, "`image` must.*no_such.jpg"),
        (b"some notes", ValueError, "`image` must be an image file"),
        (np.zeros((5, 7), "uint8"), ValueError, r"`image` must.*\(5, 7\)"),
        (np.zeros((5, 7, 4), "uint8"), ValueError, r"`image`.*\(5, 7, 4\)"),
        (np.full((5, 7, 3), 300.0), ValueError, r"within 0\.\.255"),
        (7, TypeError, "`image` must be a path"),
    ],
)
def test_what_is_no_image_is_refused(source, error, match: str) -> None:
    with pytest.raises(error, match=match):
        segment(conv_model(), source)


# === Batches ===


def test_predict_logits_and_masks_of_a_batch() -> None:
    model = conv_model()
    images = np.stack([picture(9, 14), picture(9, 14)[::-1]])
    want = conv_logits(model, images)
    logits = predict_logits(model, images)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-4)
    assert_is_argmax(predict_masks(model, images), want)


def test_a_model_of_two_replicas_gives_each_image_once(two_replicas) -> None:
    with two_replicas.scope():
        model = conv_model()
    images = np.stack([picture(9, 14), picture(9, 14)[::-1]])
    for count in (1, 2):
        want = conv_logits(model, images[:count])
        assert_is_argmax(predict_masks(model, images[:count]), want)
    # Flipped views are averaged, so that the mask is not the argmax above.
    alone = segment(conv_model(), images[0], flip=True)
    both = segment(model, images[0], flip=True)
    np.testing.assert_array_equal(both.mask, alone.mask)
