"""What the page's server gives away, and how it ends."""

import http.client
import signal
import socket
import urllib.parse

import pytest
from chromium import ROOT, SECONDS

from keras_pspnet.cli.main import main


def ask(demo, path, method="GET", body=None, **headers):
    """Status, headers and body of an answer."""
    place = urllib.parse.urlsplit(demo.address)
    connection = http.client.HTTPConnection(
        place.hostname, place.port, timeout=SECONDS
    )
    headers = {name.replace("_", "-"): each for name, each in headers.items()}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    try:
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/file=../../etc/passwd",
        "/gradio_api/file=%2e%2e/%2e%2e/etc/passwd",
        f"/gradio_api/file={ROOT}/setup.cfg",
        "/static/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/setup.cfg",
        "/assets/..%2f..%2f..%2fetc/passwd",
        "/gradio_api/file=http://example.com/",
        "/gradio_api/file=https://example.com/",
        "/file=https://example.com/",
        "/gradio_api/proxy=https://example.hf.space/",
        "/proxy=https://example.hf.space/",
        "/result/guess/mask.png",
        "/result/../../etc/passwd",
        "/docs",
        "/monitoring",
    ],
)
def test_nothing_else_is_given_away(demo, path) -> None:
    status, _, body = ask(demo, path)
    assert 400 <= status < 500
    assert b"root:" not in body and b"[metadata]" not in body


def test_other_pages_and_names_are_refused(demo) -> None:
    assert ask(demo, "/")[0] == 200
    status, _, _ = ask(demo, "/", Host="rebound.example")
    assert status == 400
    # A page elsewhere may not read answers, nor send JSON unasked.
    origin = "http://evil.example"
    _, headers, _ = ask(demo, "/config", Origin=origin)
    assert headers["Access-Control-Allow-Origin"] in (None, "")
    status, headers, _ = ask(
        demo,
        "/gradio_api/queue/join",
        "OPTIONS",
        Origin=origin,
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="content-type",
    )
    assert headers["Access-Control-Allow-Origin"] in (None, "")


def test_the_browser_is_told_to_stay_here(demo) -> None:
    _, headers, body = ask(demo, "/")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert b"fonts.g" not in body


def test_the_programme_asks_no_other_host(browser, demo) -> None:
    browser.changes(browser.part("example-0").click)
    assert demo.hosts.read_text() == ""


def test_a_port_in_use_is_told(monkeypatch, capsys) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        # Set again when the test is over, whatever the command sets.
        monkeypatch.setenv(name, "")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status = main(["demo", "--port", str(port), "--model", "no such"])
    assert status == 2
    # Before the model was looked for.
    assert capsys.readouterr().err == (
        "keras-pspnet: error: `port` must be free on `host` (Address already "
        f"in use). Received: port={port}, host='127.0.0.1'\n"
    )
