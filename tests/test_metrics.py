import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from layer_checks import run_config_test

from keras_pspnet.metrics import MeanIoU, PixelAccuracy, confusion_matrix

CLASSES = 5
METRICS = {
    MeanIoU: reference.mean_iou,
    PixelAccuracy: reference.pixel_accuracy,
}
METRIC_NAMES = {MeanIoU: "mean_iou", PixelAccuracy: "pixel_accuracy"}
both_metrics = pytest.mark.parametrize("metric_class", METRICS)


def example(shape=(3, 7, 5), seed=0, ignore=255):
    """Logits and masks, a third of whose pixels is ignored."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (*shape, CLASSES)).astype("float32")
    masks = rng.integers(0, CLASSES, shape)
    masks[rng.random(shape) < 1 / 3] = ignore
    return masks.astype("uint8"), logits


def expected(masks, logits, ignore=255):
    return reference.confusion_matrix(masks, logits.argmax(-1), CLASSES, ignore)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("ignore", [255, 0, 3])
def test_confusion_matrix(dtype, ignore):
    masks, logits = example(ignore=ignore)
    counts = confusion_matrix(
        masks.astype(dtype), logits.argmax(-1), CLASSES, ignore
    )
    assert keras.backend.standardize_dtype(counts.dtype) == "int32"
    np.testing.assert_array_equal(counts, expected(masks, logits, ignore))


def test_confusion_matrix_leaves_out_what_is_no_class():
    masks = np.array([0, 5, 200, 254, 255, -1, 1], "int32")
    counts = confusion_matrix(masks, np.zeros(7, "int32"), CLASSES)
    assert int(np.sum(counts)) == 2


@pytest.mark.parametrize("prediction", [5, 7, 255, -1])
@pytest.mark.parametrize("label", [0, 2, 4])
def test_a_prediction_that_is_no_class_counts_nowhere(label, prediction):
    masks = np.array([label, 255, 1], "int32")
    predictions = np.array([prediction, prediction, 1], "int32")
    compiled = tf.function(confusion_matrix, jit_compile=True)
    counts = compiled(masks, predictions, CLASSES)
    np.testing.assert_array_equal(counts, np.diag([0, 1, 0, 0, 0]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="out of range"):
        confusion_matrix(masks, predictions, CLASSES)


@both_metrics
@pytest.mark.parametrize("axis", [False, True])
def test_accumulates_over_batches(metric_class, axis):
    metric = metric_class(CLASSES)
    total = 0
    for seed, shape in enumerate([(3, 7, 5), (1, 33, 41), (2, 1, 1)]):
        masks, logits = example(shape, seed)
        metric.update_state(masks[..., None] if axis else masks, logits)
        total = total + expected(masks, logits)
        np.testing.assert_array_equal(metric.confusion_matrix(), total)
        np.testing.assert_allclose(
            metric.result(), METRICS[metric_class](total), rtol=1e-6
        )
    assert metric.confusion_matrix().dtype == "int64"


@both_metrics
def test_graph_equals_eager(metric_class):
    eager, graph = metric_class(CLASSES), metric_class(CLASSES)

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, None), tf.uint8),
            tf.TensorSpec((None, None, None, CLASSES), tf.float32),
        ]
    )
    def step(masks, logits):
        graph.update_state(masks, logits)
        return graph.result()

    for seed, shape in enumerate([(3, 7, 5), (1, 11, 2)]):
        masks, logits = example(shape, seed)
        eager.update_state(masks, logits)
        np.testing.assert_allclose(step(masks, logits), eager.result())
    np.testing.assert_array_equal(
        graph.confusion_matrix(), eager.confusion_matrix()
    )


@both_metrics
@pytest.mark.parametrize("axis", [False, True])
def test_class_ids_count_as_their_logits(metric_class, axis):
    masks, logits = example()
    of_logits, of_ids = metric_class(CLASSES), metric_class(CLASSES)
    of_logits.update_state(masks, logits)
    ids = logits.argmax(-1)
    of_ids.update_state(masks, ids[..., None] if axis else ids)
    np.testing.assert_array_equal(
        of_logits.confusion_matrix(), of_ids.confusion_matrix()
    )


@both_metrics
@pytest.mark.parametrize("shape", [(3,), (3, 7, 5), (3, 7, 5, 1)])
def test_weight_zero_leaves_out(metric_class, shape):
    masks, logits = example()
    weight = np.random.default_rng(1).integers(0, 3, shape)
    weight = weight.astype("float32")
    metric = metric_class(CLASSES)
    metric.update_state(masks, logits, weight)
    kept = weight.reshape(shape[:3] if len(shape) > 1 else (3, 1, 1)) != 0
    masks = np.where(kept, masks, 255)
    np.testing.assert_array_equal(
        metric.confusion_matrix(), expected(masks, logits)
    )


@pytest.mark.parametrize("count", [2**24 - 3, 2**24, 2**31 - 5, 2**37])
def test_counts_stay_exact(count):
    # One pixel at a time is lost in float32 from 2 ** 24 on, and int32 turns
    # over at 2 ** 31. The state is driven there, as 2 ** 37 pixels are many.
    metric = PixelAccuracy(2)
    word = 2**24
    metric._low.assign(np.full((2, 2), count % word))
    metric._high.assign(np.full((2, 2), count // word))
    masks = np.array([[[0, 0, 1]]], "uint8")
    predictions = np.array([[[0, 1, 1]]], "int32")
    for _ in range(5):
        metric.update_state(masks, predictions)
    np.testing.assert_array_equal(
        metric.confusion_matrix(), [[count + 5, count + 5], [count, count + 5]]
    )
    np.testing.assert_allclose(
        metric.result(), (2 * count + 10) / (4 * count + 15), rtol=1e-6
    )


# What a process with another backend does; it prints JSON on its last line.
PROGRAM = """
import json, sys
import keras
import numpy as np
from keras_pspnet.metrics import PixelAccuracy, confusion_matrix

metric = PixelAccuracy(2)
masks = np.array([[[0, 0, 1, 255]]], "uint8")
predictions = np.array([[[0, 1, 1, 255]]], "int32")
report = {"backend": keras.backend.backend(), "states": []}
for count in json.loads(sys.argv[1]):
    metric._low.assign(np.full((2, 2), count % 2**24))
    metric._high.assign(np.full((2, 2), count // 2**24))
    for _ in range(5):
        metric.update_state(masks, predictions)
    counts = metric.confusion_matrix()
    assert counts.dtype == "int64"
    report["states"].append([counts.tolist(), float(metric.result())])
bad = confusion_matrix(masks, np.array([[[2, 2, 1, 9]]]), 2)
report["bad"] = np.asarray(bad).tolist()
print(json.dumps(report))
"""


def test_counts_stay_exact_without_64_bit_integers():
    # JAX has none, unless it is told to.
    counts = [2**24 - 3, 2**24, 2**31 - 5, 2**37]
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(counts)],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout.splitlines()[-1])
    assert report["backend"] == "jax"
    for count, (matrix, accuracy) in zip(counts, report["states"], strict=True):
        assert matrix == [[count + 5, count + 5], [count, count + 5]]
        assert accuracy == pytest.approx(
            (2 * count + 10) / (4 * count + 15), rel=1e-6
        )
    assert report["bad"] == [[0, 0], [0, 1]]


def test_mean_iou_by_hand():
    # Class 0: 2 / 3, class 1: 1 / 2, class 2 is absent, class 3 only
    # predicted: 0 / 1.
    metric = MeanIoU(4)
    masks = np.array([[[0, 0, 0, 1, 1, 255]]], "uint8")
    predictions = np.array([[[0, 0, 3, 1, 255, 2]]], "int32")
    metric.update_state(masks[..., :4], predictions[..., :4])
    np.testing.assert_allclose(metric.result(), (2 / 3 + 1 + 0) / 3)
    metric.update_state(masks[..., 5:], predictions[..., 5:])
    np.testing.assert_allclose(metric.result(), (2 / 3 + 1 + 0) / 3)


@both_metrics
def test_nothing_valid_is_zero(metric_class):
    metric = metric_class(CLASSES)
    assert float(metric.result()) == 0.0
    _, logits = example()
    metric.update_state(np.full((3, 7, 5), 255, "uint8"), logits)
    assert float(metric.result()) == 0.0


@both_metrics
def test_config_round_trip(metric_class):
    metric = metric_class(7, ignore_label=0, name="score")
    copy = run_config_test(metric)
    assert (copy.num_classes, copy.ignore_label, copy.name) == (7, 0, "score")
    assert metric_class(2).name == METRIC_NAMES[metric_class]


def test_mismatched_sizes():
    masks, logits = example()
    with pytest.raises(ValueError, match="masks must have the size of their"):
        MeanIoU(CLASSES).update_state(masks[:, 1:], logits)
    with pytest.raises(ValueError, match=r"masks must have shape \(B, H, W\)"):
        MeanIoU(CLASSES).update_state(masks[0], logits)


def test_two_replicas_add_up(two_replicas):
    with two_replicas.scope():
        metrics = [MeanIoU(CLASSES), PixelAccuracy(CLASSES)]
    masks, logits = example((2, 7, 5))
    masks[1] = 255
    masks[1, 3, 2] = 3
    # Sums of two low words reach 2 ** 25; the result must carry them.
    for metric in metrics:
        metric._low.assign(np.full((CLASSES, CLASSES), 2**24 - 2))

    def shares(values):
        return two_replicas.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                values[context.replica_id_in_sync_group][None]
            )
        )

    @tf.function
    def step(y, z):
        for metric in metrics:
            metric.update_state(y, z)

    start = metrics[0].confusion_matrix()
    for _ in range(4):
        two_replicas.run(step, args=(shares(masks), shares(logits)))
    total = start + 4 * expected(masks, logits)
    for metric in metrics:
        np.testing.assert_array_equal(metric.confusion_matrix(), total)
        np.testing.assert_allclose(
            metric.result(), METRICS[type(metric)](total), rtol=1e-6
        )
