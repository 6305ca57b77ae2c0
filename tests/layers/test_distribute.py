"""Tests of sums over replicas."""

import numpy as np
import pytest
import tensorflow as tf
from support import per_replica

from keras_pspnet.layers.distribute import (
    batch_place,
    num_replicas,
    replica_sum,
)


def test_outside_replicas_a_sum_is_the_value() -> None:
    value = tf.constant([1.0, 2.0])
    assert replica_sum(value) is value
    assert num_replicas() == 1
    np.testing.assert_array_equal(tf.function(replica_sum)(value), value)


def test_while_keras_builds_a_sum_is_the_value(two_replicas) -> None:
    # In the strategy's scope, yet in no replica: cross-replica context.
    value = tf.constant(3)
    with two_replicas.scope():
        assert replica_sum(value) is value
        assert num_replicas() == 1


def test_inside_replicas_everyone_gets_the_sum(two_replicas) -> None:
    (values,) = per_replica(two_replicas, np.array([[1, 2], [30, 40]]))
    graph = tf.function(lambda v: two_replicas.run(replica_sum, (v,)))
    for run in (lambda v: two_replicas.run(replica_sum, (v,)), graph):
        results = two_replicas.experimental_local_results(run(values))
        assert len(results) == 2
        for result in results:
            assert result.dtype == tf.int64
            np.testing.assert_array_equal(result, [[31, 42]])


def test_outside_replicas_the_batch_is_the_global_one() -> None:
    assert batch_place(5) == (0, 5)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("parts", [(2, 2), (3, 1), (0, 4)])
def test_inside_replicas_images_follow_each_other(
    two_replicas, parts, graph
) -> None:
    counts = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group])
    )

    def run(counts):
        return two_replicas.run(batch_place, (counts,))

    first, total = (tf.function(run) if graph else run)(counts)
    for place, wanted in (first, [0, parts[0]]), (total, [4, 4]):
        found = two_replicas.experimental_local_results(place)
        assert [value.dtype for value in found] == [tf.int32] * 2
        np.testing.assert_array_equal(found, wanted)
