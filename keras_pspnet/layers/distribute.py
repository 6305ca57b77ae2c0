"""Sums over replicas, and each replica's place in the global batch.

Only the TensorFlow backend has replicas that run the same Python function
(`tf.distribute`). On JAX a sharded array is already global, so a plain sum is
the global sum.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import keras

from keras_pspnet.utils.types import Side, Size, Tensor

if TYPE_CHECKING:
    import tensorflow as tf

# The process's first strategy whose replicas talk by collectives.
_claimed: weakref.ref[Any] | None = None


def _replica_context() -> tf.distribute.ReplicaContext | None:
    """Returns TensorFlow's replica context, or None outside replicas."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync < 2:
        return None
    return context


def num_replicas() -> int:
    """Returns how many replicas share the current batch."""
    context = _replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def replica_sum(value: Tensor) -> Tensor:
    """Sums a tensor over all replicas of the global batch.

    Outside replicas, where Keras also calls losses while it builds a model,
    it returns the value unchanged.

    Args:
        value: This replica's tensor, of any shape.

    Returns:
        Tensor of the same shape and dtype, equal on every replica.
    """
    context = _replica_context()
    if context is None:
        return value
    import tensorflow as tf

    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def batch_place(batch: Side) -> Size:
    """Returns where this replica's images lie in the global batch.

    The global batch holds the images of replica 0, then those of replica 1,
    and so on; the parts may differ in size.

    Args:
        batch: Number of this replica's images, an integer or an int32
            scalar.

    Returns:
        Number of images before this replica's first one, and number of
        images in the global batch: int32 scalars, or (0, `batch`) outside
        replicas.
    """
    context = _replica_context()
    if context is None:
        return 0, batch
    import tensorflow as tf

    replica = context.replica_id_in_sync_group
    parts = replica_sum(
        batch * tf.one_hot(replica, context.num_replicas_in_sync, dtype="int32")
    )
    return tf.reduce_sum(parts[:replica]), tf.reduce_sum(parts)


def claim_collectives(strategy: tf.distribute.Strategy) -> None:
    """Refuses a second strategy that uses collective operations.

    Every strategy numbers its collectives from the same start, and TensorFlow
    remembers their shapes for the life of the process. The collectives of a
    second strategy fail or hang unless all their shapes are the same.

    Args:
        strategy: A `tf.distribute.Strategy`.

    Raises:
        ValueError: If the process has trained on several replicas of another
            strategy. Strategies that reduce to one device are exempt.
    """
    import tensorflow as tf

    global _claimed
    if isinstance(
        getattr(strategy.extended, "_cross_device_ops", None),
        (
            tf.distribute.HierarchicalCopyAllReduce,
            tf.distribute.NcclAllReduce,
            tf.distribute.ReductionToOneDevice,
        ),
    ):
        return
    if _claimed is None:
        _claimed = weakref.ref(strategy)
    if _claimed() is not strategy:
        raise ValueError(
            "`strategy` must be the one that this process has trained with "
            "before: reuse that instance, or create others with "
            "cross_device_ops=tf.distribute.ReductionToOneDevice(). "
            f"Received: another {type(strategy).__name__}"
        )
