"""An export, and what serves it, started once for all tests that need it."""

import io
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import triton_server
from c_session import ChildSession
from engines import (
    TF_SERVING,
    CSessionEngine,
    TritonEngine,
    contract,
    tf_serving,
)
from picture_files import good
from PIL import Image
from support import tiny_pspnet

from keras_pspnet import export_saved_model

MAX_PIXELS = 2**20

ENGINES = (
    "C session",
    "contract gRPC",
    "contract REST",
    "Triton HTTP",
    "Triton gRPC",
    "TF Serving gRPC",
    "TF Serving REST",
)


@pytest.fixture(scope="session")
def network():
    """A small PSPNet without its auxiliary branch."""
    # Fixtures of the session come before those that set seeds.
    keras.utils.set_random_seed(0)
    return tiny_pspnet().inference_model()


@pytest.fixture(scope="session")
def export(network, tmp_path_factory):
    """Its SavedModel."""
    folder = tmp_path_factory.mktemp("export") / "model.savedmodel"
    export_saved_model(network, folder, max_pixels=MAX_PIXELS)
    return folder


@pytest.fixture(scope="session")
def signatures(export):
    module = tf.saved_model.load(str(export))
    # Its functions live as long as the module does.
    yield module.signatures
    del module


@pytest.fixture(scope="session")
def files():
    return good()


@pytest.fixture(scope="session")
def masks(signatures, files):
    """What TensorFlow itself makes of each file."""
    answers = [signatures["serving_default"](tf.constant([f])) for f in files]
    assert all(answer["status"][0] == b"OK" for answer in answers)
    pngs = [answer["mask_png_bytes"][0].numpy() for answer in answers]
    # Masks of one class would say little.
    assert len(np.unique(Image.open(io.BytesIO(pngs[2])))) > 1
    return pngs


# === Engines ===


@pytest.fixture(scope="session")
def models(export, tmp_path_factory):
    """The repository as it is, with the export where users put theirs.

    Beside its two models, `pspnet_float` takes what `pspnet_array` takes as
    float32.
    """
    folder = triton_server.repository(
        tmp_path_factory.mktemp("models") / "triton", export
    )
    shutil.copytree(
        folder / "pspnet_array", folder / "pspnet_float", symlinks=True
    )
    file = folder / "pspnet_float/config.pbtxt"
    config = file.read_text()
    for old, new in (
        ('"pspnet_array"', '"pspnet_float"'),
        ("TYPE_UINT8", "TYPE_FP32"),
        ("predict_uint8", "predict_array"),
    ):
        assert old in config
        # The first type is the input's.
        config = config.replace(old, new, 1)
    file.write_text(config)
    return folder


@pytest.fixture(scope="session")
def triton(models, tmp_path_factory):
    # The log then tells of each sample of the warm-up.
    option = "--log-verbose=1"
    folder = tmp_path_factory.mktemp("run")
    with triton_server.serving(models, folder, option) as found:
        yield found


@pytest.fixture
def only_pspnet(models, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "pspnet").symlink_to(models / "pspnet")
    return folder


@pytest.fixture(scope="session")
def contract_engines(export):
    with contract(export) as engines:
        yield engines


@pytest.fixture(scope="session")
def tf_serving_engines(export, tmp_path_factory):
    if shutil.which(TF_SERVING) is None:
        pytest.skip(f"{TF_SERVING} is not on the PATH")
    with tf_serving(export, tmp_path_factory.mktemp("serving")) as engines:
        yield engines


@pytest.fixture(scope="session")
def c_session_engine(export):
    with ChildSession(export) as child:
        yield CSessionEngine(child)


@pytest.fixture(scope="session")
def triton_engines(triton):
    return (
        TritonEngine("Triton HTTP", triton, triton_server.predict_http),
        TritonEngine("Triton gRPC", triton, triton_server.predict_grpc),
    )


@pytest.fixture(params=ENGINES)
def engine(request, files, masks, record_property):
    """Each engine in turn, which has to answer as ever after the test.

    They are started when the first test needs them, and run until the end.
    """
    name = request.param
    record_property("engine", name)
    running = _running(request, name)
    first, second = files[0], files[2]
    # What is set up by the first request takes memory once.
    running.segment(first, second)
    yield running
    answer = running.segment(first, second)
    assert answer["mask_png_bytes"].tolist() == [masks[0], masks[2]]


def _running(request, name):
    if name == "C session":
        return request.getfixturevalue("c_session_engine")
    fixture = {
        "contract": "contract_engines",
        "Triton": "triton_engines",
        "TF Serving": "tf_serving_engines",
    }[name.rpartition(" ")[0]]
    (found,) = (
        each for each in request.getfixturevalue(fixture) if each.name == name
    )
    return found
