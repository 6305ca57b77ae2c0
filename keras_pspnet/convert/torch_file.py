"""Reads PyTorch's files without PyTorch and without running any of them."""

from __future__ import annotations

import mmap
import os
import re
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from keras_pspnet.convert.pickle_machine import Machine
from keras_pspnet.convert.pickle_values import (
    RefusedError,
    other_file,
    plain,
    refusing,
)

_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_LEGACY_START = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\x0a"
    + re.escape(_MAGIC.to_bytes(10, "little"))
    + rb"\.",
    re.DOTALL,
)
_ZIP_START = b"PK\x03\x04"
_ZIP_OBJECT = re.compile(r"([^/]+)/data\.pkl")

# A large checkpoint, with the state of its optimizer, stays far below these.
_MAX_PICKLE = 2**26  # bytes
_MAX_HEADER = 2**12  # bytes of each pickle before the main one


def read_torch_file(path: str | os.PathLike[str]) -> Any:
    """Reads a file of `torch.save` without PyTorch.

    Both formats are supported: zip archives of PyTorch 1.6 and later, and the
    plain files of older versions. Nothing that a file names is imported.

    Args:
        path: The file, usually *.pth or *.pt. It must not change while arrays
            from it are in use, since they are maps of the file.

    Returns:
        The saved object, made of dicts (for OrderedDicts as well), lists,
        tuples, sets, str, int, float, complex, bool, None and bytes. Tensors,
        parameters and NumPy arrays become read-only arrays of the same shape
        and dtype, except that bfloat16 becomes float32. Tensors that shared
        memory still do. Each object of another class becomes a `Placeholder`.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is not a checkpoint, is damaged, or calls something
            that checkpoints do not need.

    Examples:
        >>> from keras_pspnet.convert.torch_file import read_torch_file
        >>> state = read_torch_file("pspnet.pth")["state_dict"]
        >>> state["decode_head.conv_seg.bias"].shape
        (21,)
    """
    with open(path, "rb") as stream, refusing(path, "a PyTorch checkpoint"):
        return _read(stream)


def is_torch_file(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file starts like those that `torch.save` writes.

    The name does not matter, and the rest of the file may be damaged.

    Args:
        path: Any regular file.

    Raises:
        OSError: If the file cannot be opened.
    """
    with open(path, "rb") as stream:
        head = stream.read(64)
    return head.startswith(_ZIP_START) or bool(_LEGACY_START.match(head))


# === The two formats ===


def _read(stream: BinaryIO) -> Any:
    if os.fstat(stream.fileno()).st_size == 0:
        raise RefusedError("it is empty")
    data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    head = data[:64]
    if head.startswith(_ZIP_START):
        with zipfile.ZipFile(stream) as archive:
            return _read_zip(_Members(archive.infolist(), data))
    if _LEGACY_START.match(head):
        return _read_legacy(data)
    raise other_file(head)


class _Members:
    """The members of an uncompressed zip archive, mapped into memory."""

    def __init__(self, infos: list[zipfile.ZipInfo], data: mmap.mmap) -> None:
        self._data = data
        self._mapped = 0
        self._members = {info.filename: info for info in infos}
        if len(self._members) < len(infos):
            raise RefusedError("two members have the same name")

    @property
    def names(self) -> Sequence[str]:
        return list(self._members)

    def read(self, name: str, limit: int) -> np.ndarray:
        """Returns a member's content, uint8, of at most `limit` bytes."""
        if name not in self._members:
            raise RefusedError(f"it has no member {name!r}")
        info = self._members[name]
        if info.file_size > limit:
            raise RefusedError(
                f"{name!r} must have at most {limit} bytes, "
                f"has {info.file_size}"
            )
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise RefusedError(f"{name!r} is compressed or encrypted")
        # Only the local header says how long it is.
        start = max(info.header_offset, 0)
        header = self._data[start : start + 30]
        start += 30 + int.from_bytes(header[26:28], "little")
        start += int.from_bytes(header[28:30], "little")
        if (
            not header.startswith(_ZIP_START)
            or info.compress_size != info.file_size
            or start + info.file_size > len(self._data)
        ):
            raise RefusedError(f"{name!r} is not where the archive says")
        # Otherwise a small file could hold any number of large storages.
        self._mapped += info.file_size
        if self._mapped > len(self._data):
            raise RefusedError("its members overlap")
        return np.frombuffer(self._data, np.uint8)[start:][: info.file_size]


def _read_zip(members: _Members) -> Any:
    objects = list(filter(None, map(_ZIP_OBJECT.fullmatch, members.names)))
    if len(objects) != 1:
        raise RefusedError(
            "it must have one member NAME/data.pkl, "
            f"has {len(objects) or 'none'}"
        )
    folder = objects[0].group(1)
    script = (f"{folder}/code/", f"{folder}/constants.pkl")
    if any(name.startswith(script) for name in members.names):
        raise RefusedError(
            "it is a TorchScript archive, which is a program; load it with "
            "PyTorch and save its state_dict()"
        )
    order = f"{folder}/byteorder"
    if order in members.names:
        _check_order(members.read(order, 16).tobytes() == b"little")
    content = members.read(objects[0].group(), _MAX_PICKLE).tobytes()
    machine = Machine(content, 0, _MAX_PICKLE)
    root = machine.run()
    for key, storage in machine.storages.items():
        storage.fill(members.read(f"{folder}/data/{key}", storage.nbytes))
    return plain(root)


def _read_legacy(data: mmap.mmap) -> Any:
    position = 0
    machines = []
    values = []
    # Magic number, version, system, object, and keys of the storages.
    for limit in (*(_MAX_HEADER,) * 3, _MAX_PICKLE, _MAX_PICKLE):
        machine = Machine(data, position, limit)
        values.append(machine.run())
        machines.append(machine)
        position = machine.position
    _, version, system, root, keys = values
    if version != _LEGACY_VERSION:
        raise RefusedError(f"its version must be {_LEGACY_VERSION}")
    _check_order(isinstance(system, dict) and system.get("little_endian"))
    storages = machines[3].storages
    # Comparing anything but strings might take forever.
    listed = isinstance(keys, list) and all(isinstance(k, str) for k in keys)
    if not listed or sorted(keys) != sorted(storages):
        raise RefusedError("it does not list the storages of its tensors")
    content = np.frombuffer(data, np.uint8)
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(data[position : position + 8], "little")
        if count != storage.count:
            raise RefusedError(
                f"storage {key} must have {storage.count} elements, has {count}"
            )
        position += 8
        storage.fill(content[position:][: storage.nbytes])
        position += storage.nbytes
    return plain(root)


def _check_order(little_endian: Any) -> None:
    if little_endian is not True:
        raise RefusedError("it must come from a little-endian machine")
