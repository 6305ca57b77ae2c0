"""What users hand to evaluate and segment, and the scores they read."""

import numpy as np
import pytest
from small import small
from user_input import Case, each, run

import keras_pspnet as kp
from keras_pspnet.labels import generic_labels

pytestmark = pytest.mark.user_input

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 9, 9, 3)).astype("uint8")
MASKS = RNG.integers(0, 2, (4, 9, 9)).astype("uint8")
FLOATS = IMAGES.astype("float32")
ONE_GOOD = np.concatenate([MASKS[:1], MASKS[1:] * np.uint8(255)])


def network(images):
    """Dark is 0, bright is 1."""
    light = images.mean(axis=-1) - 128
    return np.stack([-light, light], axis=-1).astype("float32")


PREDICTOR = kp.Predictor(network, generic_labels(2))
WANTED = kp.evaluate(PREDICTOR, zip(IMAGES, MASKS, strict=True))
WEIGHTS = np.array([1.0, 1.0, 0.0, 0.0])


def score(*dataset):
    pairs = list(zip(*dataset, strict=True))
    return lambda: kp.evaluate(PREDICTOR, pairs)


def same(scores):
    np.testing.assert_array_equal(scores.confusion, WANTED.confusion)


def half(scores):
    first = score(IMAGES[:2], MASKS[:2])()
    np.testing.assert_array_equal(scores.confusion, first.confusion)


ROWS = [
    Case(
        "masks divided by 255",
        "kp.evaluate",
        score(IMAGES, MASKS / 255),
        error=r"labels must be whole numbers.*Received: label 0\.0039",
    ),
    Case(
        "whole numbers as floats",
        "kp.evaluate",
        score(IMAGES, MASKS.astype("float32")),
        value=same,
    ),
    Case(
        "masks of 0 and 255, two classes",
        "kp.evaluate",
        score(IMAGES, MASKS * np.uint8(255)),
        warning="two classes must be 0 and 1.*Received: 4 of 4 masks",
    ),
    Case(
        "one good mask among 0 and 255",
        "kp.evaluate",
        score(IMAGES, ONE_GOOD),
        warning="Received: 3 of 4 masks.*, and 1 that hold 1",
    ),
    Case(
        "images in 0..1",
        "kp.evaluate",
        score(FLOATS / 255, MASKS),
        warning=r"images must be in 0\.\.255.*4 images.*multiply them by 255",
    ),
    Case("floats in 0..255", "kp.evaluate", score(FLOATS, MASKS), value=same),
    Case(
        "images in 0..1",
        "kp.segment",
        lambda: kp.segment(PREDICTOR, FLOATS[0] / 255),
        warning=r"`image`: images must be in 0\.\.255",
    ),
    Case(
        "floats in 0..255",
        "kp.segment",
        lambda: kp.segment(PREDICTOR, FLOATS[0]),
    ),
    Case(
        "one-hot masks",
        "kp.evaluate",
        score(IMAGES, np.eye(2)[MASKS]),
        error="one-hot masks into labels with argmax",
    ),
    Case(
        "RGB masks",
        "kp.evaluate",
        score(IMAGES, IMAGES),
        error="map the colors of RGB masks to labels",
    ),
    Case(
        "arrays instead of pairs",
        "kp.evaluate",
        lambda: kp.evaluate(PREDICTOR, IMAGES, MASKS),
        error=r"use zip\(images, masks\) for arrays",
    ),
    Case(
        "images without masks",
        "kp.evaluate",
        lambda: kp.evaluate(PREDICTOR, list(IMAGES)),
        error="must yield pairs of image and mask",
    ),
    Case(
        "one output for two classes",
        "kp.Predictor",
        lambda: kp.Predictor(lambda images: images[..., :1], generic_labels(1)),
        error="`labels` must have at least 2 classes.*an output for each",
    ),
    Case(
        "triples with weights",
        "kp.evaluate",
        score(IMAGES, MASKS, WEIGHTS),
        value=half,
    ),
]


@each(ROWS)
def test_scoring(case):
    run(case)


def test_the_table_says_which_classes_are_missing():
    labels = generic_labels(3)
    confusion = np.array([[5, 1, 0], [0, 0, 0], [2, 0, 0]])
    lines = kp.Scores(confusion, labels).table().splitlines()
    assert lines[-2] == "no ground truth: class_1"
    assert lines[-1] == "never predicted: class_2"
    full = kp.Scores(np.ones((3, 3), int), labels).table()
    assert "ground truth" not in full and "predicted" not in full


def test_whole_float_masks_train_like_integers():
    results = []
    for dtype in ("uint8", "float32"):
        model = small(classes=2)
        model.fit(IMAGES, MASKS.astype(dtype), batch_size=2, verbose=0)
        results.append(model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
