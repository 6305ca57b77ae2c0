"""SGD with weight decay in the gradient, as in the paper, PyTorch and Caffe."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_pspnet.utils import (
    check_integer,
    check_number,
    check_rule,
    keras_private,
)
from keras_pspnet.utils.types import Side, Tensor

POLY_POWER = 0.9
# Names of the variables that `decay_norm_and_bias=False` exempts.
NORM_AND_BIAS = ("gamma", "beta", "bias")


@keras.saving.register_keras_serializable(package="keras_pspnet")
class PolynomialDecay(keras.optimizers.schedules.LearningRateSchedule):
    """The paper's schedule: rate * (1 - step / total_steps) ** power.

    Args:
        initial_learning_rate: Learning rate of the first step.
        total_steps: Steps until the learning rate is 0. None leaves the
            length open until the first `fit` of a `PSPNet`, whose last step
            ends the decay.
        power: Exponent, 0.9 in the paper.

    Raises:
        ValueError: If `total_steps` is neither None nor a positive integer,
            or the rate is negative or not finite; when called, if
            `total_steps` is None and a step has been taken.

    Examples:
        >>> from keras_pspnet.optimizers import PolynomialDecay
        >>> rate = PolynomialDecay(0.01, total_steps=1000)
        >>> [round(float(rate(step)), 5) for step in (0, 500, 1000)]
        [0.01, 0.00536, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        total_steps: int | None = None,
        power: float = POLY_POWER,
    ) -> None:
        super().__init__()
        if total_steps is not None:
            total_steps = check_integer("total_steps", total_steps)
        self.initial_learning_rate = check_number(
            "initial_learning_rate", initial_learning_rate
        )
        self.total_steps = total_steps
        self.power = power

    def __call__(self, step: Side) -> Tensor:
        rate = ops.convert_to_tensor(self.initial_learning_rate)
        if self.total_steps is None:
            # Step 0 has the same rate whatever the length.
            if _is_zero(step):
                return rate
            raise ValueError(
                "`total_steps` must be set before a step is taken: pass it "
                "to compile(), or train with fit(). Received: "
                "total_steps=None"
            )
        total = ops.cast(self.total_steps, rate.dtype)
        done = ops.minimum(ops.cast(step, rate.dtype), total)
        power = ops.cast(self.power, rate.dtype)
        return rate * ops.power(1 - done / total, power)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "total_steps": self.total_steps,
            "power": self.power,
        }


def _is_zero(step: Side) -> bool:
    """Tells whether a step is known to be 0; in a graph, none is known."""
    try:
        return not ops.convert_to_numpy(ops.convert_to_tensor(step))
    # TensorFlow's and JAX's errors for a symbolic tensor.
    except (NotImplementedError, TypeError):
        return False


def _after(gradient: Tensor) -> contextlib.AbstractContextManager[None]:
    """Delays a graph's operations until the gradient is computed.

    A product of a weight or a velocity needs no gradient, so TensorFlow
    would compute it first and keep it for the whole step: twice the memory
    of the weights.
    """
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.control_dependencies([gradient])


@keras.saving.register_keras_serializable(package="keras_pspnet")
class SGD(keras.optimizers.SGD):
    """Momentum SGD with L2 added to the gradient before the momentum.

    For every variable: g = g + l2 * w; v = momentum * v - rate * g; w = w + v.
    The learning rate stands inside the velocity, as in Keras and Caffe. This
    is not Keras's `SGD(weight_decay=)`, which is decoupled from the momentum.

    Args:
        learning_rate: Float or Keras schedule.
        momentum: Factor on the velocity.
        l2: Weight decay, 1e-4 in the paper; 0 turns it off.
        decay_norm_and_bias: True decays all variables (PyTorch, semseg,
            mmsegmentation); False exempts gamma, beta and biases (Caffe).
        lr_multipliers: Regular expression -> factor on the learning rate of
            the variables whose path it matches. The first match counts.
        **kwargs: Passed to `keras.optimizers.SGD`.

    Examples:
        >>> sgd = kp.SGD(0.01, lr_multipliers={"^(head|aux)_": 10.0})
        >>> net.compile(sgd)

    Reference:
        Zhao et al., "Pyramid Scene Parsing Network", 2016, section 5.1.
    """

    def __init__(
        self,
        learning_rate: float
        | keras.optimizers.schedules.LearningRateSchedule = 0.01,
        momentum: float = 0.9,
        l2: float = 1e-4,
        decay_norm_and_bias: bool = True,
        lr_multipliers: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        other = kwargs.get("weight_decay")
        rule = "be left to `l2`, which is added to the gradient"
        check_rule("weight_decay", other, rule, not other)
        check_rule("l2", l2, "be at least 0", l2 >= 0)
        if isinstance(learning_rate, int | float):
            learning_rate = check_number("learning_rate", learning_rate)
        for pattern, factor in (lr_multipliers or {}).items():
            check_number(f"lr_multipliers[{pattern!r}]", factor)
        kwargs.setdefault("name", "sgd")
        super().__init__(learning_rate, momentum=momentum, **kwargs)
        self.l2 = l2
        self.decay_norm_and_bias = decay_norm_and_bias
        self.lr_multipliers = dict(lr_multipliers or {})

    def update_step(
        self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor
    ) -> None:
        known = keras_private.keras_variable(self, variable)
        factor = self._lr_multiplier(known)
        with _after(gradient):
            if self.l2 and self._decays(known):
                gradient = ops.cast(gradient, variable.dtype) + ops.multiply(
                    variable, ops.cast(self.l2, variable.dtype)
                )
            super().update_step(gradient, variable, learning_rate * factor)

    def _decays(self, variable: keras.Variable) -> bool:
        return self.decay_norm_and_bias or variable.name not in NORM_AND_BIAS

    def _lr_multiplier(self, variable: keras.Variable) -> float:
        for pattern, factor in self.lr_multipliers.items():
            if re.search(pattern, variable.path):
                return factor
        return 1.0

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "l2": self.l2,
            "decay_norm_and_bias": self.decay_norm_and_bias,
            "lr_multipliers": self.lr_multipliers,
        }

    @classmethod
    def from_config(
        cls,
        config: dict[str, Any],
        custom_objects: Mapping[str, type] | None = None,
    ) -> SGD:
        config = dict(config)
        # The name of `lr_multipliers` up to version 0.1.0.
        if "rate_factors" in config:
            config["lr_multipliers"] = config.pop("rate_factors")
        return super().from_config(config, custom_objects)
