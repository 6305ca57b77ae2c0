"""Tests of class weights, which are weights of pixels."""

import numpy as np
import pytest
from small import (
    IMAGES,
    MASKS,
    assert_same,
    batches,
    small,
    values,
)

WEIGHT = np.random.default_rng(1).uniform(0, 2, 4).astype("float32")


@pytest.mark.parametrize("class_weight", [{3: 1.0}, {-1: 1.0}, {0: -0.5}])
def test_class_weight_error(class_weight):
    with pytest.raises(
        ValueError, match="`class_weight` must map class ids below 3 to fac"
    ):
        small().fit(IMAGES, MASKS, class_weight=class_weight, batch_size=3)


def one_step(y=MASKS[:4], **fit):
    model = small(total_steps=1, learning_rate=0.1)
    logs = model.fit(IMAGES[:4], y, verbose=0, **fit).history
    return values(model), {name: value[0] for name, value in logs.items()}


@pytest.mark.parametrize("axis, weight", [(False, None), (True, WEIGHT)])
def test_class_weight_is_a_sample_weight(weight, axis):
    y = MASKS[:4, ..., None] if axis else MASKS[:4]
    factors = np.array([0.5, 1.0, 3.0], "float32")
    per_pixel = factors[np.minimum(MASKS[:4], 2)]
    if weight is not None:
        per_pixel = per_pixel * weight[:, None, None]
    got, logs = one_step(
        y=y, class_weight={0: 0.5, 2: 3.0}, sample_weight=weight
    )
    wanted, wanted_logs = one_step(y=y, sample_weight=per_pixel)
    assert_same(got, wanted, 1e-6)
    assert logs["loss"] == pytest.approx(wanted_logs["loss"], rel=1e-6)
    unweighted, _ = one_step(y=y)
    assert np.abs(got[0] - unweighted[0]).max() > 1e-5


def test_class_weight_of_a_data_set_may_change():
    # The weights are a constant of the compiled step.
    models = [small(total_steps=9, eager=eager) for eager in (False, True)]
    for model in models:
        for weight in ({0: 3.0}, {1: 0.0}):
            model.fit(batches(2), class_weight=weight, verbose=0)
    assert_same(values(models[0]), values(models[1]))
