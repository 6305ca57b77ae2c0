"""What users hand to evaluate and segment, and the scores they read."""

import numpy as np
import pytest
from data_trees import row, write_own, write_text
from small import small
from user_input import Case, each, run

import keras_pspnet as kp
from keras_pspnet.data import load
from keras_pspnet.labels import generic_labels, named_labels

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
        "masks of 1 and 255, two classes",
        "kp.evaluate",
        score(IMAGES, np.where(MASKS == 1, 255, 1)),
        warning="at least two classes.* 4 masks .* only class 1 has ground tr",
    ),
    Case("a mask of 0", "kp.evaluate", score(IMAGES[:1], MASKS[:1] * 0)),
    Case(
        "images in 0..1",
        "kp.evaluate",
        score(FLOATS / 255, MASKS),
        warning=r"images must be in 0\.\.255.*4 images.*multiply them by 255",
    ),
    Case(
        "images of NaN",
        "kp.evaluate",
        score(FLOATS * np.float32("nan"), MASKS),
        error="`dataset`: images must hold finite numbers",
    ),
    Case("floats in 0..255", "kp.evaluate", score(FLOATS, MASKS), value=same),
    Case(
        "images in 0..1",
        "kp.segment",
        lambda: kp.segment(PREDICTOR, FLOATS[0] / 255),
        warning=r"`image`: images must be in 0\.\.255",
    ),
    Case(
        "flip that is a word",
        "kp.segment",
        lambda: kp.segment(PREDICTOR, IMAGES[0], flip="no"),
        error="`flip` must be one of True, False. Received: flip='no'",
    ),
    Case(
        "flip that is a word",
        "kp.evaluate",
        lambda: kp.evaluate(PREDICTOR, [], flip="no"),
        error="`flip` must be one of None, True, False. Received: flip='no'",
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


# === Classes of the data and of the model ===


@pytest.fixture
def folder(tmp_path):
    write_own(tmp_path, m0=row(0, 1), m1=row(1, 0))
    write_text(tmp_path / "labels.txt", "a\nb\n")
    return tmp_path


@pytest.mark.parametrize("names", ["ba", "abc"])
def test_classes_of_another_order_or_count_are_refused(folder, names):
    labels = named_labels(list(names))
    predictor = kp.Predictor(wide(len(names)), labels)
    data = load(folder)
    error = (
        f"`dataset` must have the {len(names)} classes of the model in their "
        f"order: {', '.join(names)}. Received: a, b"
    )
    with pytest.raises(ValueError, match=error):
        kp.evaluate(predictor, data)
    model = small(classes=len(names))
    model.labels = labels
    with pytest.raises(ValueError, match=error):
        model.fit(
            IMAGES,
            MASKS,
            callbacks=[kp.callbacks.ValidationScores(data)],
            verbose=0,
        )
    assert model.global_step == 0


@pytest.mark.parametrize("names", ["ab", "xy"])
def test_the_same_classes_may_have_other_names(folder, names):
    predictor = kp.Predictor(network, named_labels(list(names)))
    assert kp.evaluate(predictor, load(folder)).images == 2


def wide(classes):
    def zeros(images):
        return np.zeros((*images.shape[:3], classes), "float32")

    return zeros


def test_what_the_loss_ignores_is_not_scored():
    model = small(loss=kp.SegmentationLoss(ignore_label=0))
    masks = RNG.integers(0, 3, MASKS.shape)
    pairs = list(zip(IMAGES, masks, strict=True))
    confusion = kp.evaluate(model, pairs).confusion
    assert confusion[0].sum() == 0
    assert confusion.sum() == (masks != 0).sum()
    assert kp.evaluate(model, pairs, ignore_label=255).confusion[0].sum()


# === Callbacks that score ===


def test_best_model_comes_after_its_scores(tmp_path):
    validation = kp.callbacks.ValidationScores(
        list(zip(IMAGES, MASKS, strict=True))
    )
    best = kp.callbacks.BestModel(tmp_path / "best", validation)
    model = small(classes=2)
    with pytest.raises(
        ValueError,
        match="`callbacks` must list the ValidationScores before .*best'",
    ):
        model.fit(IMAGES, MASKS, callbacks=[best, validation], verbose=0)


def test_validation_scores_refuse_what_serves_one_epoch():
    rule = "`dataset` must be iterable more than once"
    with pytest.raises(ValueError, match=rule):
        kp.callbacks.ValidationScores(zip(IMAGES, MASKS, strict=True))
    with pytest.raises(TypeError, match="unexpected keyword argument 'sclaes'"):
        kp.callbacks.ValidationScores([], sclaes=(1.0,))


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
