"""A stand-in for TF Serving that follows its wire contract.

A small server that answers as tensorflow_model_server does: gRPC
`PredictionService.Predict` with the real protos, and REST `:predict` by columns
(`inputs`) and the model's status. It serves plain functions of NumPy arrays
and loads no SavedModel, so it shows nothing about TF Serving's batching,
scheduling or speed. Error codes follow the server's source, which does not
check shapes.
"""

import base64
import contextlib
import dataclasses
import http.server
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import http_server
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

Arrays = dict[str, np.ndarray]

# Where a tensor of gRPC has its values, where it is not `int_val`. Strings are
# arrays of bytes objects.
FIELDS = {"string": "string_val", "float32": "float_val"}
# The numbers of gRPC's codes, which are TensorFlow's as well.
CODES = {code.value[0]: code.name for code in grpc.StatusCode}
HTTP_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_MODEL = re.compile(
    r"/v1/models/([^/:]+)(?:/(?:versions|labels)/([^/:]+))?(:predict)?"
)


class Refusal(Exception):
    """An error instead of an answer.

    Attributes:
        code: The name of a gRPC code, or an HTTP status.
    """

    def __init__(self, code: str | int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function and the dtypes of its inputs, by name.

    A ValueError in the function becomes an invalid argument, like an op in a
    graph that refuses its input.
    """

    function: Callable[[Arrays], Arrays]
    inputs: Mapping[str, str]


@dataclasses.dataclass
class Contract:
    """The functions served, planned faults, and the requests received.

    Attributes:
        signatures: Name -> signature.
        states: Version -> state of the only model, `pspnet`, for REST.
        refusals: Errors to send instead of answers, one per request.
        retry_after: Header of each refusal over REST.
        hold: Event that each request waits for.
        mangle: Changes the outputs before they are sent.
        raw: Body that REST sends instead of an answer.
        seen: (protocol, version or label, signature) of each request.
        filters: `output_filter` of each gRPC request.
        logins: The authorization of each request, which TF Serving ignores.
        rest: Address of the REST server.
        grpc: Address of the gRPC server.
    """

    signatures: Mapping[str, Signature]
    states: dict[int, str] = dataclasses.field(
        default_factory=lambda: {1: "AVAILABLE"}
    )
    refusals: list[Refusal] = dataclasses.field(default_factory=list)
    retry_after: str | None = None
    hold: threading.Event | None = None
    mangle: Callable[[Arrays], Arrays] = dict
    raw: bytes | None = None
    seen: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    filters: list[list[str]] = dataclasses.field(default_factory=list)
    logins: list[str | None] = dataclasses.field(default_factory=list)
    rest: str = ""
    grpc: str = ""

    def signature(
        self, protocol: str, model: str, version: str, name: str
    ) -> Signature:
        """Finds the signature of a request, and records the request."""
        self.seen.append((protocol, version, name))
        if self.refusals:
            raise self.refusals.pop(0)
        if model != "pspnet":
            raise Refusal("NOT_FOUND", f"No servable for request: {model}")
        if name not in self.signatures:
            raise Refusal(
                "FAILED_PRECONDITION", f'Signature "{name}" not found.'
            )
        return self.signatures[name]

    def run(
        self, signature: Signature, inputs: Arrays, chosen: Sequence[str] = ()
    ) -> Arrays:
        """Checks names and dtypes, as the server does, and runs a function."""
        found = {name: dtype_name(array) for name, array in inputs.items()}
        if found != dict(signature.inputs):
            raise Refusal(
                "INVALID_ARGUMENT",
                f"inputs must be {dict(signature.inputs)}. Received: {found}",
            )
        if self.hold is not None:
            self.hold.wait(30)
        try:
            outputs = signature.function(inputs)
            return self.mangle({n: outputs[n] for n in chosen or outputs})
        except (ValueError, KeyError) as error:
            raise Refusal("INVALID_ARGUMENT", str(error)) from error


@contextlib.contextmanager
def serving(
    signatures: Mapping[str, Signature],
    *,
    rest_port: int = 0,
    grpc_port: int = 0,
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Contract]:
    """Runs both servers on 127.0.0.1, and yields their `Contract`.

    Without ports, they use free ones. With a certificate and its key, they
    use TLS, like a proxy in front of TF Serving.
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
    try:
        with http_server.in_a_thread(web):
            yield contract
    finally:
        rpc.stop(None).wait()


# === gRPC ===


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def Predict(
        self, request: predict_pb2.PredictRequest, context: Any
    ) -> predict_pb2.PredictResponse:
        metadata = dict(context.invocation_metadata())
        self.contract.logins.append(metadata.get("authorization"))
        self.contract.filters.append(list(request.output_filter))
        try:
            return self.answer(request)
        except Refusal as refusal:
            context.abort(grpc.StatusCode[refusal.code], str(refusal))

    def answer(
        self, request: predict_pb2.PredictRequest
    ) -> predict_pb2.PredictResponse:
        spec = request.model_spec
        signature = self.contract.signature(
            "grpc",
            spec.name,
            str(spec.version.value or spec.version_label),
            spec.signature_name or "serving_default",
        )
        inputs = {
            name: tf.make_ndarray(tensor)
            for name, tensor in request.inputs.items()
        }
        outputs = self.contract.run(signature, inputs, request.output_filter)
        response = predict_pb2.PredictResponse()
        for name, array in outputs.items():
            to_proto(array, response.outputs[name])
        return response


def to_proto(array: np.ndarray, tensor: Any) -> None:
    """Fills the typed fields, as the server does without a flag."""
    kind = dtype_name(array)
    tensor.dtype = tf.as_dtype(kind).as_datatype_enum
    tensor.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    field = getattr(tensor, FIELDS.get(kind, "int_val"))
    field.extend(array.reshape(-1).tolist())


def dtype_name(array: np.ndarray) -> str:
    return "string" if array.dtype == object else array.dtype.name


# === REST ===


class Web(http.server.ThreadingHTTPServer):
    daemon_threads = True
    contract: Contract


class Handler(http.server.BaseHTTPRequestHandler):
    server: Web

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.respond(self.status)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.contract.logins.append(self.headers["Authorization"])
        self.respond(lambda: self.predict(body))

    def status(self) -> dict[str, Any]:
        """Returns the states, newest first, with status 200 for any state."""
        rows = [
            {"version": str(version), "state": state}
            for version, state in sorted(self.server.contract.states.items())
        ]
        return {"model_version_status": rows[::-1]}

    def predict(self, body: bytes) -> dict[str, Any]:
        match = _MODEL.fullmatch(self.path)
        if not match or not match[3]:
            raise Refusal("INVALID_ARGUMENT", f"Malformed request: {self.path}")
        try:
            request = json.loads(body)
            given = request["inputs"]
            name = request.get("signature_name", "serving_default")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Refusal(
                "INVALID_ARGUMENT", f"JSON must have `inputs`: {error}"
            ) from error
        contract = self.server.contract
        signature = contract.signature("rest", match[1], match[2] or "", name)
        try:
            # Others than the signature's are not looked at.
            inputs = {
                key: from_json(given[key], dtype)
                for key, dtype in signature.inputs.items()
            }
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise Refusal(
                "INVALID_ARGUMENT", f"JSON Value is not as expected: {error}"
            ) from error
        outputs = {
            key: to_json(key, array)
            for key, array in contract.run(signature, inputs).items()
        }
        # One output alone has no name.
        (answer,) = outputs.values() if len(outputs) == 1 else (outputs,)
        return {"outputs": answer}

    def respond(self, answer: Callable[[], dict[str, Any]]) -> None:
        contract = self.server.contract
        headers = {"Content-Type": "application/json"}
        try:
            status, body = 200, json.dumps(answer(), indent=1).encode()
            body = body if contract.raw is None else contract.raw
        except Refusal as refusal:
            status = HTTP_STATUSES.get(refusal.code, 500)
            body = json.dumps({"error": str(refusal)}).encode()
            if contract.retry_after is not None:
                headers["Retry-After"] = contract.retry_after
        headers["Content-Length"] = str(len(body))
        # The client may have given up.
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)


def from_json(value: Any, dtype: str) -> np.ndarray:
    if dtype == "string":
        files = [base64.b64decode(each["b64"], validate=True) for each in value]
        return np.array([*files, None], object)[:-1]
    # NumPy would cut fractions off.
    if dtype != "float32" and np.array(value).dtype.kind == "f":
        raise TypeError("whole numbers have no point")
    return np.array(value, dtype)


def to_json(name: str, array: np.ndarray) -> list[Any]:
    """Encodes bytes as base64 only if the output's name ends in `_bytes`."""
    if array.dtype != object:
        return array.tolist()
    if name.endswith("_bytes"):
        return [{"b64": base64.b64encode(each).decode()} for each in array]
    return [each.decode("utf-8", "replace") for each in array]
