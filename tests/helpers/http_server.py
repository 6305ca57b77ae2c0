"""An HTTP server on 127.0.0.1 with faults that tests choose."""

import contextlib
import dataclasses
import http.server
import re
import socketserver
import threading
import urllib.parse
from collections.abc import Iterator


@dataclasses.dataclass
class Seen:
    """A request, and how much of the body it received."""

    target: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


class Server(socketserver.ThreadingTCPServer):
    """Serves `files`; each response uses up one entry of the lists.

    Attributes:
        files: Path -> body.
        ranges: Whether Range is supported.
        announces: Whether to send a Content-Length.
        redirects: Path -> (status, address).
        statuses: Statuses to send instead of the file.
        cuts: Bytes of a body after which the connection is closed.
        waits: Events to wait for between the headers and the body.
        headers: Headers to send instead of the right ones.
        seen: The requests, in order.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.announces = True
        self.redirects: dict[str, tuple[int, str]] = {}
        self.statuses: list[int] = []
        self.cuts: list[int] = []
        self.waits: list[threading.Event] = []
        self.headers: dict[str, str] = {}
        self.seen: list[Seen] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    @property
    def ranges_asked(self) -> list[str | None]:
        return [each.headers.get("Range") for each in self.seen]

    @property
    def sent(self) -> list[int]:
        return [each.sent for each in self.seen]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        seen = Seen(self.path, dict(self.headers))
        self.server.seen.append(seen)
        path = urllib.parse.urlsplit(self.path).path
        body = self.server.files.get(path)
        headers: dict[str, str] = {}
        if path in self.server.redirects:
            seen.status, headers["Location"] = self.server.redirects[path]
            body = b""
        elif self.server.statuses:
            seen.status = self.server.statuses.pop(0)
            body = b"<html>No.</html>"
        elif body is None:
            seen.status = 404
            body = b"<html>Not here.</html>"
        else:
            seen.status = 200
            wanted = re.fullmatch(
                r"bytes=(\d+)-", self.headers.get("Range", "")
            )
            if wanted and self.server.ranges:
                start, size = int(wanted[1]), len(body)
                seen.status = 206 if start < size else 416
                headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
                body = body[start:]
        if self.server.announces:
            headers["Content-Length"] = str(len(body))
        self.send_response(seen.status)
        for name, value in {**headers, **self.server.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.server.waits:
            self.server.waits.pop(0).wait(30)
        if self.server.cuts:
            body = body[: self.server.cuts.pop(0)]
        seen.sent = len(body)
        # The client may have had enough.
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    # Who asks otherwise is answered, and seen, as well.
    do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_GET


@contextlib.contextmanager
def in_a_thread(server: socketserver.BaseServer) -> Iterator[None]:
    """Runs a server in a thread, and closes it at the end."""
    with server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Runs a `Server`."""
    server = Server()
    with in_a_thread(server):
        yield server
