"""Files on whatever Beam's file systems reach, read within bounds."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from keras_pspnet.utils import check_writable, naming_errors

# What is read at a time: a stream may set aside all that it is asked for.
_CHUNK = 2**20
# Files are never decompressed, whatever their name: a.jpg.gz is no image.
_PLAIN = CompressionTypes.UNCOMPRESSED
# Image files take at most 8 bytes a pixel, and something around them.
_PIXEL_BYTES, _OTHER_BYTES = 8, 2**24


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


def read_image_file(path: str, max_pixels: int) -> bytes:
    """Reads a whole image file.

    Args:
        path: The file.
        max_pixels: Files that are larger than any image of so many pixels
            are not read to the end.

    Raises:
        Exception: Whatever the file system raises where it cannot be read.
        ValueError: If the file is larger.
    """
    return _read(path, _PIXEL_BYTES * max_pixels + _OTHER_BYTES)


def read_text(path: str) -> str:
    """Reads a text file that this package wrote.

    Args:
        path: The file.

    Raises:
        Exception: Whatever the file system raises where it cannot be read.
        ValueError: If it is unreasonably large, or not text.
    """
    return _read(path, _OTHER_BYTES).decode("utf-8")


def _read(path: str, most: int) -> bytes:
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


def find_patterns(patterns: Any) -> list[str]:
    """Returns patterns that mean the same on every worker.

    Args:
        patterns: A string or a sequence of strings, of which folders stand
            for the files in them.

    Raises:
        OSError: If one matches no file.
        TypeError: If there is anything but strings.
        ValueError: If there is none.
    """
    if isinstance(patterns, str):
        patterns = [patterns]
    if not isinstance(patterns, Sequence) or not all(
        isinstance(pattern, str) for pattern in patterns
    ):
        raise TypeError(
            "`patterns` must be a string or a sequence of strings. "
            f"Received: patterns={patterns!r}"
        )
    if not patterns:
        raise ValueError(
            f"`patterns` must not be empty. Received: patterns={patterns!r}"
        )
    found = []
    for given in patterns:
        pattern = absolute(given)
        if given.endswith("/") or (is_local(given) and os.path.isdir(given)):
            pattern += "/*"
        if not matches(pattern, limit=1):
            raise FileNotFoundError(
                f"`patterns` must match files. Received: {given!r}"
            )
        found.append(pattern)
    return found
