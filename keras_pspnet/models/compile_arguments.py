"""What `compile` is given: the paper's optimizer, values by output, configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from keras_pspnet.losses import SegmentationLoss
from keras_pspnet.metrics import MeanIoU, PixelAccuracy
from keras_pspnet.optimizers import SGD, PolynomialDecay

# The paper's loss weights, section 5.1.
LOSS_WEIGHTS = {"main": 1.0, "aux": 0.4}
# Variables that do not come with ImageNet weights.
NEW_LAYERS = r"^(head|aux)_"


def papers_optimizer(optimizer: Any, **recipe: Any) -> Any:
    """Returns the paper's optimizer where no other is given.

    Args:
        optimizer: None, or what Keras takes.
        **recipe: `total_steps`, `learning_rate` and `head_lr_multiplier`,
            see `SegmentationTrainer.compile`; None leaves the default.

    Raises:
        TypeError: If an argument is given by the name that it had.
        ValueError: If both are given, or `total_steps` is no positive
            integer.
    """
    given = {name: each for name, each in recipe.items() if each is not None}
    if "head_rate_factor" in given:
        raise TypeError(
            "`head_rate_factor` has become `head_lr_multiplier`. "
            f"Received: head_rate_factor={given['head_rate_factor']!r}"
        )
    if optimizer is None:
        decay = PolynomialDecay(
            given.get("learning_rate", 0.01), given.get("total_steps")
        )
        multipliers = {}
        if "head_lr_multiplier" in given:
            multipliers[NEW_LAYERS] = given["head_lr_multiplier"]
        return SGD(decay, lr_multipliers=multipliers)
    if given:
        received = [f"{name}={each!r}" for name, each in given.items()]
        raise ValueError(
            "`total_steps`, `learning_rate` and `head_lr_multiplier` must be "
            "left out where an optimizer is given. Received: "
            f"{', '.join(received)}, optimizer={optimizer!r}"
        )
    return optimizer


def by_output(
    model: Any,
    loss: Any,
    loss_weights: Any,
    metrics: Any,
    weighted_metrics: Any,
) -> tuple[Any, Any, Any, Any]:
    """Gives each output its own: plain values are meant for both outputs.

    Args:
        model: A `SegmentationTrainer`.
        loss: As `keras.Model.compile` takes it, plain or by output; None is
            the default of `SegmentationTrainer.compile`, here and below.
        loss_weights: Likewise.
        metrics: Likewise; plain ones are for `main`.
        weighted_metrics: Likewise.

    Returns:
        The same four.

    Raises:
        ValueError: If a dictionary names another output than there is.
    """
    if loss is None:
        loss = SegmentationLoss()
    if metrics is None:
        metrics = [
            MeanIoU(model.num_classes),
            PixelAccuracy(model.num_classes),
        ]
    for argument, value in {
        "loss": loss,
        "loss_weights": loss_weights,
        "metrics": metrics,
        "weighted_metrics": weighted_metrics,
    }.items():
        _check_output_names(argument, value, model.aux)
    if not model.aux:
        return (
            of_main(loss),
            of_main(loss_weights),
            of_main(metrics),
            of_main(weighted_metrics),
        )
    loss = for_outputs(loss, ("main", "aux"))
    if loss_weights is None:
        loss_weights = {name: LOSS_WEIGHTS[name] for name in loss}
    return (
        loss,
        loss_weights,
        for_outputs(metrics, ("main",)),
        for_outputs(weighted_metrics, ("main",)),
    )


def _check_output_names(argument: str, value: Any, aux: bool) -> None:
    if not isinstance(value, Mapping):
        return
    names = ("main", "aux") if aux else ("main",)
    unknown = sorted(set(value) - {"main", "aux"})
    if unknown or not set(value) & set(names):
        raise ValueError(
            f"`{argument}` must name the outputs {' and '.join(names)}. "
            f"Received: {argument} for {', '.join(map(repr, value))}"
        )


def for_outputs(value: Any, names: tuple[str, ...]) -> Any:
    """Gives a plain value to every output; dictionaries stay."""
    if value is None or isinstance(value, Mapping):
        return value
    return dict.fromkeys(names, value)


def of_main(value: Any) -> Any:
    """Returns what a dictionary has for `main`; plain values stay."""
    return value["main"] if isinstance(value, Mapping) else value


def is_loss_scaled(optimizer: Any) -> bool:
    """Tells whether an optimizer may skip steps, as `mixed_float16` does."""
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def with_current_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Reads what `get_compile_config` returned up to version 0.1.0.

    Args:
        config: Of any version.

    Returns:
        The config as it would be returned today.
    """
    config = dict(config)
    if "steps_taken" in config:
        config["global_step"] = config.pop("steps_taken")
    is_open = config.pop("awaits_total_steps", False)
    if config.pop("paper_schedule", False):
        # Keras's schedule, whose length cannot be open.
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
