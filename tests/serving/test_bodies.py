"""Bodies over HTTP that are no requests."""

import base64
import json

import pytest
from engines import memory_within
from triton_server import fetch

MIB = 2**20


def b64(text):
    return json.dumps({"inputs": {"image_bytes": [{"b64": text}]}}).encode()


def row(**value):
    return json.dumps({"instances": [value]}).encode()


FILE = base64.b64encode(b"\xfb\xff\xfe").decode()

# TF Serving's REST, by columns or rows.
REST = {
    "broken JSON": b'{"inputs": [',
    "no object": b"[1, 2]",
    "neither rows nor columns": b'{"signature_name": "serving_default"}',
    "rows and columns": b'{"instances": [], "inputs": {}}',
    "no rows": b'{"instances": []}',
    "web-safe base64": b64(FILE.translate(str.maketrans("+/", "-_"))),
    "base64 without its end": b64(FILE[:-1]),
    "two keys": row(image_bytes={"b64": FILE, "name": "x"}),
    "unknown input": row(picture={"b64": FILE}),
    "numbers for files": b'{"inputs": {"image_bytes": [1, 2]}}',
    "deep nesting": b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100 MiB of spaces": b" " * (100 * MIB),
}


def tensor(**changes):
    fields = {"name": "images", "datatype": "UINT8", "shape": [1, 1, 1, 3]}
    fields |= {"data": [1, 2, 3]} | changes
    return json.dumps({"inputs": [fields]}).encode()


# KServe's protocol, as Triton speaks it.
KSERVE = {
    "broken JSON": b'{"inputs": [',
    "no object": b"[1, 2]",
    "no inputs": b"{}",
    "inputs that are no list": b'{"inputs": {"images": 1}}',
    "no data": b'{"inputs": [{"name": "images", "datatype": "UINT8"}]}',
    "unknown datatype": tensor(datatype="UINT9"),
    "text for numbers": tensor(data=["a", "b", "c"]),
    "no name": tensor(name=None),
    "sizes below zero": tensor(shape=[1, -1, -1, 3]),
    "fewer numbers than told": tensor(data=[1, 2]),
    "deep nesting": b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100 MiB of spaces": b" " * (100 * MIB),
}


@pytest.mark.promise("R6")
@pytest.mark.parametrize("name", REST)
@pytest.mark.parametrize(
    "engine", ["contract REST", "TF Serving REST"], indirect=True
)
def test_body_is_refused(engine, name):
    with memory_within(engine, 512):
        status, answer = engine.post(REST[name])
    assert 400 <= status < 500
    assert answer["error"]


@pytest.mark.promise("R6")
@pytest.mark.parametrize("name", KSERVE)
@pytest.mark.parametrize("engine", ["Triton HTTP"], indirect=True)
def test_body_is_refused_by_triton(engine, triton, name):
    with memory_within(engine, 512):
        status, answer = fetch(
            triton.http, "/v2/models/pspnet_array/infer", KSERVE[name]
        )
    # 500 is what this release gives where JSON lacks something.
    assert 400 <= status <= 500
    assert json.loads(answer)["error"]
