"""Processes that are measured, and rounds that alternate between them.

It imports nothing of the package, so that the repository's benchmarks can use
it where the package is not installed.
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

# Lines of a failed process's output that are shown.
_SHOWN = 40


class BenchmarkError(RuntimeError):
    """Says why there are no figures; of a process, also what it wrote."""


class Child:
    """An artefact in a process of its own, which is stopped while it waits.

    Args:
        name: What to call it.
        command: Starts a process that does as `measured.serve`.
        log: File for what it writes beside its figures.
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
        # Ends a stopped process too.
        self._process.kill()
        self._process.communicate()

    def start(self) -> dict[str, float]:
        """Waits until it is warm; returns what `measured.serve` found."""
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
        # Threads that wait busily would slow the others down.
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
        # Whoever closes its output without a figure is ending.
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

    A machine that grows slower does so for all of them.

    Args:
        commands: Starts each, as of `Child`.
        folder: Where their logs go.
        rounds: How often each runs.
        started: Called when all of them are warm.
        progress: Called after every start and every run.

    Returns:
        By name, what `measured.serve` found, with `seconds`, a list, and
        `peak`.

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
            # Who goes first alternates: the second finds a warmer machine.
            order = list(children) if index % 2 == 0 else [*children][::-1]
            for name in order:
                found[name]["seconds"].append(children[name].round())
                progress()
        for name, child in children.items():
            found[name]["peak"] = child.finish()
    return found


def environment() -> dict[str, str]:
    """Returns the environment of processes that are measured."""
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def failure(name: str, status: int, log: str) -> BenchmarkError:
    """Returns the error of a process that has ended.

    Args:
        name: What it was.
        status: Its exit status.
        log: What it wrote.
    """
    lines = log.rstrip().splitlines()[-_SHOWN:]
    return BenchmarkError(
        "\n".join([f"{name} ended with status {status}:", *lines])
    )
