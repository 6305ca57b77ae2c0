"""Writing files so that a reader never finds half of one."""

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
        OSError: A subclass that fits: the folder is missing, is not a folder
            or cannot be written to, or `path` is something other than a
            regular file.
    """
    target = Path(os.path.realpath(path))
    received = f"Received: path={os.fspath(path)!r}"
    if target.is_dir():
        raise IsADirectoryError(
            f"`path` must be a file, not a folder. {received}"
        )
    # Renaming onto a device would replace the device itself.
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"`path` must be a regular file. {received}")
    # Permission bits say little to root or about network and read-only file
    # systems; creating a nameless file does.
    with (
        naming_errors("path", path),
        tempfile.TemporaryFile(dir=target.parent),
    ):
        pass


def check_data_folder(data: str | os.PathLike[str]) -> None:
    """Refuses data that is no folder, before a model is loaded.

    Args:
        data: The folder.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not os.path.isdir(data):
        raise FileNotFoundError(
            "`data` must be a folder that exists. "
            f"Received: data={os.fspath(data)!r}"
        )


def check_absent(folder: str | os.PathLike[str]) -> None:
    """Checks that a folder that is to be made does not exist yet.

    Args:
        folder: The folder.

    Raises:
        FileExistsError: If there is anything of this name.
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
        OSError: As `writing_atomically`.
    """
    with writing_atomically(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def writing_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file beside `path`, which is renamed into place at the end.

    Whoever opens `path` finds the old content or the new, whatever happens in
    between. A symbolic link is followed, and stays a link. If the block
    fails, the old content stays.

    Args:
        path: The file to write or replace.

    Yields:
        The stream to write to.

    Raises:
        OSError: As `check_writable`, or if the disk refuses the data.
    """
    check_writable(path)
    target = Path(os.path.realpath(path))
    # Its own short name: the target's may already be as long as names get.
    temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with (
            naming_errors("path", path),
            open(temporary, "xb") as stream,
        ):
            yield stream
            stream.flush()
            # Without it, a power cut could leave the new name with no data.
            os.fsync(stream.fileno())
        with naming_errors("path", path):
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Holds the lock of `path`, waiting for other processes and threads.

    The lock is the file `<path>.lock`, which stays. The system releases it
    when its holder ends in whatever way. A thread that holds the lock must
    not ask for it again.

    Args:
        path: What is worked on: a file or a folder, which need not exist.

    Yields:
        Nothing; the lock is held until the block ends.

    Raises:
        OSError: If the lock file cannot be made.
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
    """Names an argument in what the file system raises.

    Args:
        argument: The argument.
        path: Its value.
        rule: What it must be.

    Yields:
        Nothing; errors of the block come out with the argument's name.

    Raises:
        OSError: Of the same class as the file system's.
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
    """Writes a JSON object whole or not at all, an entry a line.

    Indented in full, a matrix would have a line for each of its numbers.

    Args:
        path: File to write or replace.
        content: What JSON can say; it has no NaN.

    Raises:
        OSError: If it cannot be written; an old file stays then.
    """
    lines = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(value, allow_nan=False)}"
        for name, value in content.items()
    )
    write_atomically(path, f"{{\n{lines}\n}}\n".encode())
