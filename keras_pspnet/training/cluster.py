"""The workers of a distributed run, and errors for lost workers.

Every worker sends heartbeats to TensorFlow's coordination service. When one
is lost, the service aborts the collective operations of the others. Their
next step raises an error, which `watching` turns into a `WorkerLostError`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

# Seconds without a heartbeat after which a worker counts as lost.
TIMEOUT = 20.0
# Seconds for all workers to start.
JOINING = 300.0
# Seconds that a worker waits before it exits on an error, so that the others
# raise the same error or learn its cause, instead of losing this worker.
_GRACE = 1.0
_MAX_CHARACTERS = 500
# Errors of a collective operation after a peer is lost.
_PEER_ERRORS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)
_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")
_EXAMPLE = (
    '{"cluster": {"worker": ["node-a:2222", "node-b:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
_TASK = re.compile(r"/job:(chief|worker)/(?:replica:0/)?task:(\d+)")


class WorkerLostError(RuntimeError):
    """Another worker died, hung or failed; the run can be resumed."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The machines that train together, and the index of this one.

    Attributes:
        addresses: `host:port` of the workers, the chief first; empty without
            a TF_CONFIG.
        index: Index of this process in `addresses`.
        has_chief: Whether the chief is a task of type `chief`.
    """

    addresses: tuple[str, ...] = ()
    index: int = 0
    has_chief: bool = False

    @property
    def size(self) -> int:
        """Number of workers."""
        return max(1, len(self.addresses))

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker that scores and writes."""
        return self.index == 0

    def strategy(self, timeout: float = TIMEOUT) -> tf.distribute.Strategy:
        """Creates the strategy for all GPUs of this machine, or of all.

        With several machines, TensorFlow itself reads TF_CONFIG and waits for
        all workers. Call it in the main thread, before TensorFlow computes
        anything.

        Args:
            timeout: Seconds without a heartbeat after which a worker counts
                as lost; the same on all workers.

        Raises:
            OSError: If the port of this worker is in use.
            TimeoutError: If workers are missing after `JOINING` seconds.
            ValueError: If the chief does not know this worker.
            WorkerLostError: If a worker is lost in the meantime.
        """
        if self.size == 1:
            return tf.distribute.MirroredStrategy()
        self._configure(timeout)
        handlers = {
            each: signal.getsignal(each)
            for each in (signal.SIGINT, signal.SIGTERM)
        }
        # Python cannot handle Ctrl-C while TensorFlow waits: let it kill the
        # process.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.OpError as error:
            raise self._start_error(error) from error
        finally:
            # TensorFlow installs a SIGTERM handler that does nothing.
            for each, handler in handlers.items():
                signal.signal(each, handler)

    def _configure(self, timeout: float) -> None:
        """Configures the coordination service before the strategy does.

        The strategy would use TensorFlow's timeouts: an hour for a missing
        worker, 10 seconds for a silent one.
        """
        tensorflow = context.context()
        leader = "chief" if self.has_chief else "worker"
        tensorflow.configure_coordination_service(
            service_type="standalone",
            service_leader=f"/job:{leader}/replica:0/task:0",
            cluster_register_timeout_in_ms=round(1000 * JOINING),
            heartbeat_timeout_in_ms=round(1000 * timeout),
        )
        config = tensorflow.coordination_service
        # Otherwise the timeout covers the chief's registration alone.
        config.cluster_register_with_barrier = True
        if self.has_chief:
            config.coordinated_job_list.add(name="chief", num_tasks=1)
        workers = self.size - self.has_chief
        config.coordinated_job_list.add(name="worker", num_tasks=workers)

    def _start_error(self, error: tf.errors.OpError) -> Exception:
        own = self.name_of(self.index)
        if isinstance(error, tf.errors.DeadlineExceededError):
            _, _, text = error.message.partition("timed out task names:")
            missing = self._workers_in(text.partition("\n\n")[0])
            names = map(self.name_of, missing or [0])
            return TimeoutError(
                f"All workers must start within {JOINING:g} s of each other. "
                f"Missing: {', '.join(names)}"
            )
        if isinstance(error, tf.errors.InvalidArgumentError):
            return ValueError(
                "`TF_CONFIG` must list the same workers everywhere. "
                f"{self.name_of(0)} does not list {own}"
            )
        if isinstance(error, tf.errors.UnknownError):
            return OSError(f"The port of {own} must be free: {_cause(error)}")
        return self.lost(error)

    def lost(self, error: tf.errors.OpError) -> WorkerLostError:
        """Returns a one-line error that names the lost worker, if known."""
        found = self._workers_in(error.message)
        others = [worker for worker in found if worker != self.index]
        if not others and "CoordinationService" in error.message:
            others = [0]
        name = self.name_of(others[0]) if others else "another worker"
        return WorkerLostError(
            f"Lost {name}: {_cause(error)}. "
            "Run the same command on all workers to resume."
        )

    def name_of(self, worker: int) -> str:
        """Returns the name of a worker, with its address."""
        chief = "" if worker else ", the chief"
        return f"worker {worker} ({self.addresses[worker]}{chief})"

    def _workers_in(self, text: str) -> list[int]:
        """Returns the workers that a message of TensorFlow names, in order."""
        return [
            int(number) + (self.has_chief and kind == "worker")
            for kind, number in _TASK.findall(text)
        ]


def _cause(error: tf.errors.OpError) -> str:
    """Returns the line of TensorFlow's message that says what happened."""
    lines = [line for line in error.message.splitlines() if line.strip()]
    aborted = [line for line in lines if "aborted by: " in line]
    line = (aborted or lines or [type(error).__name__])[0]
    text = line.rpartition("aborted by: ")[2]
    text = re.sub(r"^Error reported from \S+: ", "", text)
    return text.strip().rstrip(".:")[:_MAX_CHARACTERS]


def _is_of_peer(error: tf.errors.OpError) -> bool:
    # A restarted peer does not know this run's operations.
    restarted = (
        isinstance(error, tf.errors.FailedPreconditionError)
        and "restarted" in error.message
    )
    return restarted or isinstance(error, _PEER_ERRORS)


@contextlib.contextmanager
def watching(cluster: Cluster) -> Iterator[None]:
    """Turns TensorFlow's errors for a lost peer into `WorkerLostError`.

    It reports any other exception to the other workers, whose next step then
    fails, and raises it again.

    Args:
        cluster: The workers, after `strategy` has run.

    Yields:
        Nothing.

    Raises:
        WorkerLostError: If another worker is lost or has failed.
    """
    if cluster.size == 1:
        yield
        return
    try:
        yield
    except BaseException as error:
        time.sleep(_GRACE)
        if isinstance(error, tf.errors.OpError) and _is_of_peer(error):
            raise cluster.lost(error) from error
        text = " ".join(f"{type(error).__name__}: {error}".split())
        # The others may have reported an error first.
        with contextlib.suppress(tf.errors.OpError):
            context.context().report_error_to_cluster(
                tf.errors.INTERNAL, text[:_MAX_CHARACTERS]
            )
        raise


def exchange(strategy: tf.distribute.Strategy, value: Any) -> list[Any]:
    """Waits for all workers, and returns the values of all their replicas.

    Args:
        strategy: The strategy of the workers.
        value: The value of this worker, which JSON can hold.
    """
    line = np.frombuffer(json.dumps(value).encode() + b"\n", "uint8")
    # Every collective implementation can gather floats on every device.
    values = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant(line, tf.float32)
    )
    gathered = strategy.gather(values, axis=0).numpy().astype("uint8")
    return [json.loads(each) for each in gathered.tobytes().splitlines()]


def check_same(
    cluster: Cluster, strategy: tf.distribute.Strategy, run: Mapping[str, str]
) -> None:
    """Checks that all workers train the same run; all of them must call it.

    Args:
        cluster: The workers.
        strategy: Their strategy.
        run: Values that must be the same on all workers, by name.

    Raises:
        ValueError: If `run` or the list of workers differs between workers.
    """
    if cluster.size == 1:
        return
    own = {"workers": ", ".join(cluster.addresses), **run}
    runs = dict(exchange(strategy, (cluster.index, own)))
    for worker, other in sorted(runs.items()):
        for name in sorted(runs[0].keys() | other.keys()):
            theirs, chiefs = other.get(name), runs[0].get(name)
            if theirs != chiefs:
                raise ValueError(
                    f"`{name}` must be the same on all workers. Received: "
                    f"{name}={theirs!r} on {cluster.name_of(worker)}, "
                    f"{name}={chiefs!r} on {cluster.name_of(0)}"
                )


def cluster_from_environment(
    environ: Mapping[str, str] = os.environ,
) -> Cluster:
    """Reads TF_CONFIG.

    As in TensorFlow, a task of type `chief` comes first, then the workers in
    order; without a `chief`, worker 0 is the chief.

    Args:
        environ: Environment variables.

    Returns:
        The cluster; without addresses if TF_CONFIG is missing or blank.

    Raises:
        ValueError: If TF_CONFIG is invalid, or has tasks that this training
            does not use (parameter servers, evaluators).
    """
    text = environ.get("TF_CONFIG", "").strip()
    if not text:
        return Cluster()
    try:
        config = json.loads(text)
        tasks, task = config["cluster"], config["task"]
        chiefs, workers = tasks.get("chief", []), tasks.get("worker", [])
        addresses = (*chiefs, *workers)
        kind, index = task["type"], task["index"]
        count = len(tasks.get(kind, []))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"`TF_CONFIG` must be JSON such as {_EXAMPLE} "
            f"({type(error).__name__}: {error}). Received: TF_CONFIG={text!r}"
        ) from error
    whole = type(index) is int and 0 <= index < count
    names = {"chief", "worker"}
    ports = "of different addresses `host:port`, with ports from 1 to 65535"
    good = [each for each in addresses if _is_address(each)]
    different = len(set(good)) == len(addresses)
    for field, value, rule, kept in (
        ("cluster", tasks, "of `chief` and `worker` only", set(tasks) <= names),
        ("cluster.chief", chiefs, "a list of one address", len(chiefs) < 2),
        ("cluster", tasks, ports, different),
        ("task.type", kind, f"one of {sorted(tasks)}", kind in tasks),
        ("task.index", index, f"an integer from 0 to {count - 1}", whole),
    ):
        if not kept:
            raise ValueError(
                f"`TF_CONFIG` must have a `{field}` that is {rule}. "
                f"Received: {field}={value!r}"
            )
    if chiefs and kind == "worker":
        index += 1
    return Cluster(addresses, index, bool(chiefs))


def _is_address(text: Any) -> bool:
    match = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    return match is not None and 1 <= int(match[1]) <= 65535
