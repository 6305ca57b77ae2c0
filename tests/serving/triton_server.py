"""NVIDIA Triton, the real server, with a repository of models.

Runs the `tritonserver` of the environment `.venv-triton`, which `make
serve-check` makes; of it, only the messages of gRPC are imported here.
`predict_http` and `predict_grpc` send tensors as bytes, so that wrong ones can
be sent too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import urllib3
from contract_server import Refusal
from ports import await_ready, free_port

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-triton" / "bin" / "python"
MODELS = ROOT / "serving" / "triton"

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


@dataclasses.dataclass(frozen=True)
class Triton:
    """A running server.

    Attributes:
        process: It; the models run in its children.
        infer: Sends a request over gRPC, and returns a call.
        messages: The module of its requests.
        http: `host:port` of KServe's protocol over HTTP.
        metrics: The same for Prometheus, at /metrics.
        log_file: What it and the models print.
        shared_memory: How the names of its files in /dev/shm begin.
    """

    process: subprocess.Popen[bytes]
    infer: grpc.UnaryUnaryMultiCallable
    messages: Any
    http: str
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
    first = free_port(3)
    prefix = f"pspnet-{os.getpid()}-{first}-"
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
    for port, name in enumerate(("http", "grpc", "metrics"), first):
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
    http, rpc, metrics = (f"127.0.0.1:{first + k}" for k in range(3))
    messages = _messages(site)
    try:
        with grpc.insecure_channel(rpc) as channel:
            infer = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                messages.ModelInferRequest.SerializeToString,
                messages.ModelInferResponse.FromString,
            )
            await_ready(process, log_file, lambda: _is_ready(http))
            yield Triton(
                *(process, infer, messages, http, metrics, log_file, prefix)
            )
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
    response = _exchange(address, path, body, headers)
    return response.status, response.data


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
    response = _exchange(
        triton.http,
        f"/v2/models/{model}/infer",
        text + data,
        {"Inference-Header-Content-Length": str(len(text))},
    )
    answer = response.data
    if response.status != 200:
        raise Refusal(response.status, json.loads(answer)["error"])
    place = int(response.headers["Inference-Header-Content-Length"])
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
    request = triton.messages.ModelInferRequest(model_name=model)
    for name, tensor in inputs.items():
        request.inputs.add(
            name=name, datatype=tensor.datatype, shape=tensor.shape
        )
        request.raw_input_contents.append(tensor.data)
    call = triton.infer.future(request, timeout=seconds)
    if cancel:
        call.cancel()
    try:
        answer = call.result()
    except grpc.FutureCancelledError:
        raise Refusal("CANCELLED", "by the client") from None
    except grpc.RpcError as error:
        raise Refusal(error.code().name, error.details()) from error
    return {
        each.name: Tensor(each.datatype, tuple(each.shape), data)
        for each, data in zip(
            answer.outputs, answer.raw_output_contents, strict=True
        )
    }


def _exchange(
    address: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str] | None,
) -> urllib3.BaseHTTPResponse:
    method = "GET" if body is None else "POST"
    with urllib3.connection_from_url(
        f"http://{address}", timeout=_REQUEST_SECONDS, retries=False
    ) as pool:
        return pool.request(method, path, body=body, headers=headers)


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


def _is_ready(address: str) -> bool:
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        return fetch(address, "/v2/health/ready")[0] == 200
    return False


def _messages(site: Path) -> Any:
    """The messages of Triton's gRPC client, without the client itself."""
    for name in ("tritonclient", "tritonclient.grpc"):
        package = types.ModuleType(name)
        package.__path__ = [str(site.joinpath(*name.split(".")))]
        sys.modules[name] = package
    return importlib.import_module("tritonclient.grpc.service_pb2")
