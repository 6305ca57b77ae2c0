"""What the page's server gives away, and how it ends."""

import gc
import http.client
import io
import json
import re
import signal
import socket
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest
from chromium import ROOT, SECONDS
from PIL import Image
from starlette.testclient import TestClient

from keras_pspnet.cli.main import main
from keras_pspnet.data.synthetic.towns import make_town
from keras_pspnet.demo import page, server
from keras_pspnet.inference.predictor import Predictor
from keras_pspnet.labels import generic_labels


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
    browser.part("button", "Coast").click()
    browser.part("p", "640 x 480 pixels, ")
    assert demo.hosts.read_text() == ""


# === What a request may name ===


def wish(config, path, session, scales=(1.0,)):
    """What a browser sends to have a file segmented."""
    (number,) = (
        each["id"]
        for each in json.loads(config)["dependencies"]
        if each["api_name"] == "_segment"
    )
    file = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
    data = [file, list(scales), False, 0.5, False]
    return {"data": data, "fn_index": number, "session_hash": session}


def send(demo, *arguments):
    """Asks for a file's segmentation, and returns the status."""
    body = wish(ask(demo, "/config")[2], *arguments)
    # In another spelling of the same JSON.
    text = json.dumps(body, indent=1).replace("path", r"p\u0061th")
    kind = {"Content-Type": "application/json"}
    return ask(demo, "/gradio_api/queue/join", "POST", text, **kind)[0]


def told(demo, session):
    """What a session hears of its requests, until all are done."""
    _, _, body = ask(demo, f"/gradio_api/queue/data?session_hash={session}")
    found = re.findall(rb"data: (.*)", body)
    return {each["msg"]: each for each in map(json.loads, found)}


def upload(demo, image) -> str:
    """Uploads an image, and returns where it is kept."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"'
    body = head + b"\r\n\r\n" + stream.getvalue() + b"\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    status, _, found = ask(demo, "/gradio_api/upload", "POST", body, **kind)
    assert status == 200
    (path,) = json.loads(found)
    # Where it is kept is a secret of its owner's.
    assert re.search("/[0-9a-f]{64}/", path)
    return str(path)


def test_only_uploads_are_segmented(demo, tmp_path) -> None:
    image = make_town(0, (60, 80))[0]
    path = tmp_path / "private.png"
    Image.fromarray(image).save(path)
    for name in (path, f"{demo.folder}/../{path.name}", ROOT / "setup.cfg"):
        assert send(demo, name, "private") == 200
        done = told(demo, "private")["process_completed"]
        assert not done["success"] and done["output"] == {"error": None}
    assert send(demo, upload(demo, image), "public") == 200
    assert told(demo, "public")["process_completed"]["success"]
    # Gradio writes down what it refuses.
    assert "InvalidPathError" in demo.errors.read_text()
    demo.errors.write_text("")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_files_of_other_hosts_are_not_fetched(demo, scheme) -> None:
    assert send(demo, f"{scheme}://example.com/a.png", "elsewhere") == 403
    assert demo.hosts.read_text() == ""


def test_one_image_is_segmented_at_a_time(demo) -> None:
    path = upload(demo, make_town(0, (480, 640))[0])

    def run(session):
        assert send(demo, path, session, (0.5, 0.75, 1, 1.25)) == 200
        found = told(demo, session)
        assert found["process_completed"]["success"]
        return found["process_completed"]["output"]["duration"]

    start = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        seconds = list(pool.map(run, ["first", "second", "third"]))
    assert sum(seconds) < time.monotonic() - start


# In this process, where Gradio's own warnings would be errors.
@pytest.mark.filterwarnings("ignore")
def test_files_that_are_old_are_removed(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    for name in ("_SWEEP", "_AGE"):
        monkeypatch.setattr(page, name, 3)
    network = Predictor(lambda images: images, generic_labels(3))
    app = server.application(network, "none", {}, "127.0.0.1", 2**20)

    def files() -> set[str]:
        # Gradio keeps empty files, and a history of nothing.
        paths = [path for path in tmp_path.rglob("*") if path.is_file()]
        return {path.name for path in paths if path.stat().st_size}

    examples = {"Coast.png", "Suburb.png"}
    assert files() == examples
    with TestClient(app, "http://127.0.0.1") as client:
        data = (tmp_path / "Coast.png").read_bytes()
        sent = {"files": ("mine.png", data)}
        (path,) = client.post("/gradio_api/upload", files=sent).json()
        body = wish(client.get("/config").content, path, "mine")
        client.post("/gradio_api/queue/join", json=body)
        client.get("/gradio_api/queue/data?session_hash=mine")
        assert files() >= {"mine.png", "mine_mask.png", "image.webp"}
        end = time.monotonic() + SECONDS
        while files() != examples and time.monotonic() < end:
            time.sleep(0.1)
        assert files() == examples
    # Gradio leaves event loops open: collected here, where that is ignored.
    del app, client
    gc.collect()


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
