"""Tests of where SGD puts the rate: Caffe's and PyTorch's rules in float64.

Caffe and Keras:  v = momentum * v + rate * g;  w = w - v
PyTorch:          v = momentum * v + g;         w = w - rate * v

At a constant rate both are the same. When the rate falls, Caffe's rule goes
on with old gradients at the rate they came with, PyTorch's at the new one.
"""

import keras
import numpy as np
import tensorflow as tf

from keras_pspnet.optimizers import SGD, PolynomialDecay

STEPS = 12
RATE = 0.05
L2 = 0.02
MOMENTUM = 0.9
RATES = [RATE * (1 - step / STEPS) ** 0.9 for step in range(STEPS)]

RNG = np.random.default_rng(3)
START = RNG.normal(0, 1, (4, 5)).astype("float32")
GRADIENTS = RNG.normal(0, 1, (STEPS, 4, 5)).astype("float32")


def caffe() -> np.ndarray:
    """Weights after every step, float64 (STEPS, 4, 5)."""
    weights, velocity = START.astype("float64"), np.zeros((4, 5))
    trace = []
    for rate, gradient in zip(RATES, GRADIENTS, strict=True):
        velocity = MOMENTUM * velocity + rate * (gradient + L2 * weights)
        weights = weights - velocity
        trace.append(weights)
    return np.stack(trace)


def pytorch() -> np.ndarray:
    """Likewise, float64 (STEPS, 4, 5)."""
    weights, velocity = START.astype("float64"), np.zeros((4, 5))
    trace = []
    for rate, gradient in zip(RATES, GRADIENTS, strict=True):
        velocity = MOMENTUM * velocity + (gradient + L2 * weights)
        weights = weights - rate * velocity
        trace.append(weights)
    return np.stack(trace)


def ours(momenta: list[float] | None = None, l2: float = L2) -> np.ndarray:
    """Weights of our SGD after every step, with a momentum for each."""
    variable = keras.Variable(START)
    optimizer = SGD(PolynomialDecay(RATE, STEPS), MOMENTUM, l2=l2)
    optimizer.build([variable])
    trace = []
    for step, gradient in enumerate(GRADIENTS):
        if momenta is not None:
            optimizer.momentum = momenta[step]
        optimizer.apply([tf.constant(gradient)], [variable])
        trace.append(variable.numpy())
    return np.stack(trace)


def furthest(one: np.ndarray, two: np.ndarray) -> float:
    """The greatest difference beside the greatest weight."""
    return np.abs(one - two).max() / np.abs(two).max()


def test_it_is_caffes_rule_while_the_rate_falls() -> None:
    assert furthest(ours(), caffe()) <= 1e-6


def test_it_leaves_pytorchs_rule_by_what_the_two_rules_differ() -> None:
    apart = caffe() - pytorch()
    # The first step has no momentum yet.
    np.testing.assert_array_equal(apart[0], 0)
    assert 0.01 < np.abs(apart[-1]).max() < 1
    assert np.abs(ours() - pytorch() - apart).max() <= 2e-6


def test_pytorchs_rule_is_ours_with_a_momentum_that_falls_with_the_rate() -> (
    None
):
    before = [RATES[0], *RATES[:-1]]
    momenta = [
        MOMENTUM * rate / last for rate, last in zip(RATES, before, strict=True)
    ]
    assert furthest(ours(momenta), pytorch()) <= 1e-6


def test_old_gradients_count_at_the_rate_they_came_with() -> None:
    # Without decay the weights are a sum over gradients: every gradient goes
    # on for all later steps, weaker by the momentum each time.
    want = START.astype("float64")
    for came, gradient in enumerate(GRADIENTS.astype("float64")):
        for step in range(came, STEPS):
            want -= RATES[came] * MOMENTUM ** (step - came) * gradient
    assert furthest(ours(l2=0.0)[-1], want) <= 1e-6
