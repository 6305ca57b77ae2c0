"""Batch normalization over the global batch, by TensorFlow's fused kernels."""

from __future__ import annotations

from typing import Any

import keras

from keras_pspnet.layers.distribute import num_replicas, replica_sum
from keras_pspnet.utils.types import Tensor


@keras.saving.register_keras_serializable(package="keras_pspnet")
class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalization over the global batch, as in the paper.

    Statistics are synchronized if more than one TensorFlow replica runs, and
    computed by the cheaper local formula otherwise. The choice belongs to the
    run and not to the model, so the config does not hold it, and a model
    saved on one backend loads on every other.

    On TensorFlow, training uses the fused kernels. They compute in float32
    for every dtype and keep only their input for the gradient, where Keras's
    own formula keeps float32 copies of it.

    Args:
        **kwargs: Passed to `keras.layers.BatchNormalization`. The defaults
            are momentum 0.9 and epsilon 1e-5.

    Examples:
        >>> from keras_pspnet.layers import BatchNorm
        >>> layer = BatchNorm()
        >>> layer.momentum, layer.epsilon
        (0.9, 1e-05)

    Reference:
        Zhao et al., "Pyramid Scene Parsing Network", 2016, section 5.1.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("momentum", 0.9)
        kwargs.setdefault("epsilon", 1e-5)
        super().__init__(**kwargs)

    def call(
        self,
        inputs: Tensor,
        training: bool | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        live = training and self.trainable
        if not live or mask is not None or not self._has_kernel(inputs):
            self.synchronized = num_replicas() > 1
            return super().call(inputs, training=training, mask=mask)
        normalize = _normalize if num_replicas() == 1 else _normalize_together
        outputs, mean, variance = normalize(
            inputs, self.gamma, self.beta, self.epsilon
        )
        for moving, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            moving.assign(
                moving * self.momentum + value * (1.0 - self.momentum)
            )
        return outputs

    def _has_kernel(self, inputs: Tensor) -> bool:
        """Tells whether the fused kernels support these inputs."""
        return (
            keras.backend.backend() == "tensorflow"
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.scale
            and self.center
            and not self.renorm
            # Keras's formula returns this dtype too.
            and keras.backend.standardize_dtype(inputs.dtype)
            == self.compute_dtype
            and self.compute_dtype in ("float32", "bfloat16", "float16")
            and self.variable_dtype == "float32"
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("synchronized", None)
        return config


def _normalize(
    x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalizes with the statistics of this batch.

    Args:
        x: Tensor (B, H, W, C).
        gamma: float32 tensor (C,).
        beta: float32 tensor (C,).
        epsilon: Added to the variance.

    Returns:
        The normalized `x`, and mean and variance, float32 (C,).
    """
    import tensorflow as tf

    out, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=gamma,
        offset=beta,
        mean=tf.zeros((0,)),
        variance=tf.zeros((0,)),
        epsilon=epsilon,
        is_training=True,
    )
    # The kernel returns the unbiased variance, n / (n - 1) of the batch's.
    count = tf.cast(tf.size(x), "float32") / tf.cast(tf.size(mean), "float32")
    return out, mean, variance * ((count - 1.0) / count)


def _normalize_together(
    x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalizes with the statistics of all replicas' batches.

    Arguments and results are those of `_normalize`.
    """
    import tensorflow as tf

    def scaled(
        scale: Tensor, offset: Tensor, mean: Tensor, variance: Tensor
    ) -> Tensor:
        return tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=scale,
            offset=offset,
            mean=mean,
            variance=variance,
            epsilon=epsilon,
            is_training=False,
        ).y

    @tf.custom_gradient
    def normalize(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Any, Any]:
        mean, variance, count = _global_moments(x)

        def gradient(
            out_gradient: Tensor, *_: Any
        ) -> tuple[Tensor, Tensor, Tensor]:
            # As if the statistics were constants, then what they add.
            local = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=out_gradient,
                x=x,
                scale=gamma,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=tf.zeros((0,)),
                epsilon=epsilon,
                is_training=False,
            )
            by_gamma, by_beta = tf.unstack(
                replica_sum(
                    tf.stack([local.scale_backprop, local.offset_backprop])
                )
            )
            factor = -gamma * tf.math.rsqrt(variance + epsilon) / count
            through_moments = scaled(
                factor * by_gamma, factor * by_beta, mean, variance
            )
            return (
                local.x_backprop + through_moments,
                # The optimizer sums gradients over the replicas.
                local.scale_backprop,
                local.offset_backprop,
            )

        return (scaled(gamma, beta, mean, variance), mean, variance), gradient

    return normalize(x, tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta))


def _global_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns mean and variance (C,) over all replicas, and the count."""
    import tensorflow as tf

    wide = tf.cast(x, "float32")
    mean, variance = tf.nn.moments(wide, (0, 1, 2))
    count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), "float32")
    count, mean, square = tf.split(
        replica_sum(
            tf.concat(
                [
                    count[None],
                    count * mean,
                    count * (variance + tf.square(mean)),
                ],
                axis=0,
            )
        ),
        [1, x.shape[-1], x.shape[-1]],
    )
    mean, square = mean / count, square / count
    # Rounding must not make the variance negative.
    return mean, tf.maximum(square - tf.square(mean), 0.0), count
