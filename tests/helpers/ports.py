"""Finds free ports for servers, and waits until one listens."""

import contextlib
import random
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def free_port(count: int = 1) -> int:
    """Returns the first of several free ports in a row.

    They are below the range that systems use for outgoing connections.
    """
    while True:
        # Keras's seed of every test must not give all of them the same.
        first = random.SystemRandom().randrange(20000, 30000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


def await_ready(
    process: subprocess.Popen[Any],
    log_file: Path,
    ready: Callable[[], bool],
    seconds: float = 240,
) -> None:
    """Waits until a server is ready.

    Raises:
        ChildProcessError: If the server exits instead.
        TimeoutError: If it is not ready in time.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        log = log_file.read_text(errors="replace")
        if process.poll() is not None:
            raise ChildProcessError(f"{log}\nStatus {process.returncode}.")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{log}\nNot ready in {seconds} s.")
        time.sleep(0.05)
