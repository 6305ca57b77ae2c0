"""Tests that this version of Keras has the private names that are used."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers

from keras_pspnet.utils import keras_private


def network() -> keras.Model:
    """Two layers that read a nested model."""
    inner = keras.Sequential([layers.Dense(2, name="deep")], name="inner")
    x = keras.Input((3,), name="x")
    features = inner(x)
    both = [layers.ReLU(name="a")(features), layers.ReLU(name="b")(features)]
    return keras.Model(x, layers.Add(name="sum")(both))


@pytest.mark.parametrize("name", keras_private.OVERRIDDEN)
def test_overridden_methods_are_there(name: str) -> None:
    kind, method = name.split(".")
    assert inspect.isfunction(getattr(getattr(keras, kind), method, None))


def test_layers_of_nested_models() -> None:
    names = {layer.name for layer in keras_private.nested_layers(network())}
    assert {"inner", "deep", "a", "b", "sum"} <= names


def test_graph_of_layers() -> None:
    model = network()
    inner, read = model.get_layer("inner"), model.get_layer("a")
    assert keras_private.producer_of(read.input) is inner
    assert keras_private.num_readers(inner) == 2
    assert keras_private.num_readers(read) == 1


def test_compiled_models() -> None:
    model = network()
    with pytest.raises(ValueError, match=r"You must call `compile\(\)`"):
        keras_private.check_compiled(model)
    model.compile(loss="mse", metrics=["mae"])
    keras_private.check_compiled(model)
    batch = (keras.KerasTensor((None, 3)), keras.KerasTensor((None, 2)), None)
    before = model.get_weights()
    keras_private.build_training(model, batch)
    assert model.optimizer.built and model.metrics_variables
    for value, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_strategy_of_a_model(two_replicas) -> None:
    assert keras_private.strategy_of(network()) is None
    with two_replicas.scope():
        assert keras_private.strategy_of(network()) is two_replicas


def test_state_of_an_optimizer() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    plain = keras.optimizers.SGD(schedule, gradient_accumulation_steps=2)
    assert keras_private.learning_rate_of(plain) is schedule
    scaled = keras.optimizers.LossScaleOptimizer(plain)
    assert keras_private.learning_rate_of(scaled) is not schedule
    variable = keras.Variable(np.ones(2, "float32"))
    plain.build([variable])
    plain.apply([keras.ops.ones(2)], [variable])
    assert int(keras_private.step_variable(plain)) == 1
    assert int(plain.iterations) == 0


def test_variable_of_an_update() -> None:
    found = []

    class Noting(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            found.append(keras_private.keras_variable(self, variable))

    variables = [keras.Variable(np.ones(2, "float32")) for _ in range(2)]
    optimizer = Noting(0.1)
    optimizer.build(variables)
    optimizer.apply([keras.ops.ones(2)] * 2, variables)
    assert [id(each) for each in found] == [id(each) for each in variables]
