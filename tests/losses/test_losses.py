"""Tests of all losses, beside NumPy in float64."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_pspnet.losses import (
    Dice,
    Focal,
    Lovasz,
    Ohem,
    SegmentationLoss,
    Tversky,
    WeightedSum,
    named_losses,
)

CLASSES = 4
MASKS = np.random.default_rng(0).integers(0, 3, (3, 7, 5))
# The last class is nowhere, the last image has one pixel that counts.
MASKS[:2, 2:4] = 255
MASKS[2] = 255
MASKS[2, 1, 1] = 1
LOGITS = np.random.default_rng(1).normal(0, 2, (3, 7, 5, CLASSES))


# === Oracles: loops over images, pixels and classes ===


def softmax(logits):
    exponential = np.exp(logits - logits.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


def pixels_of(masks, logits):
    """Labels and logits of the pixels that count."""
    valid = masks != 255
    return masks[valid], logits[valid]


def smoothed(masks, logits, share=0.2, weights=(1.0, 3.0, 0.5, 2.0)):
    total = 0.0
    labels, logits = pixels_of(masks, logits)
    for label, chances in zip(labels, softmax(logits), strict=True):
        target = np.full(CLASSES, share / CLASSES)
        target[label] += 1 - share
        total -= weights[label] * (target * np.log(chances)).sum()
    return total / len(labels)


def tversky(masks, logits, alpha=0.2, beta=0.9, gamma=1.5, smooth=2.0):
    labels, logits = pixels_of(masks, logits)
    chances = softmax(logits)
    losses = np.zeros(CLASSES)
    for label in set(labels):
        true = labels == label
        hit = chances[true, label].sum()
        false_positive = chances[~true, label].sum()
        false_negative = (1 - chances[true, label]).sum()
        losses[label] = 1 - (hit + smooth) / (
            hit + alpha * false_positive + beta * false_negative + smooth
        )
    return losses.mean() ** gamma


def dice(masks, logits, smooth=1.0):
    labels, logits = pixels_of(masks, logits)
    chances = softmax(logits)
    losses = np.zeros(CLASSES)
    for label in set(labels):
        true = labels == label
        both = chances[true, label].sum()
        each = chances[:, label].sum() + true.sum()
        losses[label] = 1 - (both + smooth) / (each / 2 + smooth)
    return losses.mean()


def focal(masks, logits, gamma=2.0, alpha=0.3):
    labels, logits = pixels_of(masks, logits)
    total = 0.0
    for label, row in zip(labels, logits, strict=True):
        for index, logit in enumerate(row):
            chance = 1 / (1 + np.exp(-logit))
            right = chance if index == label else 1 - chance
            factor = alpha if index == label else 1 - alpha
            total -= factor * (1 - right) ** gamma * np.log(right)
    return total / len(labels) / CLASSES


def lovasz(masks, logits):
    def jaccard(missed, true):
        """One minus the IoU where `missed` pixels are wrong."""
        return 1 - (true & ~missed).sum() / (true | missed).sum()

    found = []
    for mask, image in zip(masks, logits, strict=True):
        labels, image = pixels_of(mask, image)
        chances, losses = softmax(image), []
        for label in set(labels):
            true = labels == label
            errors = np.where(true, 1 - chances[:, label], chances[:, label])
            missed = np.zeros(len(labels), bool)
            loss = before = 0.0
            for place in np.argsort(-errors, kind="stable"):
                missed[place] = True
                after = jaccard(missed, true)
                loss += errors[place] * (after - before)
                before = after
            losses.append(loss)
        found.append(np.mean(losses))
    return np.mean(found)


def ohem(masks, logits, threshold=0.3, kept=6):
    losses = []
    for mask, image in zip(masks, logits, strict=True):
        labels, image = pixels_of(mask, image)
        chances = softmax(image)[range(len(labels)), labels]
        least = np.sort(chances)[min(kept, len(chances) - 1)]
        hard = chances < max(least, threshold)
        losses += list(-np.log(chances[hard]))
    return np.mean(losses)


def weighted_sum(masks, logits):
    return 0.5 * dice(masks, logits) + 2 * focal(masks, logits)


CASES = {
    "smoothed": (
        SegmentationLoss(
            label_smoothing=0.2, class_weight=(1.0, 3.0, 0.5, 2.0)
        ),
        smoothed,
    ),
    "tversky": (Tversky(0.2, 0.9, 1.5, 2.0), tversky),
    "dice": (Dice(1.0), dice),
    "focal": (Focal(alpha=0.3), focal),
    "lovasz": (Lovasz(), lovasz),
    "ohem": (Ohem(0.3, 6), ohem),
    "sum": (
        WeightedSum([(0.5, Dice(1.0)), (2.0, Focal(alpha=0.3))]),
        weighted_sum,
    ),
}
cases = pytest.mark.parametrize(
    ("loss", "oracle"), CASES.values(), ids=CASES.keys()
)


def value_and_gradient(loss, masks, logits, weight=None):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(tf.constant(masks), logits, weight)
    return value, tape.gradient(value, logits)


# === Values and gradients ===


@cases
def test_values_are_those_of_loops(loss, oracle) -> None:
    want = oracle(MASKS, LOGITS)
    assert loss(MASKS, LOGITS).dtype == "float64"
    for function in (loss, tf.function(loss)):
        for masks in (MASKS, MASKS[..., None].astype("uint8")):
            value = float(function(masks, LOGITS))
            assert value == pytest.approx(want, rel=1e-12)
    half = loss(MASKS, LOGITS.astype("float32"))
    assert half.dtype == "float32"
    assert float(half) == pytest.approx(want, rel=1e-5)


@cases
def test_gradients_are_those_of_differences(loss, oracle) -> None:
    _, gradient = value_and_gradient(loss, MASKS, LOGITS)
    rng = np.random.default_rng(2)
    for _ in range(3):
        direction = rng.normal(size=LOGITS.shape)
        step = 1e-6 * direction
        change = oracle(MASKS, LOGITS + step) - oracle(MASKS, LOGITS - step)
        slope = float(np.sum(gradient * direction))
        assert slope == pytest.approx(change / 2e-6, rel=1e-5)
    assert not np.any(gradient.numpy()[MASKS == 255])


@cases
def test_nothing_to_learn_from_is_zero(loss, oracle) -> None:
    masks = np.full_like(MASKS, 255)
    value, gradient = value_and_gradient(loss, masks, LOGITS)
    assert float(value) == 0
    assert not np.any(gradient)


@cases
def test_certain_pixels_have_finite_gradients(loss, oracle) -> None:
    logits = 1e4 * np.eye(CLASSES)[np.where(MASKS == 255, 0, MASKS)]
    for given in (logits, -logits):
        value, gradient = value_and_gradient(
            loss, MASKS, given.astype("float32")
        )
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))


@cases
def test_weights_of_0_and_1_leave_pixels_out(loss, oracle) -> None:
    if isinstance(loss, Ohem):
        pytest.skip("its pixels are chosen without weights")
    weight = np.ones(MASKS.shape)
    weight[0] = 0
    value, gradient = value_and_gradient(loss, MASKS, LOGITS, weight)
    assert not np.any(gradient.numpy()[0])
    assert np.any(gradient.numpy()[1])
    assert float(value) < float(loss(MASKS, LOGITS))


@cases
def test_a_label_that_is_no_class_is_refused(loss, oracle) -> None:
    masks = np.where(MASKS == 255, CLASSES, MASKS)
    with pytest.raises(ValueError, match=f"0..3 or .* 255.* label = {CLASSES}"):
        loss(masks, LOGITS)
    compiled = tf.function(loss, jit_compile=True)
    assert np.isnan(compiled(masks, LOGITS))


@cases
def test_it_comes_back_from_its_config(loss, oracle) -> None:
    text = json.dumps(keras.saving.serialize_keras_object(loss))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is type(loss)
    assert again.name == loss.name
    assert float(again(MASKS, LOGITS)) == float(loss(MASKS, LOGITS))


# === Replicas ===


@cases
def test_two_replicas_equal_one(loss, oracle, two_replicas) -> None:
    """Of the value and of the gradient of what made the logits."""
    scale = tf.Variable(1.0, dtype=tf.float64)
    parts = ((0, 1), (1, 3))

    @tf.function
    def step(context=None):
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group
        start = tf.gather([part[0] for part in parts], replica)
        stop = tf.gather([part[1] for part in parts], replica)
        masks, logits = tf.constant(MASKS), tf.constant(LOGITS)
        with tf.GradientTape() as tape:
            tape.watch(scale)
            value = loss(masks[start:stop], logits[start:stop] * scale)
        return value, tape.gradient(value, scale)

    def total(value):
        return float(two_replicas.reduce("SUM", value, axis=None))

    got = tf.function(lambda: two_replicas.run(step))()
    with tf.GradientTape() as tape:
        want = loss(MASKS, tf.constant(LOGITS) * scale)
    slope = tape.gradient(want, scale)
    assert total(got[0]) == pytest.approx(float(want), rel=1e-12)
    assert total(got[1]) == pytest.approx(float(slope), rel=1e-12)


# === Arguments ===


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SegmentationLoss(label_smoothing=1.5), "`label_smoothing`"),
        (lambda: SegmentationLoss(class_weight=[1, -1]), "`class_weight`"),
        (lambda: SegmentationLoss(class_weight=[0, 0]), "a factor above 0"),
        (lambda: Tversky(alpha=-1), "`alpha` must be a finite number of at"),
        (lambda: Tversky(gamma=0), "`gamma` must be a finite number above 0"),
        (lambda: Dice(smooth=float("nan")), "`smooth`"),
        (lambda: Focal(gamma="2"), "`gamma`"),
        (lambda: Focal(alpha=2), "`alpha` .* at most 1"),
        (lambda: Ohem(threshold=70), "`threshold` .* at most 1"),
        (lambda: Ohem(min_kept=-1), "`min_kept` must be an integer of at"),
        (lambda: WeightedSum([]), "`losses` must hold at least one loss"),
        (lambda: WeightedSum([(-1, Dice())]), "`losses` must be a finite"),
        (
            lambda: WeightedSum([(1, Dice()), (1, Focal(ignore_label=0))]),
            r"ignore the same label. Received: .* \[0, 255\]",
        ),
    ],
)
def test_bad_arguments_are_refused(make, match) -> None:
    with pytest.raises(ValueError, match=match):
        make()


def test_a_sum_is_of_losses_of_masks() -> None:
    with pytest.raises(TypeError, match="`losses` must be losses of keras_p"):
        WeightedSum([(1.0, keras.losses.MeanSquaredError())])


def test_weights_of_another_number_of_classes_are_refused() -> None:
    loss = SegmentationLoss(class_weight=[1, 2, 3])
    with pytest.raises(ValueError, match="a factor for each of 4 classes"):
        loss(MASKS, LOGITS)


# === Names ===


def test_names_with_factors_are_a_sum() -> None:
    loss = named_losses({"cross_entropy": 1, "tversky": 0.5})
    assert repr(loss) == (
        "WeightedSum(losses=[(1.0, SegmentationLoss()), (0.5, Tversky())])"
    )
    assert repr(named_losses({"dice": 1})) == "Dice()"
    assert (
        repr(named_losses({"dice": 2})) == "WeightedSum(losses=[(2.0, Dice())])"
    )


def test_losses_show_what_is_not_at_its_default() -> None:
    loss = Tversky(0.2, gamma=2.0, ignore_label=0, name="mine")
    assert eval(repr(loss)).get_config() == {
        **loss.get_config(),
        "name": "tversky",
    }


@pytest.mark.parametrize(
    ("factors", "match"),
    [
        ({"dicey": 1}, "did you mean 'dice'"),
        ({}, "`losses` must hold at least one loss"),
        ({"dice": -1}, "`losses` must be a finite"),
    ],
)
def test_other_names_and_factors_are_refused(factors, match) -> None:
    with pytest.raises(ValueError, match=match):
        named_losses(factors)
