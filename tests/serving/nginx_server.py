"""nginx, the real server, with serving/nginx.conf.

Runs the nginx of the path, or the one in `.nginx`, which `make serve-check`
unpacks. The configuration is the one that users get; what has to differ is
replaced, and a text that is not there to be replaced is an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import certificates
from ports import await_ready, free_port

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "serving" / "nginx.conf"
LOGIN = ("älice", "a pass:word")

_UNPACKED = ROOT / ".nginx"
_START_SECONDS = 20
_EXIT_SECONDS = 20
_REQUEST_SECONDS = 60
# Debian's are in folders that only its package makes.
_OWN_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def find() -> Path | None:
    """Finds nginx: on the path, where Debian puts it, or unpacked."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    found = shutil.which("nginx", path=path) or shutil.which(
        "nginx", path=_UNPACKED / "usr" / "sbin"
    )
    return None if found is None else Path(found)


@dataclasses.dataclass(frozen=True)
class Proxy:
    """A running nginx.

    Attributes:
        address: `host:port`, for REST and gRPC.
        certificate: PEM file to trust it by.
        log_file: Its error log.
    """

    address: str
    certificate: Path
    log_file: Path

    def connection(self) -> http.client.HTTPSConnection:
        """Makes a connection over HTTP/1.1."""
        return http.client.HTTPSConnection(
            self.address,
            timeout=_REQUEST_SECONDS,
            context=ssl.create_default_context(cafile=self.certificate),
        )


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer over HTTP."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


@contextlib.contextmanager
def serving(
    folder: Path,
    rest: str,
    grpc: str,
    changes: Mapping[str, str] | None = None,
) -> Iterator[Proxy]:
    """Runs nginx on a free port of 127.0.0.1.

    Args:
        folder: An empty folder for all its files.
        rest: `host:port` of the server behind it.
        grpc: The same over gRPC.
        changes: Texts of the configuration and what to have in their places,
            for what a test cannot wait for.

    Yields:
        The proxy, which takes `LOGIN`.

    Raises:
        ChildProcessError: If it ends before it is ready, or not well.
        TimeoutError: If it does not become ready.
        ValueError: If the configuration does not have a text exactly once.
    """
    certificate, key = certificates.self_signed(folder)
    passwords = folder / "passwords"
    passwords.write_text(f"{LOGIN[0]}:{_hash(LOGIN[1])}\n", "utf-8")
    log_file = folder / "log"
    port = free_port()
    address = f"127.0.0.1:{port}"
    places = [f"{name}_temp_path {folder / name};" for name in _OWN_FOLDERS]
    places.append(f"access_log {folder / 'access'};")
    text = replaced(
        CONFIGURATION.read_text("utf-8"),
        {
            # No one else may look into the folder; without root's rights, this
            # has no effect, and none is needed.
            "user www-data;": "user root;",
            "http {\n": "\n".join(("http {", *places, "")),
            "server 127.0.0.1:8501;": f"server {rest};",
            "server 127.0.0.1:8500;": f"server {grpc};",
            "listen 443 ": f"listen {address} ",
            "/etc/nginx/pspnet.crt": str(certificate),
            "/etc/nginx/pspnet.key": str(key),
            "/etc/nginx/pspnet.htpasswd": str(passwords),
            **(changes or {}),
        },
    )
    (folder / "nginx.conf").write_text(text, "utf-8")
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [
                *(find(), "-p", folder, "-c", folder / "nginx.conf"),
                *("-e", "stderr"),
                *("-g", f"daemon off; pid {folder / 'pid'};"),
            ],
            env={**os.environ, **_libraries()},
            stderr=log,
            # The workers end with it, however it ends.
            start_new_session=True,
        )
    try:
        await_ready(process, log_file, lambda: _listens(port), _START_SECONDS)
        yield Proxy(address, certificate, log_file)
        process.terminate()
        if status := process.wait(_EXIT_SECONDS):
            raise ChildProcessError(f"status {status}:\n{log_file.read_text()}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """Replaces texts, each of which has to be there exactly once."""
    for old, new in changes.items():
        if text.count(old) != 1:
            raise ValueError(
                f"serving/nginx.conf must have {old!r} once. "
                f"Received: {text.count(old)} times"
            )
        text = text.replace(old, new)
    return text


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Sends one request; a body in parts is sent without its length."""
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


def _libraries() -> dict[str, str]:
    """Where the unpacked nginx finds what the machine may lack."""
    if not find().is_relative_to(_UNPACKED):
        return {}
    folders = sorted(_UNPACKED.glob("**/lib/*-linux-*"))
    return {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))}


def _hash(password: str) -> str:
    """Hashes a password as users are told to."""
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"],
        input=password,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    return done.stdout.strip()


def _listens(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False
