"""Tests of serving/client.py over both protocols.

The server is `contract_server`, which speaks as TF Serving does, around
`threshold_model`: so masks can be checked exactly.
"""

import base64
import contextlib
import json
import random
import threading
import time

import contract_server
import http_server
import numpy as np
import pytest
from contract_server import Refusal
from ports import free_port
from threshold_model import (
    SIGNATURES,
    decoded,
    encoded,
    integers,
    load_client,
    photo,
    strings,
    threshold,
)

client = load_client()
PROTOCOLS = ("rest", "grpc")
LOGIN = ("älice", "a pass:word")


@pytest.fixture
def pauses(monkeypatch):
    """Keeps the client from waiting, and tells for how long it would have."""
    recorded = []
    monkeypatch.setattr(time, "sleep", recorded.append)
    return recorded


@pytest.fixture(params=PROTOCOLS)
def ask(request, server):
    """Calls the client over one of the protocols."""

    def ask(images, address=None, **options):
        address = address or getattr(server, request.param)
        return client.Client(address, **options).segment(images)

    ask.protocol = request.param
    return ask


@contextlib.contextmanager
def posting(answer):
    """A server whose POST handler is `answer`; yields its address."""

    class Handler(http_server.Handler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

    with http_server.serving() as other:
        other.RequestHandlerClass = Handler
        yield other.url("")


# What the client gets.


def test_masks_of_several_images_are_exact(ask, server):
    pixels = [photo(33, 47, 1), photo(20, 64, 2), photo(1, 1, 3)]
    results = ask([encoded(each) for each in pixels])
    assert [result.status for result in results] == ["OK"] * 3
    for result, each in zip(results, pixels, strict=True):
        assert result.mask.dtype == np.uint8
        np.testing.assert_array_equal(result.mask, threshold(each))
    assert len(np.unique(results[0].mask)) == 3
    # One request asks for all, and for no more than it uses.
    assert server.seen == [(ask.protocol, "", "serving_default")]
    outputs = ["mask_png_bytes", "height", "width", "status"]
    assert server.filters in ([], [outputs])


def test_a_bad_image_leaves_the_others_alone(ask):
    good = encoded(photo(16, 24), "JPEG")
    large = encoded(photo(400, 400))
    results = ask([good, b"", b"GIF89a", large, encoded(photo(9, 9))[:-30]])
    assert [result.status for result in results] == [
        *("OK", "EMPTY", "NOT_JPEG_OR_PNG", "TOO_LARGE", "DAMAGED")
    ]
    np.testing.assert_array_equal(results[0].mask, threshold(decoded(good)))
    assert [result.mask for result in results[1:]] == [None] * 4


def test_a_version_or_a_label_is_chosen(ask, server):
    ask([b""], version=1)
    ask([b""], label="stable")
    assert [version for _, version, _ in server.seen] == ["1", "stable"]
    with pytest.raises(ValueError, match="`label` cannot be combined"):
        ask([b""], label="stable", version=1)


def test_names_are_quoted(server):
    asked = client.Client(server.rest, "no/../pspnet:predict?")
    with pytest.raises(client.ServingError, match="HTTP 404.*request: no%2F"):
        asked.segment([b""])


def test_an_answer_above_4_mib(ask, server):
    noise = np.random.default_rng(0).integers(0, 256, (2200, 2200), np.uint8)
    data = encoded(noise, compress_level=0)
    assert len(data) > 4 * 2**20
    server.mangle = lambda outputs: {
        **outputs,
        "mask_png_bytes": strings(data),
        "height": integers(2200),
        "width": integers(2200),
    }
    (result,) = ask([encoded(photo(8, 8))])
    np.testing.assert_array_equal(result.mask, noise)


# What fails, and what is tried again.


def test_a_busy_server_is_asked_again(ask, server, pauses):
    server.refusals = [Refusal("UNAVAILABLE", "the batch queue is full")] * 2
    (result,) = ask([encoded(photo(8, 8))], retries=2)
    assert result.status == "OK"
    assert len(server.seen) == 3
    assert len(pauses) == 2
    assert 0 <= pauses[0] <= 0.1
    assert 0 <= pauses[1] <= 0.2


def test_pauses_grow_to_a_limit_and_are_random(server, pauses, monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: high / 2)
    server.refusals = [Refusal("UNAVAILABLE", "no")] * 7
    client.Client(server.rest, retries=7).segment([b""])
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("3", 3, 3),
        ("999999", 30, 30),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 0.1),
        ("soon", 0, 0.1),
        ("9" * 5000, 0, 0.1),
    ],
)
def test_retry_after_is_kept_up_to_30_seconds(
    server, pauses, code, header, low, high
):
    server.retry_after = header
    server.refusals = [Refusal(code, "busy")]
    client.Client(server.rest).segment([b""])
    (pause,) = pauses
    assert low <= pause <= high


@pytest.mark.parametrize("retries", [0, 2])
def test_the_last_refusal_is_reported(ask, server, pauses, retries):
    server.refusals = [
        Refusal("UNAVAILABLE", f"refusal {number}") for number in range(9)
    ]
    with pytest.raises(
        client.ServingError,
        match=f"(HTTP 503|UNAVAILABLE): .*refusal {retries}",
    ) as caught:
        ask([b""], retries=retries)
    assert caught.value.retry
    assert len(server.seen) == retries + 1


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("INVALID_ARGUMENT", 400),
        ("NOT_FOUND", 404),
        ("INTERNAL", 500),
        ("DEADLINE_EXCEEDED", 504),
    ],
)
def test_other_refusals_are_final(ask, server, pauses, code, status):
    server.refusals = [Refusal(code, "words of the server")] * 9
    named = {"rest": f"HTTP {status}", "grpc": code}[ask.protocol]
    with pytest.raises(
        client.ServingError, match=f"the server answered {named}: .*words of"
    ) as caught:
        ask([b""])
    assert not caught.value.retry
    assert len(server.seen) == 1
    assert pauses == []


def test_the_words_of_the_server_fit_on_a_terminal(ask, server):
    # gRPC itself refuses messages above 8 KiB now and then.
    server.refusals = [Refusal("NOT_FOUND", "a\x1b[31m\nb" + "x" * 3000)]
    with pytest.raises(client.ServingError, match="a.*31m.*bxxx") as caught:
        ask([b""])
    assert len(str(caught.value)) <= 500
    assert str(caught.value).isprintable()


def test_an_unreachable_server_is_asked_again(ask, pauses):
    address = f"127.0.0.1:{free_port()}"
    if ask.protocol == "rest":
        address = f"http://{address}"
    with pytest.raises(client.ServingError, match="refused|UNAVAILABLE"):
        ask([b""], address=address, retries=2)
    assert len(pauses) == 2


def test_a_server_that_starts_meanwhile_is_found(monkeypatch):
    port = free_port()
    with contextlib.ExitStack() as stack:

        def start(_):
            stack.enter_context(
                contract_server.serving(SIGNATURES, grpc_port=port)
            )

        monkeypatch.setattr(time, "sleep", start)
        asked = client.Client(f"127.0.0.1:{port}", retries=1)
        (result,) = asked.segment([b""])
    assert result.status == "EMPTY"


def test_a_broken_connection_is_tried_again(pauses):
    attempts = []

    def breaking(handler):
        attempts.append(handler.path)
        if len(attempts) == 1:
            return  # closed without a word
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"{}")

    with posting(breaking) as address:
        asked = client.Client(f"{address}/below", retries=2)
        with pytest.raises(
            client.ServingError, match="connection failed: .*98"
        ):
            asked.segment([b""])
    assert attempts == ["/below/v1/models/pspnet:predict"] * 3
    assert len(pauses) == 2


def test_redirects_are_not_followed(server):
    def elsewhere(handler):
        handler.send_response(302)
        handler.send_header("Location", server.rest)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with (
        posting(elsewhere) as address,
        pytest.raises(client.ServingError, match="HTTP 302"),
    ):
        client.Client(address).segment([b""])
    assert server.seen == []


def test_a_slow_server_is_given_up_and_not_asked_again(ask, server, pauses):
    server.hold = threading.Event()
    start = time.monotonic()
    try:
        with pytest.raises(
            client.ServingError,
            match="did not answer within 0.2 s|DEADLINE_EXCEEDED",
        ):
            ask([b""], timeout=0.2)
        assert time.monotonic() - start < 5
    finally:
        server.hold.set()
    assert len(server.seen) == 1
    assert pauses == []


def test_an_answer_that_trickles_is_given_up():
    stop = threading.Event()

    def trickling(handler):
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(ConnectionError):
            while not stop.wait(0.02):
                handler.wfile.write(b" ")

    with posting(trickling) as address:
        start = time.monotonic()
        try:
            with pytest.raises(client.ServingError, match="within 0.3 s"):
                client.Client(address, timeout=0.3).segment([b""])
            assert time.monotonic() - start < 5
        finally:
            stop.set()


@pytest.mark.parametrize(("status", "attempts"), [(401, 1), (413, 1), (502, 3)])
def test_answers_of_a_proxy(pauses, status, attempts):
    with http_server.serving() as proxy:
        proxy.statuses = [status] * 9
        asked = client.Client(proxy.url(""), retries=2)
        with pytest.raises(
            client.ServingError, match=f"HTTP {status}: <html>No.</html>"
        ):
            asked.segment([b""])
    assert len(proxy.seen) == attempts


# TLS and passwords, which only a proxy asks for.


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("login", [None, LOGIN])
def test_a_certificate_and_a_login(
    secured, certificate, protocol, login, tmp_path, monkeypatch
):
    # Whatever this machine has for the host is not sent.
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login x password y")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    asked = client.Client(
        getattr(secured, protocol), login=login, ca=certificate[0]
    )
    (result,) = asked.segment([encoded(photo(8, 8))])
    np.testing.assert_array_equal(result.mask, threshold(photo(8, 8)))
    pair = base64.b64encode("älice:a pass:word".encode()).decode()
    assert secured.logins == [None if login is None else f"Basic {pair}"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_login_is_sent_to_a_server_that_is_not_trusted(
    secured, pauses, protocol
):
    asked = client.Client(getattr(secured, protocol), login=LOGIN)
    with pytest.raises(client.ServingError, match="(?i)certificate") as caught:
        asked.segment([b""])
    assert caught.value.retry == (protocol == "grpc")
    assert secured.logins == []


def test_a_login_is_sent_over_tls_alone(server, certificate, pauses):
    for options in ({"login": LOGIN}, {"ca": certificate[0]}):
        with pytest.raises(ValueError, match="`address` must .* https://"):
            client.Client(server.rest, **options).segment([b""])
    asked = client.Client(server.grpc, login=LOGIN, retries=0)
    with pytest.raises(client.ServingError, match="UNAVAILABLE"):
        asked.segment([b""])
    address = server.rest.replace("http:", "https:")
    with pytest.raises(client.ServingError, match="SSL") as caught:
        client.Client(address, login=LOGIN).segment([b""])
    assert not caught.value.retry
    assert server.seen == server.logins == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_files_that_hold_no_certificates(secured, tmp_path, protocol, pauses):
    (tmp_path / "no.pem").write_text("none")
    for name, words in (
        ("no.pem", "(?i)no certificate|bad_base64|not enough data|x509"),
        ("missing", "missing"),
    ):
        asked = client.Client(getattr(secured, protocol), ca=tmp_path / name)
        with pytest.raises((client.ServingError, OSError), match=words):
            asked.segment([b""])
    assert secured.seen == pauses == []


@pytest.mark.parametrize(
    "address", ["host", "file:///etc", "http://", "host:port", "ftp://a:1"]
)
def test_an_address_has_one_of_three_forms(address):
    with pytest.raises(ValueError, match="`address` must be host:port, http"):
        client.Client(address).segment([b""])


# What the client believes.


def mask(**changes):
    """The outputs for one image of 8x8, changed."""
    gray = encoded(np.zeros((8, 8), np.uint8))
    return {
        "mask_png_bytes": strings(gray),
        "height": integers(8),
        "width": integers(8),
        "status": strings(b"OK"),
        **changes,
    }


NOISE = encoded(np.random.default_rng(0).integers(0, 3, (8, 8), np.uint8))
JPEG = encoded(np.zeros((8, 8), np.uint8), "JPEG")
RGB = encoded(np.zeros((8, 8, 3), np.uint8))
DEEP = encoded(np.zeros((8, 8), np.uint16))
BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\1\0\0" * 2 + b"\x08\0\0\0\0"
ALL = r"must have \(.mask_png_bytes., .height., .width., .status.\)"
WRONG = {
    "a JPEG": (mask(mask_png_bytes=strings(JPEG)), "8x8 L, not Unidentified"),
    "half a PNG": (mask(mask_png_bytes=strings(NOISE[:50])), "8x8 L, not OSE"),
    "no bytes": (mask(mask_png_bytes=strings(b"")), "8x8 L, not Unidentified"),
    "colors": (mask(mask_png_bytes=strings(RGB)), "8x8 L, not 8x8 RGB"),
    "16 bits": (mask(mask_png_bytes=strings(DEEP)), "8x8 L, not 8x8 I;16"),
    "a bomb": (
        mask(
            mask_png_bytes=strings(BOMB + bytes(4)),
            height=integers(2**16),
            width=integers(2**16),
        ),
        "65536x65536 L, not",
    ),
    "another size": (mask(height=integers(9)), "8x9 L, not 8x8 L"),
    "negative": (mask(height=integers(-8)), "8x-8 L, not 8x8 L"),
    "two masks": (mask(mask_png_bytes=strings(NOISE, NOISE)), ALL),
    "no height": (mask(height=integers()), ALL),
    "one output": ({"status": strings(b"OK")}, ALL),
    "numbers for masks": (mask(mask_png_bytes=integers(1)), "L, not TypeError"),
    "fractions": (mask(width=np.full(1, 8.5, np.float32)), f"{ALL}|8.5x8"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_is_refused(ask, server, pauses, case):
    outputs, words = WRONG[case]
    server.mangle = lambda _: outputs
    with pytest.raises(client.ServingError, match=words) as caught:
        ask([encoded(photo(8, 8))])
    assert not caught.value.retry
    assert pauses == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>hello</html>", "no prediction: .*<html>hello"),
        (b"\xff\xfe\x00", "no prediction"),
        (b"[" * 100_000, "no prediction"),
        (b"[]", "no prediction"),
        (b'{"predictions": []}', "no prediction"),
        (b'{"outputs": [1]}', "no prediction"),
        (b'{"outputs": {"mask_png_bytes": 1}}', ALL),
    ],
)
def test_rest_answers_that_are_none(server, body, words):
    server.raw = body
    with pytest.raises(client.ServingError, match=words):
        client.Client(server.rest).segment([b""])


@pytest.mark.parametrize("value", ["AA==", {"b64": 1}, {"b64": "-_"}, {}, None])
def test_masks_that_are_no_base64(server, value):
    outputs = {"mask_png_bytes": [value], "height": [8], "width": [8]}
    server.raw = json.dumps({"outputs": {**outputs, "status": ["OK"]}}).encode()
    with pytest.raises(client.ServingError, match="must be 8x8 L, not"):
        client.Client(server.rest).segment([b""])


def test_an_endless_answer_is_cut(ask, server, pauses, monkeypatch):
    monkeypatch.setattr(client, "LARGEST_RESPONSE", 1000)
    server.mangle = lambda _: mask(mask_png_bytes=strings(b"x" * 2000))
    with pytest.raises(
        client.ServingError, match="answer is too large|RESOURCE_EXHAUSTED"
    ):
        ask([b""])
    assert pauses == []
