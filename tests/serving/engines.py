"""What serves an export, behind one interface, to be abused alike.

| engine | what it is |
|---|---|
| C session | the C++ loader and session of TF Serving, called directly |
| contract gRPC, contract REST | the same behind TF Serving's wire contract |
| Triton HTTP, Triton gRPC | NVIDIA Triton, the real server |
| TF Serving gRPC, TF Serving REST | `tensorflow_model_server`, if installed |
"""

from __future__ import annotations

import abc
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np
import psutil
import tensorflow as tf
import urllib3
from c_session import ChildSession, SessionError
from contract_server import CODES, Refusal, to_json
from ports import await_ready, free_port
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from threshold_model import strings
from triton_server import Tensor, Triton, fetch

Arrays = dict[str, np.ndarray]

TF_SERVING = "tensorflow_model_server"
MIB = 2**20

_HERE = Path(__file__).parent
_REQUEST_SECONDS = 60
_CLIENT_FAULTS = ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION")


def is_clients_fault(refusal: Refusal) -> bool:
    """Tells whether an error says that the request was wrong."""
    if isinstance(refusal.code, int):
        return 400 <= refusal.code < 500
    return refusal.code in _CLIENT_FAULTS


class Engine(abc.ABC):
    """Serves the signatures of one export."""

    name: str

    @abc.abstractmethod
    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> Arrays:
        """Sends one request, right or wrong.

        Args:
            signature: Name of the signature.
            inputs: Arrays by name; strings are bytes in an array of objects.

        Returns:
            The outputs by name.

        Raises:
            ChildProcessError: If the engine is gone.
            Refusal: If it answers with an error.
        """

    @property
    @abc.abstractmethod
    def processes(self) -> list[psutil.Process]:
        """The processes whose memory a request can take."""

    def segment(self, *files: bytes) -> Arrays:
        """Asks for the masks of files."""
        return self.predict("serving_default", {"image_bytes": strings(*files)})


class CSessionEngine(Engine):
    """The C++ session, in a process of its own."""

    name = "C session"

    def __init__(self, child: ChildSession) -> None:
        self._child = child

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> Arrays:
        try:
            return self._child.run(signature, inputs)
        except KeyError as error:
            # A name that there is not; a server finds out like this, too.
            raise Refusal("NOT_FOUND", str(error)) from error
        except SessionError as error:
            raise Refusal(CODES[error.code], error.message) from error

    @property
    def processes(self) -> list[psutil.Process]:
        return [psutil.Process(self._child.process.pid)]


class ServerEngine(Engine):
    """A server that is one process.

    Args:
        name: What serves it.
        process: The server.
        address: Its `host:port`.
    """

    def __init__(
        self, name: str, process: subprocess.Popen[str], address: str
    ) -> None:
        self.name = name
        self.address = address
        self._process = process

    @property
    def processes(self) -> list[psutil.Process]:
        return [psutil.Process(self._process.pid)]


class GrpcEngine(ServerEngine):
    """PredictionService over gRPC."""

    def __init__(
        self, name: str, process: subprocess.Popen[str], address: str
    ) -> None:
        super().__init__(name, process, address)
        # What a client has that sets no options: 4 MiB at most come in.
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            grpc.insecure_channel(address)
        )

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] = (),
    ) -> Arrays:
        request = predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.name = "pspnet"
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            tensor = tf.make_tensor_proto(array, shape=array.shape)
            request.inputs[name].CopyFrom(tensor)
        try:
            answer = self._stub.Predict(request, timeout=_REQUEST_SECONDS)
        except grpc.RpcError as error:
            _check_alive(self._process)
            raise Refusal(error.code().name, error.details()) from error
        return {
            name: tf.make_ndarray(tensor)
            for name, tensor in answer.outputs.items()
        }


class RestEngine(ServerEngine):
    """`:predict` over REST, by columns."""

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> Arrays:
        body = {
            "signature_name": signature,
            "inputs": {
                name: to_json(name, array) for name, array in inputs.items()
            },
        }
        status, answer = self.post(json.dumps(body).encode())
        if status != 200:
            raise Refusal(status, answer["error"])
        outputs = answer["outputs"]
        # One output alone has no name.
        if not isinstance(outputs, dict):
            outputs = {"": outputs}
        return {name: _from_json(value) for name, value in outputs.items()}

    def post(self, body: bytes) -> tuple[int, dict[str, object]]:
        """Sends a body as it is; returns status and answer."""
        try:
            status, answer = fetch(
                self.address, "/v1/models/pspnet:predict", body
            )
        except urllib3.exceptions.HTTPError:
            _check_alive(self._process)
            raise
        return status, json.loads(answer)


class TritonEngine(Engine):
    """Triton with a model for each signature.

    Args:
        name: What it is asked over.
        triton: The server.
        predict: `triton_server.predict_http` or `predict_grpc`.
    """

    models: Mapping[str, str] = {
        "serving_default": "pspnet",
        "predict_uint8": "pspnet_array",
        "predict_array": "pspnet_float",
    }

    def __init__(self, name: str, triton: Triton, predict: object) -> None:
        self.name = name
        self._triton = triton
        self._predict = predict

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> Arrays:
        tensors = {
            key: Tensor.of(array.tolist() if array.dtype == object else array)
            for key, array in inputs.items()
        }
        # Here a signature that there is not is a model that there is not.
        model = self.models.get(signature, signature)
        try:
            answer = self._predict(self._triton, model, tensors)
        except (urllib3.exceptions.HTTPError, json.JSONDecodeError):
            _check_alive(self._triton.process)
            raise
        return {
            name: strings(*tensor.strings)
            if tensor.datatype == "BYTES"
            else _without_column(tensor.array, signature)
            for name, tensor in answer.items()
        }

    @property
    def processes(self) -> list[psutil.Process]:
        return [
            psutil.Process(self._triton.process.pid),
            *map(self._triton.model_process, self.models.values()),
        ]


def _without_column(array: np.ndarray, signature: str) -> np.ndarray:
    """Numbers of a batch are a column where Triton batches."""
    return array[:, 0] if signature == "serving_default" else array


def _check_alive(process: subprocess.Popen[str]) -> None:
    """Tells a server that has ended from one that does not answer."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
        raise ChildProcessError(f"status {process.returncode}")


def _from_json(values: list[object]) -> np.ndarray:
    if values and isinstance(values[0], dict):
        return strings(*(base64.b64decode(each["b64"]) for each in values))
    if values and isinstance(values[0], str):
        return strings(*(each.encode() for each in values))
    return np.array(values)


# === Starting them ===


@contextlib.contextmanager
def contract(export: Path) -> Iterator[tuple[Engine, Engine]]:
    """Serves an export behind TF Serving's wire contract.

    Yields:
        The engine over gRPC and the one over REST.
    """
    environment = {**os.environ, "PYTHONPATH": str(_HERE.parent / "helpers")}
    with subprocess.Popen(
        [sys.executable, _HERE / "contract_process.py", export],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline()
            if not line:
                raise ChildProcessError(f"status {process.wait()}")
            rest, grpc_address = line.split()
            yield (
                GrpcEngine("contract gRPC", process, grpc_address),
                RestEngine("contract REST", process, rest.split("//")[1]),
            )
        finally:
            process.kill()


@contextlib.contextmanager
def tf_serving(export: Path, folder: Path) -> Iterator[tuple[Engine, Engine]]:
    """Serves an export with `tensorflow_model_server` from the PATH.

    Args:
        export: The SavedModel.
        folder: An empty folder for the version and the log.

    Yields:
        The engine over gRPC and the one over REST.
    """
    base = folder / "pspnet"
    shutil.copytree(export, base / "1")
    port = free_port(2)
    log_file = folder / "log"
    with (
        log_file.open("wb") as log,
        subprocess.Popen(
            [
                TF_SERVING,
                "--model_name=pspnet",
                f"--model_base_path={base}",
                f"--port={port}",
                f"--rest_api_port={port + 1}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            rest = f"127.0.0.1:{port + 1}"
            await_ready(process, log_file, lambda: _is_available(rest))
            yield (
                GrpcEngine("TF Serving gRPC", process, f"127.0.0.1:{port}"),
                RestEngine("TF Serving REST", process, rest),
            )
            process.send_signal(signal.SIGTERM)
            process.wait(_REQUEST_SECONDS)
        finally:
            process.kill()


def _is_available(address: str) -> bool:
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        return b"AVAILABLE" in fetch(address, "/v1/models/pspnet")[1]
    return False


# === Memory ===


@contextlib.contextmanager
def memory_within(engine: Engine, limit: float) -> Iterator[None]:
    """Checks that no process takes more than so many MiB, for a moment even.

    Args:
        engine: What answers meanwhile.
        limit: How far a process may go beyond what it has, in MiB.
    """
    before = {}
    for process in engine.processes:
        # Forgets the highest mark until now.
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        before[process.pid] = process.memory_info().rss
    yield
    for pid, resident in before.items():
        status = Path(f"/proc/{pid}/status").read_text()
        highest = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
        grown = (highest - resident) / MIB
        assert grown <= limit, f"{engine.name}: {grown:.0f} MiB more"
