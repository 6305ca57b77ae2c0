"""Writes files so that readers never see an incomplete one."""

import contextlib
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO


def check_writable(path: str | os.PathLike[str]) -> None:
    """Checks, before long work starts, that a file can be written later.

    Args:
        path: The file to be written; it may exist, its folder must.

    Raises:
        OSError: If the folder is missing, is not a folder or is not writable,
            or `path` is not a regular file; of the subclass that fits.
    """
    target = Path(os.path.realpath(path))
    received = f"Received: path={os.fspath(path)!r}"
    if target.is_dir():
        raise IsADirectoryError(
            f"`path` must be a file, not a folder. {received}"
        )
    # Renaming a file to a device would replace the device.
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"`path` must be a regular file. {received}")
    # Permission bits mean little for root, and on network and read-only file
    # systems. Creating a nameless file tells.
    with (
        naming_errors("path", path),
        tempfile.TemporaryFile(dir=target.parent),
    ):
        pass


def check_data_folder(data: str | os.PathLike[str]) -> None:
    """Checks, before a model is loaded, that data is a folder.

    Args:
        data: The folder.

    Raises:
        FileNotFoundError: If it is not a folder.
    """
    if not os.path.isdir(data):
        raise FileNotFoundError(
            "`data` must be a folder that exists. "
            f"Received: data={os.fspath(data)!r}"
        )


def check_absent(folder: str | os.PathLike[str]) -> None:
    """Checks that a folder to be created does not exist yet.

    Args:
        folder: The folder.

    Raises:
        FileExistsError: If the path exists, whatever it is.
    """
    if os.path.lexists(folder):
        raise FileExistsError(
            "`folder` must not exist yet. "
            f"Received: folder={os.fspath(folder)!r}"
        )


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` beside `path`, then renames it into place.

    Args:
        path: The file to write or replace.
        data: Its new content.

    Raises:
        OSError: See `writing_atomically`.
    """
    with writing_atomically(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def writing_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file beside `path`, and renames it into place at the end.

    Readers of `path` see either the old or the new content, whatever happens
    in between. If the block fails, the old content stays. A symbolic link is
    followed and stays a link.

    Args:
        path: The file to write or replace.

    Yields:
        The stream to write to.

    Raises:
        OSError: See `check_writable`; also if writing fails.
    """
    check_writable(path)
    target = Path(os.path.realpath(path))
    # A short name, since the target's may have the maximal length already.
    temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with (
            naming_errors("path", path),
            open(temporary, "xb") as stream,
        ):
            yield stream
            stream.flush()
            # Otherwise a power cut could leave an empty file of this name.
            os.fsync(stream.fileno())
        with naming_errors("path", path):
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Holds the lock of `path`, waiting for other processes and threads.

    The lock is the file `<path>.lock`, which is not deleted. The system
    releases it when its holder ends, for whatever reason. A thread that holds
    the lock must not acquire it again.

    Args:
        path: File or folder to lock; it need not exist.

    Yields:
        Nothing; the lock is held until the block ends.

    Raises:
        OSError: If the lock file cannot be created.
    """
    from filelock import FileLock

    lock = FileLock(f"{os.fspath(path)}.lock")
    with naming_errors("path", path):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def naming_errors(
    argument: str, path: str | os.PathLike[str], rule: str = "writable"
) -> Iterator[None]:
    """Adds the name of an argument to errors of the file system.

    Args:
        argument: Name of the argument.
        path: Its value.
        rule: What it must be.

    Yields:
        Nothing; the block's errors name the argument.

    Raises:
        OSError: An error of the same class as the file system's.
    """
    try:
        yield
    except OSError as error:
        raise type(error)(
            f"`{argument}` must be {rule} ({error.strerror or error}). "
            f"Received: {argument}={os.fspath(path)!r}"
        ) from error


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file's content in hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(
    path: str | os.PathLike[str], content: Mapping[str, Any]
) -> None:
    """Writes a JSON object atomically, with one line per entry.

    With indentation, a matrix would take a line for each of its numbers.

    Args:
        path: File to write or replace.
        content: Values that JSON supports; NaN is not among them.

    Raises:
        OSError: If it cannot be written. An old file then stays.
    """
    lines = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(value, allow_nan=False)}"
        for name, value in content.items()
    )
    write_atomically(path, f"{{\n{lines}\n}}\n".encode())
