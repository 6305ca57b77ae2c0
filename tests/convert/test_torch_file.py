"""Tests of keras_pspnet.convert.torch_file: values and the two forms."""

import builtins
import errno
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
from collections import OrderedDict, defaultdict
from typing import Any

import numpy as np
import pytest
from torch_files import (
    KINDS,
    MAGIC,
    SYSTEM,
    Call,
    Name,
    Storage,
    Tensor,
    parameter,
    pickled,
    raw,
    save,
    tensor,
    write_legacy,
    write_members,
    write_zip,
)
from torch_reading import (
    BOTH,
    PROTOCOLS,
    read_pickle,
    refused,
    refused_pickle,
)

from keras_pspnet.convert.pickle_values import Placeholder
from keras_pspnet.convert.torch_file import is_torch_file, read_torch_file

RNG = np.random.default_rng(0)


# === Values ===


def some_values(dtype: str) -> np.ndarray:
    if dtype == "bool":
        return RNG.integers(0, 2, (3, 4)).astype(bool)
    if dtype.startswith("float"):
        return RNG.normal(size=(3, 4)).astype(dtype)
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, (3, 4), dtype, endpoint=True)


@BOTH
@PROTOCOLS
def test_every_dtype_comes_back_bit_for_bit(tmp_path, form, protocol) -> None:
    arrays = {dtype: some_values(dtype) for dtype in KINDS}
    state = OrderedDict((key, tensor(value)) for key, value in arrays.items())
    found = read_torch_file(save(tmp_path / "x.pth", state, form, protocol))
    assert type(found) is dict
    assert list(found) == list(arrays)
    for dtype, array in arrays.items():
        assert type(found[dtype]) is np.ndarray
        assert found[dtype].dtype == dtype
        np.testing.assert_array_equal(found[dtype], array)
        with pytest.raises(ValueError, match="read-only"):
            found[dtype][:] = 0


@BOTH
def test_bfloat16_is_widened_exactly(tmp_path, form) -> None:
    # All the 65,536 there are, also infinities and NaN with their payload.
    bits = np.arange(2**16, dtype=np.uint16)
    storage = Storage(bits, "BFloat16Storage")
    value = [Tensor(storage, (256, 256)), Tensor(storage, (3,), (2,), 7)]
    whole, part = read_torch_file(save(tmp_path / "x.pth", value, form))
    assert whole.dtype == part.dtype == np.float32
    want = bits.astype(np.uint32) << 16
    np.testing.assert_array_equal(whole.view(np.uint32).ravel(), want)
    np.testing.assert_array_equal(part.view(np.uint32), want[[7, 9, 11]])
    assert np.shares_memory(whole, part)
    assert not whole.flags.writeable


@BOTH
def test_views_of_one_storage_share_its_memory(tmp_path, form) -> None:
    elements = RNG.normal(size=60).astype(np.float32)
    storage = Storage(elements)
    whole = elements.reshape(3, 4, 5)
    views = {
        "whole": (Tensor(storage, (3, 4, 5)), whole),
        "transposed": (
            Tensor(storage, (5, 3, 4), (1, 20, 5)),
            whole.transpose(2, 0, 1),
        ),
        "sliced": (
            Tensor(storage, (2, 2), (20, 10), 23),
            whole[1:, ::2, 3],
        ),
        "last": (Tensor(storage, (), (), 59), whole[2, 3, 4]),
        "expanded": (
            Tensor(storage, (4, 2), (0, 1), 2),
            np.broadcast_to(elements[2:4], (4, 2)),
        ),
        # The stride of a dimension of length one may be anything.
        "single": (Tensor(storage, (1, 5), (10**12, 1), 55), whole[2:, 3]),
    }
    other = Tensor(Storage(elements.copy()), (60,))
    state = {key: view[0] for key, view in views.items()} | {"other": other}
    found = read_torch_file(save(tmp_path / "x.pth", state, form))
    for key, (_, want) in views.items():
        assert found[key].shape == np.shape(want)
        np.testing.assert_array_equal(found[key], want, err_msg=key)
        assert np.shares_memory(found[key], found["whole"])
        assert not found[key].flags.writeable
    np.testing.assert_array_equal(found["other"], elements)
    assert not np.shares_memory(found["other"], found["whole"])


@BOTH
def test_empty_tensors(tmp_path, form) -> None:
    empty = Storage(np.zeros(0, np.float16))
    full = Storage(np.ones(6, np.int64))
    value = [
        Tensor(empty, (0,)),
        Tensor(empty, (2, 0, 3)),
        Tensor(full, (0, 3), (3, 1), 6),
    ]
    found = read_torch_file(save(tmp_path / "x.pth", value, form))
    assert [each.shape for each in found] == [(0,), (2, 0, 3), (0, 3)]
    assert [each.dtype for each in found] == ["float16", "float16", "int64"]
    assert not any(each.flags.writeable for each in found)


@BOTH
def test_parameters_and_all_ways_to_write_a_tensor(tmp_path, form) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)

    def call(module: str, name: str, *args: Any, state: Any = None) -> Call:
        return Call(Name(module, name), args, state)

    class OldTensor(Tensor):
        rebuild = "_rebuild_tensor"

    old = OldTensor(Storage(array.ravel()), [2, 3], extra=())
    size = call("torch", "Size", [2, 3])
    sized = Tensor(Storage(array.ravel()), (2, 3))
    sized.args = (*sized.args[:2], size, (3, 1), True, OrderedDict(), None)
    value = [
        parameter(tensor(array)),
        call(
            "torch._utils",
            "_rebuild_parameter_with_state",
            tensor(array),
            True,
            OrderedDict(),
            {"tag": 1},
        ),
        # As in the ImageNet files from before PyTorch 0.4.
        call(
            "torch.nn.parameter",
            "Parameter",
            tensor(array),
            state=(True, False, OrderedDict()),
        ),
        old,
        sized,
    ]
    for found in read_torch_file(save(tmp_path / "x.pth", value, form)):
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, array)


def test_storages_and_no_views_of_them_in_the_plain_form(tmp_path) -> None:
    storage = Storage(np.arange(4, dtype=np.float32))
    found = read_torch_file(save(tmp_path / "x.pth", storage, "legacy"))
    np.testing.assert_array_equal(found, np.arange(4))
    storage.view = ("viewed", 1, 2)
    refused(
        save(tmp_path / "y.pth", storage, "legacy"), "unknown view of a storage"
    )


PLAIN = {
    "epoch": 160,
    "negative": -3,
    "long": 2**70,
    "rate": 0.01,
    "CLASSES": ("road", "sky"),
    "PALETTE": [[128, 64, 128], [70, 130, 180]],
    "text": "α" * 300,
    "flags": {True: False, None: ()},
    "bytes": b"\x00\xff" * 200,
    "no bytes": b"",
    "complex": 1 + 2j,
    "set": {1, "a"},
    "frozen": frozenset({2}),
    "key": {(1, "a"): [{}]},
}


@BOTH
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_plain_objects_are_what_they_were(tmp_path, form, protocol) -> None:
    # Python's own pickler is the writer, of all the opcodes that it has.
    found = read_pickle(tmp_path, pickle.dumps(PLAIN, protocol), form)
    assert found == PLAIN
    assert [type(value) for value in found.values()] == [
        type(value) for value in PLAIN.values()
    ]


@PROTOCOLS
def test_what_stands_beside_tensors_becomes_plain(tmp_path, protocol) -> None:
    fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    meta = {
        "float32": np.float32(0.1),
        "float64": np.float64(0.1),
        "int64": np.int64(-7),
        "bool": np.bool_(True),
        "text": np.str_("wörd"),
        "complex": np.complex64(1j),
        "array": np.arange(6, dtype=np.uint8).reshape(3, 2),
        "fortran": fortran,
        "big": np.arange(3, dtype=">i4"),
        "none": np.zeros((0, 2)),
        "dtype": np.dtype("float16"),
        "bytearray": bytearray(b"ab\xff"),
        "ordered": OrderedDict(a=OrderedDict(b=1)),
        "default": defaultdict(list, {"c": [2]}),
        "size": Call(Name("torch", "Size"), ((2, 3),)),
        "device": Call(Name("torch", "device"), ("cuda", 1)),
        "cpu": Call(Name("torch", "device"), ("cpu",)),
        "torch dtype": Name("torch", "float32"),
        # An OrderedDict's attributes, as the state of a module has them.
        "state": Call(
            Name("collections", "OrderedDict"),
            (),
            {"_metadata": OrderedDict(v=1)},
            items={"w": tensor(np.ones(2, np.float32))},
        ),
        # Python 2 gives the items to the class.
        "old": Call(
            Name("collections", "OrderedDict"), ([["d", 3], ["e", 4]],)
        ),
    }
    found = read_torch_file(save(tmp_path / "x.pth", meta, "zip", protocol))
    for key in ("float32", "float64", "int64", "bool", "text", "complex"):
        assert found[key] == meta[key].item()
        assert type(found[key]) is type(meta[key].item())
    for key in ("array", "fortran", "big", "none"):
        assert found[key].dtype == meta[key].dtype
        assert found[key].shape == meta[key].shape
        np.testing.assert_array_equal(found[key], meta[key])
    assert found["dtype"] == "float16"
    assert found["bytearray"] == b"ab\xff"
    assert found["ordered"] == {"a": {"b": 1}}
    assert type(found["ordered"]["a"]) is dict
    assert found["default"] == {"c": [2]}
    assert found["size"] == (2, 3)
    assert found["device"] == "cuda:1"
    assert found["cpu"] == "cpu"
    assert found["torch dtype"] == Placeholder("torch", "float32")
    assert list(found["state"]) == ["w"]
    np.testing.assert_array_equal(found["state"]["w"], [1, 1])
    assert found["old"] == {"d": 3, "e": 4}


def test_names_of_python_2_and_of_numpy_2(tmp_path) -> None:
    item = np.float64(2.5).tobytes()
    dtype = Call(Name("numpy", "dtype"), ("f8", False, True))
    value = {
        package: Call(Name(f"{package}.multiarray", "scalar"), (dtype, item))
        for package in ("numpy.core", "numpy._core")
    }
    value["set"] = Call(Name("__builtin__", "set"), ([1, 2],))
    found = read_torch_file(save(tmp_path / "x.pth", value))
    assert found == {"numpy.core": 2.5, "numpy._core": 2.5, "set": {1, 2}}
    # Text of Python 2 is bytes: UTF-8, or else any.
    content = b"\x80\x02(U\x04\xc3\xa9ahT\x02\x00\x00\x00\xff\xfeS'x\\ny'\nl."
    assert read_pickle(tmp_path, content) == ["éah", "ÿþ", "x\ny"]


@BOTH
@PROTOCOLS
def test_unknown_classes_become_placeholders(
    tmp_path, monkeypatch, form, protocol
) -> None:
    # Importing this one would be noticed.
    (tmp_path / "strange_config.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    config = Name("strange_config", "Config")
    history = Name("mmengine.logging.history_buffer", "HistoryBuffer")
    method = Call(Name("builtins", "getattr"), (history, "mean"))
    state = {"_log": np.arange(3.0), "methods": {"mean": method}}
    value = {
        "meta": {
            "class": config,
            "object": Call(config, ("text",), {"a": [1]}),
            "dict": Call(config, items={"a": 1, "b": Call(config)}),
            "list": Call(config, appended=[1, 2]),
            "history": Call(history, state=state),
            "method": method,
            "nested": Call(Name("strange_config", "Outer.Inner"), (1,)),
            "function": Name("strange_config", "function"),
            "namespace": Call(Name("argparse", "Namespace"), state={"lr": 1}),
        },
        "weight": tensor(np.ones(3, np.float32)),
    }
    found = read_torch_file(save(tmp_path / "x.pth", value, form, protocol))
    np.testing.assert_array_equal(found["weight"], [1, 1, 1])
    known = Placeholder("strange_config", "Config")
    assert found["meta"] == {
        "class": known,
        "object": known,
        "dict": known,
        "list": known,
        "history": Placeholder(history.module, "HistoryBuffer"),
        "method": Placeholder(history.module, "HistoryBuffer.mean"),
        "nested": Placeholder("strange_config", "Outer.Inner"),
        "function": Placeholder("strange_config", "function"),
        "namespace": Placeholder("argparse", "Namespace"),
    }
    assert "strange_config" not in sys.modules


def test_every_way_to_make_an_object_of_an_unknown_class(tmp_path) -> None:
    known = Placeholder("m", "C")
    for content in (
        b"\x80\x02cm\nC\n)\x81}b.",  # NEWOBJ, BUILD
        b"\x80\x04\x8c\x01m\x8c\x01C\x93)}\x8c\x01kK\x01s\x92.",  # NEWOBJ_EX
        b"\x80\x04\x8c\x01m\x8c\x01C\x93)}\x92.",
        b"(cm\nC\nK\x01o.",  # OBJ
        b"(K\x01im\nC\n.",  # INST
        b"cm\nC\n(K\x01tRK\x01K\x02s.",  # REDUCE, SETITEM
        b"cm\nC\n(K\x01tRK\x01a(K\x01e.",  # APPEND, APPENDS
        b"\x80\x04cm\nC\n)R(K\x01\x90.",  # ADDITEMS
    ):
        assert read_pickle(tmp_path, content) == known


def test_marks_and_memo(tmp_path) -> None:
    # POP of a value and of a mark, POP_MARK, DUP, PUT, GET, LONG_BINPUT.
    content = b"K\x010(0(K\x02K\x031]p300\n(K\x042e0g300\n."
    assert read_pickle(tmp_path, content) == [4, 4]
    content = b"\x80\x02K\x01r\x00\x01\x00\x000(j\x00\x01\x00\x00K\x02d."
    assert read_pickle(tmp_path, content) == {1: 2}


@BOTH
def test_shared_objects_stay_shared(tmp_path, form) -> None:
    weight = tensor(np.ones(2, np.float32))
    inner = [weight]
    value = {"a": inner, "b": inner, "c": (inner, weight)}
    found = read_torch_file(save(tmp_path / "x.pth", value, form))
    assert found["a"] is found["b"] is found["c"][0]
    assert found["a"][0] is found["c"][1]


# === The two forms ===


@BOTH
@PROTOCOLS
def test_a_checkpoint_is_recognized(tmp_path, form, protocol) -> None:
    path = save(tmp_path / "any.name", {"a": 1}, form, protocol)
    assert is_torch_file(path)
    assert is_torch_file(str(path))
    assert read_torch_file(str(path)) == {"a": 1}
    assert os.listdir(tmp_path) == ["any.name"]


OTHERS = {
    "empty": (b"", "it is empty"),
    "text": (b"weights\n" * 100, "does not begin like one"),
    "html": (b"\n<!DOCTYPE html><html>404", "it is a web page"),
    "html 2": (b"<html><body>" * 50, "it is a web page"),
    "random": (RNG.bytes(4096), "does not begin like one"),
    "pickle": (pickle.dumps({"a": 1}, 2), "does not begin like one"),
    "number": (pickle.dumps(MAGIC + 1, 2), "does not begin like one"),
    "zip start": (b"PK\x03\x04" + bytes(100), "damaged: File is not a zip"),
    "one byte": (b"\x80", "does not begin like one"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_recognized(tmp_path, name) -> None:
    content, match = OTHERS[name]
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    assert is_torch_file(path) is (name == "zip start")
    refused(path, match)


def test_an_unreadable_file_keeps_its_error(tmp_path, monkeypatch) -> None:
    path = save(tmp_path / "x.pth", {})

    def denied(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(builtins, "open", denied)
    for function in (read_torch_file, is_torch_file):
        with pytest.raises(PermissionError, match="denied.*x.pth"):
            function(path)


def test_archives_of_other_kinds(tmp_path) -> None:
    path = write_members(tmp_path / "x.zip", {"data.pkl": b"", "a/b": b""})
    refused(path, r"one member NAME/data\.pkl, has none")
    path = write_members(tmp_path / "d", {"a/data.pkl": b"", "b/data.pkl": b""})
    refused(path, r"one member NAME/data\.pkl, has 2")
    for name in ("constants.pkl", "code/__torch__.py"):
        members = {"net/data.pkl": pickle.dumps({}), f"net/{name}": b""}
        path = write_members(tmp_path / "script.pt", members)
        refused(path, "a TorchScript archive")


def test_the_folder_of_an_archive_has_any_name(tmp_path) -> None:
    content, storages = pickled({"w": tensor(np.arange(3.0))})
    data = raw(storages)["0"]
    members = {"pspnet r50/data.pkl": content, "pspnet r50/data/0": data}
    found = read_torch_file(write_members(tmp_path / "x.pth", members))
    np.testing.assert_array_equal(found["w"], [0, 1, 2])


def test_big_endian_machines_are_refused(tmp_path) -> None:
    members = {"a/data.pkl": pickle.dumps({}, 2), "a/byteorder": b"big"}
    path = write_members(tmp_path / "x.pth", members)
    refused(path, "must come from a little-endian machine")
    system = SYSTEM | {"little_endian": False}
    for other in (system, {}, None):
        path = write_legacy(tmp_path / "y", pickle.dumps({}), system=other)
        refused(path, "must come from a little-endian machine")


def test_other_versions_of_the_plain_form_are_refused(tmp_path) -> None:
    path = write_legacy(tmp_path / "x.pth", pickle.dumps({}), version=1002)
    refused(path, "its version must be 1001")


def test_whole_modules_are_refused_by_name(tmp_path) -> None:
    content = b"\x80\x02(X\x06\x00\x00\x00modulecnet\nNet\nNNtQ)\x81}b."
    refused_pickle(tmp_path, content, "it holds a whole module")
    content, _ = pickled(Call(Name("torch.nn.modules.conv", "Conv2d")))
    refused_pickle(tmp_path, content, r"uses torch\.nn\.modules\.conv\.Conv2d")


@BOTH
def test_a_large_file_costs_no_memory_until_it_is_used(tmp_path, form) -> None:
    count = 2**26  # 256 MB, a hole in the file
    path = tmp_path / "large.pth"
    storage = Storage(np.broadcast_to(np.float32(0), count))
    content, _ = pickled({"w": Tensor(storage, (count,))}, 2, form)
    if form == "zip":
        write_zip(path, content)
        with zipfile.ZipFile(path, "a") as archive:
            info = zipfile.ZipInfo("archive/data/0")
            archive.writestr(info, b"")
            info.file_size = info.compress_size = 4 * count
            start = info.header_offset + 30 + len(info.filename)
            archive.fp.truncate(start + 4 * count)
            archive.start_dir = start + 4 * count
    else:
        storages = {"0": Storage(np.zeros(0, np.float32))}
        write_legacy(path, content, storages)
        with open(path, "r+b") as stream:
            stream.seek(-8, os.SEEK_END)
            stream.write(struct.pack("<q", count))
            stream.truncate(stream.tell() + 4 * count)
    assert path.stat().st_size > 4 * count
    tracemalloc.start()
    try:
        found = read_torch_file(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1e6
    assert found["w"].shape == (count,)
    assert found["w"][-1] == 0
