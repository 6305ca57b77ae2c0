"""Rolling out: a damaged version is refused, and the one before goes on."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import triton_server
from c_session import ChildSession
from slow_cases import slow_but
from support import tiny_pspnet
from triton_server import fetch, segment

from keras_pspnet import export_saved_model

LOAD = "/v2/repository/models/pspnet/load"


def deleted(path):
    path.unlink()


def emptied(path):
    path.write_bytes(b"")


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def missing(path):
    shutil.rmtree(path)


PB = "saved_model.pb"
INDEX = "variables/variables.index"
VALUES = "variables/variables.data-00000-of-00001"
EXTRA = "assets.extra"
# What happens to which file of the new version.
DAMAGES = {
    "graph deleted": (deleted, PB),
    "graph empty": (emptied, PB),
    "graph cut": (cut, PB),
    "graph flipped": (flipped, PB),
    "fingerprint deleted": (deleted, "fingerprint.pb"),
    "index of variables cut": (cut, INDEX),
    "variables flipped": (flipped, VALUES),
    "warm-up cut": (cut, f"{EXTRA}/tf_serving_warmup_requests"),
    "names of classes flipped": (flipped, f"{EXTRA}/pspnet.json"),
    "sums deleted": (deleted, f"{EXTRA}/SHA256SUMS"),
    "sums empty": (emptied, f"{EXTRA}/SHA256SUMS"),
    "half copied": (missing, EXTRA),
}


@pytest.fixture(scope="module")
def repository(models, tmp_path_factory):
    """Triton's models with version 1 of one, all of it real files."""
    folder = tmp_path_factory.mktemp("versions")
    shutil.copytree(models / "pspnet", folder / "pspnet")
    return folder


@pytest.fixture(scope="module")
def server(repository, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    options = ("--model-control-mode=explicit", "--load-model=pspnet")
    with triton_server.serving(repository, run, *options) as triton:
        yield triton
        triton.end()


@pytest.fixture
def second(repository):
    """A folder for version 2 that is not there yet, nor any more."""
    folder = repository / "pspnet" / "2"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def versions(server):
    status, body = fetch(server.http, "/v2/models/pspnet")
    assert status == 200
    return json.loads(body)["versions"]


def answer(server, *files):
    return segment(server, *files)["mask_png_bytes"].strings


# One of each way to find it: by TensorFlow, by the sums, by their absence.
QUICK = ("graph cut", "variables flipped", "half copied")


@pytest.mark.promise("R9")
@pytest.mark.parametrize("name", slow_but(QUICK, DAMAGES))
def test_damaged_version_is_refused_and_the_old_one_goes_on(
    server, second, files, masks, name, record_property
):
    record_property("engine", "Triton HTTP")
    damage, path = DAMAGES[name]
    shutil.copytree(second.with_name("1"), second)
    damage(second / "model.savedmodel" / path)
    status, body = fetch(server.http, LOAD, b"{}")
    assert status == 400
    error = json.loads(body)["error"]
    assert "version 2" in error
    assert re.search(r"SavedModel|must be a complete export", error)
    assert versions(server) == ["1"]
    assert answer(server, *files[:4]) == masks[:4]


@pytest.mark.promise("R9")
@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_version_does_not_end_a_process(
    export, tmp_path, name, record_property
):
    """What the C++ loader does not notice, the sums tell."""
    record_property("engine", "C session")
    folder = tmp_path / "2"
    shutil.copytree(export, folder)
    damage, path = DAMAGES[name]
    damage(folder / path)
    check = f"cd {folder} && sha256sum --check --quiet {EXTRA}/SHA256SUMS"
    assert os.system(f"{check} 2> {tmp_path}/told") != 0
    try:
        with ChildSession(folder) as child:
            assert child.run(
                "predict_uint8",
                {"images": np.zeros((1, 16, 16, 3), "uint8")},
            )["mask"].shape == (1, 16, 16)
    except ChildProcessError as error:
        # An exception of Python's, no signal.
        assert re.match(r"status 1: (?s:.*)SessionError", str(error))
    else:
        # The weights have a checksum of TensorFlow's own.
        assert path not in (INDEX, VALUES)
        assert name not in ("graph deleted", "graph empty", "graph cut")


def test_rolling_out_and_back(server, second, files, masks):
    """As serving/README.md tells it."""
    model = tiny_pspnet()
    bias = model.get_layer("head_classifier").bias
    bias.assign(np.array(bias)[::-1])
    shutil.copytree(second.with_name("1"), second)
    shutil.rmtree(second / "model.savedmodel")
    export_saved_model(model, second / "model.savedmodel")
    assert fetch(server.http, LOAD, b"{}")[0] == 200
    assert versions(server) == ["2"]
    assert answer(server, files[2]) != [masks[2]]
    shutil.rmtree(second)
    assert fetch(server.http, LOAD, b"{}")[0] == 200
    assert versions(server) == ["1"]
    assert answer(server, files[2]) == [masks[2]]
