"""Tests of the reader of Paddle's files, whole, broken and hostile."""

import builtins
import codecs
import importlib
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_pickles import NO_PICKLE_OF_PYTORCH, TOO_MUCH
from paddle_files import NOTE, write_paddle
from torch_files import Call, Name, Storage, pickled
from torch_reading import calling

from keras_pspnet.convert import pickle_machine
from keras_pspnet.convert.paddle_file import is_paddle_file, read_paddle_file

PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3, 4])
HELPERS = Path(__file__).parents[1] / "helpers"
RNG = np.random.default_rng(0)
STATE = {
    "head.conv.weight": RNG.normal(size=(3, 4, 1, 1)).astype("float32"),
    "head.conv.bias": RNG.normal(size=3),
    "half": RNG.normal(size=(2, 5)).astype("float16"),
    "steps": np.array(40000),
    "transposed": np.asfortranarray(RNG.normal(size=(4, 5))),
    "big-endian": np.arange(3, dtype=">f4"),
    "every byte": np.arange(256, dtype="uint8"),
}


def refused(path: Path, match: str) -> None:
    """Reading must fail in one way only, with `match` for its reason."""
    with pytest.raises(ValueError) as caught:
        read_paddle_file(path)
    assert type(caught.value) is ValueError
    message = str(caught.value)
    start = r"`path` must be a state_dict\(\) that paddle\.save wrote \("
    end = rf"\)\. Received: path='{re.escape(str(path))}'"
    assert re.fullmatch(f"{start}.*({match}).*{end}", message), message
    assert len(message) < 500 + len(str(path))


def refused_pickle(folder: Path, content: bytes, match: str) -> None:
    path = folder / "x.pdparams"
    path.write_bytes(content)
    refused(path, match)


# === What is there ===


@PROTOCOLS
def test_arrays_come_back_as_they_were(tmp_path, protocol: int) -> None:
    path = write_paddle(tmp_path / "x.bin", STATE, protocol)
    assert is_paddle_file(path)
    found = read_paddle_file(path)
    # Paddle's own notes are left out.
    assert set(found) == set(STATE)
    for name, array in STATE.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert not found[name].flags.writeable


def test_numpy_1_spells_its_modules_otherwise(tmp_path) -> None:
    path = write_paddle(tmp_path / "x", STATE, 2)
    content = path.read_bytes()
    assert content.count(b"numpy._core.multiarray") == 1
    path.write_bytes(content.replace(b"numpy._core.", b"numpy.core."))
    found = read_paddle_file(path)
    np.testing.assert_array_equal(found["half"], STATE["half"])


def test_arrays_larger_than_the_limit_of_copies(tmp_path, monkeypatch) -> None:
    # What a file holds may be copied once, however large it is.
    from keras_pspnet.convert import paddle_file

    monkeypatch.setattr(paddle_file, "MAX_COPIED", 0)
    array = RNG.normal(size=5000)
    path = write_paddle(tmp_path / "x", {"a": array}, 2)
    np.testing.assert_array_equal(read_paddle_file(path)["a"], array)


# === What is none ===


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html></html>", "it is a web page"),
        (RNG.bytes(100).replace(b"\x80", b"x"), "does not begin like one"),
        (pickle.dumps({}, 0), "does not begin like one"),
        (pickle.dumps({}, 5), "does not begin like one"),
        (pickle.dumps([np.zeros(3)], 4), "it does not hold a dict"),
        (pickle.dumps({3: np.zeros(3)}, 4), "a name in it is not a string"),
        (pickle.dumps({"a": [1.0]}, 4), "'a' in it is not an array"),
        (pickle.dumps({"a" * 500: 1.0}, 4), "a' in it is not an array"),
        (
            pickle.dumps({"a": {"b": np.zeros(3)}}, 4),
            "'a' in it is not an array",
        ),
        (pickle.dumps({"a": np.zeros(3)}, 4) + b"?", "follows its end"),
    ],
)
def test_what_is_no_state_is_refused(tmp_path, content, match) -> None:
    refused_pickle(tmp_path, content, match)


@PROTOCOLS
def test_a_cut_file_is_refused_wherever_it_was_cut(tmp_path, protocol) -> None:
    path = write_paddle(tmp_path / "x", STATE, protocol)
    content = path.read_bytes()
    for end in [2, 3, 10, *range(20, len(content), 97), len(content) - 1]:
        refused_pickle(
            tmp_path, content[:end], "damaged|does not hold a dict|refers"
        )


def test_a_changed_byte_is_refused_or_harmless(tmp_path) -> None:
    path = write_paddle(tmp_path / "x", STATE, 2)
    content = path.read_bytes()
    outcomes = set()
    for place in range(2, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            found = read_paddle_file(path)
        except ValueError as error:
            assert type(error) is ValueError
            outcomes.add("refused")
        else:
            assert all(type(each) is np.ndarray for each in found.values())
            outcomes.add("read")
    assert outcomes == {"refused", "read"}


def test_a_file_that_is_too_large(tmp_path) -> None:
    path = tmp_path / "x"
    with open(path, "wb") as stream:
        stream.write(b"\x80\x04")
        stream.truncate(2**31 + 1)
    refused(path, "it has 2147483649 bytes, over 2147483648")


# === What wants something run ===


def tensor_of_paddle(array: np.ndarray) -> Call:
    """How Paddle pickles its tensors outside of a state_dict()."""
    return calling("builtins", "eval", "data", {"data": array})


@PROTOCOLS
@pytest.mark.parametrize(
    ("value", "offender"),
    [
        (tensor_of_paddle(np.zeros(3)), "builtins.eval"),
        (calling("builtins", "tuple", ("w_0", np.zeros(3))), "builtins.tuple"),
        (calling("collections", "OrderedDict"), "collections.OrderedDict"),
        (calling("os", "system", "true"), "os.system"),
        (calling("builtins", "exec", "1"), "builtins.exec"),
        (calling("builtins", "getattr", Name("os", "x"), "system"), "getattr"),
        (calling("numpy", "load", "x"), "numpy.load"),
        (calling("numpy", "ndarray", (3,)), "numpy.ndarray"),
        (calling("builtins", "bytearray", b"x"), "builtins.bytearray"),
        (calling("builtins", "set", [1]), "builtins.set"),
        (calling("torch", "device", "cpu"), "torch.device"),
        (calling("mylib", "Config", 1), "mylib.Config"),
        (calling("numpy.core.multiarray", "scalar", 1, b"x"), "scalar"),
        (calling("numpy.core.numeric", "_frombuffer", b"x"), "_frombuffer"),
        (calling("numpy.core.multiarray", "fromfile", "x"), "fromfile"),
        (calling("numpy", "dtype.fromhex", "x"), "numpy.dtype.fromhex"),
    ],
)
def test_only_arrays_are_made_and_the_offender_is_named(
    tmp_path, value: Any, offender: str, protocol: int
) -> None:
    content, _ = pickled({"a": value}, protocol)
    way_out = r"; paddle\.save\(network\.state_dict\(\), path\) writes a file"
    match = f"uses .*{re.escape(offender)}, which no .* needs{way_out}"
    refused_pickle(tmp_path, content, match)


def opcodes(shell: str, python: str) -> dict[str, bytes]:
    """Each way a pickle has to call; Python would run all of them."""
    return {
        "REDUCE": f"cos\nsystem\n(V{shell}\ntR.".encode(),
        "REDUCE of eval": f"c__builtin__\neval\n(V{python}\ntR.".encode(),
        "INST": f"(V{shell}\nios\nsystem\n.".encode(),
        "OBJ": f"(cos\nsystem\nV{shell}\no.".encode(),
        "NEWOBJ": b"csubprocess\nPopen\n("
        + f"(lVsh\naV-c\naV{shell}\nat\x81.".encode("latin-1"),
        "dropped again": f"cos\nsystem\n(V{shell}\ntR0}}.".encode(),
    }


@pytest.mark.parametrize("name", opcodes("", ""))
def test_nothing_runs(tmp_path, monkeypatch, name: str) -> None:
    canary = tmp_path / "canary"
    python = f"open({str(canary)!r}, 'w').close()"
    content = b"\x80\x02" + opcodes(f"touch '{canary}'", python)[name]
    path = tmp_path / "x.pdparams"
    path.write_bytes(content)

    def no_import(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("imported something")

    # What the standard library imports at its first use in a process.
    codecs.lookup("raw_unicode_escape")
    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", no_import)
        patch.setattr(builtins, "__import__", no_import)
        with pytest.raises(ValueError) as caught:
            read_paddle_file(path)
    assert "which no state_dict() needs" in str(caught.value)
    assert not canary.exists()


def test_a_name_that_nothing_is_done_with_is_no_array(tmp_path) -> None:
    content, _ = pickled({"a": Name("os", "system")})
    refused_pickle(tmp_path, content, "'a' in it is not an array")


def test_storages_are_pytorchs(tmp_path) -> None:
    content, _ = pickled({"a": Storage(np.zeros(3, "float32"))})
    refused_pickle(tmp_path, content, "storages, as PyTorch's files do")


@pytest.mark.parametrize(("content", "match"), NO_PICKLE_OF_PYTORCH)
def test_what_no_pickle_of_arrays_has(tmp_path, content, match) -> None:
    refused_pickle(tmp_path, b"\x80\x02" + content, match)


def test_bounds_of_pickles(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pickle_machine, "_MAX_OPCODES", 100)
    content = b"\x80\x02" + b"N0" * 60 + b"}."
    refused_pickle(tmp_path, content, "it has over 100 opcodes")


# === What wants too much ===


def many_copies() -> bytes:
    """One text of a megabyte, encoded 300 times."""
    text = b"X" + (2**20).to_bytes(4, "little") + b"x" * 2**20
    return (
        b"c_codecs\nencode\nq\x00" + text + b"Vlatin1\n\x86q\x010"
        b"](" + b"h\x00h\x01R" * 300 + b"e."
    )


def huge_array(shape: bytes) -> bytes:
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n)"
    array += b"C\x01btRcnumpy\ndtype\nVf8\n\x85Rq\x000"
    return array + b"(K\x01" + shape + b"h\x00\x89C\x00tb."


HOSTILE = {
    "copies": (many_copies(), "makes too many copies"),
    "bytes": (b"\x8e" + b"\xff" * 7 + b"\x0fabc.", "damaged: expected"),
    "text": (b"\x8d" + b"\xff" * 7 + b"\x0fabc.", "damaged: expected"),
    "frame": (b"\x95" + b"\xff" * 7 + b"\x0f}.", "read|damaged"),
    "array": (
        huge_array(b"\x8a\x06" + bytes(5) + b"\x01\x85"),
        "does not have its size",
    ),
    "overflow": (
        huge_array(b"\x8a\x07" + bytes(6) + b"\x02\x85"),
        r"from 0 to 2\*\*48",
    ),
    "unfolding": (b"N" + b"2\x86" * 40 + b".", "unfolds to over 16777216"),
    "many names": (b"}(" + b"K\x01K\x02" * 2**21 + b"u.", "opcodes|no text"),
    **{
        f"too much {index}": (content, ".")
        for index, (content, _) in enumerate(TOO_MUCH)
    },
}


@pytest.mark.long
def test_nothing_takes_more_than_there_is(tmp_path) -> None:
    expected = {}
    for name, (content, match) in HOSTILE.items():
        path = tmp_path / f"{name}.pdparams"
        path.write_bytes(b"\x80\x02" + content)
        expected[str(path)] = match
    done = subprocess.run(
        [sys.executable, HELPERS / "hostile_run.py", str(2**29), "60"]
        + list(expected),
        stdout=subprocess.PIPE,
        cwd=HELPERS.parents[1],
        text=True,
        timeout=300,
    )
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(HOSTILE)
    for line in lines:
        if Path(line["path"]).stem == "frame":
            # Python's own reader does not trust the length either.
            assert line["error"] in ("none", "ValueError"), line
            continue
        assert line["error"] == "ValueError", line
        assert re.search(expected[line["path"]], line["message"]), line


def test_notes_are_recognized_by_their_ending(tmp_path) -> None:
    assert NOTE.endswith("@@")
    content = pickle.dumps({"a@@": 3, "b": np.ones(2)}, 4)
    path = tmp_path / "x"
    path.write_bytes(content)
    assert set(read_paddle_file(path)) == {"b"}
