"""Published files fetched once: resumed, verified, safe between processes."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from keras_pspnet.files import locked, naming_errors, unusable
from keras_pspnet.version import __version__

HOME_VARIABLE = "KERAS_PSPNET_HOME"
MIRROR_VARIABLE = "KERAS_PSPNET_MIRROR"

_TIMEOUT = 30.0
# Seconds before each new try after a connection broke.
_PAUSES = (1.0, 2.0, 4.0)
_MAX_GIB = 8
_MAX_BYTES = _MAX_GIB * 2**30
_CHUNK = 2**16


def cache_folder() -> Path:
    """Tells where downloads are kept; the folder may not exist yet.

    Returns:
        `$KERAS_PSPNET_HOME` where it is set, else `keras_pspnet` in the
        user's cache folder: `$XDG_CACHE_HOME`, or `~/.cache`.

    Examples:
        >>> from keras_pspnet.download import cache_folder
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
    progress: bool = True,
    hint: str = "",
) -> Path:
    """Downloads a file, or finds that it is there.

    A file whose SHA-256 fits is used without the network; another one of its
    name is replaced. What a broken connection or an interrupted process
    leaves, `<name>.part`, is resumed where the server can. Of several
    processes that want the same file, one downloads it.

    `$KERAS_PSPNET_MIRROR`, a base URL or a folder, replaces all of `url`
    but the file name: the file is taken from `$KERAS_PSPNET_MIRROR/<name>`.
    Proxies are found as `urllib.request` finds them.

    Args:
        url: An http or https URL that ends in the file's name. Redirects are
            followed, but not from https to http.
        folder: Where the file is kept under its name; made if missing.
        sha256: The file's SHA-256 in hex digits, or its first 8 or more.
            8 digits find damage; only all 64 also stop an attacker.
        progress: Whether to show a progress bar where standard error is a
            terminal (or `FORCE_COLOR` is set).
        hint: What else may help where the file cannot be had; ends the
            message of the error.

    Returns:
        `folder/<name>`, of which the SHA-256 has been checked just now.

    Raises:
        ConnectionError: If there is no connection, the server refuses, or
            the connection breaks more than three times.
        FileNotFoundError: If the folder that `$KERAS_PSPNET_MIRROR` names
            does not hold the file.
        OSError: If `folder` cannot be written to or the disk is full.
        ValueError: If an argument or `$KERAS_PSPNET_MIRROR` is not as
            described, or `url` leads to another file, an HTML page, more
            than 8 GiB, more bytes than announced, or an address that is
            neither http nor https.
    """
    name = _file_name(url)
    if not re.fullmatch("[0-9a-fA-F]{8,64}", sha256):
        raise ValueError(
            "`sha256` must be 8 to 64 hex digits, the first of the file's "
            f"SHA-256. Received: sha256={sha256!r}"
        )
    sha256 = sha256.lower()
    path = folder / name
    if _fits(path, sha256):
        return path
    source = _find_source(url, name, hint)
    with naming_errors("folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(path):
        # Another process may have been downloading it until now.
        if _fits(path, sha256):
            return path
        with naming_errors("folder", folder):
            path.unlink(missing_ok=True)
        with _progress_bar(name, progress) as bar:
            part = _Part(folder / f"{name}.part", bar)
            resumed = part.length > 0
            if not (resumed and part.fits(sha256)):
                _fetch(source, part)
            if resumed and not part.fits(sha256):
                # What was there may have been the start of another file.
                part.clear()
                _fetch(source, part)
        if not part.fits(sha256):
            got = part.digest.hexdigest()
            part.clear()
            raise source.unfit(
                f"a file whose SHA-256 starts with {sha256}, not {got}"
            )
        with naming_errors("folder", folder):
            os.replace(part.path, path)
    return path


class _BrokenConnection(Exception):
    """Trouble that may be over at the next try."""


class _NoConnection(_BrokenConnection):
    """Trouble that, at the first try, more likely is no network at all."""


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where a file comes from, and what errors say about it."""

    address: str | Path
    received: str
    advice: str

    def unreachable(self, reason: str) -> ConnectionError:
        return ConnectionError(
            f"`url` must be within reach ({reason}). "
            f"Received: {self.received}. {self.advice}"
        )

    def absent(self, error: OSError) -> OSError:
        return type(error)(
            f"`{MIRROR_VARIABLE}` must name a folder with the file "
            f"({error.strerror}). Received: {self.received}. {self.advice}"
        )

    def unfit(self, rule: str) -> ValueError:
        return ValueError(
            f"`url` must lead to {rule}. Received: {self.received}"
        )

    def check_start(self, chunk: bytes) -> None:
        """Recognises an HTML page before it replaces a part of the file."""
        start = chunk[:1024].lower().lstrip(b"\xef\xbb\xbf \t\r\n")
        page = b"<html" in start or b"<!doctype html" in start
        if start.startswith(b"<") and page:
            raise ValueError(
                "`url` must lead to the file, not to an HTML page (to sign "
                "in, or about an error). "
                f"Received: {self.received}. {self.advice}"
            )

    def check_size(self, size: int | None) -> None:
        if size is not None and size > _MAX_BYTES:
            raise self.unfit(f"at most {_MAX_GIB} GiB, not {size} bytes")


class _Part:
    """The file as far as it is there, and the SHA-256 of that."""

    def __init__(self, path: Path, bar: Progress) -> None:
        self.path = path
        self.bar = bar
        self.length = 0
        self.digest = hashlib.sha256()
        with (
            contextlib.suppress(FileNotFoundError),
            open(path, "rb") as stream,
        ):
            while chunk := stream.read(_CHUNK):
                self._count(chunk)

    def _count(self, chunk: bytes) -> None:
        self.digest.update(chunk)
        self.length += len(chunk)

    def fits(self, sha256: str) -> bool:
        return self.digest.hexdigest().startswith(sha256)

    def clear(self) -> None:
        with naming_errors("folder", self.path.parent):
            self.path.unlink(missing_ok=True)
        self.length = 0
        self.digest = hashlib.sha256()

    def extend(
        self, source: _Source, chunk: bytes, stream: BinaryIO, total: int | None
    ) -> None:
        """Appends `chunk` and the rest of `stream`.

        Args:
            source: Where they come from.
            chunk: The first bytes to append.
            stream: What gives the others.
            total: Bytes of the whole file, None where nobody knows.
        """
        limit = _MAX_BYTES if total is None else total
        (task,) = self.bar.task_ids
        self.bar.reset(task, total=total, completed=self.length)
        try:
            with open(self.path, "ab") as file:
                while chunk and self.length + len(chunk) <= limit:
                    file.write(chunk)
                    self._count(chunk)
                    self.bar.advance(task, len(chunk))
                    chunk = _read(stream)
        except OSError as error:
            # A full disk has better use for the room, and nobody knows how
            # much of the last bytes arrived.
            with contextlib.suppress(OSError):
                self.clear()
            folder = self.path.parent
            raise unusable("folder", folder, "writable", error) from error
        if chunk:
            self.clear()
            raise source.unfit(f"no more than the {limit} bytes expected")
        if total is not None and self.length < total:
            raise _BrokenConnection(f"only {self.length} of {total} bytes came")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https, and never out of https."""

    max_redirections = 10

    def http_error_302(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any
    ) -> Any:
        # The same two headers as in the base class.
        place = headers.get("Location") or headers.get("URI") or ""
        target = urllib.parse.urljoin(req.full_url, place)
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urllib.parse.urlsplit(target).scheme not in allowed:
            fp.close()
            raise ValueError(
                "`url` must lead to http or https addresses only, and not "
                "from https to http. Received: a redirect from "
                f"{req.full_url!r} to {target!r}"
            )
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_302
    http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    # `build_opener` would add handlers of file, ftp and data URLs.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
        _Redirects,
    ):
        opener.add_handler(handler())
    opener.addheaders = [("User-Agent", f"keras_pspnet/{__version__}")]
    return opener


def _fetch(source: _Source, part: _Part) -> None:
    """Gets all of the file that `part` lacks."""
    if isinstance(source.address, Path):
        _copy(source, source.address, part)
        return
    for failures, pause in enumerate((*_PAUSES, None)):
        try:
            _request(source, source.address, part)
            return
        except _BrokenConnection as error:
            offline = failures == 0 and isinstance(error, _NoConnection)
            if pause is None or offline:
                raise source.unreachable(str(error)) from error
        time.sleep(pause)


def _request(source: _Source, address: str, part: _Part) -> None:
    """Asks once for what `part` lacks, again where the answer is useless."""
    start = part.length
    request = urllib.request.Request(address)
    if start:
        request.add_header("Range", f"bytes={start}-")
    response = _open(source, request)
    if response is not None:
        with response:
            total = response.length
            if response.status == 206:
                total = _whole_length(response, start)
            if response.status == 200 or total is not None:
                source.check_size(total)
                chunk = _read(response)
                if response.status == 200:
                    source.check_start(chunk)
                    part.clear()
                part.extend(source, chunk, response, total)
                return
    # Without a range, there is nothing to misunderstand.
    part.clear()
    _request(source, address, part)


def _open(source: _Source, request: urllib.request.Request) -> Any:
    """Gives the response, None if the range asked for is not to be had."""
    try:
        response = _opener().open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and request.has_header("Range"):
            return None
        reason = f"HTTP {error.code} {error.reason}"
        if error.code >= 500:
            raise _BrokenConnection(reason) from error
        raise source.unreachable(reason) from error
    except urllib.error.URLError as error:
        raise _NoConnection(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _broken(error) from error
    expected = (200, 206) if request.has_header("Range") else (200,)
    if response.status not in expected:
        response.close()
        raise source.unreachable(f"HTTP {response.status}, unexpectedly")
    return response


def _whole_length(response: Any, start: int) -> int | None:
    """Reads the file's length off a part, None if the part is another."""
    content = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)", content)
    if match is None or int(match[1]) != start:
        return None
    # The length may be unknown (*); the part is to the end, as asked for.
    return int(match[2]) + 1 if match[3] == "*" else int(match[3])


def _copy(source: _Source, address: Path, part: _Part) -> None:
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(open(address, "rb"))
        except OSError as error:
            raise source.absent(error) from error
        total = os.fstat(stream.fileno()).st_size
        source.check_size(total)
        try:
            chunk = _read(stream)
            source.check_start(chunk)
            part.clear()
            part.extend(source, chunk, stream, total)
        except _BrokenConnection as error:
            raise source.unreachable(str(error)) from error


def _read(stream: BinaryIO) -> bytes:
    # Errors of the connection and of the disk would look alike otherwise.
    try:
        return stream.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _broken(error) from error


def _broken(error: Exception) -> _BrokenConnection:
    return _BrokenConnection(str(error) or type(error).__name__)


def _fits(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    return digest.hexdigest().startswith(sha256)


def _find_source(url: str, name: str, hint: str) -> _Source:
    received = f"url={url!r}"
    advice = (
        f"The variable {MIRROR_VARIABLE} may name a base URL or a folder "
        f"that holds {name!r}."
    )
    if hint:
        advice += f" {hint}"
    mirror = os.environ.get(MIRROR_VARIABLE)
    if not mirror:
        return _Source(url, received, advice)
    received += f", {MIRROR_VARIABLE}={mirror!r}"
    if "://" not in mirror:
        return _Source(Path(mirror).expanduser() / name, received, advice)
    _split_url(MIRROR_VARIABLE, mirror, "a folder or an http or https URL")
    address = f"{mirror.rstrip('/')}/{urllib.parse.quote(name)}"
    return _Source(address, received, advice)


def _file_name(url: str) -> str:
    path = urllib.parse.unquote(
        _split_url("url", url, "an http or https URL").path
    )
    name = "" if path.endswith("/") else PurePosixPath(path).name
    # Only what is a name on every system, without a folder or a drive.
    if name == ".." or not re.fullmatch(r'[^<>:"/\\|?*\x00-\x1f]+', name):
        raise ValueError(
            f"`url` must end in the name of a file. Received: url={url!r}"
        )
    return name


def _split_url(argument: str, url: str, rule: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not parts.hostname or not re.fullmatch("[!-~]+", url):
        raise ValueError(
            f"`{argument}` must be {rule} in ASCII. "
            f"Received: {argument}={url!r}"
        )
    return parts


@contextlib.contextmanager
def _progress_bar(name: str, wanted: bool) -> Iterator[Progress]:
    """Makes a bar of one task, shown on a terminal only."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not (wanted and console.is_terminal),
    )
    bar.add_task(name, total=None)
    with bar:
        yield bar
