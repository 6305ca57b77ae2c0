"""Tests of serving/nginx.conf in nginx; `make serve-check` runs them.

Behind it is `contract_server`, or a server that takes whatever comes and tells
what came. Each test has an nginx of its own, whose counts start anew.
"""

import base64
import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
import time
from concurrent import futures

import contract_server
import grpc
import http_server
import nginx_server
import numpy as np
import pytest
from contract_server import Refusal
from nginx_server import LOGIN, exchange
from ports import free_port
from tensorflow_serving.apis import predict_pb2
from threshold_model import (
    SIGNATURES,
    encoded,
    load_client,
    photo,
    strings,
    threshold,
)

pytestmark = pytest.mark.skipif(
    nginx_server.find() is None,
    reason="needs nginx: install your system's package (apt-get install nginx)",
)

client = load_client()
PROTOCOLS = ("rest", "grpc")
PREDICT = "/v1/models/pspnet:predict"
STATUS = "/v1/models/pspnet"
GRPC_PREDICT = "/tensorflow.serving.PredictionService/Predict"
METRICS = "/monitoring/prometheus/metrics"
LIMIT = 64 * 2**20
AT_ONCE = 8


def basic(name, password):
    pair = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


HEADERS = basic(*LOGIN)


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    """Reaches 127.0.0.1 where the environment names a proxy, too."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    with contract_server.serving(SIGNATURES) as contract:
        yield contract


@pytest.fixture
def start(tmp_path):
    """Starts nginx in front of a server of both protocols."""
    with contextlib.ExitStack() as stack:

        def start(rest, grpc, changes=None):
            return stack.enter_context(
                nginx_server.serving(tmp_path, rest, grpc, changes)
            )

        yield start


@pytest.fixture
def proxy(start, server):
    return start(host(server), server.grpc)


def host(server):
    return server.rest.removeprefix("http://")


def ask(proxy, method="GET", path=STATUS, body=None, headers=HEADERS):
    return exchange(proxy.connection(), method, path, body, headers)


def error(answer):
    """The words of an answer that has to be JSON, as the server's are."""
    assert answer.headers["Content-Type"] == "application/json"
    return json.loads(answer.body)["error"]


def segment(proxy, protocol, images, **kwargs):
    """Calls the client, as one who has a password."""
    address = {"rest": f"https://{proxy.address}", "grpc": proxy.address}
    options = {"login": LOGIN, "ca": proxy.certificate, "retries": 0, **kwargs}
    return client.Client(address[protocol], **options).segment(images)


@contextlib.contextmanager
def channel(proxy):
    credentials = grpc.ssl_channel_credentials(proxy.certificate.read_bytes())
    with grpc.secure_channel(proxy.address, credentials) as opened:
        yield opened


def call(channel, method, request=b"", headers=HEADERS, timeout=30):
    """One call with bytes for messages."""
    metadata = [(name.lower(), value) for name, value in headers.items()]
    return channel.unary_unary(method)(
        request, metadata=metadata, timeout=timeout
    )


def code(call_in_error):
    return call_in_error.value.code().name


def predict_json(*images, **more):
    files = [{"b64": base64.b64encode(each).decode()} for each in images]
    return json.dumps({"inputs": {"image_bytes": files}, **more}).encode()


def predict_proto(*images, **spec):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = spec.get("name", "pspnet")
    request.model_spec.signature_name = spec.get("signature", "")
    contract_server.to_proto(strings(*images), request.inputs["image_bytes"])
    return request.SerializeToString()


# What it passes on.

IMAGES = [encoded(photo(9, 7)), b"", encoded(photo(30, 41), "JPEG")]
REQUESTS = {
    "columns": ("POST", PREDICT, predict_json(*IMAGES)),
    "label": ("POST", f"{STATUS}/labels/stable:predict", predict_json(b"")),
    "status": ("GET", STATUS, None),
    "status of a version": ("GET", f"{STATUS}/versions/1", None),
    "broken JSON": ("POST", PREDICT, b"{"),
    "unknown model": ("POST", "/v1/models/other:predict", predict_json(b"")),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_rest_is_that_of_the_server(proxy, server, case):
    direct = exchange(http.client.HTTPConnection(host(server)), *REQUESTS[case])
    answer = ask(proxy, *REQUESTS[case])
    assert answer.status == direct.status
    assert answer.body == direct.body
    assert answer.headers["Content-Type"] == direct.headers["Content-Type"]


@pytest.mark.parametrize(
    "refusal",
    ["RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED"],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_words_of_the_server_pass(proxy, server, protocol, refusal):
    server.refusals = [Refusal(refusal, "of the server")]
    with pytest.raises(client.ServingError, match="of the server"):
        segment(proxy, protocol, [b""])
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "request_",
    [
        predict_proto(*IMAGES),
        predict_proto(b"", name="other"),
        predict_proto(b"", signature="other"),
        b"not a message",
    ],
)
def test_grpc_is_that_of_the_server(proxy, server, request_):
    def outcome(opened):
        try:
            answer = call(opened, GRPC_PREDICT, request_)
        except grpc.RpcError as error:
            return error.code(), error.details()
        # Maps have no order.
        return predict_pb2.PredictResponse.FromString(answer)

    with (
        channel(proxy) as through,
        grpc.insecure_channel(server.grpc) as direct,
    ):
        assert outcome(through) == outcome(direct)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_masks_through_the_client_are_exact(proxy, protocol):
    pixels = [photo(33, 47, seed) for seed in range(4)]
    results = segment(proxy, protocol, [encoded(each) for each in pixels])
    for result, each in zip(results, pixels, strict=True):
        np.testing.assert_array_equal(result.mask, threshold(each))


def test_body_in_parts_passes(proxy, server):
    body = predict_json(IMAGES[0])
    answer = ask(proxy, "POST", PREDICT, iter([body[:50], body[50:]]))
    assert answer.status == 200
    assert answer.body == ask(proxy, "POST", PREDICT, body).body


# Who may.

WRONG = {
    "nobody": {},
    "wrong password": basic(LOGIN[0], "wrong"),
    "no password": basic(LOGIN[0], ""),
    "another name": basic("bob", LOGIN[1]),
    "no base64": {"Authorization": "Basic ???"},
    "another scheme": {"Authorization": f"Bearer {LOGIN[1]}"},
}


@pytest.mark.parametrize("case", WRONG)
def test_without_the_password_nothing_reaches_the_server(
    start, recorders, case
):
    rest, rpc = recorders
    proxy = start(rest.host, rpc.host)
    for request in (("GET", STATUS), ("POST", PREDICT, predict_json(b""))):
        answer = ask(proxy, *request, headers=WRONG[case])
        assert answer.status == 401
        assert "password" in error(answer)
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="pspnet"'
    with channel(proxy) as opened:
        for method in (GRPC_PREDICT, "/grpc.health.v1.Health/Check"):
            with pytest.raises(grpc.RpcError) as caught:
                call(opened, method, headers=WRONG[case])
            assert code(caught) == "UNAUTHENTICATED"
    assert rest.seen == rpc.seen == []


def test_plain_http_is_refused(proxy, server):
    answer = exchange(
        http.client.HTTPConnection(proxy.address),
        *("POST", PREDICT, predict_json(b""), HEADERS),
    )
    assert answer.status == 400
    with grpc.insecure_channel(proxy.address) as opened:
        with pytest.raises(grpc.RpcError) as caught:
            call(opened, GRPC_PREDICT, predict_proto(b""))
        assert code(caught) == "UNAVAILABLE"
    assert server.seen == []


# What is served.


class Echo(grpc.GenericRpcHandler):
    """Answers every method with the request, and records it."""

    def __init__(self):
        self.seen = []

    def service(self, details):
        self.seen.append((details.method, dict(details.invocation_metadata)))
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request)


@pytest.fixture
def recorders():
    """Servers of both protocols that take anything."""
    rpc = Echo()
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[rpc])
    rpc.host = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with http_server.serving() as rest:
        rest.host = f"127.0.0.1:{rest.server_address[1]}"
        yield rest, rpc
    server.stop(None).wait()


REFUSED = [
    ("GET", "/", 404),
    ("GET", METRICS, 404),
    ("POST", METRICS, 404),
    ("GET", f"/v1/models/..{METRICS}", 404),
    ("GET", f"/v1/models/../..{METRICS}", 404),
    ("GET", f"/v1/models/%2e%2e/%2e%2e{METRICS}", 404),
    ("GET", f"{STATUS}/..%2f..%2f..{METRICS}", 404),
    ("GET", f"/{METRICS}", 404),
    ("GET", f"{METRICS}?{STATUS}", 404),
    ("GET", "/v1/models", 404),
    ("GET", "/v1/models/", 404),
    ("GET", f"{STATUS}/metadata", 404),
    ("GET", f"{STATUS}/versions/x", 404),
    ("POST", f"{STATUS}:classify", 404),
    ("POST", f"{STATUS}:regress", 404),
    ("POST", f"{PREDICT}/more", 404),
    ("POST", f"{PREDICT}%0A", 404),
    ("POST", f"{STATUS}%20HTTP/1.1%0D%0AX:predict", 404),
    ("GET", f"{STATUS}%3Fa", 404),
    ("GET", "/error", 404),
    ("POST", STATUS, 405),
    ("DELETE", STATUS, 405),
    ("HEAD", STATUS, 405),
    ("OPTIONS", STATUS, 405),
    ("GET", PREDICT, 405),
    ("PUT", PREDICT, 405),
    ("PATCH", PREDICT, 405),
    ("GET", GRPC_PREDICT.replace("PredictionService", "ModelService"), 404),
]


@pytest.mark.parametrize(("method", "path", "status"), REFUSED)
def test_all_else_is_refused(start, recorders, method, path, status):
    rest, rpc = recorders
    answer = ask(start(rest.host, rpc.host), method, path)
    assert answer.status == status
    if method != "HEAD":
        assert error(answer)
    assert rest.seen == rpc.seen == []


@pytest.mark.parametrize(
    ("method", "path", "passed"),
    [
        ("GET", STATUS, STATUS),
        ("GET", f"{STATUS}/labels/stable", f"{STATUS}/labels/stable"),
        ("POST", PREDICT, PREDICT),
        ("POST", "/v1/models/a-b_1.0:predict", "/v1/models/a-b_1.0:predict"),
        ("POST", f"{PREDICT}?a=b", PREDICT),
        ("GET", f"{METRICS}/../../..{STATUS}", STATUS),
        ("GET", f"{METRICS}%3F/../../..{STATUS}", STATUS),
        ("GET", "//v1/%6Dodels///pspnet", STATUS),
    ],
)
def test_what_is_passed_on_is_what_was_checked(
    start, recorders, method, path, passed
):
    rest, rpc = recorders
    ask(start(rest.host, rpc.host), method, path)
    (seen,) = rest.seen
    assert seen.target == passed
    assert "Authorization" not in seen.headers
    assert seen.headers["Connection"] == "close"


def test_services_of_grpc(start, recorders):
    rest, rpc = recorders
    services = {
        GRPC_PREDICT: True,
        "/tensorflow.serving.PredictionService/GetModelMetadata": True,
        "/grpc.health.v1.Health/Check": True,
        "/tensorflow.serving.ModelService/HandleReloadConfigRequest": False,
        "/tensorflow.serving.ModelService/GetModelStatus": False,
        "/tensorflow.serving.SessionService/SessionRun": False,
        "/tensorflow.ProfilerService/Profile": False,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": False,
        "/tensorflow_serving_PredictionService/Predict": False,
        f"/a{GRPC_PREDICT}": False,
    }
    with channel(start(rest.host, rpc.host)) as opened:
        for method, served in services.items():
            if served:
                assert call(opened, method, b"echo") == b"echo"
                continue
            with pytest.raises(grpc.RpcError, match="status: 404") as caught:
                call(opened, method)
            assert code(caught) == "UNIMPLEMENTED"
    assert [method for method, _ in rpc.seen] == [
        method for method, served in services.items() if served
    ]
    assert not any("authorization" in metadata for _, metadata in rpc.seen)
    assert rest.seen == []


# Limits.


def test_the_largest_body_passes_and_one_more_byte_does_not(proxy, server):
    body = predict_json(IMAGES[0]).ljust(LIMIT)
    assert ask(proxy, "POST", PREDICT, body).status == 200
    assert len(server.seen) == 1
    answer = ask(proxy, "POST", PREDICT, body + b" ")
    assert answer.status == 413
    assert "too large" in error(answer)
    # In parts, it is only found out on the way.
    parts = (body[start : start + 2**20] for start in range(0, LIMIT, 2**20))
    assert ask(proxy, "POST", PREDICT, [*parts, b" "]).status == 413
    assert len(server.seen) == 1
    assert ask(proxy, "POST", PREDICT, predict_json(b"")).status == 200


def test_the_largest_message_of_grpc(proxy, server):
    # Room for what is around the picture.
    fitting, large = bytes(LIMIT - 200), bytes(LIMIT)
    assert segment(proxy, "grpc", [fitting])[0].status == "NOT_JPEG_OR_PNG"
    assert len(server.seen) == 1
    with pytest.raises(client.ServingError, match="413"):
        segment(proxy, "grpc", [large])
    assert len(server.seen) == 1
    assert segment(proxy, "grpc", [b""])[0].status == "EMPTY"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("case", [None, "wrong password"])
def test_too_many_requests_are_refused_until_some_time_has_passed(
    proxy, server, protocol, case
):
    """Guesses of a password, too."""
    headers = HEADERS if case is None else WRONG[case]
    codes = {
        "rest": (200, 401, 503),
        "grpc": ("OK", "UNAUTHENTICATED", "UNAVAILABLE"),
    }
    right, wrong, busy = codes[protocol]
    usual = right if case is None else wrong

    def rest():
        connection.request("GET", STATUS, headers=headers)
        response = connection.getresponse()
        body = response.read()
        if response.status == busy:
            assert "too many" in json.loads(body)["error"]
        return response.status

    def grpc_():
        try:
            call(opened, GRPC_PREDICT, predict_proto(b""), headers)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    one = {"rest": rest, "grpc": grpc_}[protocol]
    with (
        contextlib.closing(proxy.connection()) as connection,
        channel(proxy) as opened,
    ):
        began = time.monotonic()
        answers = [one() for _ in range(21)]
        # The first and a burst of 20; then 10 a second.
        assert answers == [usual] * 21
        while busy not in answers and len(answers) < 500:
            answers.append(one())
        seconds = time.monotonic() - began
        assert set(answers) == {usual, busy}
        assert answers.count(usual) <= 22 + 10 * seconds
        time.sleep(0.3)
        assert one() == usual


def test_too_many_requests_at_once_are_refused_until_one_has_ended(
    proxy, server
):
    server.hold = threading.Event()
    protocols = ["rest", "grpc"] * (AT_ONCE // 2)
    with futures.ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            running = [
                pool.submit(segment, proxy, protocol, [b""], timeout=30)
                for protocol in protocols
            ]
            deadline = time.monotonic() + 20
            while len(server.seen) < AT_ONCE and time.monotonic() < deadline:
                time.sleep(0.01)
            assert len(server.seen) == AT_ONCE
            for protocol in PROTOCOLS:
                with pytest.raises(
                    client.ServingError,
                    match="HTTP 503.*address|UNAVAILABLE.*503",
                ) as caught:
                    segment(proxy, protocol, [b""])
                assert caught.value.retry
            assert len(server.seen) == AT_ONCE
        finally:
            server.hold.set()
        for each in running:
            assert each.result()[0].status == "EMPTY"
    for protocol in PROTOCOLS:
        assert segment(proxy, protocol, [b""])[0].status == "EMPTY"


# What goes wrong.


def test_server_that_is_down_and_comes_back(start):
    port = free_port(2)
    proxy = start(f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}")
    for _ in range(2):
        began = time.monotonic()
        answer = ask(proxy)
        assert answer.status == 502
        assert "down" in error(answer)
        with pytest.raises(client.ServingError, match="HTTP 502: .* down"):
            segment(proxy, "rest", [b""])
        with pytest.raises(client.ServingError, match="UNAVAILABLE.*502"):
            segment(proxy, "grpc", [b""])
        assert time.monotonic() - began < 5
        with contract_server.serving(
            SIGNATURES, rest_port=port, grpc_port=port + 1
        ):
            for protocol in PROTOCOLS:
                assert segment(proxy, protocol, [b""])[0].status == "EMPTY"


def test_slow_server_is_given_up_and_not_asked_again(start, server):
    proxy = start(
        *(host(server), server.grpc),
        {"proxy_read_timeout 35s;": "proxy_read_timeout 300ms;"},
    )
    server.hold = threading.Event()
    try:
        with pytest.raises(client.ServingError, match="server is too slow"):
            segment(proxy, "rest", [b""], retries=3)
        assert len(server.seen) == 1
    finally:
        server.hold.set()


def test_slow_client_is_cut_off_and_costs_the_server_nothing(start, recorders):
    rest, rpc = recorders
    proxy = start(
        *(rest.host, rpc.host),
        {"client_body_timeout 10s;": "client_body_timeout 1s;"},
    )
    name, port = proxy.address.split(":")
    context = ssl.create_default_context(cafile=proxy.certificate)
    with (
        socket.create_connection((name, int(port)), 30) as plain,
        context.wrap_socket(plain, server_hostname=name) as slow,
    ):
        slow.sendall(
            f"POST {PREDICT} HTTP/1.1\r\nHost: {name}\r\n"
            f"Authorization: {HEADERS['Authorization']}\r\n"
            "Content-Length: 1000\r\n\r\nhalf".encode()
        )
        began = time.monotonic()
        assert ask(proxy).status == 404  # the recorder's answer
        assert [each.target for each in rest.seen] == [STATUS]
        received = slow.recv(1000)
        assert received == b"" or b" 408 " in received
        assert 0.5 < time.monotonic() - began < 10
    assert [each.target for each in rest.seen] == [STATUS]


def test_nobody_tells_a_version(proxy, server):
    answers = [
        ask(proxy),
        ask(proxy, headers={}),
        ask(proxy, path="/"),
        ask(proxy, "POST", PREDICT, b"{"),
        ask(proxy, path="/" + "a" * 20000),
        exchange(http.client.HTTPConnection(proxy.address), "GET", "/"),
    ]
    assert [answer.status for answer in answers] == [
        *(200, 401, 404, 400, 414, 400)
    ]
    for answer in answers:
        assert answer.headers["Server"] == "nginx"
        assert not re.search(rb"nginx/|\d\.\d+\.\d", answer.body)
