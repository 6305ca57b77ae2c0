"""What differs between one replica and many: sums over the global batch.

Only the TensorFlow backend has replicas that run the same Python function
(`tf.distribute`); on JAX a sharded array is already global, so a plain sum is
the global sum.
"""

from __future__ import annotations

from typing import Any

import keras


def _replica_context() -> Any:
    """Returns TensorFlow's replica context, or None outside replicas."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync < 2:
        return None
    return context


def num_replicas() -> int:
    """Returns how many replicas share the batch that is being computed."""
    context = _replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def replica_sum(value: Any) -> Any:
    """Sums a tensor over all replicas of the global batch.

    Keras also calls losses outside any replica, while it builds a model; the
    value then comes back unchanged.

    Args:
        value: Tensor of any shape, one per replica.

    Returns:
        Tensor of the same shape and dtype, equal on every replica.
    """
    context = _replica_context()
    if context is None:
        return value
    import tensorflow as tf

    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
