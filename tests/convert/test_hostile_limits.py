"""Tests of hostile files in a process that has little memory and time.

They are refused there for what they are, not because something ran out.
"""

import itertools
import json
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hostile_pickles import NO_PICKLE_OF_PYTORCH, TOO_MUCH
from torch_files import (
    FORMS,
    Storage,
    pickled,
    save,
    save_pickle,
    tensor,
    write_zip,
)
from torch_reading import read_pickle, refused, refused_pickle

from keras_pspnet.convert.pickle_values import Placeholder

pytestmark = pytest.mark.long

MEMORY = 2**30
SECONDS = 60
HELPERS = Path(__file__).parents[1] / "helpers"
# Integers that are this far apart have the same hash.
PERIOD = sys.hash_info.modulus
# A reference to a storage of one element, and what makes a tensor of it.
REFERENCE = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nK\x01t"
VIEW = REFERENCE + b"Qq\x050(h\x05K\x00(K\x01tq\x03h\x03t"
TENSOR = b"ctorch._utils\n_rebuild_tensor\n" + VIEW + b"R"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n)C\x01btR"
# 2 ** 40 values, which a comparison goes through one by one.
UNFOLDING = b"N" + b"2\x86" * 40


def many(opcodes: bytes, start: bytes = b"") -> bytes:
    """More of something than a file may have, in a list."""
    return start + b"](" + opcodes * (2**20 + 1) + b"e."


def tuples_of_one_hash() -> bytes:
    """A dict with tuples of -1 and -2 for keys; both have the hash -2."""
    numbers = b"J\xff\xff\xff\xffq\x000J\xfe\xff\xff\xffq\x010"
    keys = itertools.product((b"h\x00", b"h\x01"), repeat=16)
    items = b"".join(b"(" + b"".join(key) + b"tNs" for key in keys)
    return numbers + b"}" + items + b"."


# Pickles that take much, and why they are refused.
HEAVY = [
    (many(b"\x8f"), "too many copies"),
    (tuples_of_one_hash(), "too many copies"),
    (
        b"N" + b"".join(b"p%d\n" % (i * PERIOD) for i in range(2**20)) + b".",
        "an index in it is not below 4194304",
    ),
]
# The same limits, reached in ways that take longer to read.
HEAVIER = [
    (many(b"h\x00Q", REFERENCE + b"q\x000"), "too many copies"),
    (
        many(
            b"h\x01h\x00R",
            VIEW + b"q\x000ctorch._utils\n_rebuild_tensor\nq\x010",
        ),
        "too many copies",
    ),
    # Deep, and only then dropped: it ends without a recursion too.
    (b"]" * 2**20 + b"a" * (2**20 - 1) + b"0.", "damaged"),
    (b"(" * 2**20 + b".", "damaged"),
]
ATTACKS = [
    # Indices of the memo.
    (b"Nr\xff\xff\xff\xff.", "an index in it is not below"),
    (b"Np%d\n." % 10**99, "an index in it is not below"),
    (b"Np-1\n.", "an index in it is not below"),
    (b"g%s\n." % (b"9" * 4000), "damaged"),
    (b"g%s\n." % (b"9" * 5000), "damaged"),
    (b"h\x07.", "damaged"),
    (b"\x94.", "damaged"),
    # Text that is not as a pickler writes it.
    (b"Sx\n.", "damaged"),
    (b"S'x\n.", "damaged"),
    (b"S'\\x'\n.", "damaged"),
    (b"S'x", "damaged"),
    (b"V\\u12\n.", "damaged"),
    (b"X\x01\x00\x00\x00\xff.", "damaged"),
    (b"I0x" + b"f" * 2**20 + b"\n.", "damaged"),
    (b"L-" + b"1" * 2**20 + b"L\n.", "damaged"),
    (b"F1e\n.", "damaged"),
    (b"\x8b\xff\xff\xff\xff.", "damaged"),
    (b"\x8b\x00\x00\x10\x00" + b"\x01" * 2**20 + b".", "over 1024 bits"),
    # Names.
    (b"ctorch\n_utils._rebuild_tensor\n" + VIEW + b"R.", "which no state_dict"),
    (b"ctorch\n_utils._rebuild_tensor\n)\x81.", "which no state_dict"),
    (b"V__main__\nV__builtins__.eval\n\x93)R.", "which no state_dict"),
    (b"cos\nsystem.__call__\n(V1\ntR.", r"uses os\.system\.__call__, which"),
    (b"V\xef\xbd\x8f\xef\xbd\x93\nVsystem\n\x93)R.", "name in it is invalid"),
    (b"X\x06\x00\x00\x00\xef\xbd\x8f\xef\xbd\x93Vsystem\n\x93)R.", "no state_"),
    (b"cos\nsystem\x00\n.", "a name in it is invalid"),
    (b"V__reduce__\n)R.", "calls something that has no name"),
    (b"Vos\nNV\x93.", "damaged"),
    (b"NVsystem\n\x93.", "a name in it is invalid"),
    (b"cm\nC\nVx\n" + b"cbuiltins\ngetattr\nNN\x86R.", "builtins.getattr"),
    (b"ctorch\ndevice\nV" + b"a" * 300 + b"\n\x85R.", "name in it is invalid"),
    # Calls of what was made, and changes to it.
    (b"}q\x00)R.", "calls something that has no name"),
    (b"}q\x00)\x81.", "calls something that has no name"),
    (b"(}K\x01o.", "calls something that has no name"),
    (b"(o.", "damaged"),
    (b"cm\nC\n}}\x92.", "calls something that has no name"),
    (TENSOR + b")R.", "calls something that has no name"),
    (TENSOR + b"Na.", "changes a Tensor in an unknown way"),
    (TENSOR + b"NNs.", "changes a Tensor in an unknown way"),
    (TENSOR + b"(N\x90.", "changes a Tensor in an unknown way"),
    (TENSOR + b"}b.", "changes a Tensor in an unknown way"),
    (REFERENCE + b"Q(NNu.", "changes a Part in an unknown way"),
    (ARRAY + b"(NNu.", "changes a NumpyArray in an unknown way"),
    (ARRAY + b"(Ne.", "changes a NumpyArray in an unknown way"),
    (ARRAY + b"N}Vshape\nNs\x86b.", "damaged"),
    (b"}N}V__class__\nNs\x86b.", "changes a dict in an unknown way"),
    (b"]N}Vappend\nNs\x86b.", "changes a list in an unknown way"),
    (b"(t}b.", "changes a tuple in an unknown way"),
    (b"\x8f}b.", "changes a set in an unknown way"),
    (b"\x8f(]\x90.", "a key in it is not a plain one"),
    (b"\x8fNa.", "changes a set in an unknown way"),
    (b"]K\x00Ns.", "changes a list in an unknown way"),
    (b"Vx\n(NNu.", "changes a str in an unknown way"),
    (b"ccollections\nOrderedDict\n)R}bNa.", "changes a dict in an unknown"),
    # Marks.
    (b"1.", "damaged"),
    (b"(.", "damaged"),
    (b"N(1(11.", "damaged"),
    (b"](a.", "damaged"),
    (b"N(R.", "damaged"),
    # What holds itself.
    (b"]q\x00(h\x00ta.", "something in it holds itself"),
    (b"]q\x00h\x00\x85q\x01a.", "something in it holds itself"),
    (b"ccollections\nOrderedDict\n)Rq\x00Nh\x00s.", "something in it holds"),
    (b"}](h\x00ts.", "damaged"),
    # Keys.
    (b"}]q\x000h\x00\x85Ns.", "a key in it is not a plain one"),
    (b"}]q\x00h\x00\x85q\x01a0h\x01Ns.", "a key in it is not a plain one"),
    (b"(]\x91.", "a key in it is not a plain one"),
    (b"(}\x91.", "a key in it is not a plain one"),
    (b"((N\x91\x91.", "a key in it is not a plain one"),
    (b"}" + TENSOR + b"Ns.", "a key in it is not a plain one"),
    (b"}((NttNs.", "a key in it is not a plain one"),
    (b"}(" + b"N" * 17 + b"tNs.", "a key in it is not a plain one"),
    (b"}L%dL\nNs." % (5 * PERIOD), "a key in it is not a plain one"),
    (b"}(L%dL\ntNs." % -(5 * PERIOD), "a key in it is not a plain one"),
    (b"(]Nd.", "a key in it is not a plain one"),
    (b"(Nd.", "damaged"),
    (b"cbuiltins\nset\n(](]et\x85R.", "damaged|not a plain one"),
    (b"ccollections\nOrderedDict\n(](]N\x86etR.", "not a plain one"),
    # Values that calls are given.
    (b"ccollections\nOrderedDict\nVab\n\x85R.", "damaged"),
    (b"cbuiltins\ncomplex\nK\x01" + UNFOLDING + b"\x86R.", "damaged"),
    (b"c_codecs\nencode\nVx\n" + UNFOLDING + b"\x86R.", "in an unknown way"),
    (b"c_codecs\nencode\nVx\nVutf-8\n\x86R.", "in an unknown way"),
    (b"c_codecs\nencode\nVx\nVunicode_escape\n\x86R.", "in an unknown way"),
    (b"cbuiltins\nbytearray\n](NNe\x85R.", "in an unknown way"),
    (b"ctorch\nSize\nK\x01\x85R.", "damaged"),
    (b"cnumpy\ndtype\nVf8\n\x85RNb.", "damaged"),
    (b"cnumpy\ndtype\nVS0\n\x85Rq\x000cnumpy.core.multiarray\nscalar\n"
     b"h\x00C\x00\x86R.", "damaged"),
    (b"cnumpy\ndtype\nVU1\n\x85Rq\x000cnumpy.core.multiarray\nscalar\n"
     b"h\x00C\x04\xff\xff\xff\xff\x86R.", "damaged"),
    (b"(Vstorage\n" + UNFOLDING + b"VX\n0tQ.", "refers to something unknown"),
    (UNFOLDING + b"Q.", "refers to something unknown"),
    (UNFOLDING + b".", "it unfolds to over 16777216 values"),
    (REFERENCE[:-1] + UNFOLDING + b"tQ.", "damaged|unknown"),
    (REFERENCE[:-1] + b"(NNNNttQ.", "damaged|unknown"),
    # Opcodes that are none of a checkpoint, or of no pickle.
    (b"P\n.", "the opcode PERSID, which no state_dict"),
    (b"\x98.", "the opcode READONLY_BUFFER, which no state_dict"),
    (b"\x99.", "damaged"),
    (b"\x00.", "damaged"),
]  # fmt: skip


def at_hand(paths: Iterable[Path]) -> dict[str, tuple[str, str]]:
    """Path -> the kind of error and what it says, read within limits."""
    done = subprocess.run(
        [
            *(sys.executable, HELPERS / "hostile_run.py"),
            *(str(MEMORY), str(SECONDS), *map(str, paths)),
        ],
        stdout=subprocess.PIPE,
        cwd=HELPERS.parents[1],
        text=True,
        timeout=540,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    # Whoever took too much time was the last to be read.
    assert done.returncode == 0, found[-1:]
    return {each["path"]: (each["error"], each["message"]) for each in found}


def lists_that_unfold(path: Path) -> Path:
    """A file whose list of storages takes for ever to be sorted."""
    value = [tensor(np.ones(2)), tensor(np.zeros(3))]
    content = save(path, value, "legacy").read_bytes()
    listed = pickle.dumps(["0", "1"], 2)
    assert content.count(listed) == 1
    hostile = b"]" + UNFOLDING + b"a" + UNFOLDING + b"a."
    path.write_bytes(content.replace(listed, hostile))
    return path


def members_that_overlap(path: Path) -> Path:
    """An archive whose storages, 2 GB as float32, are the same 16 MB."""
    half = np.broadcast_to(np.uint16(0), 2**23)
    value = [Storage(half, "BFloat16Storage") for _ in range(64)]
    content, _ = pickled(value)
    write_zip(path, content, {"0": bytes(half.nbytes)})
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.getinfo("archive/data/0")
        for key in range(1, 64):
            info = zipfile.ZipInfo(f"archive/data/{key}")
            archive.writestr(info, b"")
            info.header_offset = first.header_offset
            info.file_size = info.compress_size = first.file_size
    return path


@pytest.mark.parametrize(("content", "match"), ATTACKS)
def test_attacks_are_refused(tmp_path, content, match) -> None:
    refused_pickle(tmp_path, content, match)


def test_what_looks_like_an_attack_and_does_nothing(tmp_path) -> None:
    known = Placeholder("m", "C")
    for content in (
        b"cm\nC\n)R)R.",
        b"cm\nC\n)\x81N}V__class__\ncos\nsystem\ns\x86b.",
        b"cm\nC\n)\x81}V__setstate__\ncos\nsystem\nsbVx\nb.",
        b"cm\nC\n)\x81}V__dict__\nNsb}Vappend\ncos\nsystem\nsbVx\na.",
    ):
        assert read_pickle(tmp_path, content) == known


def test_lists_of_storages_are_of_text(tmp_path) -> None:
    path = lists_that_unfold(tmp_path / "x.pth")
    refused(path, "it does not list the storages of its tensors")


def test_members_that_lie_on_each_other(tmp_path) -> None:
    refused(
        members_that_overlap(tmp_path / "x.pth"),
        "its members overlap",
    )


def check_limits(expected: dict[str, str]) -> None:
    """Reads files within limits, which must say what is expected."""
    found = at_hand(map(Path, expected))
    assert found.keys() == expected.keys()
    for path, (error, message) in found.items():
        assert error == "ValueError", (path, message)
        assert re.search(expected[path], message), (path, message)
        assert not re.search("MemoryError|Recursion|allocate", message), path


def test_hostile_files_take_little_memory_and_time(tmp_path) -> None:
    lists = lists_that_unfold(tmp_path / "lists.pth")
    members = members_that_overlap(tmp_path / "members.pth")
    expected = {str(lists): "does not list", str(members): "members overlap"}
    light = [*NO_PICKLE_OF_PYTORCH, *TOO_MUCH, *ATTACKS]
    for number, (content, match) in enumerate([*HEAVY, *light]):
        for form in FORMS if number >= len(HEAVY) else ("zip",):
            path = tmp_path / f"{number}-{form}.pth"
            expected[str(save_pickle(path, content, form))] = match
    check_limits(expected)


@pytest.mark.slow
def test_heavier_files_take_little_memory_and_time(tmp_path) -> None:
    expected = {
        str(save_pickle(tmp_path / f"{number}.pth", content, "zip")): match
        for number, (content, match) in enumerate(HEAVIER)
    }
    check_limits(expected)
