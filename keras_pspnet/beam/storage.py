"""Files on whatever Beam's file systems reach, read within bounds."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from keras_pspnet.utils import check_rule, check_writable, naming_errors

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


def prepare_output(folder: str | os.PathLike[str]) -> str:
    """Makes a local output folder and checks that it can be written to.

    Elsewhere folders come with the files in them.

    Args:
        folder: The folder, or one on another file system.

    Returns:
        As of `absolute`.

    Raises:
        OSError: If it cannot be made or written to.
    """
    folder = absolute(os.fspath(folder))
    if is_local(folder):
        with naming_errors("output", folder, "a folder that can be written"):
            os.makedirs(folder, exist_ok=True)
        check_writable(Path(folder) / "table")
    return folder


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
    most = _PIXEL_BYTES * max_pixels + _OTHER_BYTES
    data = bytearray()
    with FileSystems.open(path, compression_type=_PLAIN) as stream:
        while part := stream.read(_CHUNK):
            data += part
            rule = f"be a file of at most {most} bytes"
            check_rule("path", path, rule, len(data) <= most)
    return bytes(data)


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
    paths = matches(f"{folder}/**")
    if not paths:
        raise FileNotFoundError(
            f"`folder` must hold files. Received: folder={folder!r}"
        )
    for path in paths:
        copy = Path(target, path.removeprefix(f"{folder}/"))
        copy.parent.mkdir(parents=True, exist_ok=True)
        with (
            FileSystems.open(path, compression_type=_PLAIN) as stream,
            open(copy, "wb") as local,
        ):
            shutil.copyfileobj(stream, local, _CHUNK)


def matches(pattern: str, limit: int | None = None) -> list[str]:
    """Lists the files that a pattern stands for.

    Args:
        pattern: As of Beam: `*` stays within a folder, `**` does not.
        limit: How many are enough.

    Raises:
        OSError: If they cannot be listed.
    """
    (found,) = FileSystems.match([pattern], [limit])
    return [file.path for file in found.metadata_list]


def find_patterns(patterns: str | Sequence[str]) -> list[str]:
    """Returns patterns that mean the same on every worker.

    Args:
        patterns: One or several, of which folders stand for the files in
            them.

    Raises:
        OSError: If one matches no file.
        ValueError: If there is none.
    """
    rule = "not be empty"
    check_rule("patterns", patterns, rule, bool(patterns))
    found = []
    for given in [patterns] if isinstance(patterns, str) else patterns:
        pattern = absolute(given)
        if given.endswith("/") or (is_local(given) and os.path.isdir(given)):
            pattern += "/*"
        if not matches(pattern, limit=1):
            raise FileNotFoundError(
                f"`patterns` must match files. Received: {given!r}"
            )
        found.append(pattern)
    return found
