"""Tests of training on several machines: who they are, and who is lost.

Workers are processes of their own, which can be killed and stopped.
"""

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml
from cluster_worker import work
from forked import Forked
from ports import free_port

import keras_pspnet.training.cluster as clusters
from keras_pspnet.training.cluster import (
    Cluster,
    WorkerLostError,
    check_same,
    cluster_from_environment,
    watching,
)

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
# No worker of a test needs as long, on a busy machine either.
LONG = 120.0


@pytest.fixture
def addresses() -> list[str]:
    """Of three workers."""
    first = free_port(3)
    return [f"127.0.0.1:{first + index}" for index in range(3)]


class Process:
    """A worker in a process of its own."""

    def __init__(
        self,
        addresses: list[str],
        index: int,
        run: dict[str, str] | None = None,
        timeout: float = 20.0,
        joining: float = LONG,
        steps: int = 10**6,
        fails: Any = 0,
    ) -> None:
        self.process = Forked(
            work,
            *(run or {}, timeout, joining, steps, fails),
            environment=config({"worker": addresses}, index=index),
        )

    def wait_for(self, line: str) -> None:
        assert self.process.readline(LONG) == f"{line}\n"

    def result(self) -> tuple[int, str]:
        """Waits for its end: status, the last line of standard error."""
        _, errors = self.process.communicate(timeout=LONG)
        assert "Traceback" not in errors
        return self.process.returncode, (errors.splitlines() or [""])[-1]


@pytest.fixture
def start() -> Iterator[Any]:
    """Starts workers, and leaves none behind."""
    processes = []

    def start_one(*args: Any, **kwargs: Any) -> Process:
        processes.append(Process(*args, **kwargs))
        return processes[-1]

    yield start_one
    for each in processes:
        each.process.close()


@pytest.fixture
def no_grace(monkeypatch) -> None:
    """Nobody waits for others where there are none."""
    monkeypatch.setattr(clusters, "_GRACE", 0.0)


def start_all(start: Any, addresses: list[str], **kwargs: Any) -> list[Process]:
    """Starts a worker for each address, and waits until all have started."""
    workers = [
        start(addresses, index, **kwargs) for index in range(len(addresses))
    ]
    for worker in workers:
        worker.wait_for("joins")
        worker.wait_for("started")
    return workers


def config(
    cluster: Any, kind: Any = "worker", index: Any = 0
) -> dict[str, str]:
    value = {"cluster": cluster, "task": {"type": kind, "index": index}}
    return {"TF_CONFIG": json.dumps(value)}


TWO = {"worker": ["a:2222", "b.svc:2222"]}


def test_without_tf_config_one_machine_trains() -> None:
    for environ in ({}, {"TF_CONFIG": " "}):
        cluster = cluster_from_environment(environ)
        assert cluster == Cluster()
        assert cluster.size == 1
        assert cluster.is_chief


def test_tf_config_names_the_workers() -> None:
    cluster = cluster_from_environment(config(TWO, index=1))
    assert cluster.addresses == ("a:2222", "b.svc:2222")
    assert cluster.index == 1
    assert cluster.size == 2
    assert not cluster.is_chief
    assert cluster_from_environment(config(TWO)).is_chief


def test_a_chief_comes_before_the_workers() -> None:
    tasks = {"worker": ["b:1", "c:1"], "chief": ["[::1]:1"]}
    for kind, index, place in (
        ("chief", 0, 0),
        ("worker", 0, 1),
        ("worker", 1, 2),
    ):
        cluster = cluster_from_environment(config(tasks, kind, index))
        assert cluster == Cluster(("[::1]:1", "b:1", "c:1"), place, True)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"TF_CONFIG": "{"}, r"JSON such as .*\(JSONDecodeError: Expecting"),
        ({"TF_CONFIG": "[]"}, r"JSON such as .* Received: TF_CONFIG='\[\]'"),
        (
            {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'},
            r"JSON such as .*\(KeyError: 'task'\)",
        ),
        ({"TF_CONFIG": '{"cluster": 3, "task": {}}'}, "JSON such as .*'get'"),
        (config({}), r"`task.type` .*one of \[\]"),
        (
            config(TWO | {"ps": ["c:1"]}, "ps"),
            r"`chief` and `worker` only.*'ps'",
        ),
        (config(TWO, "evaluator"), r"`task.type` .*\['worker'\].*'evaluator'"),
        (config({"worker": "a:1"}), "addresses `host:port`.*'a:1'"),
        (config({"worker": []}), "`task.index` .* from 0 to -1"),
        (config({"chief": ["a:1", "b:1"]}), "`cluster.chief` .* one address"),
        (config({"worker": ["a:1", "a:1"]}), "of different addresses"),
        (config(TWO, index=2), "`task.index` .* from 0 to 1. .*index=2"),
        (config(TWO, index=True), "`task.index` .* from 0 to 1. .*index=True"),
        *(
            (config({"worker": [address]}), "addresses `host:port`")
            for address in (
                "a",
                ":1",
                "a:0",
                "a:65536",
                "http://a:1",
                7,
            )
        ),
    ],
)
def test_a_broken_tf_config_is_named(
    environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_from_environment(environ)


def test_one_machine_trains_alone(monkeypatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(
        tf.distribute, "MirroredStrategy", lambda: made.append("mirrored")
    )
    for cluster in (Cluster(), Cluster(("nowhere.invalid:1",))):
        strategy = cluster.strategy()
        check_same(cluster, strategy, {"recipe": "voc"})
        with (
            pytest.raises(tf.errors.AbortedError, match="own"),
            watching(cluster),
        ):
            raise tf.errors.AbortedError(None, None, "own")
    assert made == ["mirrored", "mirrored"]


ABORTED = "Graph execution error:\n\nDetected at node Collective\n\n"
ABORTED += "Collective ops is aborted by: "


@pytest.mark.parametrize(
    ("error", "line"),
    [
        # As TensorFlow 2.21 has them.
        (
            tf.errors.UnavailableError(
                None,
                None,
                f"{ABORTED}Error reported from /job:worker/task:1: The "
                "following tasks are unhealthy (stopped sending heartbeats):\n"
                "/job:worker/replica:0/task:1\nThe tasks have crashed.",
            ),
            "Lost worker 2 (c:1): The following tasks are unhealthy (stopped "
            "sending heartbeats). Run",
        ),
        (
            tf.errors.UnavailableError(
                None,
                None,
                f"{ABORTED}recvmsg:Connection reset by peer\nAdditional GRPC "
                "error information from remote target "
                "/job:chief/replica:0/task:0 while calling",
            ),
            "Lost worker 0 (a:1, the chief): recvmsg:Connection reset by peer."
            " Run",
        ),
        (
            tf.errors.DeadlineExceededError(
                None,
                None,
                f"{ABORTED}Deadline Exceeded\n\n"
                "RPC: /tensorflow.CoordinationService/Heartbeat",
            ),
            "Lost worker 0 (a:1, the chief): Deadline Exceeded. Run",
        ),
        (
            tf.errors.InternalError(
                None,
                None,
                f"{ABORTED}Error reported from /job:worker/task:1: "
                "RuntimeError: out of paint\nThe error could",
            ),
            "Lost worker 2 (c:1): RuntimeError: out of paint. Run",
        ),
        (
            tf.errors.FailedPreconditionError(
                None,
                None,
                f"{ABORTED}group 1 not found. This normally means the server "
                "has restarted\nAdditional GRPC error information from remote "
                "target /job:chief/replica:0/task:0 while calling",
            ),
            "Lost worker 0 (a:1, the chief): group 1 not found. This normally "
            "means the server has restarted. Run",
        ),
        (
            tf.errors.FailedPreconditionError(
                None,
                None,
                f"{ABORTED}RecvBuf expects a different device incarnation: 1 "
                'vs. 2. Your worker job that contains the device ("/job:worker/'
                'replica:0/task:1/device:CPU:0") was probably restarted.\n',
            ),
            "Lost worker 2 (c:1): RecvBuf expects a different device "
            "incarnation: 1 vs. 2. Your worker job that contains the device "
            '("/job:worker/replica:0/task:1/device:CPU:0") was probably '
            "restarted. Run",
        ),
        # Its own name in it says nothing of the others.
        (
            tf.errors.AbortedError(None, None, "/job:worker/task:0 is over"),
            "Lost another worker: /job:worker/task:0 is over. Run",
        ),
        (
            tf.errors.CancelledError(None, None, ""),
            "Lost another worker: CancelledError. Run",
        ),
    ],
)
def test_a_lost_worker_is_named_in_one_line(
    no_grace, error: tf.errors.OpError, line: str
) -> None:
    cluster = Cluster(("a:1", "b:1", "c:1"), 1, True)
    with pytest.raises(WorkerLostError) as lost, watching(cluster):
        raise error
    assert str(lost.value) == (
        f"{line} the same command on all workers to resume."
    )


def test_other_errors_are_reported_to_the_others(monkeypatch, no_grace) -> None:
    reported: list[Any] = []

    class Context:
        def report_error_to_cluster(self, *args: Any) -> None:
            reported.append(args)
            raise tf.errors.FailedPreconditionError(None, None, "over")

    monkeypatch.setattr(clusters.context, "context", Context)
    cluster = Cluster(("a:1", "b:1"))
    with pytest.raises(KeyboardInterrupt), watching(cluster):
        raise KeyboardInterrupt
    with pytest.raises(tf.errors.ResourceExhaustedError), watching(cluster):
        raise tf.errors.ResourceExhaustedError(None, None, "no\nmemory")
    with pytest.raises(ValueError, match="long"), watching(cluster):
        raise ValueError("long" * 999)
    (first, second, third) = (text for _, text in reported)
    assert first == "KeyboardInterrupt:"
    assert second.startswith("ResourceExhaustedError: no memory")
    assert len(third) == 500


@pytest.mark.multiworker
def test_workers_end_together(start, addresses: list[str]) -> None:
    """None is lost for being slow to start or to take a step."""
    early = start(addresses, 1, timeout=4.0, steps=3)
    time.sleep(1)
    others = [
        start(addresses, 0, timeout=4.0, steps=3, fails=6),
        start(addresses, 2, timeout=4.0, steps=3),
    ]
    for worker in (early, *others):
        assert worker.result()[0] == 0


@pytest.mark.multiworker
@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_worker_ends_the_others_once_it_starts_again(
    start, addresses: list[str], victim: int
) -> None:
    workers = start_all(start, addresses)
    workers[victim].process.kill()
    # Its port is free once it has ended.
    workers[victim].process.wait(LONG)
    # Before the others know that it was gone.
    again = start(addresses, victim, steps=3)
    for index, worker in enumerate(workers):
        if index != victim:
            status, line = worker.result()
            assert status == 75
            # It may be one of the others that it sees leave first.
            assert re.match(r"WorkerLostError: Lost worker \d \(127", line)
            assert "Run the same command on all workers to resume." in line
    others = [
        start(addresses, index, steps=3) for index in {0, 1, 2} - {victim}
    ]
    for worker in (again, *others):
        status, line = worker.result()
        assert status == 0, line


@pytest.mark.multiworker
@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_stopped_worker_ends_the_others_in_time(
    start, addresses: list[str], victim: int
) -> None:
    workers = start_all(start, addresses, timeout=6.0)
    began = time.monotonic()
    workers[victim].process.send_signal(signal.SIGSTOP)
    for index, worker in enumerate(workers):
        if index != victim:
            status, line = worker.result()
            assert status == 75
            assert line.startswith("WorkerLostError: Lost worker ")
    assert time.monotonic() - began < 30
    # When it goes on, it learns that the others are gone.
    workers[victim].process.send_signal(signal.SIGCONT)
    assert workers[victim].result()[0] == 75


@pytest.mark.multiworker
@pytest.mark.parametrize(
    "failing", [pytest.param(0, marks=pytest.mark.slow), 1]
)
def test_an_exception_in_one_worker_ends_the_others(
    start, addresses: list[str], failing: int
) -> None:
    workers = [
        start(addresses, index, fails="fails" if index == failing else 0)
        for index in range(3)
    ]
    for index, worker in enumerate(workers):
        status, line = worker.result()
        if index == failing:
            assert (status, line) == (1, "RuntimeError: out of paint")
        else:
            assert status == 75
            assert re.search(
                rf"Lost worker {failing} .*: RuntimeError: out of paint\. Run",
                line,
            )


@pytest.mark.multiworker
def test_an_exception_in_all_workers_is_raised_in_all(
    start, addresses: list[str]
) -> None:
    workers = [start(addresses, index, fails="fails") for index in range(3)]
    for worker in workers:
        assert worker.result() == (1, "RuntimeError: out of paint")


@pytest.mark.multiworker
def test_workers_of_different_runs_do_not_start(
    start, addresses: list[str]
) -> None:
    workers = [
        start(addresses, index, {"recipe": "voc", "checkpoint": checkpoint})
        for index, checkpoint in enumerate(("none", "none", "step 7"))
    ]
    for worker in workers:
        assert worker.result() == (
            1,
            "ValueError: `checkpoint` must be the same on all workers. "
            f"Received: checkpoint='step 7' on worker 2 ({addresses[2]}), "
            f"checkpoint='none' on worker 0 ({addresses[0]}, the chief)",
        )


@pytest.mark.multiworker
def test_clusters_that_differ_do_not_start(start, addresses: list[str]) -> None:
    other = [addresses[0], addresses[1].replace("127.0.0.1", "localhost")]
    for worker in (start(addresses[:2], 0), start(other, 1)):
        status, line = worker.result()
        assert status == 1
        assert line.startswith(
            "ValueError: `workers` must be the same on all workers. Received: "
            f"workers='{', '.join(other)}' on worker 1"
        )


@pytest.mark.multiworker
def test_missing_workers_are_named(start, addresses: list[str]) -> None:
    workers = [start(addresses, index, joining=6.0) for index in range(2)]
    for worker in workers:
        assert worker.result() == (
            1,
            "TimeoutError: All workers must start within 6 s of each other. "
            f"Missing: worker 2 ({addresses[2]})",
        )


@pytest.mark.multiworker
def test_a_missing_chief_is_named(start, addresses: list[str]) -> None:
    assert start(addresses, 1, joining=2.0).result() == (
        1,
        "TimeoutError: All workers must start within 2 s of each other. "
        f"Missing: worker 0 ({addresses[0]}, the chief)",
    )


@pytest.mark.multiworker
def test_two_processes_with_one_index_do_not_start(
    start, addresses: list[str]
) -> None:
    host, _, port = addresses[1].partition(":")
    with socket.create_server((host, int(port))):
        assert start(addresses, 1).result() == (
            1,
            f"OSError: The port of worker 1 ({addresses[1]}) must be free: "
            "Could not start gRPC server",
        )


@pytest.mark.multiworker
def test_a_worker_too_many_does_not_start(start, addresses: list[str]) -> None:
    chief = start(addresses[:2], 0, steps=3)
    assert start(addresses, 2).result() == (
        1,
        "ValueError: `TF_CONFIG` must list the same workers everywhere. "
        f"worker 0 ({addresses[0]}, the chief) does not list worker 2 "
        f"({addresses[2]})",
    )
    assert start(addresses[:2], 1, steps=3).result()[0] == 0
    assert chief.result()[0] == 0


@pytest.mark.multiworker
@pytest.mark.parametrize("waits", [True, False])
def test_a_worker_can_be_ended(
    start, addresses: list[str], waits: bool
) -> None:
    """By Ctrl-C while it waits for others; by SIGTERM while it trains."""
    if waits:
        worker = start(addresses, 0)
        worker.wait_for("joins")
        time.sleep(3)
        worker.process.send_signal(signal.SIGINT)
        assert worker.process.wait(LONG) == -signal.SIGINT
    else:
        worker, other = start_all(start, addresses[:2])
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(LONG) == -signal.SIGTERM
        assert other.result()[0] == 75


def documents() -> list[dict[str, Any]]:
    """What the page gives to Kubernetes."""
    page = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(block) for block in blocks]


def test_the_script_of_the_page_makes_tf_config(tmp_path) -> None:
    _, runtime, job = (each["spec"] for each in documents())
    (replicated,) = runtime["template"]["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    program = tmp_path / "keras-pspnet"
    program.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" >&2\nprintf "%s" "$TF_CONFIG"\n'
    )
    program.chmod(0o755)
    done = subprocess.run(
        [*container["command"], *job["trainer"]["args"]],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "JOB": "voc",
            "NODES": "3",
            "JOB_COMPLETION_INDEX": "2",
        },
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stderr.split() == job["trainer"]["args"]
    assert cluster_from_environment({"TF_CONFIG": done.stdout}) == Cluster(
        tuple(f"voc-node-0-{index}.voc:2222" for index in range(3)), 2
    )
