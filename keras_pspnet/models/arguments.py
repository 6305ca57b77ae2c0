"""Arguments of `compile` and `fit`: optimizers, and values for each output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from keras_pspnet.optimizers import SGD, PolynomialDecay
from keras_pspnet.utils import check_number

# The paper's loss weights, section 5.1.
LOSS_WEIGHTS = {"main": 1.0, "aux": 0.4}
# Layers without ImageNet weights, by the start of their variables' paths.
NEW_LAYERS = r"^(head|aux)_"


def papers_optimizer(optimizer: Any, **recipe: Any) -> Any:
    """Returns the paper's optimizer unless another one is given.

    Args:
        optimizer: None, or any optimizer that Keras takes.
        **recipe: `total_steps`, `learning_rate`, `head_lr_multiplier` and
            `weight_decay`, see `SegmentationTrainer.compile`; None is the
            default.

    Raises:
        ValueError: If both are given, `total_steps` is not a positive
            integer, or another number is negative or not finite.
    """
    given = {name: each for name, each in recipe.items() if each is not None}
    if optimizer is None:
        decay = given.get("learning_rate", 0.01)
        if not isinstance(
            decay, keras.optimizers.schedules.LearningRateSchedule
        ):
            rate = check_number("learning_rate", decay, ", or a schedule")
            decay = PolynomialDecay(rate, given.get("total_steps"))
        elif "total_steps" in given:
            raise ValueError(
                "`total_steps` cannot be combined with a schedule, which has "
                "its own length, as `learning_rate`. Received: total_steps="
                f"{given['total_steps']}, learning_rate={decay!r}"
            )
        multiplier = given.get("head_lr_multiplier")
        if multiplier is not None:
            multiplier = check_number("head_lr_multiplier", multiplier)
        multipliers = {} if multiplier is None else {NEW_LAYERS: multiplier}
        l2 = check_number("weight_decay", given.get("weight_decay", 1e-4))
        return SGD(decay, l2=l2, lr_multipliers=multipliers)
    if given:
        received = [f"{name}={each!r}" for name, each in given.items()]
        raise ValueError(
            f"{' and '.join(f'`{name}`' for name in given)} cannot be "
            "combined with `optimizer`. Received: "
            f"{', '.join(received)}, optimizer={optimizer!r}"
        )
    return optimizer


def for_outputs(
    argument: str,
    value: Any,
    aux: bool,
    names: tuple[str, ...] = ("main", "aux"),
) -> Any:
    """Assigns an argument of `compile` or `fit` to the outputs.

    Args:
        argument: Name of the argument, for the error.
        value: One value for all of `names`, or a dictionary by output.
        aux: Whether the model has the two outputs `main` and `aux`.
        names: The outputs that a single value applies to.

    Returns:
        With `aux`, a dictionary by output, or None; otherwise one value.

    Raises:
        ValueError: If a dictionary names an output that does not exist.
    """
    if not isinstance(value, Mapping):
        several = aux and value is not None
        return dict.fromkeys(names, value) if several else value
    outputs = {"main", "aux"} if aux else {"main"}
    if set(value) - {"main", "aux"} or not set(value) & outputs:
        raise ValueError(
            f"`{argument}` must name the outputs "
            f"{' and '.join(sorted(outputs, reverse=True))}. "
            f"Received: {argument} for {', '.join(map(repr, value))}"
        )
    return value if aux else value["main"]


def is_loss_scaled(optimizer: Any) -> bool:
    """Tells whether an optimizer may skip steps, as `mixed_float16` does."""
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def with_current_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a config of `get_compile_config` to the current names.

    Args:
        config: A config of any version since 0.1.0.

    Returns:
        The config as the current version writes it.
    """
    config = dict(config)
    if "steps_taken" in config:
        config["global_step"] = config.pop("steps_taken")
    is_open = config.pop("awaits_total_steps", False)
    if config.pop("paper_schedule", False):
        # It holds Keras's schedule, whose length cannot be open.
        optimizer = config["optimizer"]["config"]
        if "inner_optimizer" in optimizer:
            optimizer = optimizer["inner_optimizer"]["config"]
        old = optimizer["learning_rate"]["config"]
        decay = PolynomialDecay(
            old["initial_learning_rate"],
            None if is_open else old["decay_steps"],
            old["power"],
        )
        optimizer["learning_rate"] = keras.saving.serialize_keras_object(decay)
    return config
