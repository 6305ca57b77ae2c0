"""Tests of keras_pspnet.convert.torch_file: values, and what is refused."""

import builtins
import errno
import importlib
import itertools
import os
import pickle
import re
import struct
import sys
import tracemalloc
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_files import (
    FORMS,
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
    save_pickle,
    tensor,
    write_legacy,
    write_members,
    write_zip,
)

from keras_pspnet.convert import pickle_machine, torch_file
from keras_pspnet.convert.pickle_values import Placeholder
from keras_pspnet.convert.torch_file import (
    is_torch_file,
    read_torch_file,
)

RNG = np.random.default_rng(0)
BOTH = pytest.mark.parametrize("form", FORMS)
PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3, 4])


def error_of(path: Path) -> str:
    """What reading fails with; it may fail in one way only."""
    try:
        read_torch_file(path)
    except ValueError as error:
        assert type(error) is ValueError
        return str(error)
    raise AssertionError(f"{path} was read")


def refused(path: Path, match: str) -> None:
    """Reading must fail, with `match` for its reason."""
    message = error_of(path)
    start = r"`path` must be a PyTorch checkpoint \("
    end = rf"\)\. Received: path='{re.escape(str(path))}'"
    assert re.fullmatch(f"{start}.*({match}).*{end}", message), message
    assert len(message) < 500 + len(str(path))


def read_pickle(folder: Path, content: bytes, form: str = "zip") -> Any:
    return read_torch_file(save_pickle(folder / "x.pth", content, form))


def refused_pickle(folder: Path, content: bytes, match: str) -> None:
    for form in FORMS:
        refused(save_pickle(folder / f"{form}.pth", content, form), match)


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


def test_storages_and_views_of_them_in_the_plain_form(tmp_path) -> None:
    root = Storage(np.arange(10, dtype=np.float32))
    view = Storage(root.array[2:8])
    view.root, view.view = root, ("viewed", 2, 6)
    value = [Tensor(view, (2, 2), (3, 1), 1), Tensor(root, (10,)), view, root]
    found = read_torch_file(save(tmp_path / "x.pth", value, "legacy"))
    np.testing.assert_array_equal(found[0], [[3, 4], [6, 7]])
    np.testing.assert_array_equal(found[2], np.arange(2, 8))
    np.testing.assert_array_equal(found[3], np.arange(10))
    assert np.shares_memory(found[0], found[1])
    value[0] = Tensor(view, (7,))
    refused(save(tmp_path / "y.pth", value, "legacy"), "beyond its storage")
    view.view = ("viewed", 5, 6)
    refused(save(tmp_path / "z.pth", view, "legacy"), "beyond storage 0")


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
def test_a_checkpoint_is_recognised(tmp_path, form, protocol) -> None:
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
    "tar": (
        b"sys_info".ljust(257, b"\0") + b"ustar\x0000" + bytes(2000),
        "tar form from before PyTorch 0.1.10",
    ),
    "zip start": (b"PK\x03\x04" + bytes(100), "damaged: File is not a zip"),
    "one byte": (b"\x80", "does not begin like one"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_recognised(tmp_path, name) -> None:
    content, match = OTHERS[name]
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    assert not is_torch_file(path)
    refused(path, match)


def test_what_is_no_file(tmp_path) -> None:
    assert not is_torch_file(tmp_path)
    assert not is_torch_file(tmp_path / "none")
    assert not is_torch_file("/dev/zero")
    refused(tmp_path, "it is not a regular file")
    refused(Path("/dev/zero"), "it is not a regular file")
    match = "`path` must be an existing file. Received: path='.*none'"
    with pytest.raises(FileNotFoundError, match=match):
        read_torch_file(tmp_path / "none")
    for function in (read_torch_file, is_torch_file):
        with pytest.raises(TypeError, match="os.PathLike"):
            function(3)


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
    assert not is_torch_file(path)
    refused(path, r"one member NAME/data\.pkl, has none")
    path = write_members(tmp_path / "d", {"a/data.pkl": b"", "b/data.pkl": b""})
    refused(path, r"one member NAME/data\.pkl, has 2")
    for name in ("constants.pkl", "code/__torch__.py"):
        members = {"net/data.pkl": pickle.dumps({}), f"net/{name}": b""}
        path = write_members(tmp_path / "script.pt", members)
        assert is_torch_file(path)
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
    refused(path, "must be of a little-endian machine")
    system = SYSTEM | {"little_endian": False}
    for other in (system, {}, None):
        path = write_legacy(tmp_path / "y", pickle.dumps({}), system=other)
        refused(path, "must be of a little-endian machine")


def test_other_versions_of_the_plain_form_are_refused(tmp_path) -> None:
    path = write_legacy(tmp_path / "x.pth", pickle.dumps({}), version=1002)
    refused(path, "its version must be 1001")


def test_whole_modules_are_refused_by_name(tmp_path) -> None:
    content = b"\x80\x02(X\x06\x00\x00\x00modulecnet\nNet\nNNtQ)\x81}b."
    refused_pickle(tmp_path, content, "it holds a whole module")
    content, _ = pickled(Call(Name("torch.nn.modules.conv", "Conv2d")))
    refused_pickle(tmp_path, content, r"uses torch\.nn\.modules\.conv\.Conv2d")


def test_compressed_members_are_read(tmp_path) -> None:
    array = np.arange(5000, dtype=np.float32)
    content, storages = pickled({"w": tensor(array), "e": tensor(array[:0])})
    members = {"a/data.pkl": content}
    members |= {f"a/data/{key}": data for key, data in raw(storages).items()}
    path = write_members(tmp_path / "x", members, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < array.nbytes
    found = read_torch_file(path)
    np.testing.assert_array_equal(found["w"], array)
    assert found["e"].shape == (0,)
    assert not found["w"].flags.writeable
    path = write_members(tmp_path / "x", members, zipfile.ZIP_BZIP2)
    refused(path, "packed in an unknown way")


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


# === Files that want something run ===


def calling(module: str, name: str, *args: Any) -> Call:
    return Call(Name(module, name), args)


def hostile(canary: Path) -> dict[str, tuple[Any, str]]:
    """What Python runs when it unpickles it, and whom a refusal names.

    Each makes the file `canary`; values are pickled, bytes are pickles.
    """
    shell = f"touch '{canary}'"
    python = f"open({str(canary)!r}, 'w').close()"
    # The module, by a name that it has in another.
    system = calling("builtins", "getattr", Name("shutil", "os"), "system")
    path = calling("pathlib", "Path", str(canary))
    nested = pickled(calling("os", "system", shell))[0]
    return {
        "os": (calling("os", "system", shell), "os.system"),
        "posix": (calling("posix", "system", shell), "posix.system"),
        "eval": (calling("builtins", "eval", python), "builtins.eval"),
        "exec": (calling("builtins", "exec", python), "builtins.exec"),
        "Python 2": (
            calling("__builtin__", "eval", python),
            "__builtin__.eval",
        ),
        "getattr": (Call(system, (shell,)), "shutil.os"),
        "getattr of getattr": (
            Call(
                calling(
                    "builtins",
                    "getattr",
                    calling("builtins", "getattr", Name("os", "path"), "os"),
                    "system",
                ),
                (shell,),
            ),
            "os.path",
        ),
        "getattr of what is no name": (
            Call(calling("builtins", "getattr", path, "touch")),
            "pathlib.Path",
        ),
        "module of a harmless one": (
            Call(
                calling("builtins", "getattr", Name("uuid", "os"), "system"),
                (shell,),
            ),
            "uuid.os",
        ),
        "subprocess": (
            calling("subprocess", "check_call", ["touch", str(canary)]),
            "subprocess.check_call",
        ),
        "pickle": (calling("pickle", "loads", nested), "pickle.loads"),
        "_pickle": (calling("_pickle", "loads", nested), "_pickle.loads"),
        "attrgetter": (
            Call(
                Call(
                    calling("operator", "attrgetter", "system"),
                    (Name("shutil", "os"),),
                ),
                (shell,),
            ),
            "operator.attrgetter",
        ),
        "methodcaller": (
            Call(calling("operator", "methodcaller", "touch"), (path,)),
            "operator.methodcaller",
        ),
        "partial": (
            Call(calling("functools", "partial", Name("os", "system"), shell)),
            "functools.partial",
        ),
        "import_module": (
            calling("importlib", "import_module", canary.name),
            "importlib.import_module",
        ),
        "runpy": (
            calling("runpy", "_run_code", python, {}),
            "runpy._run_code",
        ),
        "code": (
            Call(
                calling(
                    "builtins",
                    "getattr",
                    calling("code", "InteractiveInterpreter"),
                    "runsource",
                ),
                (python,),
            ),
            "code.InteractiveInterpreter",
        ),
        "map": (
            calling(
                "builtins",
                "list",
                calling("builtins", "map", Name("os", "system"), [shell]),
            ),
            "builtins.map",
        ),
        "INST": (f"(V{shell}\nios\nsystem\n.".encode(), "os.system"),
        "OBJ": (f"(cos\nsystem\nV{shell}\no.".encode(), "os.system"),
        "INST of a list": (
            f"((lVtouch\naV{canary}\naisubprocess\ncall\n.".encode(),
            "subprocess.call",
        ),
        "dropped again": (
            f"cos\nsystem\n(V{shell}\ntR0N.".encode(),
            "os.system",
        ),
        "state of a placeholder": (
            Call(
                Name("argparse", "Namespace"),
                state={"a": calling("os", "system", shell)},
            ),
            "os.system",
        ),
    }


@pytest.fixture
def canary(tmp_path, monkeypatch) -> Path:
    """A path at which nothing is; importing a module of its name makes it."""
    path = tmp_path / "canary"
    (tmp_path / "canary.py").write_text(f"open({str(path)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "canary", raising=False)
    return path


@pytest.mark.parametrize("name", hostile(Path("x")))
def test_nothing_runs_and_the_offender_is_named(
    tmp_path, canary, monkeypatch, name
) -> None:
    value, offender = hostile(canary)[name]
    contents = [value]
    if not isinstance(value, bytes):
        contents = [pickled(value, protocol)[0] for protocol in (2, 4)]

    def no_import(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("imported something")

    for content, form in itertools.product(contents, FORMS):
        path = save_pickle(tmp_path / "x.pth", content, form)
        with monkeypatch.context() as patch:
            patch.setattr(importlib, "import_module", no_import)
            patch.setattr(builtins, "__import__", no_import)
            message = error_of(path)
        assert f"it uses {offender}, which no state_dict() needs" in message
        assert not canary.exists()
    # Python does run it: the test would notice.
    pickle.loads(contents[0])
    assert canary.exists()


NOT_LISTED = (
    "module name",
    "torch load",
    "torch.storage _load_from_bytes",
    "torch.serialization load",
    "torch.jit load",
    "torch Tensor",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _import_dotted_name",
    "torch._tensor _rebuild_from_type_v2",
    "numpy load",
    "numpy.lib.npyio load",
    "numpy ndarray",
    "numpy.core.multiarray fromfile",
    "keras.models load_model",
    "tensorflow Module",
    "builtins __import__",
    "builtins open",
    "builtins list",
    "builtins type",
    "subprocess Popen",
    "sys exit",
    "runpy run_path",
    "shutil rmtree",
    "socket socket",
    "ctypes CDLL",
    "marshal loads",
    "types FunctionType",
    "types CodeType",
    "webbrowser open",
    "pty spawn",
    "nt system",
    "multiprocessing Process",
    "asyncio Runner",
    "io FileIO",
    "pathlib Path",
    "tempfile NamedTemporaryFile",
    "urllib.request Request",
    "http.server HTTPServer",
    "_codecs lookup",
    "codecs encode",
    "copyreg _reconstructor",
    "collections namedtuple",
    "unknown function",
    "unknown Class.method",
)


def test_all_that_is_callable_is_refused_by_name(tmp_path) -> None:
    for names in NOT_LISTED:
        module, name = names.split()
        offender = rf"it uses {re.escape(f'{module}.{name}')}, which"
        lines = f"{module}\n{name}\n".encode()
        for content in (
            pickled(calling(module, name, b"x"))[0],
            pickled(calling(module, name, b"x"), 4)[0],
            b"c" + lines + b")\x81.",  # NEWOBJ
            b"c" + lines + b")}\x92.",  # NEWOBJ_EX
            b"c" + lines + b")}K\x01K\x02s\x92.",
            b"(c" + lines + b"o.",  # OBJ
            b"(K\x01i" + lines + b".",  # INST
            b"c" + lines + b"}K\x01K\x02sb.",  # BUILD
            b"c" + lines + b"K\x01a.",  # APPEND
            b"c" + lines + b"K\x01K\x02s.",  # SETITEM
            b"c" + lines + b"(K\x01\x90.",  # ADDITEMS
        ):
            path = save_pickle(tmp_path / "x.pth", content, "legacy")
            refused(path, offender)
        # A name that nothing is done with is inert.
        content, _ = pickled(Name(module, name))
        assert read_pickle(tmp_path, content) == Placeholder(module, name)


def test_a_nested_file_is_not_opened(tmp_path, canary) -> None:
    inner = tmp_path / "inner"
    save(inner, calling("os", "system", f"touch '{canary}'"))
    value = calling("torch.storage", "_load_from_bytes", inner.read_bytes())
    path = save(tmp_path / "x.pth", {"weight": value})
    refused(path, r"it uses torch\.storage\._load_from_bytes, which")
    assert not canary.exists()


def test_attributes_set_by_a_file_have_no_effect(tmp_path, canary) -> None:
    # Python calls a __setstate__ that a file has set before.
    content = (
        "cargparse\nNamespace\n)\x81}V__setstate__\ncos\nsystem\nsb"
        f"Vtouch '{canary}'\nb."
    ).encode("latin-1")
    known = Placeholder("argparse", "Namespace")
    assert read_pickle(tmp_path, content) == known
    assert not canary.exists()
    pickle.loads(content)
    assert canary.exists()
    # Nor does a file reach the attributes of what there is.
    content = b"ctypes\nSimpleNamespace\n}V__class__\nK\x01sb."
    refused_pickle(tmp_path, content, r"uses types\.SimpleNamespace")
    for content in (b"}]b.", b"]}b.", b"}N}\x86b.", b"V\n}b.", b"N}b."):
        refused_pickle(tmp_path, content, "changes a .* in an unknown way")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\x82\x01.", "opcode EXT1, which"),
        (b"\x83\x01\x00.", "opcode EXT2, which"),
        (b"\x84\x01\x00\x00\x00.", "opcode EXT4, which"),
        (b"Pstorage\n.", "opcode PERSID, which"),
        (b"\x96" + bytes(8) + b".", "opcode BYTEARRAY8, which"),
        (b"\x97.", "opcode NEXT_BUFFER, which"),
        (b"NQ.", "refers to something unknown"),
        (b"NNR.", "calls something that has no name"),
        (b"cbuiltins\ngetattr\n}Vx\n\x86R.", r"uses builtins\.getattr, which"),
        (b"cbuiltins\ngetattr\ncm\nC\nN\x86R.", r"uses builtins\.getattr, w"),
        (b"VSystem\n)R.", "calls something that has no name"),
        (b"cm\nC\nNR.", "calls something that has no name"),
        (b"cm\nC\n]R.", "calls something that has no name"),
        (b"\x80\x04K\x01K\x02\x93.", "a name in it is none"),
        (b"c\nx\n.", "a name in it is none"),
        (b"cos.\nx\n.", "a name in it is none"),
        (b"cos;rm\nx\n.", "a name in it is none"),
        (b"c" + b"x" * 300 + b"\nx\n.", "a name in it is none"),
        (b".", "damaged: pop from empty list"),
        (b"0.", "damaged"),
        (b"t.", "damaged"),
        (b"u.", "damaged"),
        (b"K\x01\x86.", "makes a tuple of what is not there"),
        (b"g7\n.", "damaged"),
        (b"p7\n.", "damaged"),
        (b"N", "damaged: pickle exhausted"),
        (b"\xff.", "damaged: at position .*, opcode b'.xff' unknown"),
        (b"K\x01a.", "damaged"),
        (b"}K\x01K\x02K\x03(u.", "damaged|changes"),
        (b"}(K\x01u.", "damaged"),
        (b"K\x01K\x02a.", "changes a int in an unknown way"),
        (b"N(K\x01K\x02u.", "changes a NoneType in an unknown way"),
        (b"](K\x01\x90.", "changes a list in an unknown way"),
    ],
)
def test_what_no_pickle_of_pytorch_has(tmp_path, content, match) -> None:
    refused_pickle(tmp_path, content, match)


# === Files that want too much ===


def deep(levels: int) -> bytes:
    return b"]" * levels + b"a" * (levels - 1) + b"."


@pytest.mark.parametrize(
    ("content", "match"),
    [
        # Declared sizes that are not there.
        (b"\x8b\xff\xff\xff\x7fabc.", "damaged: not enough data"),
        (b"\x8d" + b"\xff" * 7 + b"\x0fabc.", "damaged: expected .* bytes"),
        (b"\x8e" + b"\xff" * 7 + b"\x0fabc.", "damaged: expected .* bytes"),
        (b"X\xff\xff\xff\xffabc.", "damaged: expected .* bytes"),
        (b"B\xff\xff\xff\xffabc.", "damaged: expected .* bytes"),
        (b"T\xff\xff\xff\x7fabc.", "damaged: expected .* bytes"),
        # Integers.
        (b"\x8b\xe8\x03\x00\x00" + b"\x7f" * 1000 + b".", "over 1024 bits"),
        (b"\x8a\xff" + b"\x7f" * 255 + b".", "over 1024 bits"),
        (b"L" + b"9" * 400 + b"L\n.", "over 1024 bits"),
        (b"I" + b"9" * 400 + b"\n.", "over 1024 bits"),
        (b"L" + b"9" * 9999 + b"L\n.", "damaged"),
        (b"I" + b"x" * 9999 + b"\n.", "damaged"),
        # Depth.
        (deep(201), "nested over 200 deep"),
        (deep(20_000), "nested over 200 deep"),
        (b"N" + b"\x85" * 20_000 + b".", "nested over 200 deep"),
        (b"]q\x00h\x00a.", "something in it holds itself"),
        (b"}q\x00K\x01](h\x00es.", "something in it holds itself"),
        # Values: 2 ** 40 of them, in tuples and in lists.
        (b"N" + b"q\x00h\x00\x86" * 40 + b".", "unfolds to over 16777216"),
        (b"N" + b"2\x86" * 40 + b".", "unfolds to over 16777216"),
        (b"]" + b"q\x00]h\x00ah\x00a" * 40 + b".", "unfolds to over 16777216"),
        # Keys: the hash of nested tuples takes as long as unfolding them.
        (b"}N" + b"2\x86" * 60 + b"Ns.", "key in it is not a plain one"),
        (b"}" + b"N" + b"\x85" * 20_000 + b"Ns.", "is not a plain one"),
        (b"}\x8a\x0a" + b"\x01" * 10 + b"Ns.", "key in it is not a plain one"),
        (b"\x8f(N" + b"2\x86" * 60 + b"\x90.", "is not a plain one"),
        (b"(N" + b"2\x86" * 60 + b"\x91.", "is not a plain one"),
        (b"}](K\x01etNs.", "damaged"),
        (b"}]Ns.", "is not a plain one"),
        # Copies of one long text, and tuples as keys.
        (
            b"c_codecs\nencode\nq\x00X\x00\x00\x10\x00"
            + b"x" * 2**20
            + b"Vlatin1\n\x86q\x010"
            + b"h\x00h\x01R0" * 65
            + b"N.",
            "too many copies",
        ),
        (
            b"cbuiltins\nset\nq\x00]("
            + b"N" * 2**13
            + b"e\x85q\x010"
            + b"h\x00h\x01R0" * 129
            + b"N.",
            "too many copies",
        ),
        (
            b"}"
            + b"".join(
                b"(M" + struct.pack("<H", i) + b"tNs" for i in range(2**14 + 1)
            )
            + b".",
            "too many copies",
        ),
        (
            b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
            r"damaged: object of type 'int' has no len\(\)",
        ),
        (b"cbuiltins\nbytes\nM\xff\xff\x85R.", "damaged"),
    ],
)
def test_what_would_cost_too_much(tmp_path, content, match) -> None:
    refused_pickle(tmp_path, content, match)


@BOTH
def test_what_is_just_not_too_much(tmp_path, form) -> None:
    found = read_pickle(tmp_path, deep(200), form)
    for _ in range(199):
        (found,) = found
    assert found == []
    content = b"N" + b"2\x86" * 22 + b"."
    assert len(read_pickle(tmp_path, content, form)) == 2
    # Deep in what is dropped, and in a state that is not kept.
    content = b"cm\nC\n)\x81" + b"]" * 9999 + b"a" * 9998 + b"b."
    assert read_pickle(tmp_path, content, form) == Placeholder("m", "C")


def test_bounds_of_pickles(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pickle_machine, "_MAX_OPCODES", 1000)
    refused_pickle(tmp_path, b"N0" * 600 + b"N.", "it has over 1000 opcodes")
    monkeypatch.setattr(torch_file, "_MAX_PICKLE", 2000)
    content = pickle.dumps("x" * 3000, 2)
    path = save_pickle(tmp_path / "x.pth", content, "zip")
    refused(path, r"data\.pkl' must have at most 2000 bytes, has 3")
    path = save_pickle(tmp_path / "x.pth", content, "legacy")
    refused(path, "damaged: expected 3000 bytes in a unicodestring4")


@BOTH
@pytest.mark.parametrize(
    ("args", "match"),
    [
        ({"shape": (13,)}, "beyond its storage"),
        ({"shape": (12,), "offset": 1}, "beyond its storage"),
        ({"shape": (3, 4), "strides": (4, 2)}, "beyond its storage"),
        ({"shape": (), "strides": (), "offset": 12}, "beyond its storage"),
        ({"shape": (2**40, 2), "strides": (1, 0)}, "beyond its storage"),
        ({"shape": (2,), "strides": (2**48,)}, "beyond its storage"),
        ({"shape": (2**25,), "strides": (0,)}, "repeats its elements 33554432"),
        ({"shape": (2,), "strides": (-1,), "offset": 5}, r"from 0 to 2\*\*48"),
        ({"shape": (2,), "offset": -1}, r"from 0 to 2\*\*48"),
        ({"shape": (-2,), "strides": (1,)}, r"from 0 to 2\*\*48"),
        ({"shape": (2**63,), "strides": (0,)}, r"from 0 to 2\*\*48"),
        ({"shape": (0, 2**40, 2**40)}, r"from 0 to 2\*\*48"),
        ({"shape": (0, 2**62), "strides": (1, 1)}, r"from 0 to 2\*\*48"),
        ({"shape": (2,), "strides": (2**200,)}, r"from 0 to 2\*\*48"),
        ({"shape": (2,), "offset": True}, r"from 0 to 2\*\*48"),
        ({"shape": (2,), "offset": 1.0}, r"from 0 to 2\*\*48"),
        ({"shape": ("2",), "strides": (1,)}, r"from 0 to 2\*\*48"),
        ({"shape": (2,), "strides": (1, 1)}, "1 dimensions has 2 strides"),
        ({"shape": (1,) * 33}, "over 32 dimensions"),
        ({"shape": (2,), "extra": (False, None, {"neg": True})}, "plain view"),
        ({"shape": (2,), "storage": 3}, "plain view of a storage"),
        ({"shape": (2,), "extra": (1, 2, 3, 4, 5)}, "damaged"),
    ],
)
def test_tensors_stay_within_their_storage(tmp_path, form, args, match) -> None:
    storage = Storage(np.zeros(12, np.float32))
    path = save(tmp_path / "x.pth", Tensor(**{"storage": storage} | args), form)
    refused(path, match)
    path = save(tmp_path / "y.pth", {"a": [parameter(3)]}, form)
    refused(path, "parameter in it is no tensor")


@pytest.mark.parametrize(
    ("count", "zip_match", "legacy_match"),
    [
        (13, "storage 0 must have 52 bytes, has 48", "13 elements, has 12"),
        (11, "'archive/data/0' must have at most 44 ", "11 elements, has 12"),
        (0, "'archive/data/0' must have at most 0 ", "0 elements, has 12"),
        (2**48, "must have 1125899906842624 bytes", f"{2**48} elements, has"),
        (2**48 + 1, r"from 0 to 2\*\*48", r"from 0 to 2\*\*48"),
        (2**80, r"from 0 to 2\*\*48", r"from 0 to 2\*\*48"),
        (-12, r"from 0 to 2\*\*48", r"from 0 to 2\*\*48"),
        ("12", r"from 0 to 2\*\*48", r"from 0 to 2\*\*48"),
    ],
)
def test_storages_have_the_size_that_is_declared(
    tmp_path, count, zip_match, legacy_match
) -> None:
    storage = Storage(np.zeros(12, np.float32), count=count)
    path = save(tmp_path / "x.pth", storage, "zip")
    refused(path, zip_match)
    path = save(tmp_path / "x.pth", storage, "legacy")
    refused(path, legacy_match)


@BOTH
@pytest.mark.parametrize(
    "key", ["", "..", "../../version", "/etc/passwd", "a/b", "0\n", "x" * 65]
)
def test_keys_of_storages_are_no_paths(tmp_path, form, key) -> None:
    path = save(tmp_path / "x.pth", Storage(np.zeros(3), key=key), form)
    refused(path, "key of a storage is not a plain one")


@BOTH
def test_storages_of_one_key_are_one(tmp_path, form) -> None:
    array = np.zeros(4, np.int32)
    for other in (
        Storage(array.view(np.float32), key="7"),
        Storage(array[:3], key="7"),
    ):
        path = save(tmp_path / "x.pth", [Storage(array, key="7"), other], form)
        refused(path, "it has two storages 7")


@BOTH
@pytest.mark.parametrize("kind", ["ComplexFloatStorage", "QInt8Storage", "X"])
def test_unknown_types_of_elements_are_named(tmp_path, form, kind) -> None:
    path = save(tmp_path / "x.pth", Storage(np.zeros(1), kind), form)
    refused(path, rf"elements of the unknown type torch\.{kind}")


@pytest.mark.parametrize(
    "keys", [[], ["0"], ["0", "1", "2"], ["0", "1", "1"], [0, 1], ("0", "1"), 5]
)
def test_the_plain_form_lists_its_storages(tmp_path, keys) -> None:
    value = [tensor(np.ones(2)), tensor(np.zeros(3))]
    content = save(tmp_path / "x.pth", value, "legacy").read_bytes()
    listed = pickle.dumps(["0", "1"], 2)
    assert content.count(listed) == 1
    path = tmp_path / "y.pth"
    path.write_bytes(content.replace(listed, pickle.dumps(keys, 2)))
    refused(path, "does not list the storages of its tensors|damaged: '<'")


def test_numpy_objects_that_are_none(tmp_path) -> None:
    def dtype(name: Any, state: Any = None) -> Call:
        return Call(Name("numpy", "dtype"), (name, False, True), state)

    def array(*state: Any, kind: Any = None) -> Call:
        kind = kind or Name("numpy", "ndarray")
        function = Name("numpy.core.multiarray", "_reconstruct")
        return Call(function, (kind, (0,), b"b"), state)

    def scalar(kind: Any, content: Any) -> Call:
        return calling("numpy.core.multiarray", "scalar", kind, content)

    f8 = dtype("f8")
    for value, match in (
        (dtype("O8"), "NumPy dtype in it is not a plain one"),
        (dtype("V8"), "NumPy dtype in it is not a plain one"),
        (dtype("f8,f8"), "NumPy dtype in it is not a plain one"),
        (dtype(3), "NumPy dtype in it is not a plain one"),
        (dtype("i4", (3, "<", ("x",), None, None)), "dtype in it is not a pl"),
        (dtype("i4", (3, "?", None, None, None)), "dtype in it is not a plain"),
        (dtype("i4", ()), "damaged"),
        (scalar(f8, b"1234567"), "damaged"),
        (scalar(f8, b"1" * 16), "damaged"),
        (scalar(f8, b""), "damaged"),
        (scalar("f8", b"12345678"), "damaged"),
        (scalar(dtype("S999999999"), b"1"), "damaged"),
        (array(1, (2,), f8, False, b"1" * 15), "does not have its size"),
        (array(1, (2,), f8, False, [1.0, 2.0]), "does not have its size"),
        (array(1, (-2, -1), f8, False, b"1" * 16), r"from 0 to 2\*\*48"),
        (array(1, (2**48, 2**48, 0), f8, False, b""), r"from 0 to 2\*\*48"),
        (array(1, (1,) * 33, f8, False, b"1" * 8), "over 32 dimensions"),
        (array(1, (1,), "f8", False, b"1" * 8), "damaged"),
        (array(1), "damaged"),
        (array(kind=Name("os", "system")), "NumPy array in it is not a plain"),
        (calling("_codecs", "encode", "x", "rot13"), "written in an unknown"),
        (calling("_codecs", "encode", "€", "latin1"), "damaged"),
        (calling("builtins", "complex", "1", "2"), "damaged"),
        (calling("torch", "device", "cuda", []), r"from 0 to 2\*\*48"),
        (calling("torch", "device", "not one"), "a name in it is none"),
    ):
        refused(save(tmp_path / "x.pth", value), match)


# === Damaged archives ===


def archive(folder: Path) -> tuple[Path, bytearray]:
    """A small archive with one tensor, and its content to damage."""
    value = {"w": tensor(np.arange(12, dtype=np.float32))}
    path = save(folder / "x.pth", value)
    return path, bytearray(path.read_bytes())


def entry(data: bytes, name: str) -> int:
    """Where the table of contents tells of a member."""
    return data.rindex(name.encode()) - 46


def test_members_of_the_same_name_are_refused(tmp_path) -> None:
    path, _ = archive(tmp_path)
    with zipfile.ZipFile(path, "a") as stream, pytest.warns(match="Duplicate"):
        stream.writestr("archive/data/0", bytes(48))
    refused(path, "two members have the same name")


def test_a_missing_member_is_named(tmp_path) -> None:
    content, _ = pickled({"w": tensor(np.arange(3.0))})
    path = write_zip(tmp_path / "x.pth", content, {"1": bytes(24)})
    refused(path, "it has no member 'archive/data/0'")


def test_paths_in_an_archive_lead_nowhere(tmp_path) -> None:
    content, storages = pickled({"w": tensor(np.arange(3.0))})
    secret = tmp_path / "0"
    secret.write_bytes(bytes(24))
    for name in (str(secret), "archive/data/../data/0", "../0", "0"):
        members = {"archive/data.pkl": content, name: bytes(24)}
        path = write_members(tmp_path / "x.pth", members)
        refused(path, "it has no member 'archive/data/0'")
    # Whatever else is there is not looked at, and nothing is unpacked.
    members = {"archive/data.pkl": content, "../../x": b"x", "/y": b"y"}
    members["archive/data/0"] = raw(storages)["0"]
    found = read_torch_file(write_members(tmp_path / "x.pth", members))
    np.testing.assert_array_equal(found["w"], [0, 1, 2])
    assert sorted(os.listdir(tmp_path)) == ["0", "x.pth"]


@pytest.mark.parametrize(
    ("offset", "value", "match"),
    [
        (8, b"\x01\x00", "packed in an unknown way"),  # encrypted
        (10, b"\x63\x00", "packed in an unknown way"),
        (10, b"\x08\x00", "damaged"),  # said to be deflated
        (20, b"\x2f\x00\x00\x00", "is not where the archive says"),
        (20, b"\xff\xff\xff\x7f", "is not where the archive says"),
        (24, b"\x2f\x00\x00\x00", "is not where the archive|must have 48 b"),
        (24, b"\xff\xff\xff\x7f", "at most 48 bytes, has 2147483647"),
        (42, b"\x00\x00\x00\x70", "is not where the archive says"),
        (42, b"\x05\x00\x00\x00", "is not where the archive says"),
    ],
)
def test_a_table_of_contents_that_lies(tmp_path, offset, value, match) -> None:
    path, data = archive(tmp_path)
    start = entry(data, "archive/data/0") + offset
    data[start : start + len(value)] = value
    path.write_bytes(data)
    refused(path, match)


def test_a_member_that_reaches_beyond_the_file(tmp_path) -> None:
    storage = Storage(np.zeros(12, np.float32), count=2**20)
    path = save(tmp_path / "x.pth", storage)
    data = bytearray(path.read_bytes())
    start = entry(data, "archive/data/0") + 20
    data[start : start + 8] = struct.pack("<II", 2**22, 2**22)
    path.write_bytes(data)
    refused(path, "'archive/data/0' is not where the archive says")


def test_what_inflates_without_end_is_stopped(tmp_path, monkeypatch) -> None:
    # 64 MB of zeros in 64 kB, said to be 48 bytes.
    storage = Storage(np.zeros(12, np.float32))
    content, _ = pickled(storage)
    members = {"a/data.pkl": content, "a/data/0": bytes(2**26)}
    path = write_members(tmp_path / "x", members, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    start = entry(data, "a/data/0") + 24
    data[start : start + 4] = struct.pack("<I", 48)
    path.write_bytes(data)
    tracemalloc.start()
    try:
        refused(path, "damaged: Bad CRC-32")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2e6
    # More than there is, said to be whole.
    storage = Storage(np.zeros(12, np.float32), count=13)
    content, _ = pickled(storage)
    members = {"a/data.pkl": content, "a/data/0": bytes(48)}
    path = write_members(tmp_path / "x", members, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    start = entry(data, "a/data/0") + 24
    data[start : start + 4] = struct.pack("<I", 52)
    path.write_bytes(data)
    refused(path, "storage 0 must have 52 bytes, has 48")
    # What says its true size is stopped by the sum of all.
    monkeypatch.setattr(torch_file, "_MAX_INFLATED", 2**20)
    value = [Storage(np.zeros(100_000)), Storage(np.zeros(100_000))]
    content, storages = pickled(value)
    members = {"a/data.pkl": content}
    members |= {f"a/data/{key}": data for key, data in raw(storages).items()}
    path = write_members(tmp_path / "x", members, zipfile.ZIP_DEFLATED)
    refused(path, "compressed members have more than 1048576 bytes")


@BOTH
def test_a_file_cut_anywhere_is_noticed(tmp_path, form) -> None:
    value = {"state_dict": {"w": tensor(np.arange(4, dtype=np.float32))}}
    content = save(tmp_path / "x.pth", value, form).read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        # What is left may end in what looks like another archive.
        with pytest.raises(ValueError, match="`path` must be a PyTorch check"):
            read_torch_file(path)
        assert is_torch_file(path) in (False, form == "legacy" and length > 14)


@BOTH
def test_changed_bytes_give_one_kind_of_error(tmp_path, form) -> None:
    value = {
        "w": tensor(np.arange(4, dtype=np.float32)),
        "meta": {
            "f": np.float64(1),
            "a": np.arange(2),
            "n": Call(Name("m", "C")),
        },
    }
    content = save(tmp_path / "x.pth", value, form, 4).read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / "changed.pth"
    refusals = 0
    for _ in range(400):
        data = bytearray(content)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        assert is_torch_file(path) in (True, False)
        try:
            read_torch_file(path)
        except ValueError as error:
            assert "`path` must be a PyTorch checkpoint (" in str(error)
            refusals += 1
    assert refusals > 100
