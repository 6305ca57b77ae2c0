"""TF Serving's wire contract, not TF Serving.

A small server that speaks as tensorflow_model_server does: gRPC
`PredictionService.Predict` with the real protos, and REST `:predict` with
rows (`instances`) and columns (`inputs`), around plain functions of NumPy
arrays. It loads no SavedModel and says nothing about how TF Serving batches,
schedules or performs. Names, codes and messages follow what the server's
source does; its checks of shapes are left out, as it makes none.
"""

import base64
import binascii
import contextlib
import dataclasses
import http.server
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

Arrays = dict[str, np.ndarray]

# Strings are arrays of bytes objects.
DTYPES = {
    "string": (types_pb2.DT_STRING, "string_val", object),
    "float32": (types_pb2.DT_FLOAT, "float_val", np.float32),
    "uint8": (types_pb2.DT_UINT8, "int_val", np.uint8),
    "int32": (types_pb2.DT_INT32, "int_val", np.int32),
}

HTTP_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class Refusal(Exception):
    """One of gRPC's codes and a message, sent over either protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function and the dtypes of its inputs, by name.

    Its outputs have one of `DTYPES`. A ValueError of the function is an
    invalid argument, as it is when an op of a graph refuses its input.
    """

    function: Callable[[Arrays], Arrays]
    inputs: Mapping[str, str]


@dataclasses.dataclass
class Contract:
    """What is served, how it is to misbehave, and what was asked.

    Attributes:
        signatures: Name -> signature.
        states: Version -> state, of the one model, `pspnet`.
        labels: Label -> version.
        refusals: Sent instead of an answer, one for each request.
        mangle: Changes the outputs before they are sent.
        raw: Body that REST sends as it is, in the place of an answer.
        seen: (protocol, version, signature) of each request.
        filters: `output_filter` of each gRPC request.
        logins: What each request has for authorization, which TF Serving does
            not look at.
        rest: Address of the REST server.
        grpc: Address of the gRPC server.
    """

    signatures: Mapping[str, Signature]
    states: dict[int, str] = dataclasses.field(
        default_factory=lambda: {1: "AVAILABLE"}
    )
    labels: dict[str, int] = dataclasses.field(
        default_factory=lambda: {"stable": 1}
    )
    refusals: list[Refusal] = dataclasses.field(default_factory=list)
    mangle: Callable[[Arrays], Arrays] | None = None
    raw: bytes | None = None
    seen: list[tuple[str, int | None, str]] = dataclasses.field(
        default_factory=list
    )
    filters: list[list[str]] = dataclasses.field(default_factory=list)
    logins: list[str | None] = dataclasses.field(default_factory=list)
    rest: str = ""
    grpc: str = ""

    def version(self, name: str, version: int | None, label: str | None) -> int:
        """Finds the version that a request means."""
        if label:
            if label not in self.labels:
                raise Refusal(
                    "INVALID_ARGUMENT",
                    f"Unrecognized servable version label: {label}",
                )
            version = self.labels[label]
        loaded = [v for v, state in self.states.items() if state == "AVAILABLE"]
        if version is None and name == "pspnet" and loaded:
            return max(loaded)
        if name != "pspnet" or version not in loaded:
            wanted = "Latest" if version is None else "Specific"
            inner = name if version is None else f"{name}, {version}"
            raise Refusal(
                "NOT_FOUND",
                f"Servable not found for request: {wanted}({inner})",
            )
        return version

    def run(
        self, signature: Signature, inputs: Arrays, chosen: list[str]
    ) -> Arrays:
        """Checks names and dtypes, as the server does, and runs a function."""
        if set(inputs) != set(signature.inputs):
            extra = ",".join(sorted(set(inputs) - set(signature.inputs)))
            missing = ",".join(sorted(set(signature.inputs) - set(inputs)))
            raise Refusal(
                "INVALID_ARGUMENT",
                "input size does not match signature: "
                f"{len(inputs)}!={len(signature.inputs)}. Sent extra: "
                f"{{{extra}}}. Missing but required: {{{missing}}}.",
            )
        for name, array in inputs.items():
            expected = DTYPES[signature.inputs[name]][2]
            if array.dtype != expected:
                raise Refusal(
                    "INVALID_ARGUMENT",
                    f"Expects arg {name} to be {signature.inputs[name]} but "
                    f"{array.dtype} is provided",
                )
        try:
            outputs = signature.function(inputs)
        except ValueError as error:
            raise Refusal("INVALID_ARGUMENT", str(error)) from error
        for name in chosen:
            if name not in outputs:
                raise Refusal(
                    "INVALID_ARGUMENT",
                    "output tensor alias not found in signature: "
                    f"{name} Outputs expected to be in the set "
                    f"{{{','.join(sorted(outputs))}}}.",
                )
        outputs = {name: outputs[name] for name in chosen or outputs}
        return self.mangle(outputs) if self.mangle else outputs


@contextlib.contextmanager
def serving(
    signatures: Mapping[str, Signature],
    *,
    rest_port: int = 0,
    grpc_port: int = 0,
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Contract]:
    """Runs both servers on 127.0.0.1 and yields what they serve.

    Without ports, they find themselves free ones. With a certificate and its
    key, they speak TLS, as a proxy in front of TF Serving does.
    """
    contract = Contract(signatures)
    rpc = grpc.server(
        futures.ThreadPoolExecutor(4),
        options=[
            # Whatever the size of a request, as TF Serving.
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Servicer(contract), rpc
    )
    web = Web(("127.0.0.1", rest_port), Handler)
    web.contract = contract
    contract.rest = f"http://127.0.0.1:{web.server_address[1]}"
    contract.grpc = f"127.0.0.1:{grpc_port}"
    if certificate is None:
        port = rpc.add_insecure_port(contract.grpc)
    else:
        chain, key = (path.read_bytes() for path in certificate)
        credentials = grpc.ssl_server_credentials([(key, chain)])
        port = rpc.add_secure_port(contract.grpc, credentials)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        web.socket = context.wrap_socket(web.socket, server_side=True)
        contract.rest = contract.rest.replace("http:", "https:")
    contract.grpc = f"127.0.0.1:{port}"
    rpc.start()
    thread = threading.Thread(
        target=web.serve_forever, kwargs={"poll_interval": 0.01}
    )
    thread.start()
    try:
        yield contract
    finally:
        web.shutdown()
        web.server_close()
        thread.join()
        rpc.stop(None).wait()


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def Predict(
        self, request: predict_pb2.PredictRequest, context: Any
    ) -> predict_pb2.PredictResponse:
        metadata = dict(context.invocation_metadata())
        self.contract.logins.append(metadata.get("authorization"))
        try:
            return self.answer(request)
        except Refusal as refusal:
            context.abort(grpc.StatusCode[refusal.code], str(refusal))

    def answer(
        self, request: predict_pb2.PredictRequest
    ) -> predict_pb2.PredictResponse:
        contract, spec = self.contract, request.model_spec
        name = spec.signature_name or "serving_default"
        version = spec.version.value if spec.HasField("version") else None
        contract.seen.append(("grpc", version, name))
        contract.filters.append(list(request.output_filter))
        if contract.refusals:
            raise contract.refusals.pop(0)
        found = contract.version(spec.name, version, spec.version_label)
        if name not in contract.signatures:
            raise Refusal(
                "FAILED_PRECONDITION",
                f'Serving signature key "{name}" not found.',
            )
        outputs = contract.run(
            contract.signatures[name],
            {key: from_proto(value) for key, value in request.inputs.items()},
            list(request.output_filter),
        )
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.signature_name = name
        response.model_spec.version.value = found
        for key, value in outputs.items():
            to_proto(value, response.outputs[key])
        return response


def from_proto(tensor: Any) -> np.ndarray:
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    for dtype, field, kind in DTYPES.values():
        if tensor.dtype != dtype:
            continue
        if tensor.tensor_content:
            return np.frombuffer(tensor.tensor_content, kind).reshape(shape)
        return np.array(list(getattr(tensor, field)), kind).reshape(shape)
    raise Refusal("INVALID_ARGUMENT", "Tensor proto has an unknown dtype")


def to_proto(array: np.ndarray, tensor: Any) -> None:
    """Fills the typed fields, as the server does without a flag."""
    dtype, field, _ = DTYPES[dtype_name(array)]
    tensor.dtype = dtype
    for size in array.shape:
        tensor.tensor_shape.dim.add().size = size
    getattr(tensor, field).extend(array.reshape(-1).tolist())


def dtype_name(array: np.ndarray) -> str:
    return "string" if array.dtype == object else array.dtype.name


class Web(http.server.ThreadingHTTPServer):
    daemon_threads = True
    contract: Contract


class Handler(http.server.BaseHTTPRequestHandler):
    server: Web

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        contract = self.server.contract
        match = re.fullmatch(
            r"/v1/models/([^/:]+)(?:/versions/(\d+))?", self.path, re.I
        )
        if not match:
            error = Refusal(
                "INVALID_ARGUMENT", f"Malformed request: GET {self.path}"
            )
        elif match[1] != "pspnet" or (
            match[2] and int(match[2]) not in contract.states
        ):
            error = Refusal(
                "NOT_FOUND", f"Could not find any versions of model {match[1]}"
            )
        else:
            # Newest first, and 200 whatever the states are.
            return self.send(
                200,
                {
                    "model_version_status": [
                        {
                            "version": str(version),
                            "state": state,
                            "status": {"error_code": "OK", "error_message": ""},
                        }
                        for version, state in sorted(
                            contract.states.items(), reverse=True
                        )
                        if match[2] in (None, str(version))
                    ]
                },
            )
        self.refuse(error)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            answer = self.answer(body)
        except Refusal as refusal:
            return self.refuse(refusal)
        if self.server.contract.raw is not None:
            return self.send_body(200, self.server.contract.raw)
        self.send(200, answer)

    def answer(self, body: bytes) -> dict[str, Any]:
        contract = self.server.contract
        match = re.fullmatch(
            r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:predict",
            self.path,
            re.I,
        )
        if not match:
            raise Refusal(
                "INVALID_ARGUMENT", f"Malformed request: POST {self.path}"
            )
        version = int(match[2]) if match[2] else None
        try:
            request = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refusal(
                "INVALID_ARGUMENT", f"JSON Parse error: {error}"
            ) from error
        if not isinstance(request, dict):
            raise Refusal("INVALID_ARGUMENT", "JSON Value: Is not object")
        name = request.get("signature_name", "serving_default")
        contract.seen.append(("rest", version, name))
        contract.logins.append(self.headers["Authorization"])
        if contract.refusals:
            raise contract.refusals.pop(0)
        contract.version(match[1], version, match[3])
        if name not in contract.signatures:
            raise Refusal(
                "INVALID_ARGUMENT",
                f'Serving signature name: "{name}" not found in signature def',
            )
        signature = contract.signatures[name]
        keys = {"instances", "inputs"} & set(request)
        if len(keys) != 1:
            raise Refusal(
                "INVALID_ARGUMENT",
                "Not formatted correctly expecting only one of 'inputs' or "
                "'instances' keys to exist"
                if keys
                else "Missing 'inputs' or 'instances' key",
            )
        if "inputs" in keys:
            columns = by_columns(request["inputs"], signature)
            outputs = contract.run(signature, columns, [])
            values = {
                key: to_json(key, value) for key, value in outputs.items()
            }
            # One output alone has no name.
            (single,) = values.values() if len(values) == 1 else (values,)
            return {"outputs": single}
        columns = by_rows(request["instances"], signature)
        outputs = contract.run(signature, columns, [])
        values = {key: to_json(key, value) for key, value in outputs.items()}
        rows = [
            dict(zip(values, row, strict=True))
            for row in zip(*values.values(), strict=True)
        ]
        if len(values) == 1:
            rows = [next(iter(row.values())) for row in rows]
        return {"predictions": rows}

    def refuse(self, refusal: Refusal) -> None:
        self.send(HTTP_STATUSES[refusal.code], {"error": str(refusal)})

    def send(self, status: int, answer: dict[str, Any]) -> None:
        self.send_body(status, json.dumps(answer, indent=1).encode())

    def send_body(self, status: int, body: bytes) -> None:
        # The client may have given up.
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


def is_base64(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"}


def by_columns(inputs: Any, signature: Signature) -> Arrays:
    """{name: tensor}, or the tensor alone if there is one input."""
    if not isinstance(inputs, dict) or is_base64(inputs):
        if len(signature.inputs) > 1:
            raise Refusal(
                "INVALID_ARGUMENT",
                "inputs is a plain value/list, but expecting an object",
            )
        (name,) = signature.inputs
        inputs = {name: inputs}
    for name in signature.inputs:
        if name not in inputs:
            raise Refusal(
                "INVALID_ARGUMENT",
                f"Missing named input: {name} in 'inputs' object.",
            )
    return {
        name: from_json(inputs[name], dtype)
        for name, dtype in signature.inputs.items()
    }


def by_rows(instances: Any, signature: Signature) -> Arrays:
    """[{name: value}, ...], or [value, ...] if there is one input."""
    if not isinstance(instances, list) or not instances:
        raise Refusal(
            "INVALID_ARGUMENT", "Expecting 'instances' to be an list/array"
        )
    rows = []
    for number, row in enumerate(instances):
        if not isinstance(row, dict) or is_base64(row):
            row = dict.fromkeys(signature.inputs, row)
        if set(row) != set(signature.inputs):
            raise Refusal(
                "INVALID_ARGUMENT",
                f"Failed to process element: {number} of 'instances' list. "
                f"keys must be equal to: {','.join(signature.inputs)}",
            )
        rows.append(row)
    return {
        name: from_json([row[name] for row in rows], dtype)
        for name, dtype in signature.inputs.items()
    }


def from_json(value: Any, dtype: str) -> np.ndarray:
    if dtype == "string":
        if isinstance(value, list):
            return np.array([from_json_string(each) for each in value], object)
        return np.array(from_json_string(value), object)
    try:
        # NumPy would cut fractions off.
        if dtype in ("uint8", "int32") and _has_fractions(value):
            raise TypeError("whole numbers have no point")
        return np.array(value, DTYPES[dtype][2])
    except (TypeError, ValueError, OverflowError) as error:
        raise Refusal(
            "INVALID_ARGUMENT", f"JSON Value is not of expected type: {dtype}"
        ) from error


def _has_fractions(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_fractions, value))
    return isinstance(value, float)


def from_json_string(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not is_base64(value):
        raise Refusal(
            "INVALID_ARGUMENT",
            "JSON Value not formatted correctly for base64 data",
        )
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise Refusal("INVALID_ARGUMENT", "Unable to base64 decode") from error


def to_json(name: str, array: np.ndarray) -> list[Any]:
    """Bytes are base64 only where the name of the output ends in `_bytes`."""
    if array.dtype != object:
        return array.tolist()
    if name.endswith("_bytes"):
        return [
            {"b64": base64.b64encode(value).decode()}
            for value in array.tolist()
        ]
    return [value.decode("utf-8", "replace") for value in array.tolist()]
