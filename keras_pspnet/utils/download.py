"""Downloads published files once: resumable, verified, process-safe."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from keras_pspnet.utils.files import (
    file_sha256,
    locked,
    naming_errors,
    write_atomically,
)
from keras_pspnet.version import __version__

HOME_VARIABLE = "KERAS_PSPNET_HOME"
MIRROR_VARIABLE = "KERAS_PSPNET_MIRROR"

_TIMEOUT = 30.0
# Seconds to wait before each retry after a connection broke.
_PAUSES = (1.0, 2.0, 4.0)
_MAX_BYTES = 8 * 2**30
_CHUNK = 2**16


def cache_folder() -> Path:
    """Returns the folder of downloads, which may not exist yet.

    Returns:
        `$KERAS_PSPNET_HOME` if it is set, otherwise `keras_pspnet` in the
        user's cache folder: `$XDG_CACHE_HOME`, or `~/.cache`.

    Examples:
        >>> from keras_pspnet.utils.download import cache_folder
        >>> cache_folder()
        PosixPath('...')
    """
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(home).expanduser()
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    if not caches.is_absolute():
        caches = Path.home() / ".cache"
    return caches / "keras_pspnet"


def download(
    url: str,
    folder: Path,
    sha256: str,
    *,
    name: str = "",
    hint: str = "",
) -> Path:
    """Downloads a file, unless it is there already.

    An existing file whose SHA-256 is correct is used without the network; any
    other one is replaced. After a broken connection or an interruption, the
    download resumes from `<name>.part` if the server supports it. If several
    processes want the same file, one downloads it.

    `$KERAS_PSPNET_MIRROR`, a base URL or a folder, replaces everything in `url`
    but the file name: the file comes from `$KERAS_PSPNET_MIRROR/<name>`. If the
    source publishes no hash, the first download records one in `<name>.sha256`,
    in the format of `sha256sum --check`, and every later download must match
    it. Proxies are those of `urllib.request`.

    There is a progress bar in notebooks, and if standard error is a terminal
    or `FORCE_COLOR` is set.

    Args:
        url: One of this package's own URLs, which ends in the file's name.
            Redirects are followed, but not from https to http.
        folder: Folder for the file; created if missing.
        sha256: The file's SHA-256 in lower-case hex digits, or its first 8 or
            more. 8 digits detect damage; only all 64 also stop an attacker.
            Empty if the source publishes none.
        name: Name of the file in `folder` and on a mirror; empty is the name
            at the end of `url`.
        hint: Further advice at the end of the error message.

    Returns:
        `folder/<name>`, whose SHA-256 has just been checked.

    Raises:
        ConnectionError: If there is no connection, the server or the mirror
            does not have the file, a redirect is not allowed, or the
            connection breaks four times.
        OSError: If `folder` is not writable or the disk is full.
        ValueError: If `url` leads to another file or to more than 8 GiB, or
            the recorded hash is damaged.
    """
    if not name:
        name = urllib.parse.unquote(urllib.parse.urlsplit(url).path)
        name = name.rpartition("/")[2]
    path, part = folder / name, folder / f"{name}.part"
    record = folder / f"{name}.sha256"
    expected = sha256 or _recorded(record)
    if _fits(path, expected):
        return path
    source, received = _find_source(url, name)
    with naming_errors("folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(path):
        # Another process may have been downloading it until now.
        expected = sha256 or _recorded(record)
        if _fits(path, expected):
            return path
        if not expected:
            # Without a hash, the rest might come from another file.
            part.unlink(missing_ok=True)
        elif not sha256:
            received = (
                f"{received}, with the first download's in {str(record)!r}"
            )
        try:
            with _progress_bar(name) as bar:
                _complete(part, source, expected, bar)
        except ConnectionError as error:
            raise ConnectionError(
                f"`url` must be within reach ({error}). {received}. The "
                f"variable {MIRROR_VARIABLE} may name a base URL or a folder "
                f"that holds {name!r}. {hint}".rstrip()
            ) from error
        except ValueError as error:
            raise ValueError(f"{error}. {received}") from error
        with naming_errors("folder", folder):
            if not expected:
                line = f"{file_sha256(part)}  {name}\n"
                write_atomically(record, line.encode())
            os.replace(part, path)
    return path


class _BrokenConnection(Exception):
    """A failure that may not happen again on retry."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Never redirects https to http. The base class refuses file URLs."""

    def redirect_request(self, req: Any, *details: Any) -> Any:
        fp, code, _, headers, target = details
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urllib.parse.urlsplit(target).scheme not in allowed:
            reason = f"Redirection to url {target!r} is not allowed"
            raise urllib.error.HTTPError(target, code, reason, headers, fp)
        return super().redirect_request(req, *details)


def _complete(part: Path, source: str, sha256: str, bar: Progress) -> None:
    """Fetches the missing part of a file, and checks its hash."""
    # Tries again from the start if the existing part is of another file.
    for _ in range(1 + part.exists()):
        for pause in (*_PAUSES, None):
            try:
                _transfer(source, part, bar)
                break
            except _BrokenConnection as error:
                if pause is None or source.startswith("file:"):
                    raise ConnectionError(str(error)) from error
            time.sleep(pause)
        if not sha256 or _fits(part, sha256):
            return
        found = file_sha256(part)
        part.unlink()
    raise ValueError(
        f"`url` must lead to a file whose SHA-256 starts with {sha256}, not "
        f"{found}"
    )


def _transfer(source: str, part: Path, bar: Progress) -> None:
    """Appends the rest to `part`; without range support, writes it all."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"keras_pspnet/{__version__}"}
    if done:
        headers["Range"] = f"bytes={done}-"
    request = urllib.request.Request(source, headers=headers)
    opener = urllib.request.build_opener(_Redirects)
    try:
        with _breaking_connection():
            response = opener.open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and done:
            return
        kind = _BrokenConnection if error.code >= 500 else ConnectionError
        raise kind(f"HTTP {error.code} {error.reason}") from error
    with response:
        # Files of a local mirror have no status.
        done = done if response.status == 206 else 0
        length = getattr(response, "length", None)
        total = None if length is None else done + length
        (task,) = bar.task_ids
        bar.reset(task, total=total, completed=done)
        with (
            naming_errors("folder", part.parent),
            open(part, "ab" if done else "wb") as file,
        ):
            while max(done, total or 0) <= _MAX_BYTES:
                # Only reading: errors of the disk are OSErrors as well.
                with _breaking_connection():
                    chunk = response.read(_CHUNK)
                if not chunk:
                    break
                file.write(chunk)
                done += len(chunk)
                bar.advance(task, len(chunk))
    if max(done, total or 0) > _MAX_BYTES:
        part.unlink()
        raise ValueError(f"`url` must lead to at most {_MAX_BYTES} bytes")
    if total is not None and done < total:
        raise _BrokenConnection(f"only {done} of {total} bytes arrived")


@contextlib.contextmanager
def _breaking_connection() -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        said = str(getattr(error, "reason", error)) or type(error).__name__
        raise _BrokenConnection(said) from error


def _fits(path: Path, sha256: str) -> bool:
    if not sha256 or not path.is_file():
        return False
    return file_sha256(path).startswith(sha256)


def _recorded(record: Path) -> str:
    """Returns the hash of the first download; empty before it."""
    if not record.exists():
        return ""
    match = re.match(rb"([0-9a-f]{64})\s", record.read_bytes())
    if match is None:
        raise ValueError(
            "`folder` must hold the recorded hash of the first download "
            "unchanged. Delete the file to trust the next download. "
            f"Received: {str(record)!r}"
        )
    return match[1].decode()


def _find_source(url: str, name: str) -> tuple[str, str]:
    """Returns the URL to fetch, and its description for errors."""
    mirror = os.environ.get(MIRROR_VARIABLE)
    received = f"Received: url={url!r}"
    if not mirror:
        return url, received
    if "://" in mirror:
        source = f"{mirror.rstrip('/')}/{urllib.parse.quote(name)}"
    else:
        source = (Path(mirror).expanduser().absolute() / name).as_uri()
    return source, f"{received}, {MIRROR_VARIABLE}={mirror!r}"


@contextlib.contextmanager
def _progress_bar(name: str) -> Iterator[Progress]:
    """Shows a progress bar of one task, on a terminal or in a notebook."""
    console = Console(stderr=True)
    # Without widgets, a notebook would keep the last state as an output.
    notebook = console.is_jupyter and importlib.util.find_spec("ipywidgets")
    bar = Progress(
        *Progress.get_default_columns()[:2],
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        disable=not (console.is_terminal or notebook),
    )
    bar.add_task(escape(name), total=None)
    with bar:
        yield bar
        # On exit, only terminals are refreshed automatically.
        bar.refresh()
