"""One machine or several: what TF_CONFIG says, and what it takes to train.

TensorFlow's own strategy for several machines, MultiWorkerMirroredStrategy,
finds its peers by the environment variable TF_CONFIG, which Kubeflow and
managed services set, or somebody by hand: see `docs/clusters.md`.

The strategy notices a lost peer on its own in some cases: at once where the
peer's connection ends while the two talk, or after some ten seconds without
signs of life (its coordination service; the older check of health in Python
is off then). It raises UnavailableError, DeadlineExceededError or the like
from whatever step is under way, which says little, and nothing where the main
thread is elsewhere. `watching` gives both a name and an end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from . import heartbeats

# What a collective operation raises where a peer is lost.
_PEER_ERRORS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)
_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The machines that train together, and which of them this one is.

    Attributes:
        addresses: `host:port` of the workers, the chief first; empty where
            there is no TF_CONFIG.
        index: This process's place among them.
    """

    addresses: tuple[str, ...] = ()
    index: int = 0

    @property
    def size(self) -> int:
        """How many workers there are."""
        return max(1, len(self.addresses))

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker that scores and writes."""
        return self.index == 0

    def strategy(self) -> tf.distribute.Strategy:
        """Makes the strategy, for all GPUs of this machine or of all.

        For several machines TensorFlow itself reads TF_CONFIG, and nothing
        may have been computed before.

        Raises:
            OSError: As `heartbeats.watching`, as what follows.
            TimeoutError: If workers are missing.
            ValueError: If the workers' lists of each other differ.
        """
        if self.size == 1:
            return tf.distribute.MirroredStrategy()
        # TensorFlow would wait for a missing worker for many minutes, and say
        # nothing.
        with heartbeats.watching(self.addresses, self.index, {}):
            return tf.distribute.MultiWorkerMirroredStrategy()


def cluster_from_environment(
    environ: Mapping[str, str] = os.environ,
) -> Cluster:
    """Reads TF_CONFIG.

    As TensorFlow has it, a task of type `chief` comes first, then the workers
    in their order; without a `chief`, worker 0 is the chief.

    Args:
        environ: Environment variables.

    Returns:
        The cluster; one without addresses if TF_CONFIG is missing or blank.

    Raises:
        ValueError: If TF_CONFIG is broken, has tasks that take no part in
            this training (parameter servers, evaluators), or leaves no port
            for heartbeats.
    """
    text = environ.get("TF_CONFIG", "").strip()
    if not text:
        return Cluster()
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"`TF_CONFIG` must be JSON ({error}). Received: TF_CONFIG={text!r}"
        ) from error
    tasks = config.get("cluster") if isinstance(config, dict) else None
    if not isinstance(tasks, dict) or not tasks:
        raise _wrong("cluster", "an object of lists of addresses", tasks)
    for kind, addresses in tasks.items():
        if kind not in ("chief", "worker"):
            raise _wrong(
                "cluster",
                "of tasks of type `chief` and `worker` only",
                sorted(tasks),
            )
        if not isinstance(addresses, list) or not addresses:
            raise _wrong(f"cluster.{kind}", "a list of addresses", addresses)
    chiefs, workers = tasks.get("chief", []), tasks.get("worker", [])
    if len(chiefs) > 1:
        raise _wrong("cluster.chief", "a list of one address", chiefs)
    cluster = (*chiefs, *workers)
    _check_addresses(cluster)
    task = config.get("task")
    if not isinstance(task, dict):
        raise _wrong(
            "task", 'an object such as {"type": "worker", "index": 0}', task
        )
    kind, index = task.get("type"), task.get("index")
    if kind not in tasks:
        raise _wrong("task.type", f"one of {sorted(tasks)}", kind)
    if type(index) is not int or not 0 <= index < len(tasks[kind]):
        raise _wrong(
            "task.index", f"an integer from 0 to {len(tasks[kind]) - 1}", index
        )
    return Cluster(cluster, index + (len(chiefs) if kind == "worker" else 0))


def _check_addresses(addresses: tuple[Any, ...]) -> None:
    for address in addresses:
        match = isinstance(address, str) and _ADDRESS.fullmatch(address)
        # The chief's next port is for heartbeats, and has to exist as well.
        if not match or not 1 <= int(match[1]) <= 65534:
            raise _wrong(
                "cluster",
                "of addresses `host:port`, with ports from 1 to 65534",
                address,
            )
    if len(set(addresses)) < len(addresses):
        raise _wrong("cluster", "of different addresses", list(addresses))
    host, port = addresses[0].rsplit(":", 1)
    heartbeats_address = f"{host}:{int(port) + 1}"
    if heartbeats_address in addresses:
        raise _wrong(
            "cluster",
            f"without {heartbeats_address}, where the chief has heartbeats",
            list(addresses),
        )


def _wrong(field: str, rule: str, value: Any) -> ValueError:
    return ValueError(
        f"`TF_CONFIG` must have a `{field}` that is {rule}. "
        f"Received: {field}={value!r}"
    )


@contextlib.contextmanager
def watching(
    cluster: Cluster,
    run: Mapping[str, str],
    timeout: float = heartbeats.TIMEOUT,
) -> Iterator[None]:
    """Ends this worker where another is lost; see `heartbeats.watching`.

    Errors that TensorFlow raises where it lost a peer end the process in the
    same way, with the name of the worker that was lost, or, if all others are
    well, of this one.

    Args:
        cluster: The workers; with one alone nothing is done.
        run: What has to be the same on all of them, by name.
        timeout: Seconds after which a worker that is not heard is lost.

    Yields:
        Nothing.

    Raises:
        OSError: As `heartbeats.watching`, as what follows.
        TimeoutError: If workers are missing.
        ValueError: If `run` is not the same on all workers.
    """
    if cluster.size == 1:
        yield
        return
    with heartbeats.watching(
        cluster.addresses, cluster.index, run, timeout
    ) as watch:
        try:
            yield
        except _PEER_ERRORS as error:
            watch.blame(error)
