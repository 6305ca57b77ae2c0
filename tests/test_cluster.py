"""Tests of training on several machines: who they are, and who is lost.

Workers are processes of their own, which can be killed and stopped. They
import the heartbeats alone: TensorFlow would take seconds in each.
"""

import contextlib
import json
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras_pspnet.training.cluster as clusters
import pytest
import tensorflow as tf
import yaml
from keras_pspnet.training import heartbeats
from keras_pspnet.training.cluster import (
    Cluster,
    cluster_from_environment,
    watching,
)

ROOT = Path(__file__).parent.parent
# No worker of a test needs half as long, on a busy machine either.
LONG = 60.0
WORKER = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from training import heartbeats

addresses, index, run, timeout, joining, then = json.loads(sys.argv[2])
heartbeats.JOINING = joining
with heartbeats.watching(addresses, index, run, timeout) as watch:
    print("started", flush=True)
    if then == "fail":
        time.sleep(0.5)
        raise RuntimeError("out of paint")
    if then == "blame":
        time.sleep(0.5)
        try:
            raise ConnectionError("recvmsg: reset by peer")
        except ConnectionError as error:
            watch.blame(error)
    if then == "wait":
        sys.stdin.readline()
    else:
        time.sleep(then)
    print("worked", flush=True)
print("ended", flush=True)
"""


def free_port(count: int = 2) -> int:
    """The first of a few free ports in a row.

    They are below those that systems give to outgoing connections.
    """
    while True:
        # Keras's seed of every test must not give all of them the same.
        first = random.SystemRandom().randrange(20000, 30000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


@pytest.fixture
def addresses() -> list[str]:
    """Of three workers."""
    port = free_port()
    return [f"127.0.0.1:{each}" for each in (port, port + 10, port + 20)]


class Process:
    """A worker in a process of its own."""

    def __init__(
        self,
        addresses: list[str],
        index: int,
        then: Any = 600,
        run: dict[str, str] | None = None,
        timeout: float = LONG,
        joining: float = LONG,
    ) -> None:
        settings = [addresses, index, run or {}, timeout, joining, then]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(ROOT), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{line}\n"

    def result(self) -> tuple[int, str]:
        """Waits for its end: status, standard error."""
        _, errors = self.process.communicate(timeout=LONG)
        return self.process.returncode, errors


@pytest.fixture
def start() -> Iterator[Any]:
    """Starts workers, and leaves none behind."""
    processes = []

    def start_one(*args: Any, **kwargs: Any) -> Process:
        processes.append(Process(*args, **kwargs))
        return processes[-1]

    yield start_one
    for each in processes:
        each.process.kill()
        each.process.communicate()


def start_all(
    start: Any, addresses: list[str], thens: tuple[Any, ...], **kwargs: Any
) -> list[Process]:
    """Starts a worker for each entry, and waits until all are together."""
    workers = [
        start(addresses[: len(thens)], index, then, **kwargs)
        for index, then in enumerate(thens)
    ]
    for worker in workers:
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
        assert cluster == Cluster(("[::1]:1", "b:1", "c:1"), place)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"TF_CONFIG": "{"}, r"`TF_CONFIG` must be JSON \(Expecting"),
        ({"TF_CONFIG": "[]"}, "a `cluster` that is an object .*cluster=None"),
        (config({}), "a `cluster` that is an object of lists"),
        (
            config(TWO | {"ps": ["c:1"]}, "ps"),
            r"`chief` and `worker` only.*cluster=\['ps', 'worker'\]",
        ),
        (config(TWO, "evaluator"), r"`task.type` .*\['worker'\].*'evaluator'"),
        (config({"worker": "a:1"}), "`cluster.worker` that is a list .*'a:1'"),
        (config({"worker": []}), "`cluster.worker` that is a list of addr"),
        (config({"chief": ["a:1", "b:1"]}), "`cluster.chief` .* one address"),
        (config({"worker": ["a:1", "a:1"]}), "of different addresses"),
        (config({"worker": ["a:1", "a:2"]}), "without a:2, where the chief"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "`task` that is"),
        (config(TWO, index=2), "`task.index` .* from 0 to 1. .*index=2"),
        (config(TWO, index=-1), "`task.index` .* from 0 to 1. .*index=-1"),
        (config(TWO, index="0"), "`task.index` .* from 0 to 1. .*index='0'"),
        (config(TWO, index=True), "`task.index` .* from 0 to 1. .*index=True"),
        *(
            (config({"worker": [address]}), "addresses `host:port`")
            for address in (
                "a",
                "a:",
                ":1",
                "a:0",
                "a:65535",
                "http://a:1",
                "a:b",
                "a b:1",
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


def test_one_machine_mirrors_and_several_share(monkeypatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(
        clusters.heartbeats,
        "watching",
        lambda *args: contextlib.nullcontext(made.append(args)),
    )
    for name in ("MirroredStrategy", "MultiWorkerMirroredStrategy"):
        monkeypatch.setattr(
            tf.distribute, name, lambda name=name: made.append(name)
        )
    Cluster().strategy()
    Cluster(("a:1",)).strategy()
    Cluster(("a:1", "b:1"), 1).strategy()
    assert made == [
        "MirroredStrategy",
        "MirroredStrategy",
        # All are there before TensorFlow waits for them.
        (("a:1", "b:1"), 1, {}),
        "MultiWorkerMirroredStrategy",
    ]


def test_one_machine_has_nobody_to_watch() -> None:
    # Nothing could listen at the port of this name.
    with watching(Cluster(("nowhere.invalid:1",)), {}, 1.0):
        pass


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan")])
def test_the_timeout_is_above_zero(timeout: float) -> None:
    with (
        pytest.raises(ValueError, match="`timeout` must be .* above 0"),
        watching(Cluster(("a:1", "b:1")), {}, timeout),
    ):
        pass


def test_what_is_compared_is_short() -> None:
    with (
        pytest.raises(ValueError, match="`run` must be at most 32768 bytes"),
        watching(Cluster(("a:1", "b:1")), {"x": "y" * 40000}),
    ):
        pass


def test_a_port_in_use_is_named(addresses: list[str]) -> None:
    port = int(addresses[0].split(":")[1]) + 1
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(OSError, match=f"listen at port {port}, for the other"),
        watching(Cluster(tuple(addresses)), {}),
    ):
        pass


@pytest.mark.multiworker
def test_workers_start_and_end_together(start, addresses: list[str]) -> None:
    early = start(addresses, 1, 0)
    time.sleep(1)
    others = [start(addresses, 0, 0.5), start(addresses, 2, 3)]
    began = time.monotonic()
    for worker in (early, *others):
        worker.wait_for("started")
    early.wait_for("worked")
    early.wait_for("ended")
    # The last one's work, not the first one's, is the end.
    assert time.monotonic() - began > 2
    for worker in (early, *others):
        assert worker.result() == (0, "")


@pytest.mark.multiworker
@pytest.mark.parametrize("slow", [0, 1])
def test_a_slow_worker_is_not_taken_for_lost(
    start, addresses: list[str], slow: int
) -> None:
    thens = [0, 0, 0]
    thens[slow] = 8
    for worker in start_all(start, addresses, tuple(thens), timeout=3.0):
        assert worker.result() == (0, "")


@pytest.mark.multiworker
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_killed_worker_ends_the_others_at_once(
    start, addresses: list[str], victim: int
) -> None:
    workers = start_all(start, addresses, (600, 600, 600))
    workers[victim].process.kill()
    began = time.monotonic()
    for index, worker in enumerate(workers):
        if index != victim:
            status, errors = worker.result()
            assert status == 75
            chief = "" if victim else ", the chief"
            assert (
                f"worker {victim} ({addresses[victim]}{chief}) ended its "
                "connection without a goodbye.\n"
            ) in errors
            assert "The last checkpoint stays; the same command" in errors
    # Far less than the timeout.
    assert time.monotonic() - began < LONG / 4


@pytest.mark.multiworker
@pytest.mark.parametrize("victim", [0, 1])
def test_a_stopped_worker_ends_the_others_in_time(
    start, addresses: list[str], victim: int
) -> None:
    workers = start_all(start, addresses, (600, 600, 600), timeout=3.0)
    began = time.monotonic()
    workers[victim].process.send_signal(signal.SIGSTOP)
    for index, worker in enumerate(workers):
        if index != victim:
            status, errors = worker.result()
            assert status == 75
            assert f"worker {victim} ({addresses[victim]}" in errors
            assert ") was not heard for 3 s.\n" in errors
    # The chief lingers a moment for the stopped one to hear of it.
    assert 2 < time.monotonic() - began < 3 + 10
    # When it goes on, it learns that the others are gone.
    workers[victim].process.send_signal(signal.SIGCONT)
    assert workers[victim].result()[0] == 75


@pytest.mark.multiworker
@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_in_one_worker_ends_the_others(
    start, addresses: list[str], failing: int
) -> None:
    thens: list[Any] = [600, 600, 600]
    thens[failing] = "fail"
    workers = start_all(start, addresses, tuple(thens))
    for index, worker in enumerate(workers):
        status, errors = worker.result()
        if index == failing:
            assert status == 1
            assert errors.endswith("RuntimeError: out of paint\n")
            assert "keras_pspnet:" not in errors
        else:
            assert status == 75
            chief = "" if failing else ", the chief"
            assert (
                f"worker {failing} ({addresses[failing]}{chief}) failed: "
                "RuntimeError: out of paint.\n"
            ) in errors


@pytest.mark.multiworker
def test_an_exception_in_all_workers_is_raised_in_all(
    start, addresses: list[str]
) -> None:
    for worker in start_all(start, addresses, ("fail", "fail", "fail")):
        status, errors = worker.result()
        assert status == 1
        assert errors.endswith("RuntimeError: out of paint\n")


@pytest.mark.multiworker
@pytest.mark.parametrize("blaming", [0, 1])
def test_a_lost_peer_is_named_for_an_error_of_tensorflow(
    start, addresses: list[str], blaming: int
) -> None:
    """TensorFlow notices first; the heartbeats know who it was."""
    victim = 1 - blaming
    thens: list[Any] = ["blame", "blame", "blame"]
    thens[victim] = 600
    workers = start_all(start, addresses, tuple(thens))
    workers[victim].process.send_signal(signal.SIGSTOP)
    for index in (blaming, 2):
        status, errors = workers[index].result()
        assert status == 75
        assert re.search(
            rf"worker {victim} \({re.escape(addresses[victim])}.*\) "
            r"(was not heard for \d+ s|ended its connection)",
            errors,
        )


@pytest.mark.multiworker
@pytest.mark.parametrize("blaming", [0, 1])
def test_an_error_of_tensorflow_alone_is_the_workers_own(
    start, addresses: list[str], blaming: int
) -> None:
    thens: list[Any] = [600, 600, 600]
    thens[blaming] = "blame"
    workers = start_all(start, addresses, tuple(thens), timeout=5.0)
    for index, worker in enumerate(workers):
        status, errors = worker.result()
        assert status == 75
        assert (
            ") failed: ConnectionError: recvmsg: reset by peer.\n"
        ) in errors
        assert f"worker {blaming} ({addresses[blaming]}" in errors
        # It says as well where it came from.
        assert ("Traceback" in errors) == (index == blaming)


@pytest.mark.multiworker
def test_workers_of_different_runs_do_not_start(
    start, addresses: list[str]
) -> None:
    run = {"recipe": "voc", "checkpoint": "none"}
    workers = [
        start(addresses, index, run=run | {"checkpoint": checkpoint})
        for index, checkpoint in enumerate(("none", "none", "step 7"))
    ]
    for worker in workers:
        status, errors = worker.result()
        assert status == 1
        assert errors.endswith(
            "ValueError: `checkpoint` must be the same on all workers. "
            f"Received: checkpoint='step 7' on worker 2 ({addresses[2]}), "
            f"checkpoint='none' on worker 0 ({addresses[0]}, the chief)\n"
        )


@pytest.mark.multiworker
@pytest.mark.parametrize("name", ["workers", "timeout"])
def test_clusters_that_differ_do_not_start(
    start, addresses: list[str], name: str
) -> None:
    other = [*addresses[:2], "elsewhere:1"] if name == "workers" else addresses
    seconds = LONG if name == "workers" else LONG / 2
    workers = [
        start(addresses, 0),
        start(addresses, 1),
        start(other, 2, timeout=seconds),
    ]
    for worker in workers:
        status, errors = worker.result()
        assert status == 1
        assert f"ValueError: `{name}` must be the same on all wor" in errors


@pytest.mark.multiworker
def test_missing_workers_are_named(start, addresses: list[str]) -> None:
    workers = [
        start(addresses, index, timeout=3.0, joining=joining)
        for index, joining in enumerate((3.0, LONG))
    ]
    for worker in workers:
        status, errors = worker.result()
        assert status == 1
        assert errors.endswith(
            "TimeoutError: All workers must start within 3 s of each other. "
            f"Missing: worker 2 ({addresses[2]})\n"
        )


@pytest.mark.multiworker
def test_a_missing_chief_is_named(start, addresses: list[str]) -> None:
    status, errors = start(addresses, 1, timeout=2.0, joining=2.0).result()
    assert status == 1
    assert errors.endswith(
        "TimeoutError: All workers must start within 2 s of each other. "
        f"Missing: worker 0 ({addresses[0]}, the chief)\n"
    )


@pytest.mark.multiworker
def test_two_processes_with_one_index_do_not_start(
    start, addresses: list[str]
) -> None:
    """The later one stays: the earlier may be of a machine that is gone."""
    chief = start(addresses, 0, 0)
    earlier = start(addresses, 1, 0)
    time.sleep(2)
    later = start(addresses, 1, 0)
    status, errors = earlier.result()
    assert status == 1
    assert errors.endswith(
        "ValueError: `index` must be another for every worker, from 1 to 2 "
        f"beside the chief, {addresses[0]}. Received: index=1\n"
    )
    last = start(addresses, 2, 0)
    for worker in (chief, later, last):
        assert worker.result() == (0, "")


@pytest.mark.multiworker
def test_a_worker_too_many_does_not_start(start, addresses: list[str]) -> None:
    chief = start(addresses[:2], 0, 0)
    status, errors = start(addresses, 2).result()
    assert status == 1
    assert "from 1 to 1 beside the chief" in errors
    assert "Received: index=2\n" in errors
    assert start(addresses[:2], 1, 0).result() == (0, "")
    assert chief.result() == (0, "")


@pytest.mark.multiworker
def test_a_worker_that_starts_again_before_the_others_is_welcome(
    start, addresses: list[str]
) -> None:
    chief, first = start(addresses, 0, 0), start(addresses, 1)
    time.sleep(2)
    first.process.kill()
    workers = [chief, start(addresses, 1, 0), start(addresses, 2, 0)]
    for worker in workers:
        assert worker.result() == (0, "")


def knock(port: int) -> list[socket.socket]:
    """What finds its way to an open port; the last ones stay."""
    deep = b"[" * 60000
    hello = {"kind": heartbeats._HELLO, "worker": 1, "run": {}}
    for data in (
        b"",
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 99,
        b"\xff" * 9999,
        struct.pack(">I", 3) + b"\xff\xfe\xfd",
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", len(deep)) + deep,
        struct.pack(">I", 20) + b'{"kind": "lost", "wo',
        *(
            struct.pack(">I", len(text)) + text
            for text in (
                json.dumps(hello | change).encode()
                for change in (
                    {"kind": "start"},
                    {"worker": [1]},
                    {"worker": None},
                    {"worker": 1e300},
                    {"run": 3},
                )
            )
        ),
    ):
        with (
            socket.create_connection(("127.0.0.1", port)) as link,
            # Cut off while it talks; on shutdown that is no ConnectionError.
            contextlib.suppress(OSError),
        ):
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            # Nothing is answered.
            assert link.recv(1) == b""
    # What announces too much is not waited for.
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(struct.pack(">I", 1 << 20))
        assert link.recv(1) == b""
    half = socket.create_connection(("127.0.0.1", port))
    half.sendall(b"\0")
    return [half, socket.create_connection(("127.0.0.1", port))]


@pytest.mark.multiworker
def test_strangers_do_no_harm(start, addresses: list[str]) -> None:
    port = int(addresses[0].split(":")[1]) + 1
    chief = start(addresses, 0, "wait")
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            strangers = knock(port)
            break
        time.sleep(0.05)
    others = [start(addresses, index, 0) for index in (1, 2)]
    for worker in (chief, *others):
        worker.wait_for("started")
    strangers += knock(port)
    # More than it hears out at a time, some of them for ten seconds.
    for _ in range(100):
        strangers.append(socket.create_connection(("127.0.0.1", port)))
    # `result` closes what the chief waits for.
    for worker in (chief, *others):
        assert worker.result() == (0, "")
    for each in strangers:
        each.close()


@pytest.mark.multiworker
def test_a_worker_of_the_next_run_waits_for_its_chief(
    start, addresses: list[str]
) -> None:
    before = start_all(start, addresses, (4, 4))
    after = start(addresses[:2], 1, 0)
    for worker in before:
        assert worker.result() == (0, "")
    again = start(addresses[:2], 0, 0)
    assert after.result() == (0, "")
    assert again.result() == (0, "")


@pytest.mark.multiworker
def test_one_that_is_done_may_go_before_the_end(
    start, addresses: list[str]
) -> None:
    """Its work is done: the chief's evaluation needs it no more."""
    chief, worker = start_all(start, addresses, (4, 0))
    worker.wait_for("worked")
    time.sleep(0.5)
    worker.process.kill()
    assert chief.result() == (0, "")


@pytest.mark.multiworker
def test_one_that_is_done_learns_of_the_chiefs_end(
    start, addresses: list[str]
) -> None:
    chief, worker = start_all(start, addresses, (600, 0))
    worker.wait_for("worked")
    time.sleep(0.5)
    chief.process.kill()
    status, errors = worker.result()
    assert status == 75
    assert f"worker 0 ({addresses[0]}, the chief) ended its conn" in errors


def test_errors_of_tensorflow_are_blamed(monkeypatch) -> None:
    blamed = []

    class Watch:
        def blame(self, error: BaseException) -> None:
            blamed.append(error)
            raise SystemExit(75)

    @contextlib.contextmanager
    def pretend(*args: Any) -> Iterator[Watch]:
        yield Watch()

    monkeypatch.setattr(clusters.heartbeats, "watching", pretend)
    cluster = Cluster(("a:1", "b:1"))
    errors = (
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
        tf.errors.UnavailableError,
    )
    for error in errors:
        with pytest.raises(SystemExit), watching(cluster, {}):
            raise error(None, None, "a peer is gone")
    assert tuple(map(type, blamed)) == errors
    with pytest.raises(tf.errors.ResourceExhaustedError), watching(cluster, {}):
        raise tf.errors.ResourceExhaustedError(None, None, "no memory")
    assert len(blamed) == len(errors)


def documents() -> list[dict[str, Any]]:
    """What the page gives to Kubernetes."""
    page = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(block) for block in blocks]


def test_the_page_has_a_job_of_each_kind() -> None:
    kinds = [(each["apiVersion"], each["kind"]) for each in documents()]
    assert kinds == [
        ("kubeflow.org/v1", "TFJob"),
        ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime"),
        ("trainer.kubeflow.org/v1alpha1", "TrainJob"),
    ]
    tfjob, runtime, job = (each["spec"] for each in documents())
    worker = tfjob["tfReplicaSpecs"]["Worker"]
    # 75 would be for good under `ExitCode`.
    assert worker["restartPolicy"] == "OnFailure"
    (container,) = worker["template"]["spec"]["containers"]
    assert container["name"] == "tensorflow"
    ports = [each["containerPort"] for each in container["ports"]]
    assert ports == [2222, 2223]
    assert job["runtimeRef"]["name"] == "keras-pspnet"
    assert container["command"] == ["keras-pspnet", *job["trainer"]["args"]]
    (env,) = job["trainer"]["env"]
    assert env == {"name": "NODES", "value": str(job["trainer"]["numNodes"])}
    (replicated,) = runtime["template"]["spec"]["replicatedJobs"]
    # The controller finds its container by these names.
    assert replicated["name"] == "node"
    assert replicated["template"]["metadata"]["labels"] == {
        "trainer.kubeflow.org/trainjob-ancestor-step": "trainer"
    }


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
