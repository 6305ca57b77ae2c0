"""Writes PyTorch's file formats with the standard library."""

import io
import pickle
import struct
import types
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {
    "protocol_version": 1001,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}
KINDS = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
FORMS = ("zip", "legacy")


class Name:
    """A name in a pickle; nothing of this name needs to exist."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __call__(self) -> None:
        raise AssertionError("a name is written, never called")


class Call:
    """A call that a pickle makes, and what it does to the result."""

    def __init__(
        self,
        function: Any,
        args: tuple[Any, ...] = (),
        state: Any = None,
        appended: Sequence[Any] | None = None,
        items: Mapping[Any, Any] | None = None,
    ) -> None:
        self.parts = (function, args, state, appended, items)

    def __call__(self) -> None:
        raise AssertionError("a call is written, never made")

    def __reduce__(self) -> tuple[Any, ...]:
        function, args, state, appended, items = self.parts
        return (
            function,
            args,
            state,
            None if appended is None else iter(appended),
            None if items is None else iter(items.items()),
        )


class Storage:
    """The elements of tensors: a flat array and the name of their type.

    Key and count are those in the pickle, which may be wrong.
    """

    def __init__(
        self,
        array: np.ndarray,
        kind: str | None = None,
        key: str | None = None,
        count: Any = None,
    ) -> None:
        self.array = array
        self.kind = Name("torch", kind or KINDS[array.dtype.name])
        self.key = key
        self.count = len(array) if count is None else count
        # Old versions of the plain form have views: key, start and count.
        self.view: tuple[str, int, int] | None = None


class Tensor:
    """A view of a storage as PyTorch describes it: in elements."""

    rebuild = "_rebuild_tensor_v2"

    def __init__(
        self,
        storage: Any,
        shape: Sequence[int],
        strides: Sequence[int] | None = None,
        offset: Any = 0,
        extra: tuple[Any, ...] = (False, OrderedDict()),
    ) -> None:
        if strides is None:
            steps = np.cumprod([1, *shape[:0:-1]])[::-1].tolist()
            strides = steps[: len(shape)]
        self.args = (storage, offset, tuple(shape), tuple(strides), *extra)

    def __reduce__(self) -> tuple[Any, ...]:
        return Name("torch._utils", self.rebuild), self.args


def tensor(array: np.ndarray, kind: str | None = None) -> Tensor:
    """Returns a tensor with its own storage."""
    return Tensor(Storage(np.ravel(array), kind), array.shape)


def parameter(data: Tensor) -> Call:
    function = Name("torch._utils", "_rebuild_parameter")
    return Call(function, (data, True, OrderedDict()))


class _Pickler(pickle._Pickler):
    """Python's pickler, extended to names that cannot be imported."""

    # dill, which Beam and TensorFlow Datasets import, puts its own in the
    # places of these, for every pickler.
    dispatch = {
        **pickle._Pickler.dispatch,
        dict: pickle._Pickler.save_dict,
        type: pickle._Pickler.save_type,
        types.FunctionType: pickle._Pickler.save_global,
    }

    def __init__(self, stream: io.BytesIO, protocol: int, form: str) -> None:
        super().__init__(stream, protocol)
        self.form = form
        self.storages: dict[str, Storage] = {}

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Storage):
            return None
        if value.key is None:
            value.key = str(len(self.storages))
        self.storages[value.key] = value
        identity = ("storage", value.kind, value.key, "cpu", value.count)
        return identity if self.form == "zip" else (*identity, value.view)

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if not isinstance(value, Name):
            super().save(value, save_persistent_id)
        elif id(value) in self.memo:
            self.write(self.get(self.memo[id(value)][0]))
        else:
            if self.proto >= 4:
                self.save(value.module)
                self.save(value.name)
                self.write(pickle.STACK_GLOBAL)
            else:
                self.write(f"c{value.module}\n{value.name}\n".encode())
            self.memoize(value)


def pickled(
    value: Any, protocol: int = 2, form: str = "zip"
) -> tuple[bytes, dict[str, Storage]]:
    """Returns the pickle of a value, and its storages by key."""
    stream = io.BytesIO()
    pickler = _Pickler(stream, protocol, form)
    pickler.dump(value)
    return stream.getvalue(), pickler.storages


def raw(storages: Mapping[str, Storage]) -> dict[str, bytes]:
    return {key: each.array.tobytes() for key, each in storages.items()}


def write_members(
    path: Path,
    members: Mapping[str, bytes],
    method: int = zipfile.ZIP_STORED,
) -> Path:
    """Writes a zip archive, padded before the content as in PyTorch."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            info.extra = struct.pack("<2sH7s", b"FB", 7, b"Z" * 7)
            archive.writestr(info, content)
    return path


def write_zip(
    path: Path, content: bytes, storages: Mapping[str, bytes] | None = None
) -> Path:
    """Writes PyTorch 1.6's format from a pickle and key -> bytes."""
    members = {"archive/data.pkl": content, "archive/byteorder": b"little"}
    for key, data in (storages or {}).items():
        members[f"archive/data/{key}"] = data
    return write_members(path, members | {"archive/version": b"3\n"})


def write_legacy(
    path: Path,
    content: bytes,
    storages: Mapping[str, Storage] | None = None,
    protocol: int = 2,
    system: Any = SYSTEM,
    version: int = 1001,
) -> Path:
    """Writes the older format from a pickle and key -> storage."""
    storages = storages or {}
    parts = [pickle.dumps(x, protocol) for x in (MAGIC, version, system)]
    parts += [content, pickle.dumps(sorted(storages), protocol)]
    for key in sorted(storages):
        array = storages[key].array
        parts += [struct.pack("<q", len(array)), array.tobytes()]
    path.write_bytes(b"".join(parts))
    return path


def save(path: Path, value: Any, form: str = "zip", protocol: int = 2) -> Path:
    """Writes a value as `torch.save` would, in either format."""
    content, storages = pickled(value, protocol, form)
    if form == "zip":
        return write_zip(path, content, raw(storages))
    return write_legacy(path, content, storages, protocol)


def save_pickle(path: Path, content: bytes, form: str) -> Path:
    """Writes any pickle, without storages."""
    write = write_zip if form == "zip" else write_legacy
    return write(path, content)
