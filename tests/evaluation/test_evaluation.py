"""Tests of evaluation: one matrix, however the data comes."""

import numpy as np
import pytest
import reference
import tensorflow as tf
from support import conv_logits, conv_model, tiny_pspnet

from keras_pspnet import __version__
from keras_pspnet.evaluation import Scores
from keras_pspnet.evaluation.evaluate import evaluate
from keras_pspnet.inference.model_info import weights_sha256
from keras_pspnet.inference.predictor import Predictor, as_predictor
from keras_pspnet.inference.segment import segment
from keras_pspnet.labels import LabelSet

LABELS = LabelSet(
    "three", ("sky", "traffic light", "sea"), ((1, 0, 0), (2, 0, 0), (3, 0, 0))
)


def pairs(count: int, size: tuple[int, int] = (7, 11), classes: int = 4):
    """Noise and random labels, a fifth of them 255."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *size, 3), dtype="uint8")
    masks = rng.integers(0, classes, (count, *size), dtype="uint8")
    masks[rng.random(masks.shape) < 0.2] = 255
    return images, masks


def unread():
    """A set that says whether anyone has read it."""
    raise AssertionError("read")
    yield


def test_pairs_batches_and_data_sets_agree_with_the_definition() -> None:
    model, (images, masks) = conv_model(), pairs(5)
    predictions = conv_logits(model, images).argmax(-1)
    want = reference.confusion_matrix(masks, predictions, 4)
    dataset = tf.data.Dataset.from_tensor_slices((images, masks))
    batches = [
        (images[start : start + 2], masks[start : start + 2])
        for start in (0, 2, 4)
    ]
    for data in (
        list(zip(images, masks, strict=True)),
        zip(images, masks[..., None], strict=True),
        batches,
        [(images, masks[..., None])],
        dataset,
        dataset.batch(3),
    ):
        scores = evaluate(model, data)
        np.testing.assert_array_equal(scores.confusion, want)
    assert scores.confusion.dtype == np.int64
    assert scores.mean_iou == pytest.approx(reference.mean_iou(want))
    assert scores.pixel_accuracy == pytest.approx(
        reference.pixel_accuracy(want)
    )
    assert scores.labels.names == ("class_0", "class_1", "class_2", "class_3")


def test_views_and_windows_are_those_of_segment() -> None:
    model = conv_model()
    data, how = [], {"scales": (0.5, 1.5), "flip": True, "window": 16}
    want = 0
    for size in ((25, 31), (18, 40)):
        images, masks = pairs(1, size)
        data.append((images[0], masks[0]))
        found = segment(model, images[0], **how).mask
        want += reference.confusion_matrix(masks, found[None], 4)
    scores = evaluate(model, data, **how)
    np.testing.assert_array_equal(scores.confusion, want)
    assert (evaluate(model, data).confusion != want).any()


def test_another_label_can_be_ignored() -> None:
    model, (images, masks) = conv_model(), pairs(2)
    masks[masks == 255] = 1
    predictions = conv_logits(model, images).argmax(-1)
    want = reference.confusion_matrix(masks, predictions, 4, ignore=1)
    scores = evaluate(model, [(images, masks)], ignore_label=1)
    np.testing.assert_array_equal(scores.confusion, want)


def test_a_pspnet_is_scored_by_its_main_output() -> None:
    model = tiny_pspnet(labels=LABELS)
    images, masks = pairs(2, (33, 40), classes=3)
    scores = evaluate(model, [(images, masks)])
    single = evaluate(model.inference_model(), [(images, masks)])
    np.testing.assert_array_equal(scores.confusion, single.confusion)
    assert scores.labels is model.labels
    logits = model(images.astype("float32"), training=False)["main"]
    want = reference.confusion_matrix(masks, np.argmax(logits, -1), 3)
    np.testing.assert_array_equal(scores.confusion, want)


def test_shows_its_progress_only_if_asked(capsys) -> None:
    images, masks = pairs(3)
    data = list(zip(images, masks, strict=True))
    evaluate(conv_model(), data)
    assert capsys.readouterr() == ("", "")
    evaluate(conv_model(), data, verbose=True)
    assert "3/3" in capsys.readouterr().out
    evaluate(conv_model(), iter(data), verbose=True)
    shown = capsys.readouterr().out
    assert "3/" in shown
    assert shown.endswith("\n")


# === Shards ===


@pytest.mark.parametrize(("batch", "count"), [(1, 1), (2, 3), (7, 2)])
def test_shards_sum_to_the_whole(batch: int, count: int) -> None:
    model, (images, masks) = conv_model(), pairs(7)
    data = [
        (images[start : start + batch], masks[start : start + batch])
        for start in range(0, 7, batch)
    ]
    whole = evaluate(model, data)
    parts = [
        evaluate(model, data, shard=(index, count)) for index in range(count)
    ]
    assert [part.images for part in parts] == [
        len(range(index, 7, count)) for index in range(count)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert total.to_dict() == whole.to_dict()
    # Every count-th image from the index-th.
    predictions = conv_logits(model, images).argmax(-1)
    for index, part in enumerate(parts):
        want = reference.confusion_matrix(
            masks[index::count], predictions[index::count], 4
        )
        np.testing.assert_array_equal(part.confusion, want)


def test_a_shard_without_images_is_refused() -> None:
    images, masks = pairs(2)
    match = r"hold images for every shard\. Received: 2 images, shard=\(2, 3"
    with pytest.raises(ValueError, match=match):
        evaluate(conv_model(), [(images, masks)], shard=(2, 3))


@pytest.mark.parametrize(
    "shard",
    [(2, 2), (-1, 2), (0, 0), (0,), (0, 1, 2), 1, None],
)
def test_shards_are_checked_before_the_set_is_read(shard) -> None:
    rule = r"`shard` must be.*< count\. Received"
    with pytest.raises(ValueError, match=rule):
        evaluate(conv_model(), unread(), shard=shard)


# === What a report says ===


def test_the_report_says_how_and_of_what_the_scores_are(tmp_path) -> None:
    model, (images, masks) = conv_model(), pairs(3)
    scores = evaluate(
        model, [(images, masks)], scales=(1, 0.5), flip=True, window=16
    )
    said = scores.to_dict()
    assert said["protocol"] == {
        "name": "plain",
        "scales": [1.0, 0.5],
        "flip": True,
        "window": 16,
        "base": None,
        "ignore_label": 255,
    }
    assert said["weights_sha256"] == weights_sha256(model)
    assert said["versions"]["keras_pspnet"] == __version__
    assert said["versions"]["tensorflow"] == tf.__version__
    assert said["versions"]["numpy"] == np.__version__
    assert said["images"] == 3
    assert said["pixels"] == np.count_nonzero(masks != 255)
    assert np.sum(said["confusion"]) == said["pixels"]
    scores.save(tmp_path / "scores.json")
    assert Scores.load(tmp_path / "scores.json").to_dict() == said
    # A training step later it is another network.
    model.set_weights([-each for each in model.get_weights()])
    later = evaluate(model, [(images, masks)])
    assert later.weights_sha256 != scores.weights_sha256


def test_networks_have_the_hash_of_the_model_behind_them() -> None:
    model, data = conv_model(), [pairs(1)]
    assert evaluate(as_predictor(model), data).weights_sha256 == weights_sha256(
        model
    )
    own = Predictor(as_predictor(model).run, as_predictor(model).labels)
    scores = evaluate(own, data)
    assert scores.weights_sha256 is None
    np.testing.assert_array_equal(
        scores.confusion, evaluate(model, data).confusion
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"protocol": "voc"}, "`protocol` must be.*'voc'"),
        ({"scales": ()}, "`scales` must be"),
        ({"window": 8}, "`window` must be an integer of at least 16"),
        ({"base": 512}, "`base` must be None for protocol='plain'"),
        ({"ignore_label": 256}, "`ignore_label` must be"),
    ],
)
def test_arguments_are_checked_before_the_set_is_read(arguments, match) -> None:
    with pytest.raises(ValueError, match=match):
        evaluate(conv_model(), unread(), **arguments)


@pytest.mark.parametrize("data", [[], iter(())])
def test_an_empty_set_is_refused(data) -> None:
    with pytest.raises(ValueError, match="`dataset` must hold images"):
        evaluate(conv_model(), data)


@pytest.mark.parametrize(
    ("image", "mask", "match"),
    [
        ((7, 11, 3), (11, 7), r"\(1, 7, 11, 3\), masks \(1, 11, 7\)"),
        ((2, 7, 11, 3), (1, 7, 11), r"masks \(1, 7, 11\)"),
        ((7, 11, 4), (7, 11), r"must hold RGB images.*\(1, 7, 11, 4\)"),
        ((7, 11), (7, 11), r"must hold RGB images.*\(7, 11\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(image, mask, match: str) -> None:
    data = [(np.zeros(image, "uint8"), np.zeros(mask, "uint8"))]
    with pytest.raises(ValueError, match=match):
        evaluate(conv_model(), data)
