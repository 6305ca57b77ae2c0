"""Tests of keras_pspnet.convert.caffe_file: what a .caffemodel holds."""

import io
import pickle
import re

import h5py
import numpy as np
import pytest
import safetensors.numpy
from caffe_files import (
    blob,
    block,
    caffe_model,
    integer,
    layer,
    packed,
    shape,
    unpacked,
)

from keras_pspnet.convert.caffe_file import read_caffe_file

KERNEL = np.arange(24, dtype="float32").reshape(4, 3, 2, 1) / 7 - 1
BIAS = np.array([1.5, -2.0, np.inf, np.nan], "float32")
# 1/3 has other digits in float32.
DOUBLES = np.array([[1 / 3, -1e300]])
PROTOTXT = b'name: "net"\ninput: "data"\nlayer {\n  name: "conv1"\n}\n'
HTML = b"\n<!DOCTYPE html><html><body>Quota exceeded</body></html>"


def hdf5() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["data/conv1/0"] = KERNEL
    return stream.getvalue()


FOREIGN = {
    "empty": b"",
    "html": HTML,
    "prototxt": PROTOTXT,
    "comment": b"# PSPNet\n" + PROTOTXT,
    "hdf5": hdf5(),
    "random": np.random.default_rng(0).bytes(999),
    "pickle": pickle.dumps({"w": KERNEL}, protocol=2),
    "safetensors": safetensors.numpy.save({"w": KERNEL}),
    # A header whose length starts like a name.
    "safetensors10": b"\n" + bytes(7) + b"{}" + b" " * 8,
    "zeros": bytes(100),
    # A version comes first.
    "onnx": integer(1, 8) + layer("conv"),
    "field that no network has": block(15, b"") + layer("conv"),
    # The first field repeats.
    "tensorflow": block(1, b"node") * 2 + layer("conv"),
    "name": block(1, b"net"),
    "half a name": block(1, b"net")[:-1],
    "layer of another type": block(1, b"net") + integer(2, 1),
    "layer of nothing": block(1, b"net") + block(100, b""),
    "layer of a number": block(100, integer(1, 1)),
}
PLAIN = {
    "empty": "it is empty",
    "html": "it is text",
    "prototxt": "it is text: the values are in the .caffemodel, not in the ",
    "comment": "it is text: the values are in the .caffemodel, not in the ",
    "hdf5": "it is an HDF5 file, Caffe's other format: let the solver",
    "random": "it is truncated or damaged",
    "half a name": "it is truncated or damaged",
    "layer of nothing": "none of its layers has parameters",
}


def read(tmp_path, data: bytes) -> dict[str, list[np.ndarray]]:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(data)
    return read_caffe_file(path)


def read_blob(tmp_path, content: bytes) -> np.ndarray:
    (array,) = read(tmp_path, layer("conv", content))["conv"]
    return array


def assert_same(array: np.ndarray, wanted: np.ndarray) -> None:
    assert array.dtype == wanted.dtype
    np.testing.assert_array_equal(array, wanted, strict=True)


def test_reads_every_blob_in_the_order_of_the_file(tmp_path):
    layers = {"z": [KERNEL, BIAS], "a/bn": [BIAS[None]] * 4, "ä": [DOUBLES]}
    found = read(tmp_path, caffe_model(layers))
    assert list(found) == ["z", "a/bn", "ä"]
    for name, wanted in layers.items():
        assert len(found[name]) == len(wanted)
        for array, values in zip(found[name], wanted, strict=True):
            assert_same(array, values)


def test_leaves_out_layers_without_parameters(tmp_path):
    data = layer("data") + layer("conv", blob(BIAS)) + layer("data")
    assert list(read(tmp_path, data)) == ["conv"]


def test_no_shape_is_the_shape_of_a_scalar(tmp_path):
    array = read_blob(tmp_path, packed(5, BIAS[:1]))
    assert_same(array, np.array(1.5, "float32"))


def test_ignores_gradients_and_what_it_does_not_know(tmp_path):
    unknown = integer(77, -1) + block(78, b"\xff") + unpacked(79, BIAS)
    content = (
        unknown
        + packed(6, KERNEL)
        + packed(9, KERNEL.astype("float64"))
        + blob(BIAS)
    )
    data = unknown + layer("conv", content + unknown) + unknown
    assert_same(read(tmp_path, data)["conv"][0], BIAS)


@pytest.mark.parametrize("name", FOREIGN)
def test_refuses_what_is_no_caffe_model(tmp_path, name):
    why = PLAIN.get(name, "")
    with pytest.raises(
        ValueError,
        match=rf"`path` must be a Caffe model \({why}.*\)\. "
        r"Received: path='.*net.caffemodel'",
    ):
        read(tmp_path, FOREIGN[name])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (layer("a") * 2, "none of its layers has parameters"),
        # The format of 2014: a V1LayerParameter.
        (
            block(2, block(4, b"conv") + block(6, blob(BIAS))),
            "none of its layers has parameters",
        ),
        (layer("a", blob(BIAS)) * 2, "two layers are named 'a'"),
        (
            block(100, block(1, b"\xff") + block(7, blob(BIAS))),
            "'utf-8' codec can't decode byte 0xff",
        ),
    ],
    ids=["no blobs", "V1", "same name", "Latin-1"],
)
def test_refuses_a_network_it_cannot_name(tmp_path, data, why):
    with pytest.raises(ValueError, match=rf"model \({why}.*\)\. Received: pa"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    "dims",
    [
        (),
        (5,),
        (2, 3),
        (-4,),
        (-2, -2),
        (0,),
        (4, 0),
        (2**62, 2**62),
        (2**63 - 1,) * 32,
    ],
    ids=len,
)
def test_refuses_values_that_do_not_fill_the_shape(tmp_path, dims):
    values = packed(5, BIAS)
    with pytest.raises(
        ValueError,
        match=r"\(blob 1 of layer 'conv' has 4 values for the shape "
        + re.escape(f"{dims}). Received: "),
    ):
        read(tmp_path, layer("conv", blob(BIAS), values + shape(dims)))


@pytest.mark.parametrize("dims", [(4,), (0,), (2**62, 0, 2**62)])
def test_refuses_a_shape_without_values(tmp_path, dims):
    with pytest.raises(ValueError, match="blob 0 of layer 'conv' has 0 values"):
        read_blob(tmp_path, shape(dims))


def test_takes_as_many_dimensions_as_caffe(tmp_path):
    ones = (1,) * 31
    array = read_blob(tmp_path, packed(5, BIAS) + shape((*ones, 4)))
    assert array.shape == (*ones, 4)
    with pytest.raises(ValueError, match="layer 'conv' has 33 dimensions"):
        read_blob(tmp_path, packed(5, BIAS) + shape((*ones, 1, 4)))


def test_refuses_a_truncated_file(tmp_path):
    layers = {"conv": [KERNEL, BIAS], "fc": [DOUBLES]}
    data = caffe_model(layers)
    # Nothing marks the end: between layers, the rest is a file of its own.
    whole = len(caffe_model({"conv": layers["conv"]}))
    for size in range(len(data)):
        if size == whole:
            assert list(read(tmp_path, data[:size])) == ["conv"]
            continue
        with pytest.raises(ValueError, match="must be a Caffe model"):
            read(tmp_path, data[:size])


def test_damage_raises_nothing_but_value_errors(tmp_path):
    rng = np.random.default_rng(1)
    data = layer("data") + layer("conv", blob(KERNEL[0]), blob(BIAS))
    data += layer("fc", blob(BIAS[None]))
    refused = 0
    for _ in range(1000):
        damaged = bytearray(data)
        for position in rng.integers(len(data), size=3):
            damaged[position] = rng.integers(256)
        try:
            read(tmp_path, bytes(damaged))
        except ValueError as error:
            assert "`path` must be a Caffe model (" in str(error)
            refused += 1
    assert 100 < refused < 1000


def test_refuses_what_the_runtime_cannot_hold(tmp_path):
    path = tmp_path / "net.caffemodel"
    with open(path, "wb") as stream:
        stream.truncate(2**31)
    with pytest.raises(
        ValueError, match="it has 2147483648 bytes, the limit is 2 GiB.*net"
    ):
        read_caffe_file(path)
