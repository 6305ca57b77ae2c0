"""Every private name of Keras that the package uses.

No other module reads one. `tests/utils/test_keras_private.py` fails where a
version of Keras lacks one, or means something else by it.
"""

from __future__ import annotations

from typing import Any

import keras

# Private methods that the package overrides, of Keras on TensorFlow.
OVERRIDDEN = ("Model._maybe_symbolic_build",)


def nested_layers(model: Any) -> list[Any]:
    """Returns all layers inside a model, those of nested models too.

    `model.layers` has only the outermost ones.
    """
    return list(model._flatten_layers(include_self=False))


def producer_of(tensor: Any) -> Any:
    """Returns the layer whose output a symbolic tensor is."""
    return tensor._keras_history.operation


def num_readers(layer: Any) -> int:
    """Returns how many layers of a functional model read a layer's output."""
    return len(layer._outbound_nodes)


def check_compiled(model: Any) -> None:
    """Raises ValueError, as Keras does, unless a model is compiled."""
    model._assert_compile_called()


def build_losses(model: Any) -> None:
    """Creates the variables of a model's losses and metrics.

    Keras creates them in the first step, and TensorFlow traces a function that
    creates variables twice; or it runs the network to learn their shapes.

    Args:
        model: A compiled functional model whose outputs are logits.
    """
    logits = model._outputs_struct
    masks = keras.tree.map_structure(
        lambda each: keras.KerasTensor(each.shape[:-1], "int32"), logits
    )
    for part in (model._compile_metrics, model._compile_loss):
        if part is not None and not part.built:
            part.build(masks, logits)


def build_training(model: Any, batch: Any) -> None:
    """Creates the variables that a step of training needs.

    Args:
        model: A compiled model.
        batch: Tuple of symbolic images and masks, and sample weights or None.
    """
    model._symbolic_build(data_batch=batch)


def strategy_of(model: Any) -> Any:
    """Returns the `tf.distribute` strategy of a model's scope, or None.

    `model.distribute_strategy` is never None, and only TensorFlow's models
    have it.
    """
    return getattr(model, "_distribute_strategy", None)


def step_variable(optimizer: Any) -> Any:
    """Returns the variable that counts calls of an optimizer's `apply`.

    A schedule reads it; `optimizer.iterations` counts groups of calls where
    gradients are accumulated.
    """
    return optimizer._iterations


def learning_rate_of(optimizer: Any) -> Any:
    """Returns a learning rate as it was given: a schedule, say.

    `optimizer.learning_rate` is its present value. None where an optimizer
    wraps others and has no learning rate of its own.
    """
    return getattr(optimizer, "_learning_rate", None)


def keras_variable(optimizer: Any, variable: Any) -> Any:
    """Returns the Keras variable of what `update_step` is called with.

    On TensorFlow that is the backend's variable, which has no path.
    """
    index = optimizer._get_variable_index(variable)
    return optimizer._trainable_variables[index]


def unoptimized(optimizer: Any, variables: Any) -> list[Any]:
    """Returns the variables that an optimizer was not built for."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    known = inner._trainable_variables_indices
    return [each for each in variables if inner._var_key(each) not in known]


def num_optimized(optimizer: Any) -> int:
    """Returns the number of variables that an optimizer was built for."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return len(inner._trainable_variables_indices)


def direction_of(metric: Any) -> str | None:
    """Returns "up" or "down", which of a metric is better, if it says so."""
    return getattr(metric, "_direction", None)
