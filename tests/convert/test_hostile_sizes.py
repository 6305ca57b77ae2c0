"""Tests of pickles that want too much: memory, time, what is not theirs."""

import pickle
from typing import Any

import numpy as np
import pytest
from hostile_pickles import TOO_MUCH, deep
from torch_files import (
    Call,
    Name,
    Storage,
    Tensor,
    parameter,
    save,
    save_pickle,
    tensor,
)
from torch_reading import BOTH, calling, read_pickle, refused, refused_pickle

from keras_pspnet.convert import pickle_machine, torch_file
from keras_pspnet.convert.pickle_values import Placeholder


@pytest.mark.parametrize(("content", "match"), TOO_MUCH)
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
    refused(path, "parameter in it is not a tensor")


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
        (calling("torch", "device", "not one"), "a name in it is invalid"),
    ):
        refused(save(tmp_path / "x.pth", value), match)
