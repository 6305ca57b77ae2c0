"""Processes that start with TensorFlow imported.

Importing it takes longer than most tests that need their own process, so these
processes are forks of one that has imported everything and started nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keras_pspnet.cli.main import main

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["keras_pspnet.training.run"])


class Forked:
    """Runs a function in its own process, as `subprocess.Popen` a command.

    Args:
        function: Function of a module of `tests/helpers` or the package.
        *args: Its arguments.
        environment: Added to the environment.
        cwd: The working folder.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *args: Any,
        environment: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = ".",
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        streams = [Path(self._folder.name, name) for name in ("out", "err")]
        self._out, self._err = streams
        for stream in streams:
            stream.touch()
        self._read = 0
        self._process = _CONTEXT.Process(
            target=_run,
            args=(
                *(function, args, {**os.environ, **(environment or {})}),
                *(os.path.abspath(cwd), streams),
            ),
        )
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def readline(self, timeout: float) -> str:
        """Waits for the next line of the standard output."""
        until = time.monotonic() + timeout
        while True:
            ended = self.returncode is not None
            with self._out.open() as stream:
                stream.seek(self._read)
                line = stream.readline()
            if line.endswith("\n") or ended or time.monotonic() > until:
                self._read += len(line)
                return line
            time.sleep(0.02)

    def send_signal(self, number: int) -> None:
        if self.returncode is None and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float) -> int:
        """Waits for its end, and returns its status."""
        self._process.join(timeout)
        if self.returncode is None:
            raise TimeoutError(f"still runs after {timeout} s: {self.errors}")
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Waits for its end, and returns its output."""
        self.wait(timeout)
        return self.printed, self.errors

    @property
    def printed(self) -> str:
        """What it has written to the standard output."""
        return self._out.read_text()

    @property
    def errors(self) -> str:
        """Returns its output on standard error."""
        return self._err.read_text()

    def close(self) -> None:
        """Kills it if it still runs, and removes its output."""
        self.kill()
        self._process.join()
        self._folder.cleanup()


def command(*arguments: str) -> None:
    """Runs `keras-pspnet`, and exits with its status."""
    sys.exit(main(arguments))


def run_code(
    words: list[str], **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs `python -I -c CODE ...` as `subprocess.run` does."""
    code, *arguments = words[words.index("-c") + 1 :]
    process = Forked(_run_code, code, [os.fspath(each) for each in arguments])
    try:
        printed, errors = process.communicate(600)
        return subprocess.CompletedProcess(
            words, process.returncode or 0, printed, errors
        )
    finally:
        process.close()


def _run_code(code: str, arguments: list[str]) -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] in ("keras_pspnet", "forked"):
            del sys.modules[name]
    sys.argv[1:] = arguments
    exec(code, {"__name__": "__main__"})


def _run(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    environment: dict[str, str],
    cwd: str,
    streams: list[Path],
) -> None:
    for descriptor, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    try:
        function(*args)
    except KeyboardInterrupt:
        # As Python ends where nobody catches it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
