"""Published files fetched once: resumed, verified, safe between processes."""

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
# Seconds before each new try after a connection broke.
_PAUSES = (1.0, 2.0, 4.0)
_MAX_BYTES = 8 * 2**30
_CHUNK = 2**16


def cache_folder() -> Path:
    """Returns where downloads are kept; the folder may not exist yet.

    Returns:
        `$KERAS_PSPNET_HOME` where it is set, else `keras_pspnet` in the
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
    """Downloads a file, or finds that it is there.

    A file whose SHA-256 fits is used without the network; another one of its
    name is replaced. What a broken connection or an interrupted process
    leaves, `<name>.part`, is resumed where the server can. Of several
    processes that want the same file, one downloads it.

    `$KERAS_PSPNET_MIRROR`, a base URL or a folder, replaces all of `url`
    but the file name: the file is taken from `$KERAS_PSPNET_MIRROR/<name>`.
    Where the source publishes no hash, the first download records its own in
    `<name>.sha256`, as `sha256sum --check` reads it, and every later one must
    have that. Proxies are found as `urllib.request` finds them.

    A progress bar is shown in a notebook, and where standard error is a
    terminal (or `FORCE_COLOR` is set).

    Args:
        url: One of this package's own URLs; it ends in the file's name.
            Redirects are followed, but not from https to http.
        folder: Where the file is kept under its name; made if missing.
        sha256: The file's SHA-256 in lower-case hex digits, or its first 8 or
            more. 8 digits find damage; only all 64 also stop an attacker.
            Empty where the source publishes none.
        name: Under which name it is kept, and a mirror has it; empty is that
            at the end of `url`.
        hint: What else may help where the file cannot be had; ends the
            message of the error.

    Returns:
        `folder/<name>`, of which the SHA-256 has been checked just now.

    Raises:
        ConnectionError: If there is no connection, the server or the folder
            of the mirror does not have the file, a redirect that is not
            allowed comes, or the connection breaks four times.
        OSError: If `folder` cannot be written to or the disk is full.
        ValueError: If `url` leads to another file or more than 8 GiB, or the
            record of a hash is damaged.
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
            # Nothing would tell whether the rest is of the same file.
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
    """Trouble that may be over at the next try."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Does not leave https; the base class refuses file and data URLs."""

    def redirect_request(self, req: Any, *details: Any) -> Any:
        fp, code, _, headers, target = details
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urllib.parse.urlsplit(target).scheme not in allowed:
            reason = f"Redirection to url {target!r} is not allowed"
            raise urllib.error.HTTPError(target, code, reason, headers, fp)
        return super().redirect_request(req, *details)


def _complete(part: Path, source: str, sha256: str, bar: Progress) -> None:
    """Fetches what is missing of a file, and checks its hash."""
    # What is there may be the start of another file.
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
    """Appends to `part` what it lacks, or writes all without ranges."""
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
        # Files of a mirror have no status.
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
                # Errors of the disk would look alike otherwise.
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
        raise _BrokenConnection(f"only {done} of {total} bytes came")


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
    """Returns the hash of the first download, or nothing before it."""
    if not record.exists():
        return ""
    match = re.match(rb"([0-9a-f]{64})\s", record.read_bytes())
    if match is None:
        raise ValueError(
            "`folder` must hold the hash of the first download as it was "
            "written, or no such file, which trusts the next download. "
            f"Received: {str(record)!r}"
        )
    return match[1].decode()


def _find_source(url: str, name: str) -> tuple[str, str]:
    """Returns the URL to fetch, and what errors say about it."""
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
    """Makes a bar of one task, shown on a terminal or in a notebook."""
    console = Console(stderr=True)
    # Without widgets, a notebook would show the bar's last state as an output.
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
        # Which the end does by itself on a terminal alone.
        bar.refresh()
