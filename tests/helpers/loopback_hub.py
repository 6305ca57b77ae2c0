"""The parts of the Hugging Face Hub that huggingface_hub uses, locally."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import socketserver
import urllib.parse
from collections.abc import Iterator
from typing import Any

from http_server import in_a_thread

TOKEN = "hf_" + "Secret0123456789" * 2
ERROR_CODES = {404: "RepoNotFound"}


@dataclasses.dataclass
class Repository:
    """The content of a repository, and its number of commits."""

    private: bool = False
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    commits: int = 0

    @property
    def sha(self) -> str:
        return f"{self.commits:040x}"


class Hub(socketserver.ThreadingTCPServer):
    """A Hub with one user, whose token is `TOKEN`.

    Attributes:
        repositories: `owner/name` -> repository.
        blobs: SHA-256 -> content of an uploaded large file.
        fails: Name of a step -> status and message to answer it with.
        asked: The requested steps, in order.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.fails: dict[str, tuple[int, str]] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


NAME = r"(?P<name>[^/]+/[^/]+)"
# Step -> method and path.
STEPS = {
    "create": ("POST", "/api/repos/create"),
    "validate": ("POST", "/api/validate-yaml"),
    "preupload": ("POST", f"/api/models/{NAME}/preupload/main"),
    "batch": ("POST", rf"/{NAME}\.git/info/lfs/objects/batch"),
    "put": ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})"),
    "xet": ("GET", f"/api/models/{NAME}/xet-write-token/main"),
    "commit": ("POST", f"/api/models/{NAME}/commit/main"),
    "info": ("GET", f"/api/models/{NAME}(?:/revision/main)?"),
    "tree": ("GET", f"/api/models/{NAME}/tree/[0-9a-f]{{40}}"),
    "file": ("GET|HEAD", f"/{NAME}/resolve/[^/]+/(?P<file>.+)"),
}


def step_of(command: str, path: str) -> tuple[str, re.Match[str]] | None:
    for step, (methods, pattern) in STEPS.items():
        found = re.fullmatch(pattern, path)
        if found and command in methods.split("|"):
            return step, found
    return None


class Refused(Exception):
    """A status and its message."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def handle(self) -> None:
        # A client that is gone has its answer.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_POST(self) -> None:
        body = self.body()
        path = urllib.parse.urlsplit(self.path).path
        known = step_of(self.command, path)
        if known is None:
            # The library asks for more than it needs.
            self.answer(404, b"{}", {})
            return
        step, found = known
        self.server.asked.append(step)
        try:
            if step in self.server.fails:
                raise Refused(*self.server.fails[step])
            # What is signed needs no token.
            token = self.headers.get("Authorization")
            if step != "put" and token != f"Bearer {TOKEN}":
                raise Refused(401, "Invalid credentials")
            answer = getattr(self, step)(body, **found.groupdict())
        except Refused as refused:
            status, words = refused.args
            code = {"X-Error-Code": ERROR_CODES.get(status, "")}
            content = json.dumps({"error": words}).encode()
            self.answer(status, content, code if status == 404 else {})
        else:
            if isinstance(answer, bytes):
                digest = hashlib.sha256(answer).hexdigest()
                sha = self.repository(found["name"]).sha
                headers = {"ETag": f'"{digest}"', "X-Repo-Commit": sha}
                self.answer(200, answer, headers)
            else:
                self.answer(200, json.dumps(answer).encode(), {})

    do_GET = do_HEAD = do_PUT = do_POST

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(
        self, status: int, content: bytes, headers: dict[str, str]
    ) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(content)), **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def repository(self, name: str) -> Repository:
        if name not in self.server.repositories:
            raise Refused(404, "Repository not found")
        return self.server.repositories[name]

    # === Steps ===

    def create(self, body: bytes) -> dict[str, Any]:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.server.repositories:
            raise Refused(409, "You already created this model repo")
        # Older releases of the library say it otherwise.
        private = asked.get("private") or asked.get("visibility") == "private"
        self.server.repositories[name] = Repository(bool(private))
        return {"url": f"{self.server.url}/{name}"}

    def validate(self, body: bytes) -> dict[str, Any]:
        assert "content" in json.loads(body)
        return {"errors": [], "warnings": []}

    def preupload(self, body: bytes, name: str) -> dict[str, Any]:
        self.repository(name)
        paths = [each["path"] for each in json.loads(body)["files"]]
        large = {path: path.endswith(".safetensors") for path in paths}
        return {
            "files": [
                {
                    "path": path,
                    "uploadMode": "lfs" if large[path] else "regular",
                    "shouldIgnore": False,
                }
                for path in paths
            ]
        }

    def batch(self, body: bytes, name: str) -> dict[str, Any]:
        self.repository(name)
        objects = json.loads(body)["objects"]
        for each in objects:
            href = f"{self.server.url}/lfs/{each['oid']}"
            each["actions"] = {"upload": {"href": href}}
        return {"transfer": "basic", "objects": objects}

    def put(self, body: bytes, oid: str) -> dict[str, Any]:
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.blobs[oid] = body
        return {}

    def commit(self, body: bytes, name: str) -> dict[str, Any]:
        repository = self.repository(name)
        files = dict(repository.files)
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
        repository.files = files
        repository.commits += 1
        return {
            "commitUrl": f"{self.server.url}/{name}/commit/{repository.sha}",
            "commitOid": repository.sha,
        }

    def info(self, body: bytes, name: str) -> dict[str, Any]:
        found = self.repository(name)
        siblings = [{"rfilename": path} for path in found.files]
        return {
            "id": name,
            "sha": found.sha,
            "private": found.private,
            "siblings": siblings,
        }

    def tree(self, body: bytes, name: str) -> list[dict[str, Any]]:
        return [
            {
                "type": "file",
                "path": path,
                "size": len(data),
                "oid": hashlib.sha256(data).hexdigest()[:40],
            }
            for path, data in self.repository(name).files.items()
        ]

    def file(self, body: bytes, name: str, file: str) -> bytes:
        return self.repository(name).files[file]


@contextlib.contextmanager
def hub_running() -> Iterator[Hub]:
    """Runs a `Hub`."""
    hub = Hub()
    with in_a_thread(hub):
        yield hub
