"""Tests of segmentation: masks of the picture's size, from any source.

The network is one convolution, so that NumPy tells what every mask must be.
"""

from io import BytesIO

import keras
import numpy as np
import pytest
import reference
from PIL import Image
from support import (
    assert_is_argmax,
    conv_logits,
    conv_model,
    picture,
    tiny_pspnet,
)

from keras_pspnet.inference import predict_masks, segment
from keras_pspnet.labels import LabelSet
from keras_pspnet.network import (
    fill_color,
    main_output,
    model_labels,
    network_size,
    predict_logits,
)

LABELS = LabelSet(
    "four", ("a", "b", "c", "d"), ((9, 0, 0), (0, 9, 0), (0, 0, 9), (9, 9, 9))
)


def png(image: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


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


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (31, 2)])
def test_the_smallest_pictures_have_masks(size: tuple[int, int]) -> None:
    model, image = conv_model(), picture(*size)
    want = conv_logits(model, image[None])[0].argmax(-1)
    np.testing.assert_array_equal(segment(model, image).mask, want)


@pytest.mark.parametrize("size", [(33, 47), (15, 90), (24, 40)])
def test_a_network_of_fixed_size_serves_every_picture(
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


def test_padding_has_the_colour_that_normalisation_makes_zero() -> None:
    model = tiny_pspnet(mean=(10, 20, 30), input_shape=(24, 40, 3))
    assert fill_color(model) == (10, 20, 30)
    assert fill_color(conv_model()) == (0, 0, 0)
    image = picture(24, 20).astype("float32")
    padded = np.empty((1, 24, 40, 3), "float32")
    padded[:] = (10, 20, 30)
    padded[:, :, :20] = image
    np.testing.assert_allclose(
        predict_logits(model, image[None]),
        predict_logits(model, padded)[:, :, :20],
        atol=1e-5,
    )


# The mask of the tall one is enlarged in several parts.
@pytest.mark.parametrize(
    ("size", "inside"), [((30, 51), (12, 20)), ((150, 43), (20, 6))]
)
def test_max_side_shrinks_what_the_network_sees_alone(
    size: tuple[int, int], inside: tuple[int, int]
) -> None:
    model, image = conv_model(), picture(*size)
    small = Image.fromarray(image).resize(
        inside[::-1], Image.Resampling.BILINEAR
    )
    logits = conv_logits(model, np.asarray(small)[None])
    result = segment(model, image, max_side=20)
    np.testing.assert_array_equal(result.image, image)
    assert_is_argmax(result.mask, reference.bilinear(logits, size)[0])


@pytest.mark.parametrize("max_side", [None, 51, 1024])
def test_max_side_leaves_smaller_pictures_alone(max_side: int | None) -> None:
    model, image = conv_model(), picture(30, 51)
    mask = segment(model, image, max_side=max_side).mask
    assert_is_argmax(mask, conv_logits(model, image[None])[0])


def test_large_pictures_are_shrunk_unless_told_otherwise() -> None:
    model, image = conv_model(), picture(2, 1100)
    whole = segment(model, image, max_side=None).mask
    assert_is_argmax(whole, conv_logits(model, image[None])[0])
    assert (segment(model, image).mask != whole).any()


# === Scales and flip ===


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(0.5, 1.0, 1.75), (1.0,), (2,)])
def test_probabilities_of_all_views_are_averaged(
    scales: tuple[float, ...], flip: bool
) -> None:
    model, image = conv_model(), picture(21, 30)

    def view(source: np.ndarray, scale: float) -> np.ndarray:
        size = round(21 * scale), round(30 * scale)
        inside = reference.bilinear(source[None], size)
        logits = reference.bilinear(conv_logits(model, inside), (21, 30))
        return softmax(logits)[0]

    want = [view(image, scale) for scale in scales]
    if flip:
        want += [view(image[:, ::-1], scale)[:, ::-1] for scale in scales]
    result = segment(model, image, scales=scales, flip=flip)
    assert_is_argmax(result.mask, np.mean(want, axis=0))


@pytest.mark.parametrize(
    "scales", [(), (1.0, 0.05), (11,), "abc", 1.0, None, (float("nan"),)]
)
def test_scales_are_checked(scales) -> None:
    with pytest.raises(ValueError, match=r"`scales` must.*0\.1 to 10\. Rec"):
        segment(conv_model(), picture(5, 5), scales=scales)


@pytest.mark.parametrize("max_side", [0, -5, 1.5, True, "1024"])
def test_max_side_is_checked(max_side) -> None:
    with pytest.raises(ValueError, match="`max_side` must.*max_side="):
        segment(conv_model(), picture(5, 5), max_side=max_side)


@pytest.mark.parametrize(
    ("source", "error", "match"),
    [
        ("no_such.jpg", FileNotFoundError, "`image` must.*no_such.jpg"),
        (b"some notes", ValueError, "`image` must be a picture file"),
        (np.zeros((5, 7), "uint8"), ValueError, r"`image` must.*\(5, 7\)"),
        (np.zeros((5, 7, 4), "uint8"), ValueError, r"`image`.*\(5, 7, 4\)"),
        (np.full((5, 7, 3), 300.0), ValueError, r"within 0\.\.255"),
        (7, TypeError, "`image` must be a path"),
    ],
)
def test_what_is_no_picture_is_refused(source, error, match: str) -> None:
    with pytest.raises(error, match=match):
        segment(conv_model(), source)


# === Names of classes ===


def test_labels_are_the_model_s_or_made_up() -> None:
    model = conv_model()
    made_up = segment(model, picture(5, 5)).labels
    assert made_up.names == ("class_0", "class_1", "class_2", "class_3")
    model.labels = LABELS
    assert segment(model, picture(5, 5)).labels is LABELS
    assert model_labels(model) is LABELS


def test_labels_of_both_forms_of_a_pspnet() -> None:
    model = tiny_pspnet(4, labels=LABELS)
    assert model_labels(model) == LABELS
    assert model_labels(model.inference_model()) == LABELS
    assert model_labels(tiny_pspnet(2)).num_classes == 2


# === Batches ===


def test_predict_logits_and_masks_of_a_batch() -> None:
    model = conv_model()
    images = np.stack([picture(9, 14), picture(9, 14)[::-1]])
    want = conv_logits(model, images)
    logits = predict_logits(model, images)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-4)
    assert_is_argmax(predict_masks(model, images), want)


def test_predict_logits_stay_at_the_network_s_own_size() -> None:
    model = conv_model(size=(8, 12))
    images = np.stack([picture(9, 14)])
    inside = reference.bilinear(images, (8, 12))
    np.testing.assert_allclose(
        predict_logits(model, images),
        conv_logits(model, inside),
        rtol=1e-4,
        atol=1e-4,
    )
    assert predict_masks(model, images).shape == (1, 9, 14)


def test_a_model_of_two_replicas_gives_each_picture_once(two_replicas) -> None:
    with two_replicas.scope():
        model = conv_model()
    images = np.stack([picture(9, 14), picture(9, 14)[::-1]])
    for count in (1, 2):
        want = conv_logits(model, images[:count])
        assert_is_argmax(predict_masks(model, images[:count]), want)
    # Mirrored views are averaged, so that the mask is not the argmax above.
    alone = segment(conv_model(), images[0], flip=True)
    both = segment(model, images[0], flip=True)
    np.testing.assert_array_equal(both.mask, alone.mask)


@pytest.mark.parametrize(
    "shape", [(5, 7, 3), (5, 7), (2, 5, 7, 4), (1, 0, 7, 3), (0, 5, 7, 3)]
)
def test_batches_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    match = r"`images` must be RGB.*Received: images of shape \(" + str(
        shape[0]
    )
    with pytest.raises(ValueError, match=match):
        predict_masks(conv_model(), np.zeros(shape, "float32"))


def test_main_output_is_the_one_that_counts() -> None:
    assert main_output({"main": 1, "aux": 2}) == 1
    assert main_output(3) == 3


@pytest.mark.parametrize(
    ("size", "want"),
    [((24, 40), (24, 40)), ((None, 40), None), ((None, None), None)],
)
def test_network_size(size, want) -> None:
    image = keras.Input((*size, 3))
    assert network_size(keras.Model(image, keras.ops.mean(image))) == want
