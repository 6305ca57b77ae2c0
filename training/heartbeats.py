"""Workers that hear from each other, so that none waits for a dead one.

A worker that dies or hangs leaves the others in a collective operation that
nothing in Python can interrupt. Threads of their own hear whether all are
alive, and end the process where one is not.

Every worker has a connection to the chief, worker 0, at the port after the
one that the chief has for TensorFlow. It carries JSON objects, each after its
length in four bytes. As TensorFlow's own connections, it has no password and
no encryption: it belongs in a network whose machines are trusted. Whatever
else connects to the port is not answered.
"""

from __future__ import annotations

import abc
import contextlib
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from .links import MOST_BYTES, Link

# EX_TEMPFAIL of sysexits.h: the same command may succeed later.
LOST_WORKER_STATUS = 75
# Seconds after which a worker that is not heard is lost, if nobody says else.
TIMEOUT = 60.0
# Seconds for all workers to start: images are pulled, folders are listed.
JOINING = 300.0
# Seconds for what was sent last to arrive, before the process ends.
_LINGER = 2.0
# Seconds for an exception of all workers, such as for a loss that is not
# finite, to come up in each, before it ends those that it was told to.
_GRACE = 1.0
_MOST_CHARACTERS = 2000
_HELLO = "keras_pspnet worker"
# Connections that have not said who they are: seconds, and how many.
_HELLO_TIMEOUT = 10.0
_MOST_STRANGERS = 32


@contextlib.contextmanager
def watching(
    addresses: Sequence[str],
    index: int,
    run: Mapping[str, str],
    timeout: float = TIMEOUT,
) -> Iterator[Watch]:
    """Waits for all workers, then ends this one if another is lost.

    The block starts when all workers are there, and ends when it ends on all
    of them. In between, a worker that was not heard for `timeout` seconds, or
    whose connection ended, ends all others with a message on the standard
    error and with status 75, from a thread, wherever their main thread is. An
    exception in the block does so too, and is raised on.

    Args:
        addresses: `host:port` of every worker for TensorFlow, at least two,
            in the same order everywhere; at the first one's next port it
            listens to the others.
        index: Which of them this process is.
        run: What has to be the same on all workers, by name.
        timeout: Seconds, above 0; the same on all workers.

    Yields:
        The watch, to be told of errors that another worker may have caused.

    Raises:
        OSError: If the chief cannot listen.
        TimeoutError: If workers are missing after `JOINING` seconds, or
            `timeout` where that is longer.
        ValueError: If `run` is not the same on all workers or too long, two
            processes have one index, or `timeout` is not above 0.
    """
    if not timeout > 0:
        raise ValueError(
            "`timeout` must be a number of seconds above 0. "
            f"Received: timeout={timeout}"
        )
    run = {"workers": ", ".join(addresses), "timeout": str(timeout), **run}
    if len(json.dumps(run)) > MOST_BYTES // 2:
        raise ValueError(
            f"`run` must be at most {MOST_BYTES // 2} bytes of JSON. "
            f"Received: {len(json.dumps(run))} bytes"
        )
    watch: Watch = (_Worker if index else _Chief)(
        addresses, index, run, timeout
    )
    try:
        watch.join()
        yield watch
        watch.finish()
    except BaseException as error:
        watch.fail(_clip(f"{type(error).__name__}: {error}"))
        raise
    finally:
        watch.close()


class Watch(abc.ABC):
    """One worker's part; see `watching`."""

    def __init__(
        self,
        addresses: Sequence[str],
        index: int,
        run: Mapping[str, str],
        timeout: float,
    ) -> None:
        self._addresses = addresses
        self._index = index
        self._run = run
        self._timeout = timeout
        # Many in the timeout, so that one that is late does no harm.
        self._interval = min(timeout / 5, 2.0)
        # Until the heartbeats can say who caused an error of TensorFlow.
        self._moment = 4 * self._interval
        self._state = threading.Condition()
        self._closed = threading.Event()
        # From here on, ended connections are no news.
        self._over = False
        self._leaving = False
        self._readers: list[threading.Thread] = []

    @abc.abstractmethod
    def join(self) -> None:
        """Waits for all workers and compares their runs."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Waits until all workers are at the end of the block."""

    @abc.abstractmethod
    def fail(self, error: str) -> None:
        """Tells the others that this worker failed."""

    def blame(self, error: BaseException) -> NoReturn:
        """Ends the process for an error that another worker may have caused.

        Heartbeats get a few seconds to say which worker it was. If they know
        of none, it is taken to be this one's own.
        """
        traceback.print_exception(error)
        self._trouble(_clip(f"{type(error).__name__}: {error}"))
        # A thread ends the process.
        while True:
            time.sleep(3600)

    @abc.abstractmethod
    def _trouble(self, error: str) -> None:
        """Lets the heartbeats say who caused an error, and ends."""

    def close(self) -> None:
        self._closed.set()

    def name_of(self, worker: int) -> str:
        chief = "" if worker else ", the chief"
        return f"worker {worker} ({self._addresses[worker]}{chief})"

    def _start(self, function: Any, *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        thread.start()
        return thread

    def _is_silent(self, link: Link) -> bool:
        return link.silence > 2.5 * self._interval

    def _lost(self, worker: int, error: Exception) -> None:
        if isinstance(error, TimeoutError):
            self._leave(worker, f"was not heard for {self._timeout:g} s")
        else:
            self._leave(worker, "ended its connection without a goodbye")

    def _leave(self, worker: int, why: str) -> None:
        """Ends the process, once, because of a worker."""
        with self._state:
            if self._over or self._leaving:
                return
            self._leaving = True
        self._tell_lost(worker, why)
        print(
            f"\nkeras_pspnet: {self.name_of(worker)} {why}.\n"
            f"keras_pspnet: {self.name_of(self._index)} ends with status "
            f"{LOST_WORKER_STATUS}. The last checkpoint stays; the same "
            "command on all machines goes on from there.",
            file=sys.stderr,
            flush=True,
        )
        self._drain()
        _exit(LOST_WORKER_STATUS)

    @abc.abstractmethod
    def _tell_lost(self, worker: int, why: str) -> None:
        """Tells the others before this one leaves."""

    def _drain(self) -> None:
        """Waits a little for the other sides to close.

        A connection that is closed with something unread in it takes away
        what was sent last as well.
        """
        until = time.monotonic() + _LINGER
        for thread in self._readers:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))


class _Chief(Watch):
    """Listens to the others, and tells all what became of one."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._links: dict[int, Link] = {}
        self._runs: dict[int, Mapping[str, Any]] = {}
        self._done: set[int] = set()
        self._started = False
        # When to decide about an error of TensorFlow, whose, and which.
        self._troubles: list[tuple[float, int, str]] = []
        self._strangers = threading.Semaphore(_MOST_STRANGERS)
        host, port = _endpoint(self._addresses[0])
        try:
            self._listener = _listen(host, port)
        except OSError as error:
            raise type(error)(
                f"The chief must be able to listen at port {port}, for the "
                f"other workers' heartbeats: {error.strerror or error}"
            ) from error
        self._start(self._accept)
        self._start(self._beat)

    def join(self) -> None:
        limit = max(self._timeout, JOINING)
        others = range(1, len(self._addresses))
        with self._state:
            self._state.wait_for(lambda: len(self._links) == len(others), limit)
            self._started = True
            missing = [each for each in others if each not in self._links]
            differences = map(self._difference, set(others) - set(missing))
            difference = next(filter(None, differences), "")
            self._over = bool(missing or difference)
        if missing:
            text = _missing(limit, map(self.name_of, missing))
            self._send_all("missing", text=text)
            raise TimeoutError(text)
        if difference:
            self._send_all("differs", text=difference)
            raise ValueError(difference)
        self._send_all("start")

    def _difference(self, worker: int) -> str:
        """What makes this worker's run another than the chief's."""
        other = self._runs[worker]
        for name in sorted(self._run.keys() | other.keys()):
            theirs, own = other.get(name), self._run.get(name)
            if theirs != own:
                return _clip(
                    f"`{name}` must be the same on all workers. Received: "
                    f"{name}={theirs!r} on {self.name_of(worker)}, "
                    f"{name}={own!r} on {self.name_of(0)}"
                )
        return ""

    def finish(self) -> None:
        with self._state:
            self._state.wait_for(lambda: len(self._done) == len(self._links))
            self._over = True
        self._send_all("end")

    def fail(self, error: str) -> None:
        with self._state:
            if self._over or not self._started:
                return
            self._over = True
        self._send_all("lost", worker=0, why=f"failed: {error}")

    def _trouble(self, error: str) -> None:
        with self._state:
            self._troubles.append((time.monotonic() + self._moment, 0, error))

    def close(self) -> None:
        self._over = True
        super().close()
        # Closing alone would not wake the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in list(self._links.values()):
            link.end()
        self._drain()
        for link in list(self._links.values()):
            link.close()

    def _tell_lost(self, worker: int, why: str) -> None:
        self._send_all("lost", worker=worker, why=why)
        for link in list(self._links.values()):
            link.end()

    def _send_all(self, kind: str, **fields: Any) -> None:
        for link in list(self._links.values()):
            link.send(kind, **fields)

    def _beat(self) -> None:
        while not self._closed.wait(self._interval):
            self._send_all("beat")
            for until, worker, error in self._troubles:
                if time.monotonic() > until:
                    self._judge(worker, error)

    def _judge(self, worker: int, error: str) -> None:
        for each, link in self._links.items():
            if each not in self._done and self._is_silent(link):
                self._leave(each, f"was not heard for {link.silence:.0f} s")
        self._leave(worker, f"failed: {error}")

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                # Closed, or for a while too many files are open.
                self._closed.wait(0.1)
                continue
            if self._strangers.acquire(blocking=False):
                self._start(self._greet, connection)
            else:
                connection.close()

    def _greet(self, connection: socket.socket) -> None:
        """Hears out whoever has connected."""
        link = Link(connection, min(self._timeout, _HELLO_TIMEOUT))
        try:
            hello = link.receive()
        except OSError:
            hello = {}
        finally:
            self._strangers.release()
        worker, run = hello.get("worker"), hello.get("run")
        if (
            hello.get("kind") != _HELLO
            or not isinstance(worker, int)
            or not isinstance(run, dict)
        ):
            link.close()
            return
        if worker not in range(1, len(self._addresses)):
            link.send("differs", text=self._refusal(worker))
            link.close()
            return
        link.wait_at_most(self._timeout)
        with self._state:
            if self._started:
                # One of the next run, which will try again.
                link.close()
                return
            before = self._links.get(worker)
            self._links[worker] = link
            self._runs[worker] = run
            self._readers.append(threading.current_thread())
            self._state.notify_all()
        if before is not None:
            before.send("differs", text=self._refusal(worker))
            before.end()
        self._hear(worker, link)
        link.close()

    def _refusal(self, worker: int) -> str:
        return (
            "`index` must be another for every worker, from 1 to "
            f"{len(self._addresses) - 1} beside the chief, "
            f"{self._addresses[0]}. Received: index={worker}"
        )

    def _hear(self, worker: int, link: Link) -> None:
        while True:
            try:
                message = link.receive()
            except OSError as error:
                with self._state:
                    if not self._started and self._links.get(worker) is link:
                        # It may come again.
                        del self._links[worker]
                    news = self._links.get(worker) is link
                if news and worker not in self._done:
                    self._lost(worker, error)
                return
            if message.get("kind") == "done":
                with self._state:
                    self._done.add(worker)
                    self._state.notify_all()
            elif message.get("kind") == "failed":
                self._closed.wait(_GRACE)
                self._leave(worker, f"failed: {message.get('error')}")
            elif message.get("kind") == "trouble":
                with self._state:
                    self._troubles.append(
                        (
                            time.monotonic() + self._moment,
                            worker,
                            str(message.get("error")),
                        )
                    )


class _Worker(Watch):
    """Has a connection to the chief, and hears from it of the others."""

    _link: Link | None = None

    def join(self) -> None:
        limit = max(self._timeout, JOINING)
        until = time.monotonic() + limit
        while True:
            link = self._connect(until)
            if link is None:
                raise TimeoutError(_missing(limit, [self.name_of(0)]))
            try:
                message = link.receive()
                while message.get("kind") == "beat":
                    message = link.receive()
            except OSError:
                # The chief that was there is gone, or is of an earlier run
                # and about to go.
                link.close()
                time.sleep(min(self._interval, 0.5))
                continue
            if message.get("kind") == "start":
                break
            link.close()
            text = str(message.get("text"))
            if message.get("kind") == "missing":
                raise TimeoutError(text)
            raise ValueError(text)
        self._link = link
        self._readers.append(self._start(self._hear, link))

    def _connect(self, until: float) -> Link | None:
        """Connects to the chief; None if it is not there in time."""
        while time.monotonic() < until:
            try:
                connection = socket.create_connection(
                    _endpoint(self._addresses[0]),
                    max(0.1, min(5.0, until - time.monotonic())),
                )
            except OSError:
                time.sleep(min(self._interval, 0.5))
                continue
            # To a port that nobody listens to, from the same port.
            if connection.getsockname() == connection.getpeername():
                connection.close()
                continue
            link = Link(connection, self._timeout)
            link.send(_HELLO, worker=self._index, run=dict(self._run))
            self._start(self._beat, link)
            return link
        return None

    def finish(self) -> None:
        assert self._link is not None
        self._link.send("done")
        with self._state:
            self._state.wait_for(lambda: self._over)

    def fail(self, error: str) -> None:
        if self._link is not None and not self._leaving:
            self._over = True
            self._link.send("failed", error=error)

    def _trouble(self, error: str) -> None:
        assert self._link is not None
        self._link.send("trouble", error=error)
        # The chief decides, unless it is the one that is lost.
        time.sleep(self._moment + 2 * self._interval)
        if self._is_silent(self._link):
            self._leave(0, f"was not heard for {self._link.silence:.0f} s")
        time.sleep(self._moment)
        self._leave(self._index, f"failed: {error}")

    def close(self) -> None:
        super().close()
        if self._link is not None:
            self._link.end()
            self._drain()
            self._link.close()

    def _tell_lost(self, worker: int, why: str) -> None:
        """The chief hears the connection end, and tells the others."""

    def _beat(self, link: Link) -> None:
        while link.send("beat") and not self._closed.wait(self._interval):
            pass

    def _hear(self, link: Link) -> None:
        while True:
            try:
                message = link.receive()
            except OSError as error:
                self._lost(0, error)
                return
            if message.get("kind") == "lost":
                self._closed.wait(_GRACE)
                self._leave(int(message["worker"]), str(message["why"]))
            elif message.get("kind") == "end":
                with self._state:
                    self._over = True
                    self._state.notify_all()


def _endpoint(address: str) -> tuple[str, int]:
    """The chief's address for heartbeats."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port) + 1


def _listen(host: str, port: int) -> socket.socket:
    if host == "localhost" or host.startswith("127."):
        return socket.create_server(("127.0.0.1", port))
    # By a name that others have for it, a machine may not know itself.
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", port), family=socket.AF_INET6, dualstack_ipv6=True
        )
    return socket.create_server(("", port))


def _missing(limit: float, names: Iterable[str]) -> str:
    return (
        f"All workers must start within {limit:g} s of each other. "
        f"Missing: {', '.join(names)}"
    )


def _clip(text: str) -> str:
    """Texts of errors may hold a whole graph."""
    if len(text) <= _MOST_CHARACTERS:
        return text
    return f"{text[:_MOST_CHARACTERS]} ..."


def _exit(status: int) -> NoReturn:
    """Ends the process though its main thread hangs."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)
