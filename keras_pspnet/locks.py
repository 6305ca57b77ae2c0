"""Locks between processes, which end with their holder."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from keras_pspnet.files import naming_errors

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of `path`, waiting for other processes and threads.

    The lock is on the open file `<path>.lock`, so that the system releases
    it when its holder ends in whatever way. That file is empty and stays:
    removing it could let two processes hold locks on two files of its name.
    A thread that holds the lock must not ask for it again.

    Args:
        path: What is worked on: a file or a folder, which need not exist in
            a folder which does.

    Yields:
        Nothing; the lock is held until the block ends.

    Raises:
        OSError: If the lock file cannot be made, or is on a file system
            that has no locks.
    """
    with contextlib.ExitStack() as stack:
        with naming_errors("path", path):
            stream = stack.enter_context(
                open(path.with_name(f"{path.name}.lock"), "ab")
            )
        with naming_errors("path", path, "on a file system that has locks"):
            _lock(stream.fileno())
        try:
            yield
        finally:
            # A process forked meanwhile may have the file open for longer.
            _unlock(stream.fileno())


if sys.platform == "win32":

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return
            # The waiting kind, LK_LOCK, gives up after ten seconds.
            except PermissionError:
                time.sleep(0.1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
