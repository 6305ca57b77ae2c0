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


def test_losses_and_metrics_of_a_compiled_model() -> None:
    image = keras.Input((5, 4, 3))
    outputs = {
        name: keras.layers.Conv2D(2, 1, name=name)(image) for name in "ab"
    }
    model = keras.Model(image, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss={"a": loss, "b": loss}, metrics={"a": "accuracy"})
    keras_private.build_losses(model)
    built = [each.path for each in model.metrics_variables]
    assert len(built) == 2 * len(["loss", "a_loss", "b_loss", "a_accuracy"])
    masks = np.ones((2, 5, 4), "int32")
    model.fit(np.ones((2, 5, 4, 3)), {"a": masks, "b": masks}, verbose=0)
    assert [each.path for each in model.metrics_variables] == built


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


def test_variables_of_an_optimizer() -> None:
    variables = [keras.Variable(np.ones(2, "float32")) for _ in range(3)]
    plain = keras.optimizers.SGD(0.1)
    scaled = keras.optimizers.LossScaleOptimizer(plain)
    scaled.build(variables[:2])
    for each in (plain, scaled):
        assert keras_private.num_optimized(each) == 2
        [left] = keras_private.unoptimized(each, variables)
        assert left is variables[2]
