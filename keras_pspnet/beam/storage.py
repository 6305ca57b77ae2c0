"""Reads and writes files on any of Beam's file systems."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from keras_pspnet.utils import check_rule, check_writable, naming_errors

# Bytes per read: a stream may allocate all that it is asked for.
_CHUNK = 2**20
# Never decompress files, whatever their name: a.jpg.gz is not an image.
_PLAIN = CompressionTypes.UNCOMPRESSED
# An image file takes at most 8 bytes per pixel, and some for the rest.
_PIXEL_BYTES, _OTHER_BYTES = 8, 2**24


def is_local(path: str) -> bool:
    """Returns whether a path is local, since it names no file system."""
    return FileSystems.get_scheme(path) is None


def absolute(path: str) -> str:
    """Returns a path that is valid wherever a worker was started.

    Args:
        path: A local path, or one that names its file system.
    """
    return os.path.abspath(path) if is_local(path) else path.rstrip("/")


def prepare_output(folder: str | os.PathLike[str]) -> str:
    """Creates a local output folder and checks that it is writable.

    On other file systems, writing a file creates its folder.

    Args:
        folder: The folder, local or on another file system.

    Returns:
        The folder's `absolute` path.

    Raises:
        OSError: If the folder cannot be created or written to.
    """
    folder = absolute(os.fspath(folder))
    if is_local(folder):
        with naming_errors("output", folder, "a writable folder"):
            os.makedirs(folder, exist_ok=True)
        check_writable(Path(folder) / "table")
    return folder


def read_image_file(path: str, max_pixels: int) -> bytes:
    """Reads an image file, unless it is too large.

    Args:
        path: The file.
        max_pixels: Reading stops when a file exceeds the size of any image of
            this many pixels.

    Raises:
        Exception: Whatever the file system raises if it cannot be read.
        ValueError: If the file is too large.
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
    """Writes a file under a temporary name, then renames it.

    Args:
        path: A file that does not exist, unless another worker is writing the
            same content to it.
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
        # Some file systems do not replace files: another worker's is as good.
        if not FileSystems.exists(path):
            raise


def copy_folder(folder: str, target: str) -> None:
    """Copies a folder from any file system to this machine.

    Args:
        folder: The folder.
        target: A local folder that exists.

    Raises:
        OSError: If it is empty or cannot be copied.
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
    """Lists the files that match a pattern.

    Args:
        pattern: Beam's pattern: `*` stays within a folder, `**` does not.
        limit: Number of files that is enough.

    Raises:
        OSError: If they cannot be listed.
    """
    (found,) = FileSystems.match([pattern], [limit])
    return [file.path for file in found.metadata_list]


def find_patterns(patterns: str | Sequence[str]) -> list[str]:
    """Returns patterns that mean the same on every worker.

    Args:
        patterns: One pattern or several. A folder stands for the files in it.

    Raises:
        OSError: If one of them matches no file.
        ValueError: If there are none.
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
