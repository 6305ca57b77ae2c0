"""Starts the measured processes and alternates rounds between them.

It imports nothing of the package, so that the repository's benchmarks can use
it without the package.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

# How many lines of a failed process's output to show.
_SHOWN = 40


class BenchmarkError(RuntimeError):
    """A benchmark failed; includes the output of the failed process."""


class Child:
    """An artifact in its own process, which is stopped while it waits.

    Args:
        name: Name for errors.
        command: Command that runs `measured.serve`.
        log: File for its output, except the figures.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self._log = log
        with open(log, "w") as stream:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                env=environment(),
            )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exception: object) -> None:
        # This also ends a stopped process.
        self._process.kill()
        self._process.communicate()

    def start(self) -> dict[str, float]:
        """Waits until it is warm; returns the first line of figures."""
        found = self._figure()
        self._stop(True)
        return found

    def round(self) -> float:
        """Lets it run once; returns the seconds."""
        assert self._process.stdin is not None
        self._stop(False)
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._error() from None
        seconds = self._figure()
        self._stop(True)
        return seconds

    def finish(self) -> float:
        """Lets it end; returns its peak memory in MB."""
        assert self._process.stdin is not None
        self._stop(False)
        self._process.stdin.close()
        self._process.stdin = None
        return self._figure()

    def _stop(self, stopped: bool) -> None:
        # Threads that wait in a busy loop would slow down the others.
        if hasattr(signal, "SIGSTOP"):
            what = signal.SIGSTOP if stopped else signal.SIGCONT
            self._process.send_signal(what)

    def _figure(self) -> Any:
        assert self._process.stdout is not None
        try:
            return json.loads(self._process.stdout.readline())
        except ValueError:
            raise self._error() from None

    def _error(self) -> BenchmarkError:
        # A process that closes its output without a figure is ending.
        status = self._process.wait()
        return failure(self.name, status, self._log.read_text())


def alternate(
    commands: Mapping[str, Sequence[str]],
    folder: Path,
    rounds: int,
    started: Callable[[], object] = lambda: None,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, dict[str, Any]]:
    """Measures processes in rounds that alternate between them.

    If the machine slows down, it does so for all of them.

    Args:
        commands: Name -> command, as in `Child`.
        folder: Folder for their logs.
        rounds: Number of runs of each.
        started: Called when all of them are warm.
        progress: Called after every start and every run.

    Returns:
        By name, the figures of `measured.serve`, with the list `seconds` and
        with `peak`.

    Raises:
        BenchmarkError: If one fails.
    """
    found: dict[str, dict[str, Any]] = {}
    children: dict[str, Child] = {}
    with ExitStack() as stack:
        for index, (name, command) in enumerate(commands.items()):
            log = folder / f"{index}.log"
            child = stack.enter_context(Child(name, command, log))
            found[name] = {**child.start(), "seconds": []}
            children[name] = child
            progress()
        started()
        for index in range(rounds):
            # Take turns in going first: the second finds a warmer machine.
            order = list(children) if index % 2 == 0 else [*children][::-1]
            for name in order:
                found[name]["seconds"].append(children[name].round())
                progress()
        for name, child in children.items():
            found[name]["peak"] = child.finish()
    return found


def environment() -> dict[str, str]:
    """Returns the environment of the measured processes."""
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def failure(name: str, status: int, log: str) -> BenchmarkError:
    """Returns the error for a process that ended.

    Args:
        name: Its name.
        status: Its exit status.
        log: Its output.
    """
    lines = log.rstrip().splitlines()[-_SHOWN:]
    return BenchmarkError(
        "\n".join([f"{name} ended with status {status}:", *lines])
    )
