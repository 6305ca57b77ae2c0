"""All private Keras names that the package uses.

No other module uses any. `tests/utils/test_keras_private.py` fails if a version
of Keras lacks one or has changed its meaning.
"""

from __future__ import annotations

from typing import Any

import keras

# Private methods of Keras on TensorFlow that the package overrides.
OVERRIDDEN = ("Model._maybe_symbolic_build",)


def nested_layers(model: Any) -> list[Any]:
    """Returns all layers of a model, including those of nested models.

    `model.layers` only has the outermost ones.
    """
    return list(model._flatten_layers(include_self=False))


def producer_of(tensor: Any) -> Any:
    """Returns the layer that produced a symbolic tensor."""
    return tensor._keras_history.operation


def num_readers(layer: Any) -> int:
    """Returns how many layers of a functional model read a layer's output."""
    return len(layer._outbound_nodes)


def check_compiled(model: Any) -> None:
    """Raises Keras's own ValueError unless a model is compiled."""
    model._assert_compile_called()


def build_losses(model: Any) -> None:
    """Creates the variables of a model's losses and metrics.

    Otherwise Keras creates them in the first step, which TensorFlow then traces
    twice, or runs the network to find their shapes.

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
    """Creates the variables that a training step needs.

    Args:
        model: A compiled model.
        batch: Tuple of symbolic images, masks, and sample weights or None.
    """
    model._symbolic_build(data_batch=batch)


def strategy_of(model: Any) -> Any:
    """Returns the `tf.distribute` strategy of a model's scope, or None.

    `model.distribute_strategy` is never None, and exists only on TensorFlow.
    """
    return getattr(model, "_distribute_strategy", None)


def step_variable(optimizer: Any) -> Any:
    """Returns the variable that counts calls of an optimizer's `apply`.

    Schedules read it. With gradient accumulation, `optimizer.iterations` counts
    groups of calls instead.
    """
    return optimizer._iterations


def learning_rate_of(optimizer: Any) -> Any:
    """Returns the learning rate as it was passed, for example a schedule.

    `optimizer.learning_rate` is the current value. None if the optimizer wraps
    others and has no learning rate of its own.
    """
    return getattr(optimizer, "_learning_rate", None)


def keras_variable(optimizer: Any, variable: Any) -> Any:
    """Returns the Keras variable for an argument of `update_step`.

    On TensorFlow, the argument is the backend's variable, which has no path.
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
    """Returns whether "up" or "down" is better for a metric, if it says so."""
    return getattr(metric, "_direction", None)
