"""JSON objects over a connection, each after its length in four bytes."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from typing import Any

# An object that says it is longer is none.
MOST_BYTES = 1 << 16
_LENGTH = struct.Struct(">I")


class Link:
    """A connection on which JSON objects go both ways.

    Args:
        connection: The connected socket.
        timeout: Seconds to wait for a whole object, and for one to be sent.
    """

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        self._socket = connection
        self._lock = threading.Lock()
        self.heard = time.monotonic()
        self.wait_at_most(timeout)

    def wait_at_most(self, seconds: float) -> None:
        """Sets how long to wait for an object, in seconds."""
        self._timeout = seconds
        self._socket.settimeout(seconds)

    @property
    def silence(self) -> float:
        """Seconds since the other side was heard."""
        return time.monotonic() - self.heard

    def send(self, kind: str, **fields: Any) -> bool:
        """Sends an object; False if the connection is gone."""
        data = json.dumps({"kind": kind, **fields}).encode()
        try:
            with self._lock:
                self._socket.sendall(_LENGTH.pack(len(data)) + data)
        except OSError:
            return False
        return True

    def receive(self) -> dict[str, Any]:
        """Waits for an object.

        Raises:
            OSError: If the connection ends or carries something else.
            TimeoutError: If nothing whole comes in time.
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > MOST_BYTES:
            raise ConnectionError("not a message")
        try:
            message = json.loads(self._read(length))
        except (ValueError, RecursionError) as error:
            raise ConnectionError("not a message") from error
        if not isinstance(message, dict):
            raise ConnectionError("not a message")
        self.heard = time.monotonic()
        return message

    def _read(self, count: int) -> bytes:
        started = time.monotonic()
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise ConnectionError("the connection ended")
            data += part
            if time.monotonic() - started > self._timeout:
                raise TimeoutError("too slow")
        return data

    def end(self) -> None:
        """Sends no more; what was sent still arrives."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Ends both ways at once."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
