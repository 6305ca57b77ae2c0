"""`keras-pspnet demo` in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from chromium import ROOT, SECONDS

_PROGRAM = Path(__file__).parent / "watched_demo.py"


@dataclasses.dataclass
class Demo:
    """A running page.

    Attributes:
        process: Its process.
        address: Where it is.
        folder: Where it keeps its temporary files.
        errors: File with what it has written to stderr.
        hosts: File with the other hosts that it has asked for.
    """

    process: subprocess.Popen[str]
    address: str
    folder: Path
    errors: Path
    hosts: Path


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[Demo]:
    """Starts the page on a free port, and ends it, which it has to do quietly.

    Args:
        folder: An empty folder for its files.
        options: Of the command.
    """
    temporary = folder / "temporary"
    temporary.mkdir()
    errors, hosts = folder / "errors", folder / "hosts"
    hosts.touch()
    with open(errors, "a") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, _PROGRAM, hosts, "--port", "0"),
                *("--model", "aerial", *options),
            ],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        )
    try:
        address = _address(process, errors)
        demo = Demo(process, address, temporary, errors, hosts)
        assert list(temporary.iterdir())
        yield demo
        with _visitor(address):
            # As Ctrl-C does.
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 130
        assert process.stdout is not None
        assert process.stdout.read() == errors.read_text() == ""
        # Temporary files are gone.
        assert list(temporary.iterdir()) == []
    finally:
        process.kill()
        process.wait(SECONDS)
        assert process.stdout is not None
        process.stdout.close()


@contextlib.contextmanager
def _visitor(address: str) -> Iterator[None]:
    """Has the page open, as far as the server can tell."""
    url = f"{address}/gradio_api/heartbeat/visitor"
    with urllib.request.urlopen(url, timeout=SECONDS) as stream:
        assert b"ALIVE" in stream.readline()
        yield


def _address(process: subprocess.Popen[str], errors: Path) -> str:
    assert process.stdout is not None
    start = time.monotonic()
    line = process.stdout.readline()
    match = re.search(r"http://\S+", line)
    assert match, f"{line!r} after {time.monotonic() - start:.0f} s, " + (
        errors.read_text()
    )
    return match[0]
