"""SGD as the paper, PyTorch and Caffe mean it: weight decay in the gradient."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

POLY_POWER = 0.9
# Weights that normalisation and classifiers add, by variable name.
NORM_AND_BIAS = ("gamma", "beta", "bias")


def poly_decay(
    learning_rate: float, total_steps: int
) -> keras.optimizers.schedules.PolynomialDecay:
    """Returns the paper's schedule: rate * (1 - step / total) ** 0.9.

    Args:
        learning_rate: Rate of the first step.
        total_steps: Steps until the rate is 0.

    Returns:
        A Keras schedule.

    Examples:
        >>> from keras_pspnet.optimizers import poly_decay
        >>> rate = poly_decay(0.01, total_steps=1000)
        >>> [round(float(rate(step)), 5) for step in (0, 500, 1000)]
        [0.01, 0.00536, 0.0]
    """
    return keras.optimizers.schedules.PolynomialDecay(
        learning_rate, total_steps, end_learning_rate=0.0, power=POLY_POWER
    )


def _after(gradient: Any) -> contextlib.AbstractContextManager[Any]:
    """Holds a graph's operations back until the gradient is there.

    Products of a weight or a velocity depend on no gradient: TensorFlow
    computes them first of all and keeps them through the whole step, twice
    the memory of the weights.
    """
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.control_dependencies([gradient])


@keras.saving.register_keras_serializable(package="keras_pspnet")
class SGD(keras.optimizers.SGD):
    """Momentum SGD with L2 added to the gradient before the momentum.

    For every variable: g = g + l2 * w; v = momentum * v - rate * g; w = w + v.
    The rate stands inside the velocity, as in Keras and Caffe. This is not
    Keras's `SGD(weight_decay=)`, which shrinks weights outside the momentum.

    Args:
        learning_rate: Float or Keras schedule.
        momentum: Factor on the velocity.
        l2: Weight decay, 1e-4 in the paper; 0 turns it off.
        decay_norm_and_bias: False exempts gamma, beta and biases (Caffe's
            way); True decays all (PyTorch, semseg, mmsegmentation).
        rate_factors: Regular expression on the variable's path -> factor on
            its learning rate. The first expression that is found counts.
        **kwargs: Passed to `keras.optimizers.SGD`.

    Examples:
        >>> sgd = kp.SGD(0.01, rate_factors={"^(head|aux)_": 10.0})
        >>> net.compile(sgd)

    Reference:
        Zhao et al., "Pyramid Scene Parsing Network", 2016, section 5.1.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.9,
        l2: float = 1e-4,
        decay_norm_and_bias: bool = True,
        rate_factors: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("weight_decay"):
            raise ValueError(
                "`weight_decay` must be left to `l2`, which is added to the "
                f"gradient. Received: weight_decay={kwargs['weight_decay']}"
            )
        if l2 < 0:
            raise ValueError(f"`l2` must be at least 0. Received: l2={l2}")
        kwargs.setdefault("name", "sgd")
        super().__init__(learning_rate, momentum=momentum, **kwargs)
        self.l2 = l2
        self.decay_norm_and_bias = decay_norm_and_bias
        self.rate_factors = dict(rate_factors or {})

    def update_step(
        self, gradient: Any, variable: Any, learning_rate: Any
    ) -> None:
        # TensorFlow hands over its own variable, which knows no path.
        known = self._trainable_variables[self._get_variable_index(variable)]
        factor = self._rate_factor(known)
        with _after(gradient):
            if self.l2 and self._decays(known):
                gradient = ops.cast(gradient, variable.dtype) + ops.multiply(
                    variable, ops.cast(self.l2, variable.dtype)
                )
            super().update_step(gradient, variable, learning_rate * factor)

    def _decays(self, variable: Any) -> bool:
        return self.decay_norm_and_bias or variable.name not in NORM_AND_BIAS

    def _rate_factor(self, variable: Any) -> float:
        for pattern, factor in self.rate_factors.items():
            if re.search(pattern, variable.path):
                return factor
        return 1.0

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "l2": self.l2,
            "decay_norm_and_bias": self.decay_norm_and_bias,
            "rate_factors": self.rate_factors,
        }
