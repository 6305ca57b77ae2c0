"""Layers that are frozen and unfrozen between two fits."""

import numpy as np
import pytest
from small import IMAGES, MASKS, small

import keras_pspnet as kp


def fit(model):
    model.fit(IMAGES[:4], MASKS[:4], batch_size=2, verbose=0)


def weights(layer):
    return [np.array(each) for each in layer.trainable_variables]


@pytest.mark.parametrize(
    "eager", [pytest.param(True, marks=pytest.mark.slow), False]
)
def test_frozen_between_fits_stays_as_it_is(eager):
    model = small(eager=eager, optimizer=kp.SGD(0.01))
    fit(model)
    conv = model.layers[2]
    before = weights(conv)
    head = weights(model)[-1]
    slots = len(model.optimizer.variables)
    conv.trainable = False
    fit(model)
    conv.trainable = True
    after = weights(conv)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    assert (weights(model)[-1] != head).any()
    assert len(model.optimizer.variables) == slots
    assert int(model.optimizer.iterations) == 4
    # It goes on with the optimizer that it had.
    fit(model)
    assert any(
        (a != b).any() for a, b in zip(weights(conv), after, strict=True)
    )


def test_frozen_between_batches_stays_as_it_is():
    model = small(eager=False, optimizer=kp.SGD(0.01))
    conv = model.layers[2]
    model.train_on_batch(IMAGES[:2], MASKS[:2])
    conv.trainable, before = False, np.array(conv.kernel)
    model.train_on_batch(IMAGES[:2], MASKS[:2])
    np.testing.assert_array_equal(np.array(conv.kernel), before)


def test_unfrozen_after_the_first_step_is_refused():
    model = small(eager=False, optimizer=kp.SGD(0.01))
    conv = model.layers[2]
    conv.trainable = False
    fit(model)
    conv.trainable = True
    with pytest.raises(ValueError, match=r"call compile\(\) again.*kernel unf"):
        fit(model)
    model.compile(kp.SGD(0.01))
    before = np.array(conv.kernel)
    fit(model)
    assert (np.array(conv.kernel) != before).any()
