"""Files on whatever Beam's file systems reach, read within bounds."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from keras_pspnet.files import check_writable, naming_errors

# What is read at a time: a stream may set aside all that it is asked for.
_CHUNK = 2**20
# Bytes that are the file's own, as a name must be: a.jpg.gz is no picture.
_PLAIN = CompressionTypes.UNCOMPRESSED


def is_local(path: str) -> bool:
    """Tells whether a path names no file system, and so the machine's own."""
    return FileSystems.get_scheme(path) is None


def absolute(path: str) -> str:
    """Returns what a path is wherever a worker was started.

    Args:
        path: A local path, or one that names its file system.
    """
    return os.path.abspath(path) if is_local(path) else path.rstrip("/")


def prepare_folder(argument: str, folder: str) -> None:
    """Makes a local folder and checks that files can be written to it.

    Elsewhere folders come with the files in them.

    Args:
        argument: The argument that named the folder.
        folder: The folder.

    Raises:
        OSError: If it cannot be made or written to.
    """
    if is_local(folder):
        with naming_errors(argument, folder, "a folder that can be written"):
            os.makedirs(folder, exist_ok=True)
        check_writable(Path(folder) / "table")


def read(path: str, most: int) -> bytes:
    """Reads a whole file.

    Args:
        path: The file.
        most: The number of bytes it may have.

    Raises:
        Exception: Whatever the file system raises where it cannot be read.
        ValueError: If it is larger; little more has been read then.
    """
    parts, size = [], 0
    with FileSystems.open(path, compression_type=_PLAIN) as stream:
        while part := stream.read(_CHUNK):
            size += len(part)
            if size > most:
                raise ValueError(
                    f"`path` must be a file of at most {most} bytes. "
                    f"Received: path={path!r}"
                )
            parts.append(part)
    return b"".join(parts)


def write_whole(path: str, data: bytes) -> None:
    """Writes a file under another name, then renames it.

    Args:
        path: A file that does not exist, or is being written with the same
            content by somebody else.
        data: Its content.

    Raises:
        OSError: If it cannot be written.
    """
    temporary = f"{path}.{secrets.token_hex(8)}.tmp"
    try:
        with FileSystems.create(temporary, compression_type=_PLAIN) as stream:
            stream.write(data)
        FileSystems.rename([temporary], [path])
    except Exception:
        if FileSystems.exists(temporary):
            FileSystems.delete([temporary])
        # Where renaming replaces nothing, the first one to come is as good.
        if not FileSystems.exists(path):
            raise


def copy_folder(folder: str, target: str) -> None:
    """Copies a folder from any file system to this machine.

    Args:
        folder: The folder.
        target: A local folder, which exists.

    Raises:
        OSError: If there is nothing in it, or it cannot be copied.
    """
    (found,) = FileSystems.match([f"{folder}/**"])
    if not found.metadata_list:
        raise FileNotFoundError(
            f"`folder` must hold files. Received: folder={folder!r}"
        )
    for file in found.metadata_list:
        copy = Path(target, file.path.removeprefix(f"{folder}/"))
        copy.parent.mkdir(parents=True, exist_ok=True)
        with (
            FileSystems.open(file.path, compression_type=_PLAIN) as stream,
            open(copy, "wb") as local,
        ):
            while part := stream.read(_CHUNK):
                local.write(part)


def matches(pattern: str, limit: int | None = None) -> list[str]:
    """Lists the files that a pattern stands for.

    Args:
        pattern: As of Beam: `*` stays within a folder, `**` does not.
        limit: How many are enough.

    Raises:
        OSError: If they cannot be listed.
    """
    try:
        (found,) = FileSystems.match([pattern], [limit])
    except BeamIOError as error:
        raise OSError(
            f"`patterns` must be patterns of files that can be listed "
            f"({error}). Received: {pattern!r}"
        ) from error
    return [file.path for file in found.metadata_list]
