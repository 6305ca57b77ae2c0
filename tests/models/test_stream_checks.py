"""What images are in other units, as arrays and as batches of a data set."""

import numpy as np
import pytest
import tensorflow as tf
from small import IMAGES, MASKS, small, values

import keras_pspnet as kp
from keras_pspnet.models.array_checks import check_arrays
from keras_pspnet.models.stream_checks import InputCounts

X, Y = IMAGES[:4], MASKS[:4]
F = X.astype("float32")
IMAGENET = (123.675, 116.28, 103.53)
FRACTIONS = (0.485, 0.456, 0.406)
BROKEN = np.where(np.arange(4)[:, None, None, None] == 1, np.nan, F)
SMALL, NORMALIZED = "all within -1..1; mult", "below 0 or beyond 255; leave"
UNITS, FINITE = "units of the model's mean.*divide", "finite.*1 of 4 with NaN"
ROWS = {
    "bytes": (X, IMAGENET, None),
    "dark bytes": (X // 255, IMAGENET, None),
    "floats": (F, IMAGENET, None),
    "integers": (X.astype("int32"), IMAGENET, None),
    "cubics": (F * 1.1 - 12, IMAGENET, None),
    "black": (F * 0, IMAGENET, None),
    "0..1": (F / 255, IMAGENET, SMALL),
    "0..1 by cubics": (F / 255 * 1.1 - 0.05, IMAGENET, SMALL),
    "bool": (X > 99, IMAGENET, SMALL),
    "0 and 1": ((X > 99).astype("int64"), IMAGENET, SMALL),
    "Caffe": (F - np.array(IMAGENET, "f4"), IMAGENET, NORMALIZED),
    "standardized": ((F - 120) / 40, IMAGENET, NORMALIZED),
    "16 bits": (X.astype("uint16") * 257, IMAGENET, NORMALIZED),
    "float of 16 bits": (F * 257, IMAGENET, NORMALIZED),
    "0..1 of such a mean": (F / 255, FRACTIONS, None),
    "bytes of a mean in 0..1": (X, FRACTIONS, UNITS),
    "floats of a mean in 0..1": (F, FRACTIONS, UNITS),
    "decibels": (F / 12 - 20, (-12.0, -15.0, -3.0), None),
    "reflectance": (F * 30, (900.0, 800.0, 700.0), None),
    "standardized, mean 0": ((F - 120) / 40, (0.0, 0.0, 0.0), None),
    "NaN": (BROKEN, IMAGENET, FINITE),
    "infinity": (np.where(np.isnan(BROKEN), np.inf, F), IMAGENET, FINITE),
}


@pytest.mark.parametrize("what", ROWS)
def test_arrays(what):
    images, mean, match = ROWS[what]
    if match is None:
        check_arrays(images, Y, 3, mean=mean)
    elif match == FINITE:
        with pytest.raises(ValueError, match=match):
            check_arrays(images, Y, 3, mean=mean)
    else:
        with pytest.warns(kp.DataWarning, match=match):
            check_arrays(images, Y, 3, mean=mean)


@pytest.mark.parametrize("what", ROWS)
def test_batches_are_judged_as_arrays_are(what):
    images, mean, match = ROWS[what]
    counts = InputCounts()
    update = tf.function(counts.update_state)
    for part in (images[:2], images[2:]):
        update(tf.constant(part), None, None)
    seen, _, _ = counts.seen(mean)
    if match is None:
        seen.warn("the training data set")
        return
    with pytest.warns(kp.DataWarning, match=match):
        seen.warn("the training data set")


def test_fit_refuses_nan_before_a_step():
    model = small()
    with pytest.raises(ValueError, match="`x`: images must hold finite"):
        model.fit(BROKEN, Y, batch_size=2, verbose=0)
    assert not model.global_step


@pytest.mark.parametrize(
    ("dtype", "label", "match", "eager"),
    [
        ("uint8", 7, "labels must be 0..2 or .* label 255.*label = 7", False),
        ("float32", 7, "labels must be 0..2 or .* label 255.*label = 7", True),
        ("float32", 0.5, "labels must be whole numbers.*label = 0.5", True),
    ],
)
def test_a_refused_batch_changes_nothing(eager, dtype, label, match):
    model = small(eager=eager, total_steps=9)
    model.build_training(None, None)
    masks = Y.astype(dtype)
    masks[1, 2, 3] = label
    before = values(model)
    data = tf.data.Dataset.from_tensor_slices((X, masks)).batch(2)
    with pytest.raises(ValueError, match=match):
        model.fit(data, verbose=0)
    # Moving statistics of batch normalization, too.
    for was, found in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(found, was)
