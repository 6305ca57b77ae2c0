"""Tests of PyTorch's archives that are damaged."""

import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from torch_files import (
    Call,
    Name,
    Storage,
    pickled,
    raw,
    save,
    tensor,
    write_members,
    write_zip,
)
from torch_reading import BOTH, refused

from keras_pspnet.convert.torch_file import is_torch_file, read_torch_file


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
        (8, b"\x01\x00", "is compressed or encrypted"),
        (10, b"\x63\x00", "is compressed or encrypted"),
        (10, b"\x08\x00", "is compressed or encrypted"),
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


def test_what_inflates_without_end_is_not_inflated(tmp_path) -> None:
    # 64 MB of zeros in 64 kB.
    members = {"a/data.pkl": bytes(2**26 - 1)}
    path = write_members(tmp_path / "x", members, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        refused(path, "'a/data.pkl' is compressed or encrypted")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2e6


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
        assert is_torch_file(path) is (length > (14 if form == "legacy" else 3))


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
        try:
            read_torch_file(path)
        except ValueError as error:
            assert "`path` must be a PyTorch checkpoint (" in str(error)
            refusals += 1
    assert refusals > 100
