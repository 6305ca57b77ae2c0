"""Tests of serving/: the client over both protocols, and the server's files.

The server is `contract_server`, which speaks as TF Serving does around a
segmenter that is a few lines of Pillow, so that masks can be checked exactly.
"""

import base64
import contextlib
import importlib.util
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import certificates
import contract_server
import grpc
import http_server
import numpy as np
import pytest
from contract_server import Refusal, Signature
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from PIL import Image, ImageOps
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

FOLDER = Path(__file__).parent.parent / "serving"
LIMIT = 100_000  # pixels


def load_client():
    """Imports the file as its users do, by its path."""
    spec = importlib.util.spec_from_file_location(
        "pspnet_client", FOLDER / "client.py"
    )
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look annotations up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


client = load_client()
SEGMENT = {"rest": client.segment_rest, "grpc": client.segment_grpc}


def encoded(pixels, form="PNG", **kwargs):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **kwargs)
    return stream.getvalue()


def decoded(data):
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


def read_png(path):
    """The pixels of a file that has to be a PNG."""
    with Image.open(path, formats=("PNG",)) as picture:
        return np.asarray(picture)


def photo(height, width, seed=0):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(blocks).resize((width, height)))


def threshold(pixels):
    """Three classes that NumPy alone decides."""
    red, green = pixels[..., 0], pixels[..., 1]
    return np.where(red > 140, 2, green > 110).astype(np.uint8)


def segment_one(data):
    if not data:
        return b"", 0, 0, b"EMPTY"
    if not data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return b"", 0, 0, b"NOT_JPEG_OR_PNG"
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > LIMIT:
                return b"", 0, 0, b"TOO_LARGE"
            upright = ImageOps.exif_transpose(picture).convert("RGB")
    except OSError:
        return b"", 0, 0, b"DAMAGED"
    mask = threshold(np.asarray(upright))
    return encoded(mask), *mask.shape, b"OK"


def serving_default(inputs):
    files, heights, widths, statuses = zip(
        *map(segment_one, inputs["image_bytes"]), strict=True
    )
    return {
        "mask_png_bytes": np.array(files, object),
        "height": np.array(heights, np.int32),
        "width": np.array(widths, np.int32),
        "status": np.array(statuses, object),
    }


def scores(inputs):
    outputs = serving_default(inputs)
    rows = np.zeros((len(outputs["status"]), 3), np.float32)
    for row, data in zip(rows, outputs["mask_png_bytes"], strict=True):
        if data:
            mask = decoded(data)
            row += np.bincount(mask.reshape(-1), minlength=3) / mask.size
    return {"scores": rows, "status": outputs["status"]}


def predict_array(inputs):
    mask = threshold(inputs["images"])
    return {
        "mask": mask,
        "probabilities": np.eye(3, dtype=np.float32)[mask],
    }


SIGNATURES = {
    "serving_default": Signature(serving_default, {"image_bytes": "string"}),
    "scores": Signature(scores, {"image_bytes": "string"}),
    "predict_array": Signature(predict_array, {"images": "float32"}),
    "predict_uint8": Signature(predict_array, {"images": "uint8"}),
}


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    """Reaches 127.0.0.1 where the environment names a proxy, too."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(scope="module")
def running():
    with contract_server.serving(SIGNATURES) as contract:
        yield contract


@pytest.fixture
def server(running):
    """The running server, well-behaved and with nothing seen."""
    running.states = {1: "AVAILABLE"}
    running.labels = {"stable": 1}
    running.signatures = SIGNATURES
    running.refusals.clear()
    running.seen.clear()
    running.filters.clear()
    running.logins.clear()
    running.mangle = running.raw = None
    return running


@pytest.fixture
def pauses(monkeypatch):
    """Keeps the client from waiting, and tells for how long it would have."""
    recorded = []
    monkeypatch.setattr(client.time, "sleep", recorded.append)
    return recorded


@pytest.fixture(params=["rest", "grpc"])
def ask(request, server):
    """Calls the client over one of the protocols."""
    function = SEGMENT[request.param]
    address = getattr(server, request.param)

    def ask(pictures, address=address, **kwargs):
        return function(address, pictures, **kwargs)

    ask.protocol = request.param
    return ask


def unused_address():
    """A port on which nobody listens."""
    with http_server.serving() as other:
        return f"127.0.0.1:{other.server_address[1]}"


def address_of(protocol, host):
    return f"http://{host}" if protocol == "rest" else host


def post(server, path, body):
    """Sends a body as any HTTP client would: status and JSON answer."""
    request = urllib.request.Request(f"{server.rest}{path}", body)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def predict(server, **request):
    """A REST request without the client, to check what the server says."""
    return post(
        server, "/v1/models/pspnet:predict", json.dumps(request).encode()
    )


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


# What the client gets.


def test_masks_of_several_pictures_are_exact(ask):
    pixels = [photo(33, 47, 1), photo(20, 64, 2), photo(1, 1, 3)]
    results = ask([encoded(each) for each in pixels])
    assert [result.status for result in results] == ["OK"] * 3
    for result, each in zip(results, pixels, strict=True):
        assert result.mask.dtype == np.uint8
        np.testing.assert_array_equal(result.mask, threshold(each))
    assert len(np.unique(results[0].mask)) == 3


def test_a_jpeg_gives_what_pillow_decodes(ask):
    data = encoded(photo(40, 30), "JPEG", quality=90)
    (result,) = ask([data])
    np.testing.assert_array_equal(result.mask, threshold(decoded(data)))


def test_a_bad_picture_leaves_the_others_alone(ask):
    good = encoded(photo(16, 24))
    results = ask(
        [good, b"", b"GIF89a", encoded(photo(400, 400)), good[:-30], good]
    )
    assert [result.status for result in results] == [
        "OK",
        "EMPTY",
        "NOT_JPEG_OR_PNG",
        "TOO_LARGE",
        "DAMAGED",
        "OK",
    ]
    assert [result.mask is None for result in results] == [
        status != "OK" for status in (result.status for result in results)
    ]
    np.testing.assert_array_equal(results[5].mask, threshold(photo(16, 24)))


def test_one_request_asks_for_all_and_no_more_than_it_uses(ask, server):
    ask([encoded(photo(8, 8))] * 2)
    assert server.seen == [(ask.protocol, None, "serving_default")]
    if ask.protocol == "grpc":
        assert server.filters == [
            ["mask_png_bytes", "height", "width", "status"]
        ]


def test_a_version_or_a_label_is_chosen(ask, server):
    server.states = {1: "AVAILABLE", 2: "AVAILABLE"}
    picture = [encoded(photo(8, 8))]
    ask(picture, version=1)
    assert server.seen[-1][1] == 1
    ask(picture, label="stable")
    with pytest.raises(client.ServingError, match="label: canary"):
        ask(picture, label="canary")


def test_names_are_quoted(server):
    with pytest.raises(client.ServingError, match="NOT_FOUND.*request: Latest"):
        client.segment_rest(server.rest, [b""], model="no/../pspnet:predict?")


def test_a_response_above_4_mib(ask, server):
    noise = np.random.default_rng(0).integers(0, 256, (2200, 2200), np.uint8)
    data = encoded(noise, compress_level=0)
    assert len(data) > 4 * 2**20

    def function(inputs):
        return {
            **serving_default(inputs),
            "mask_png_bytes": np.array([data], object),
            "height": np.array([2200], np.int32),
            "width": np.array([2200], np.int32),
        }

    server.signatures = {
        "serving_default": Signature(function, {"image_bytes": "string"})
    }
    (result,) = ask([encoded(photo(8, 8))])
    np.testing.assert_array_equal(result.mask, noise)
    # A gRPC client that leaves the limit as it is does not get it.
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "pspnet"
    contract_server.to_proto(
        np.array([encoded(photo(8, 8))], object), request.inputs["image_bytes"]
    )
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
            stub.Predict(request, timeout=10)


# What fails, and what is tried again.


def test_refusals_that_pass_are_tried_again(ask, server, pauses):
    server.refusals = [
        Refusal("UNAVAILABLE", "the batch queue is full"),
        Refusal("RESOURCE_EXHAUSTED", "the request queue is full"),
    ]
    (result,) = ask([encoded(photo(8, 8))], retries=2)
    assert result.status == "OK"
    assert len(server.seen) == 3
    assert len(pauses) == 2
    assert 0 <= pauses[0] <= 0.1
    assert 0 <= pauses[1] <= 0.2


def test_pauses_grow_to_a_limit_and_are_random(server, pauses, monkeypatch):
    limits = []

    def uniform(low, high):
        limits.append((low, high))
        return high / 2

    monkeypatch.setattr(client.random, "uniform", uniform)
    server.refusals = [Refusal("UNAVAILABLE", "no")] * 7
    client.segment_rest(server.rest, [b""], retries=7)
    highs = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert limits == [(0, pytest.approx(high)) for high in highs]
    assert pauses == [high / 2 for _, high in limits]


def test_the_last_refusal_is_told(ask, server, pauses):
    server.refusals = [
        Refusal("UNAVAILABLE", f"refusal {number}") for number in range(9)
    ]
    with pytest.raises(
        client.ServingError, match="^the server said UNAVAILABLE: refusal 2$"
    ) as caught:
        ask([b""], retries=2)
    assert caught.value.passing
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("INVALID_ARGUMENT", "Task size 5 is larger than the largest batch"),
        ("NOT_FOUND", "Servable not found"),
        ("RESOURCE_EXHAUSTED", "OOM when allocating tensor"),
        ("DEADLINE_EXCEEDED", "Run call was cancelled"),
    ],
)
def test_other_refusals_are_final_and_told(ask, server, pauses, code, message):
    server.refusals = [Refusal(code, message)] * 9
    with pytest.raises(client.ServingError, match=message) as caught:
        ask([b""])
    assert not caught.value.passing
    assert (code in str(caught.value)) == (code != "DEADLINE_EXCEEDED")
    assert len(server.seen) == 1
    assert pauses == []


def test_an_internal_error_is_final(ask, server, pauses):
    server.refusals = [Refusal("INTERNAL", "it broke")] * 9
    words = {"rest": "HTTP 500: it broke", "grpc": "INTERNAL: it broke"}
    with pytest.raises(client.ServingError, match=words[ask.protocol]):
        ask([b""])
    assert pauses == []


def test_the_words_of_the_server_fit_on_a_terminal(ask, server):
    # gRPC itself refuses messages above 8 KiB now and then.
    server.refusals = [Refusal("NOT_FOUND", "a\x1b[31m\nb" + "x" * 3000)]
    with pytest.raises(client.ServingError, match=r"NOT_FOUND: a \[31m b") as e:
        ask([b""])
    assert len(str(e.value)) < 600
    assert str(e.value).isprintable()


def test_an_unreachable_server_is_tried_again(ask, pauses):
    address = address_of(ask.protocol, unused_address())
    with pytest.raises(client.ServingError, match="refused|UNAVAILABLE") as e:
        ask([b""], address=address, retries=2)
    assert e.value.passing
    assert len(pauses) == 2


def test_a_server_that_starts_meanwhile_is_found(monkeypatch):
    host = unused_address()
    with contextlib.ExitStack() as stack:

        def start(_):
            server = grpc.server(contract_server.futures.ThreadPoolExecutor(1))
            servicer = contract_server.Servicer(
                contract_server.Contract(SIGNATURES)
            )
            prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
                servicer, server
            )
            assert server.add_insecure_port(host)
            server.start()
            stack.callback(lambda: server.stop(None).wait())

        monkeypatch.setattr(client.time, "sleep", start)
        (result,) = client.segment_grpc(host, [b""], retries=1)
    assert result.status == "EMPTY"


def test_a_broken_connection_is_tried_again(server, pauses):
    body = json.dumps({"outputs": {}}).encode()
    attempts = []

    class Breaking(http_server.Handler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            attempts.append(self.path)
            if len(attempts) == 1:
                return  # closed without a word
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + 1))
            self.end_headers()
            self.wfile.write(body)

    with http_server.serving() as other:
        other.RequestHandlerClass = Breaking
        with pytest.raises(client.ServingError, match="broke") as caught:
            client.segment_rest(other.url("/below"), [b""], retries=2)
    assert caught.value.passing
    assert attempts == ["/below/v1/models/pspnet:predict"] * 3
    assert len(pauses) == 2


def test_redirects_are_not_followed(server, pauses):
    class Elsewhere(http_server.Handler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(302)
            self.send_header("Location", server.rest)
            self.end_headers()

    with http_server.serving() as other:
        other.RequestHandlerClass = Elsewhere
        with pytest.raises(client.ServingError, match="HTTP 302: Found"):
            client.segment_rest(other.url(""), [b""])
    assert server.seen == []


def test_a_slow_server_is_given_up_and_not_asked_again(ask, server, pauses):
    done = threading.Event()

    def function(inputs):
        done.wait(10)
        return serving_default(inputs)

    server.signatures = {
        "serving_default": Signature(function, {"image_bytes": "string"})
    }
    start = time.monotonic()
    try:
        with pytest.raises(
            client.ServingError, match=r"did not answer within 0.2 s"
        ) as caught:
            ask([b""], timeout=0.2)
        assert time.monotonic() - start < 5
    finally:
        done.set()
    assert not caught.value.passing
    assert len(server.seen) == 1
    assert pauses == []


def test_a_connection_that_takes_too_long_is_given_up(
    server, pauses, monkeypatch
):
    def never(*_):
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", never)
    with pytest.raises(client.ServingError, match="within 3 s") as caught:
        client.segment_rest(server.rest, [b""], timeout=3)
    assert not caught.value.passing
    assert pauses == []


def test_a_server_without_tls_is_not_asked_again(server, pauses):
    address = server.rest.replace("http:", "https:")
    with pytest.raises(client.ServingError, match="reached: .*SSL") as caught:
        client.segment_rest(address, [b""])
    assert not caught.value.passing
    assert pauses == []


def test_a_body_that_trickles_is_given_up(pauses):
    stop = threading.Event()

    class Trickling(http_server.Handler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                while not stop.wait(0.02):
                    self.wfile.write(b" ")

    with http_server.serving() as other:
        other.RequestHandlerClass = Trickling
        start = time.monotonic()
        try:
            with pytest.raises(client.ServingError, match="within 0.3 s"):
                client.segment_rest(other.url(""), [b""], timeout=0.3)
            assert time.monotonic() - start < 5
        finally:
            stop.set()


@pytest.mark.parametrize(("status", "attempts"), [(401, 1), (413, 1), (502, 3)])
def test_answers_of_a_proxy(pauses, status, attempts):
    class Refusing(http_server.Handler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

    with http_server.serving() as proxy:
        proxy.RequestHandlerClass = Refusing
        proxy.statuses = [status] * 9
        with pytest.raises(client.ServingError, match="<html>No.</html>"):
            client.segment_rest(proxy.url(""), [b""], retries=2)
    assert len(proxy.seen) == attempts


# TLS and passwords, which only a proxy asks for.

LOGIN = ("älice", "a pass:word")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return certificates.self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def secured(certificate):
    with contract_server.serving(SIGNATURES, certificate=certificate) as found:
        yield found


@pytest.mark.parametrize("protocol", SEGMENT)
@pytest.mark.parametrize("login", [None, LOGIN])
def test_a_certificate_and_a_login(secured, certificate, protocol, login):
    (result,) = SEGMENT[protocol](
        getattr(secured, protocol),
        [encoded(photo(8, 8))],
        login=login,
        ca=certificate[0],
    )
    np.testing.assert_array_equal(result.mask, threshold(photo(8, 8)))
    (sent,) = secured.logins
    if login is None:
        assert sent is None
    else:
        scheme, _, pair = sent.partition(" ")
        assert scheme == "Basic"
        assert base64.b64decode(pair).decode() == "älice:a pass:word"


@pytest.mark.parametrize("protocol", SEGMENT)
def test_no_login_is_sent_to_a_server_that_is_not_trusted(
    secured, pauses, protocol
):
    with pytest.raises(client.ServingError, match="(?i)certificate") as caught:
        SEGMENT[protocol](getattr(secured, protocol), [b""], login=LOGIN)
    assert caught.value.passing == (protocol == "grpc")
    assert secured.logins == []


@pytest.mark.parametrize("kwargs", [{"login": LOGIN}, {"ca": FOLDER}])
def test_rest_needs_https_for_a_login(server, kwargs):
    with pytest.raises(ValueError, match="`address` must be https://.*http:"):
        client.segment_rest(server.rest, [b""], **kwargs)
    assert server.seen == []


def test_grpc_sends_a_login_over_tls_alone(server, pauses):
    with pytest.raises(client.ServingError, match="UNAVAILABLE"):
        client.segment_grpc(server.grpc, [b""], login=LOGIN, retries=0)
    assert server.seen == []


@pytest.mark.parametrize("protocol", SEGMENT)
def test_wrong_logins_and_certificates(secured, tmp_path, protocol):
    (tmp_path / "no.pem").write_text("none")
    for kwargs, error, words in (
        ({"login": ("a:b", "c")}, ValueError, "without a colon.*'a:b'"),
        ({"ca": tmp_path / "no.pem"}, ValueError, "`ca` must .*no.pem'"),
        ({"ca": tmp_path / "none"}, FileNotFoundError, "No such"),
    ):
        with pytest.raises(error, match=words):
            SEGMENT[protocol](getattr(secured, protocol), [b""], **kwargs)
    assert secured.seen == []


# What the client believes.


def strings(*values):
    return np.array([*values, None], object)[:-1]


def integers(*values):
    return np.array(values, np.int32)


GREY = encoded(np.zeros((8, 8), np.uint8))
NOISE = encoded(np.random.default_rng(0).integers(0, 3, (8, 8), np.uint8))
GARBAGE = {
    "a JPEG": (
        {
            "mask_png_bytes": strings(
                encoded(np.zeros((8, 8), np.uint8), "JPEG")
            )
        },
        "must be a PNG file",
    ),
    "half a PNG": (
        {"mask_png_bytes": strings(NOISE[:50])},
        "must be a PNG file",
    ),
    "no bytes": ({"mask_png_bytes": strings(b"")}, "must be a PNG file"),
    "colours": (
        {"mask_png_bytes": strings(encoded(np.zeros((8, 8, 3), np.uint8)))},
        "must be grey, 8x8. Received: mode RGB, 8x8",
    ),
    "16 bits": (
        {"mask_png_bytes": strings(encoded(np.zeros((8, 8), np.uint16)))},
        "must be grey, 8x8. Received: mode I;16, 8x8",
    ),
    "another size": (
        {"height": integers(9)},
        "must be grey, 8x9. Received: mode L, 8x8",
    ),
    "too large": (
        {"height": integers(2**20), "width": integers(2**20)},
        "must have 1..89478485 pixels",
    ),
    "negative": (
        {"height": integers(-8), "width": integers(-8)},
        "must have 1..89478485 pixels. Received: height=-8",
    ),
    "two masks": (
        {"mask_png_bytes": strings(GREY, GREY)},
        "`mask_png_bytes` must have a value for each of 1 pictures. "
        "Received: 2",
    ),
    "no height": ({"height": integers()}, "`height` must .* Received: 0"),
    "unknown": (
        {"status": strings(b"FINE")},
        "`status` must be one of OK, .* Received: 'FINE'",
    ),
    "both": ({"status": strings(b"DAMAGED")}, "gave a mask and DAMAGED"),
}


@pytest.mark.parametrize("changes", GARBAGE)
def test_garbage_is_refused(ask, server, pauses, changes):
    values, words = GARBAGE[changes]
    server.mangle = lambda outputs: {**outputs, **values}
    with pytest.raises(client.ServingError, match=words) as caught:
        ask([encoded(photo(8, 8))])
    assert not caught.value.passing
    assert pauses == []


def test_the_garbage_above_is_garbage(ask, server):
    server.mangle = lambda outputs: {**outputs, "mask_png_bytes": strings(GREY)}
    (result,) = ask([encoded(photo(8, 8))])
    np.testing.assert_array_equal(result.mask, np.zeros((8, 8)))


@pytest.mark.parametrize("name", ["mask_png_bytes", "height", "status"])
def test_a_missing_output_is_refused(ask, server, name):
    server.mangle = lambda outputs: {
        key: value for key, value in outputs.items() if key != name
    }
    with pytest.raises(client.ServingError, match=f"has no `{name}`"):
        ask([b""])


def test_numbers_must_be_integers(ask, server):
    server.mangle = lambda outputs: {
        **outputs,
        "width": np.zeros(1, np.float32),
    }
    words = {
        "rest": "`height` and `width` must be integers",
        "grpc": "`width` has another dtype",
    }
    with pytest.raises(client.ServingError, match=words[ask.protocol]):
        ask([b""])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>hello</html>", "must be JSON. Received: <html>hello"),
        (b"\xff\xfe\x00", "must be JSON"),
        (b"[" * 100_000, "must be JSON"),
        (b"[]", "has no `outputs`"),
        (b'{"predictions": []}', "has no `outputs`"),
        (b'{"outputs": [1]}', "`outputs` have no names"),
        (b'{"outputs": {"mask_png_bytes": 1}}', "has no `mask_png_bytes`"),
        (b'{"outputs": {"mask_png_bytes": ["AA=="]}}', "must be base64"),
        (b'{"outputs": {"mask_png_bytes": [{"b64": 1}]}}', "must be base64"),
        (b'{"outputs": {"mask_png_bytes": [{"b64": "-_"}]}}', "be base64"),
    ],
)
def test_rest_answers_that_are_none(server, body, words):
    server.raw = body
    with pytest.raises(client.ServingError, match=words):
        client.segment_rest(server.rest, [b""])


def test_an_endless_answer_is_cut(ask, server, pauses, monkeypatch):
    monkeypatch.setattr(client, "LARGEST_RESPONSE", 1000)
    server.mangle = lambda outputs: {
        **outputs,
        "mask_png_bytes": strings(b"x" * 2000),
    }
    words = {"rest": "more than 1000 bytes", "grpc": "RESOURCE_EXHAUSTED"}
    with pytest.raises(client.ServingError, match=words[ask.protocol]):
        ask([b""])
    assert pauses == []


# What is wrong with a call.


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"pictures": []}, ValueError, "`pictures` must not be empty"),
        ({"pictures": b"\xff\xd8"}, TypeError, "`pictures` must be a sequence"),
        ({"pictures": ["a.png"]}, TypeError, "`pictures` must be a sequence"),
        ({"version": 1, "label": "stable"}, ValueError, "`label` must be None"),
        ({"version": -1}, ValueError, "`version` must be at least 0"),
        ({"timeout": 0}, ValueError, "`timeout` must be a positive number"),
        ({"timeout": float("nan")}, ValueError, "`timeout` must be a positive"),
        ({"retries": -1}, ValueError, "`retries` must be at least 0"),
    ],
)
def test_wrong_arguments(ask, server, kwargs, error, words):
    with pytest.raises(error, match=words):
        ask(**{"pictures": [b""], **kwargs})
    assert server.seen == []


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8501", "file:///etc", "http://"]
)
def test_rest_needs_an_http_address(address):
    with pytest.raises(ValueError, match="`address` must be http://host:port"):
        client.segment_rest(address, [b""])


@pytest.mark.parametrize("address", ["http://127.0.0.1:8500", "host"])
def test_grpc_needs_a_host_and_a_port(address):
    with pytest.raises(ValueError, match="`address` must be host:port"):
        client.segment_grpc(address, [b""])


@pytest.mark.parametrize("missing", ["grpc", "tensorflow_serving.apis"])
def test_missing_packages_are_named(server, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        client.ServingError, match=r"pip install keras-pspnet\[serving\]"
    ):
        client.segment_grpc(server.grpc, [b""])
    # REST does without.
    assert client.segment_rest(server.rest, [b""])[0].status == "EMPTY"


# The command line.


@pytest.fixture
def photo_file(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(photo(24, 36)))
    return path


@pytest.fixture
def labels_file(tmp_path):
    path = tmp_path / "pspnet.json"
    labels = {
        "name": "three",
        "names": ["ground", "tree", "roof"],
        "colors": [[10, 20, 30], [0, 200, 0], [250, 0, 100]],
        "ignore_label": 255,
    }
    path.write_text(json.dumps({"labels": labels, "versions": {}}))
    return path


@pytest.fixture
def run(server, capsys):
    """Runs the command line: status, stdout, stderr."""

    def run(*arguments):
        if not {"--rest", "--grpc"} & set(arguments):
            arguments = (*arguments, "--rest", server.rest)
        try:
            status = client.main([str(each) for each in arguments])
        except SystemExit as exit:
            status = exit.code
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_the_overlay_is_the_blend(
    run, server, photo_file, labels_file, tmp_path, protocol
):
    output = tmp_path / "overlay.png"
    address = getattr(server, protocol)
    status, out, err = run(
        *(photo_file, "-o", output, "--labels", labels_file),
        *(f"--{protocol}", address),
    )
    assert (status, err) == (0, "")
    mask = threshold(photo(24, 36))
    colors = np.array([[10, 20, 30], [0, 200, 0], [250, 0, 100]], float)
    blend = 0.45 * photo(24, 36) + 0.55 * colors[mask]
    assert np.abs(read_png(output) - blend).max() <= 0.51
    # The table, the largest share first.
    names = ["ground", "tree", "roof"]
    rows = [line.split() for line in out.splitlines()]
    assert [float(row[1]) for row in rows] == sorted(
        (float(row[1]) for row in rows), reverse=True
    )
    for name, share, percent in rows:
        exact = 100 * np.mean(mask == names.index(name))
        assert float(share) == pytest.approx(exact, abs=0.005)
        assert percent == "%"
    assert len(rows) == 3
    # Nothing temporary is left.
    assert sorted(os.listdir(tmp_path)) == [
        "overlay.png",
        "photo.png",
        "pspnet.json",
    ]


def test_the_mask_is_written_as_it_came(run, photo_file, tmp_path):
    status, out, _ = run(photo_file, "-o", tmp_path / "m.PNG", "--mask")
    assert status == 0
    np.testing.assert_array_equal(
        read_png(tmp_path / "m.PNG"), threshold(photo(24, 36))
    )
    assert {line.split()[0] for line in out.splitlines()} == {
        "class_0",
        "class_1",
        "class_2",
    }


def test_a_turned_photo_comes_out_upright(run, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    data = encoded(photo(20, 32), "JPEG", exif=exif)
    (tmp_path / "turned.jpg").write_bytes(data)
    status, _, err = run(
        tmp_path / "turned.jpg", "-o", tmp_path / "m.png", "--mask"
    )
    assert (status, err) == (0, "")
    upright = np.rot90(decoded(data), -1)
    assert upright.shape == (32, 20, 3)
    np.testing.assert_array_equal(
        read_png(tmp_path / "m.png"), threshold(upright)
    )


def test_an_existing_output_is_replaced_whole_or_not_at_all(
    run, server, photo_file, tmp_path
):
    output = tmp_path / "m.png"
    output.write_bytes(b"old")
    server.mangle = lambda outputs: {**outputs, "height": integers(9)}
    assert run(photo_file, "-o", output)[0] == 2
    assert output.read_bytes() == b"old"
    server.mangle = None
    assert run(photo_file, "-o", output)[0] == 0
    assert read_png(output).shape == (24, 36, 3)


@pytest.mark.parametrize("protocol", SEGMENT)
def test_the_command_takes_the_password_from_the_environment(
    run, secured, certificate, photo_file, tmp_path, monkeypatch, protocol
):
    monkeypatch.setenv("PSPNET_PASSWORD", LOGIN[1])
    status, _, err = run(
        *(photo_file, "-o", tmp_path / "m.png"),
        *(f"--{protocol}", getattr(secured, protocol)),
        *("--user", LOGIN[0], "--ca", certificate[0]),
    )
    assert (status, err) == (0, "")
    pair = base64.b64encode("älice:a pass:word".encode()).decode()
    assert secured.logins == [f"Basic {pair}"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_all_as_it_was(
    run, photo_file, tmp_path, monkeypatch, failing
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(client.os, failing, full)
    (tmp_path / "m.png").write_bytes(b"old")
    assert_one_line(run(photo_file, "-o", tmp_path / "m.png"), "No space left")
    assert (tmp_path / "m.png").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["m.png", "photo.png"]


def assert_one_line(result, words):
    status, out, err = result
    assert (status, out) == (2, "")
    assert err.startswith("client.py: error: ")
    assert err.count("\n") == 1 and err.endswith("\n")
    assert re.search(words, err), err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photo.png"], "required: -o"),
        (["photo.png", "-o", "m.jpg"], "`output` must end in .png"),
        (["photo.png", "-o", "no/m.png"], "`output` must be in a folder"),
        (["photo.png", "-o", "photo.png"], "other than the picture"),
        (["no.png", "-o", "m.png"], "No such file.*no.png"),
        (["photo.png", "-o", "m.png", "--labels", "no"], "No such file.*no"),
        (["photo.png", "-o", "m.png", "--rest", "ftp://x"], "`address` must"),
        (["photo.png", "-o", "m.png", "--timeout", "-1"], "`timeout` must"),
        (["photo.png", "-o", "m.png", "--user", "a"], "`user` .*_PASSWORD"),
        (["photo.png", "-o", "m.png", "--ca", "no"], "https.* `login` or `ca`"),
        (["photo.png", "-o", "m.png", "--version", "1", "--label", "a"], "not"),
    ],
)
def test_errors_are_one_line(
    run, server, photo_file, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    assert_one_line(run(*arguments), words)
    assert server.seen == []
    assert os.listdir(tmp_path) == ["photo.png"]


def test_what_the_server_says_is_one_line(run, server, tmp_path):
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    arguments = tmp_path / "a.gif", "-o", tmp_path / "m.png"
    assert_one_line(run(*arguments), "cannot segment .*: NOT_JPEG_OR_PNG")
    server.refusals = [Refusal("INVALID_ARGUMENT", "two\nlines")]
    assert_one_line(run(*arguments), "INVALID_ARGUMENT: two lines")
    assert os.listdir(tmp_path) == ["a.gif"]


def test_a_mask_of_another_picture_is_refused(
    run, server, photo_file, tmp_path
):
    server.mangle = lambda outputs: {
        **outputs,
        "mask_png_bytes": strings(GREY),
        "height": integers(8),
        "width": integers(8),
    }
    assert_one_line(
        run(photo_file, "-o", tmp_path / "m.png"),
        "the size of the picture, 36x24. Received: 8x8",
    )


def test_classes_without_a_name_are_refused(
    run, photo_file, labels_file, tmp_path
):
    content = json.loads(labels_file.read_text())
    for key in ("names", "colors"):
        del content["labels"][key][2]
    labels_file.write_text(json.dumps(content))
    assert_one_line(
        run(photo_file, "-o", tmp_path / "m.png", "--labels", labels_file),
        "must hold the 2 classes of the labels. Received: class 2",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["a"]},
        {"names": "abc"},
        {"names": [], "colors": []},
        {"names": [1, 2, 3]},
        {"colors": [[0, 0], [0, 0], [0, 0]]},
        {"colors": [[0, 0, 256]] * 3},
        {"colors": [[0, 0, 0.5]] * 3},
        {"ignore_label": None},
    ],
)
def test_labels_are_checked(labels_file, change):
    content = json.loads(labels_file.read_text())
    content["labels"].update(change)
    labels_file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must be an export's pspnet.json"):
        client.read_labels(labels_file)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"labels": 1}', "[" * 99999])
def test_files_without_labels(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match="must be an export's pspnet.json"):
        client.read_labels(tmp_path / "x.json")


def test_ignored_pixels_are_black_and_counted():
    mask = np.array([[0, 255, 255]], np.uint8)
    labels = client.made_up_labels(mask)
    assert labels.names == ("class_0",)
    assert client.shares(mask, labels) == [
        ("ignored", pytest.approx(2 / 3)),
        ("class_0", pytest.approx(1 / 3)),
    ]
    image = np.full((1, 3, 3), 200, np.uint8)
    blend = client.overlay(image, mask, labels)
    np.testing.assert_array_equal(blend[0, 1], [90, 90, 90])


def test_made_up_colors_differ_and_stay():
    mask = np.arange(150, dtype=np.uint8)[None]
    labels = client.made_up_labels(mask)
    assert len(set(labels.colors)) == 150
    assert client.made_up_labels(mask[:, :7]).colors == labels.colors[:7]
    all_ignored = client.made_up_labels(np.full((1, 1), 255, np.uint8))
    assert all_ignored.names == ("class_0",)


def test_the_client_needs_neither_the_package_nor_tensorflow():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import client; "
        "print(sorted({'keras_pspnet', 'keras', 'tensorflow', 'grpc'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(FOLDER)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_the_script_runs(server, photo_file, tmp_path, protocol):
    address = getattr(server, protocol)
    done = subprocess.run(
        [
            *(sys.executable, FOLDER / "client.py", photo_file),
            *("-o", tmp_path / "overlay.png", f"--{protocol}", address),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("%") == 3
    assert read_png(tmp_path / "overlay.png").shape == (24, 36, 3)


# The contract that the tests above rest on.


def test_rows_and_columns_agree(server):
    pictures = [encoded(photo(9, 7)), b""]
    _, columns = predict(
        server, inputs={"image_bytes": [b64(each) for each in pictures]}
    )
    _, rows = predict(
        server, instances=[{"image_bytes": b64(each)} for each in pictures]
    )
    # With one input, its name can be left out.
    _, short = predict(server, instances=[b64(each) for each in pictures])
    assert rows == short
    assert [row["status"] for row in rows["predictions"]] == ["OK", "EMPTY"]
    for name, column in columns["outputs"].items():
        assert column == [row[name] for row in rows["predictions"]]
    # Bytes by the name of the output, and text otherwise.
    assert set(columns["outputs"]["mask_png_bytes"][0]) == {"b64"}
    assert columns["outputs"]["status"] == ["OK", "EMPTY"]


@pytest.mark.parametrize("name", ["predict_array", "predict_uint8"])
def test_arrays_over_rest(server, name):
    pixels = np.stack([photo(4, 6, 1), photo(4, 6, 2)])
    status, answer = predict(
        server, signature_name=name, inputs={"images": pixels.tolist()}
    )
    assert status == 200
    np.testing.assert_array_equal(answer["outputs"]["mask"], threshold(pixels))
    chances = np.array(answer["outputs"]["probabilities"])
    assert chances.shape == (2, 4, 6, 3)


def test_scores_are_shares(server):
    status, answer = predict(
        server,
        signature_name="scores",
        inputs={"image_bytes": [b64(encoded(photo(10, 10)))]},
    )
    counts = np.bincount(threshold(photo(10, 10)).reshape(-1), minlength=3)
    np.testing.assert_allclose(
        answer["outputs"]["scores"], [counts / 100], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "JSON Parse error"),
        (b"[]", "not object"),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"inputs": [], "instances": []}', "only one of"),
        (b'{"instances": []}', "to be an list/array"),
        (b'{"inputs": {"pictures": []}}', "Missing named input: image_bytes"),
        (b'{"inputs": {"image_bytes": [1]}}', "base64"),
        (b'{"inputs": {"image_bytes": [{"b64": "-_8="}]}}', "base64 decode"),
        (b'{"signature_name": "no", "inputs": []}', "not found in signature"),
        (b'{"signature_name": "predict_array", "inputs": ["a"]}', "type"),
    ],
)
def test_wrong_requests_are_400(server, body, words):
    status, answer = post(server, "/v1/models/pspnet:predict", body)
    assert status == 400
    assert words in answer["error"]


def test_unknown_models_are_404(server):
    status, answer = post(
        server, "/v1/models/other:predict", b'{"inputs": [{"b64": ""}]}'
    )
    assert status == 404
    assert "Servable not found for request: Latest(other)" in answer["error"]


def test_the_status_is_200_whatever_the_state_is(server):
    server.states = {1: "AVAILABLE", 2: "LOADING"}
    with urllib.request.urlopen(f"{server.rest}/v1/models/pspnet") as response:
        assert response.status == 200
        found = json.load(response)["model_version_status"]
    assert [(each["version"], each["state"]) for each in found] == [
        ("2", "LOADING"),
        ("1", "AVAILABLE"),
    ]


# The server's files.

INT64 = "google.protobuf.Int64Value"
BATCHING = {
    "max_batch_size": (1, INT64),
    "batch_timeout_micros": (2, INT64),
    "max_enqueued_batches": (3, INT64),
    "num_batch_threads": (4, INT64),
    "thread_pool_name": (5, "google.protobuf.StringValue"),
    "allowed_batch_sizes": (6, "repeated int64"),
    "pad_variable_length_inputs": (7, "bool"),
    "enable_large_batch_splitting": (8, "google.protobuf.BoolValue"),
    "max_execution_batch_size": (9, INT64),
}
MONITORING = {"prometheus_config": (1, "contract.PrometheusConfig")}
PROMETHEUS = {"enable": (1, "bool"), "path": (2, "string")}


def message_class(name, messages):
    """Builds a message that the API's wheel does not have, by its fields."""
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {
        "int64": field.TYPE_INT64,
        "bool": field.TYPE_BOOL,
        "string": field.TYPE_STRING,
    }
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto",
        package="contract",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for message, fields in messages.items():
        described = file.message_type.add(name=message)
        for key, (number, kind) in fields.items():
            label = field.LABEL_OPTIONAL
            if kind.startswith("repeated "):
                label, kind = field.LABEL_REPEATED, kind.split()[1]
            added = described.field.add(name=key, number=number, label=label)
            added.type = scalars.get(kind, field.TYPE_MESSAGE)
            if kind not in scalars:
                added.type_name = f".{kind}"
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"contract.{name}")
    )


def parsed(name, message):
    return text_format.Parse((FOLDER / name).read_text("utf-8"), message)


def test_models_config_is_a_config():
    config = parsed(
        "models.config", model_server_config_pb2.ModelServerConfig()
    )
    (model,) = config.model_config_list.config
    assert model.name == "pspnet"
    assert model.base_path == "/models/pspnet"
    assert model.model_platform == "tensorflow"
    assert list(model.model_version_policy.specific.versions) == [1, 2]
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}


def test_batching_config_is_a_config():
    make = message_class("BatchingParameters", {"BatchingParameters": BATCHING})
    config = parsed("batching.config", make())
    sizes = list(config.allowed_batch_sizes)
    assert sizes == [1, 2, 4]
    assert config.max_batch_size.value == sizes[-1]
    assert 0 <= config.batch_timeout_micros.value <= 10_000
    assert config.max_enqueued_batches.value >= 1
    assert config.num_batch_threads.value >= 1
    assert not config.pad_variable_length_inputs
    # The schema is strict: a field that the server does not know is an error.
    with pytest.raises(text_format.ParseError, match="batch_timeout"):
        text_format.Parse("batch_timeout { value: 1 }", make())


def test_monitoring_config_is_a_config():
    make = message_class(
        "MonitoringConfig",
        {"MonitoringConfig": MONITORING, "PrometheusConfig": PROMETHEUS},
    )
    config = parsed("monitoring.config", make())
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == "/monitoring/prometheus/metrics"


def compose():
    """compose.yaml without comments."""
    text = (FOLDER / "compose.yaml").read_text("utf-8")
    return re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE)


def flags():
    found = re.findall(r"^\s+- --(\w+)=(\S+)$", compose(), re.MULTILINE)
    assert len(found) == len(dict(found)) == compose().count("- --")
    return dict(found)


def mounts():
    found = re.findall(r"^\s+- (\S+):(/\S+):(\w+)$", compose(), re.MULTILINE)
    return {inside: (outside, mode) for outside, inside, mode in found}


def test_every_file_of_a_flag_is_mounted_and_exists():
    files = {name: value for name, value in flags().items() if "/" in value}
    assert set(files) == {
        "model_config_file",
        "monitoring_config_file",
        "batching_parameters_file",
    }
    for value in files.values():
        outside, mode = mounts()[os.path.dirname(value)]
        assert mode == "ro"
        assert (FOLDER / outside / os.path.basename(value)).is_file()


def test_the_models_are_mounted_where_the_config_looks():
    config = parsed(
        "models.config", model_server_config_pb2.ModelServerConfig()
    )
    (model,) = config.model_config_list.config
    outside, mode = mounts()[os.path.dirname(model.base_path)]
    assert mode == "ro"
    assert outside == "${PSPNET_MODELS:-../models}"


def test_switches_are_on():
    switches = {name for name, value in flags().items() if value == "true"}
    assert switches == {
        "enable_batching",
        "enable_grpc_healthcheck_service",
        "allow_version_labels_for_unavailable_models",
    }


def test_ports_are_open_to_this_machine_only():
    ports = re.search(r"ports:\n((?:\s+- .*\n)+)", compose())[1]
    assert re.findall(r'"(.*)"', ports) == [
        "127.0.0.1:8500:8500",
        "127.0.0.1:8501:8501",
    ]
    assert client.REST_ADDRESS == "http://127.0.0.1:8501"
    assert re.search(r"^    mem_limit: \d+g$", compose(), re.MULTILINE)
    assert re.search(
        r"^    image: tensorflow/serving:", compose(), re.MULTILINE
    )
    assert "\t" not in (FOLDER / "compose.yaml").read_text("utf-8")


def health_command():
    """The command of the health check, folded as YAML folds it."""
    lines = re.search(
        r"- CMD\n\s+- bash\n\s+- -c\n\s+- >-\n((?: {10}.*\n)+)", compose()
    )[1]
    return " ".join(line.strip() for line in lines.splitlines())


@pytest.mark.parametrize(
    ("states", "healthy"),
    [
        ({1: "AVAILABLE"}, True),
        ({1: "AVAILABLE", 2: "LOADING"}, True),
        ({1: "LOADING"}, False),
        ({1: "UNLOADING", 2: "END"}, False),
    ],
)
def test_the_health_check_tells_the_state(server, states, healthy):
    server.states = states
    port = server.rest.rpartition(":")[2]
    command = health_command()
    assert command.count("/8501") == 1
    done = subprocess.run(
        ["bash", "-c", command.replace("/8501", f"/{port}")],
        capture_output=True,
        timeout=10,
    )
    assert (done.returncode == 0) == healthy, done.stderr


def test_no_server_is_unhealthy():
    port = unused_address().rpartition(":")[2]
    done = subprocess.run(
        ["bash", "-c", health_command().replace("/8501", f"/{port}")],
        capture_output=True,
        timeout=10,
    )
    assert done.returncode != 0
