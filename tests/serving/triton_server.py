"""NVIDIA Triton, the real server, with a repository of models.

Runs the `tritonserver` of the environment `.venv-triton`, which `make
serve-check` makes; nothing of it is imported here. `predict_http` and
`predict_grpc` send tensors as bytes, so that wrong ones can be sent too.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-triton" / "bin" / "python"
MODELS = ROOT / "serving" / "triton"
GRPC_CLIENT = Path(__file__).with_name("triton_grpc.py")

_START_SECONDS = 240
_EXIT_SECONDS = 60
_REQUEST_SECONDS = 60
_SHARED_MEMORY = Path("/dev/shm")
_DTYPES = {"UINT8": np.uint8, "INT32": np.int32, "FP32": np.float32}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor on the wire.

    Attributes:
        datatype: As KServe names it, such as `"BYTES"`.
        shape: Sizes, right or wrong.
        data: Little-endian; strings each after their length in 4 bytes.
    """

    datatype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, values: np.ndarray | Sequence[bytes]) -> Tensor:
        """Makes one of an array, or a column of strings."""
        if isinstance(values, np.ndarray):
            (name,) = (n for n, d in _DTYPES.items() if d == values.dtype)
            return cls(name, values.shape, values.tobytes())
        data = b"".join(struct.pack("<I", len(each)) + each for each in values)
        return cls("BYTES", (len(values), 1), data)

    @property
    def array(self) -> np.ndarray:
        """The values of a numeric tensor."""
        values = np.frombuffer(self.data, _DTYPES[self.datatype])
        return values.reshape(self.shape)

    @property
    def strings(self) -> list[bytes]:
        """The values of a column of strings."""
        assert self.datatype == "BYTES"
        values, place = [], 0
        while place < len(self.data):
            (length,) = struct.unpack_from("<I", self.data, place)
            values.append(self.data[place + 4 : place + 4 + length])
            place += 4 + length
        assert self.shape == (len(values), 1)
        return values


Tensors = dict[str, Tensor]


class Refusal(Exception):
    """An error for an answer.

    Attributes:
        code: HTTP's status, or the name of gRPC's.
        message: The server's words.
    """

    def __init__(self, code: int | str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class GrpcClient:
    """A client over gRPC, in a process of Triton's environment.

    Args:
        address: `host:port` of the server.
    """

    def __init__(self, address: str) -> None:
        self._process = subprocess.Popen(
            [PYTHON, "-I", GRPC_CLIENT, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Sends a request, as triton_grpc.py takes it."""
        with self._lock:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@dataclasses.dataclass(frozen=True)
class Triton:
    """A running server.

    Attributes:
        process: It; the models run in its children.
        client: Of its gRPC port.
        http: `host:port` of KServe's protocol over HTTP.
        grpc: The same over gRPC.
        metrics: The same for Prometheus, at /metrics.
        log_file: What it and the models print.
        shared_memory: How the names of its files in /dev/shm begin.
    """

    process: subprocess.Popen[bytes]
    client: GrpcClient
    http: str
    grpc: str
    metrics: str
    log_file: Path
    shared_memory: str

    @property
    def log(self) -> str:
        """What has been printed until now."""
        return self.log_file.read_text(errors="replace")

    def shared_files(self) -> list[Path]:
        """Lists the files over which it talks to its models."""
        return _shared_files(self.shared_memory)

    def end(self) -> None:
        """Tells it to end, and waits until it has.

        Raises:
            ChildProcessError: If its status is not 0.
            TimeoutError: If it does not end.
        """
        self.process.terminate()
        try:
            status = self.process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"{self.log}\nStill there {_EXIT_SECONDS} s after SIGTERM."
            ) from None
        if status:
            raise ChildProcessError(f"{self.log}\nStatus {status}.")

    def model_process(self, model: str) -> psutil.Process:
        """Finds the process in which a model runs."""
        (found,) = (
            child
            for child in psutil.Process(self.process.pid).children()
            if any(f"/{model}/" in part for part in child.cmdline())
        )
        return found

    def count(self, metric: str, model: str = "pspnet") -> float:
        """Reads one of the metrics of a model."""
        status, body = fetch(self.metrics, "/metrics")
        assert status == 200
        (value,) = re.findall(
            rf'^{metric}{{model="{model}",version="1"}} (\S+)$',
            body.decode(),
            re.M,
        )
        return float(value)


@contextlib.contextmanager
def serving(models: Path, folder: Path, *options: str) -> Iterator[Triton]:
    """Serves a repository on free ports of 127.0.0.1.

    It is killed in the end: after requests that clients took back, this
    release, told to end, sometimes waits for them for ever.

    Args:
        models: Folder of the models' folders.
        folder: An empty folder for the log and the backend.
        *options: More options of the server.

    Yields:
        The server, ready.

    Raises:
        ChildProcessError: If it ends before it is ready.
        TimeoutError: If it does not become ready.
    """
    site, libraries, version = _environment()
    _link_backend(site, folder, version)
    http_port, grpc_port, metrics_port = free_ports(3)
    prefix = f"pspnet-{os.getpid()}-{http_port}-"
    server = site / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    command = [
        server,
        f"--model-repository={models}",
        f"--backend-directory={folder / 'backends'}",
        # Without it, each model is loaded twice: once to ask what it takes.
        "--disable-auto-complete-config",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        f"--exit-timeout-secs={_EXIT_SECONDS - 10}",
        *options,
    ]
    for name, port in (
        ("http", http_port),
        ("grpc", grpc_port),
        ("metrics", metrics_port),
    ):
        command += [f"--{name}-address=127.0.0.1", f"--{name}-port={port}"]
    environment = {
        **os.environ,
        # The interpreter in the backend looks for itself on the path, and so
        # finds the packages of the environment.
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "CUDA_VISIBLE_DEVICES": "",
    }
    log_file = folder / "log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            # The models end with it, however it ends.
            start_new_session=True,
        )
    addresses = [
        f"127.0.0.1:{port}" for port in (http_port, grpc_port, metrics_port)
    ]
    try:
        with contextlib.closing(GrpcClient(addresses[1])) as client:
            triton = Triton(process, client, *addresses, log_file, prefix)
            _await_ready(triton)
            yield triton
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for left in _shared_files(prefix):
            left.unlink()


def repository(folder: Path, export: Path) -> Path:
    """Copies serving/triton, with an export where users put theirs.

    Args:
        folder: A folder to make.
        export: The SavedModel; it is linked, not copied.

    Returns:
        The folder.
    """
    shutil.copytree(
        MODELS,
        folder,
        symlinks=True,
        ignore=shutil.ignore_patterns("model.savedmodel"),
    )
    (folder / "pspnet/1/model.savedmodel").symlink_to(export)
    return folder


def segment(triton: Triton, *files: bytes) -> Tensors:
    """Asks `pspnet` over HTTP for the masks of files."""
    return predict_http(triton, "pspnet", {"image_bytes": Tensor.of(files)})


def fetch(
    address: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Sends one request over HTTP; returns status and body."""
    status, _, answer = _exchange(address, path, body, headers or {})
    return status, answer


def predict_http(
    triton: Triton, model: str, inputs: Mapping[str, Tensor]
) -> Tensors:
    """Asks a model over HTTP, with binary tensors after the JSON.

    Raises:
        Refusal: If the server answers with an error.
    """
    head = {
        "inputs": [
            {
                "name": name,
                "datatype": tensor.datatype,
                "shape": tensor.shape,
                "parameters": {"binary_data_size": len(tensor.data)},
            }
            for name, tensor in inputs.items()
        ],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    data = b"".join(tensor.data for tensor in inputs.values())
    status, length, answer = _exchange(
        triton.http,
        f"/v2/models/{model}/infer",
        text + data,
        {"Inference-Header-Content-Length": str(len(text))},
    )
    if status != 200:
        raise Refusal(status, json.loads(answer)["error"])
    place = int(length)
    outputs = {}
    for each in json.loads(answer[:place])["outputs"]:
        end = place + each["parameters"]["binary_data_size"]
        outputs[each["name"]] = Tensor(
            each["datatype"], tuple(each["shape"]), answer[place:end]
        )
        place = end
    assert place == len(answer)
    return outputs


def predict_grpc(
    triton: Triton,
    model: str,
    inputs: Mapping[str, Tensor],
    seconds: float = _REQUEST_SECONDS,
    cancel: bool = False,
) -> Tensors:
    """Asks a model over gRPC.

    Args:
        triton: The server.
        model: Name of the model.
        inputs: By name.
        seconds: The deadline of the request.
        cancel: Whether to send it and then take it back.

    Raises:
        Refusal: If the server answers with an error, or not in time.
    """
    request = {
        "model": model,
        "inputs": [
            [name, tensor.datatype, tensor.shape, _text(tensor.data)]
            for name, tensor in inputs.items()
        ],
        "seconds": seconds,
        "cancel": cancel,
    }
    answer = triton.client.ask(request)
    if "code" in answer:
        raise Refusal(answer["code"], answer["message"])
    return {
        name: Tensor(datatype, tuple(shape), base64.b64decode(data))
        for name, datatype, shape, data in answer["outputs"]
    }


def free_ports(count: int) -> list[int]:
    """Finds ports of 127.0.0.1 on which nobody listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _exchange(
    address: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection(address, timeout=_REQUEST_SECONDS)
    with contextlib.closing(connection):
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        length = response.getheader("Inference-Header-Content-Length")
        return response.status, length, response.read()


def _environment() -> tuple[Path, list[Path], str]:
    """Finds packages, shared libraries and version of Triton's Python."""
    done = subprocess.run(
        [
            PYTHON,
            "-c",
            "from sysconfig import *; print(get_path('purelib')); "
            "print(*get_config_vars('LIBDIR', 'py_version_short'), sep='\\n')",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    site, libraries, version = done.stdout.splitlines()
    # The backend loads libpython, which has to be that of the modules: another
    # one of the same 3.x, found on the machine, is not always good enough.
    own = Path(site) / "nvidia_pytriton.libs"
    return Path(site), [Path(libraries), own], version


def _link_backend(site: Path, folder: Path, version: str) -> None:
    """Puts the backend and the interpreter of a version side by side."""
    parts = site / "pytriton" / "tritonserver"
    target = folder / "backends" / "python"
    target.mkdir(parents=True)
    for path in (
        parts / "backends" / "python" / "libtriton_python.so",
        parts / "backends" / "python" / "triton_python_backend_utils.py",
        parts / "python_backend_stubs" / version / "triton_python_backend_stub",
    ):
        (target / path.name).symlink_to(path)


def _shared_files(prefix: str) -> list[Path]:
    return list(_SHARED_MEMORY.glob(f"{prefix}*"))


def _await_ready(triton: Triton) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if triton.process.poll() is not None:
            raise ChildProcessError(
                f"{triton.log}\nStatus {triton.process.returncode}."
            )
        with contextlib.suppress(OSError):
            if fetch(triton.http, "/v2/health/ready")[0] == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(f"{triton.log}\nNot ready in {_START_SECONDS} s.")
