"""PyTorch's files, read without PyTorch and without running what they say.

A checkpoint is a pickle, and a pickle is a program: one that may name any
function and call it. Here the program is followed with nothing but data at
hand. What it names is looked up in a list of what checkpoints are made of,
and never imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import mmap
import os
import pickletools
import re
import sys
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np

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
_STORAGE_KEY = re.compile(r"[0-9A-Za-z_]{1,64}")

# What a file may make the reader do. A large checkpoint, with the state of
# its optimiser, stays far below each.
_MAX_PICKLE = 2**26  # bytes
_MAX_OPCODES = 2**22
_MAX_COPIED = 2**26  # bytes, by opcodes that can copy many
_ITEM_COST = 2**6  # bytes that stand for the work on an item of a set
_MAX_INFLATED = 2**30  # bytes
_MAX_DEPTH = 200  # of containers in containers
_MAX_VALUES = 2**24  # in the result, each as often as it is held
_MAX_BITS = 1024  # of an integer
_MAX_NAME = 256  # characters
_MAX_ELEMENTS = 2**48  # so that sizes in bytes fit into 64 bits
_MAX_REPEATED = 2**24  # elements of a tensor that has more than its storage
_MAX_DIMENSIONS = 32
# Keys of dicts: a file can choose numbers, large or in tuples, that all have
# the same hash, which would make every look-up a search.
_MAX_INT_KEY = 2**63
_MAX_TUPLE_KEY = 16  # items
_TUPLE_KEY_COST = 2**12  # bytes that stand for the work

_BFLOAT16 = "torch.BFloat16Storage"
_STORAGES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    _BFLOAT16: "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
    "torch.storage.UntypedStorage": "u1",
}
_NUMPY_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|[SU][0-9]{1,9}")

# Modules under two names: of Python 2 and 3, of NumPy 1 and 2.
_RENAMED = {
    "__builtin__": "builtins",
    "numpy._core.multiarray": "numpy.core.multiarray",
}
# Packages of which nothing may be used but what _CALLS lists: a file that
# tries is no checkpoint. Of the standard library some have classes of data.
_REFUSED_PACKAGES = (
    sys.stdlib_module_names
    - {"argparse", "collections", "dataclasses", "decimal", "enum", "uuid"}
    | {"__builtin__", "cPickle", "copy_reg", "urllib2"}
    | {"dill", "jax", "joblib", "keras", "numpy", "tensorflow", "tf_keras"}
    | {"torch", "torchvision"}
)
_CLASS_NAME = re.compile(r"_*[A-Z]\w*")


class _RefusedError(ValueError):
    """Tells what is wrong with a file, for the reader's own error."""


@dataclasses.dataclass(frozen=True)
class Placeholder:
    """Stands for something that a file names, or for an object of it.

    What it names has not been looked up, and of an object nothing is kept.

    Attributes:
        module: The module as the file spells it, such as `"mmcv.utils"`.
        name: The class or function in it, such as `"ConfigDict"`.
    """

    module: str
    name: str


def read_torch_file(path: str | os.PathLike[str]) -> Any:
    """Reads what `torch.save` wrote, without PyTorch.

    Both forms are read: the zip archives of PyTorch 1.6 and later and the
    plain files of versions before. Nothing that a file names is imported.

    Args:
        path: The file, usually *.pth or *.pt. It must stay as it is while
            arrays from it are in use: they are maps of the file.

    Returns:
        The saved object, made of dicts (also for OrderedDicts), lists,
        tuples, sets, str, int, float, complex, bool, None and bytes. Tensors,
        parameters and NumPy's arrays are read-only arrays of the same shape
        and dtype, but float32 for bfloat16; tensors that shared memory still
        do. Objects of other classes are a `Placeholder` each.

    Raises:
        OSError: A subclass that fits: there is no such file, or it cannot be
            opened.
        ValueError: If it is no checkpoint, is damaged, or calls something
            that checkpoints have no need of.

    Example:
        >>> state = read_torch_file("pspnet.pth")["state_dict"]
        >>> state["decode_head.conv_seg.weight"].shape
        (19, 512, 1, 1)
    """
    name = os.fspath(path)
    received = f"Received: path={name!r}"
    if not os.path.exists(name):
        raise FileNotFoundError(f"`path` must be an existing file. {received}")
    if not os.path.isfile(name):
        raise _not_a_checkpoint(path, "it is not a regular file")
    with open(name, "rb") as stream:
        try:
            return _read(stream)
        except _RefusedError as error:
            raise _not_a_checkpoint(path, str(error)) from error
        # Damage can make the modules that take a file apart fail anywhere.
        except Exception as error:
            # A quote from the file may be as long as the file.
            said = " ".join(str(error)[:300].split())
            why = f"it is damaged: {said or type(error).__name__}"
            raise _not_a_checkpoint(path, why) from error


def is_torch_file(path: str | os.PathLike[str]) -> bool:
    """Tells from its start or table of contents whether PyTorch saved a file.

    The name does not matter, and the rest of the file may be damaged.

    Args:
        path: Any file.

    Returns:
        True for both forms that `read_torch_file` knows; False for all else,
        also for what is no file.

    Raises:
        OSError: A subclass that fits, if the file cannot be opened.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        return False
    with open(name, "rb") as stream:
        head = stream.read(64)
        if not head.startswith(_ZIP_START):
            return bool(_LEGACY_START.match(head))
        try:
            with zipfile.ZipFile(stream) as archive:
                return any(map(_ZIP_OBJECT.fullmatch, archive.namelist()))
        # An archive can be damaged in more ways than zipfile has errors for.
        except Exception:
            return False


def _not_a_checkpoint(path: str | os.PathLike[str], why: str) -> ValueError:
    return ValueError(
        f"`path` must be a PyTorch checkpoint ({why}). "
        f"Received: path={os.fspath(path)!r}"
    )


# === The two forms ===


def _read(stream: BinaryIO) -> Any:
    if os.fstat(stream.fileno()).st_size == 0:
        raise _RefusedError("it is empty")
    data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    head = data[:512]
    if head.startswith(_ZIP_START):
        with zipfile.ZipFile(stream) as archive:
            return _read_zip(_Members(archive, data))
    if _LEGACY_START.match(head):
        return _read_legacy(data)
    if head[257:262] == b"ustar":
        raise _RefusedError(
            "it has the tar form from before PyTorch 0.1.10; PyTorch can load "
            "it and save it in a newer form"
        )
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise _RefusedError("it is a web page")
    raise _RefusedError("it does not begin like one")


class _Members:
    """The members of a zip archive, mapped where they are not compressed."""

    def __init__(self, archive: zipfile.ZipFile, data: mmap.mmap) -> None:
        self._archive = archive
        self._data = data
        self._inflated = 0
        self._members = {info.filename: info for info in archive.infolist()}
        if len(self._members) < len(archive.infolist()):
            raise _RefusedError("two members have the same name")

    @property
    def names(self) -> Sequence[str]:
        return list(self._members)

    def read(self, name: str, limit: int) -> np.ndarray:
        """Returns a member's content, uint8, of at most `limit` bytes."""
        if name not in self._members:
            raise _RefusedError(f"it has no member {name!r}")
        info = self._members[name]
        if info.file_size > limit:
            raise _RefusedError(
                f"{name!r} must have at most {limit} bytes, "
                f"has {info.file_size}"
            )
        if info.compress_type == zipfile.ZIP_DEFLATED:
            return self._inflate(info)
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise _RefusedError(f"{name!r} is packed in an unknown way")
        # Only the header before the content tells how long it is itself.
        start = max(info.header_offset, 0)
        header = self._data[start : start + 30]
        start += 30 + int.from_bytes(header[26:28], "little")
        start += int.from_bytes(header[28:30], "little")
        if (
            not header.startswith(_ZIP_START)
            or info.compress_size != info.file_size
            or start + info.file_size > len(self._data)
        ):
            raise _RefusedError(f"{name!r} is not where the archive says")
        return np.frombuffer(self._data, np.uint8)[start:][: info.file_size]

    def _inflate(self, info: zipfile.ZipInfo) -> np.ndarray:
        self._inflated += info.file_size
        if self._inflated > _MAX_INFLATED:
            raise _RefusedError(
                f"compressed members have more than {_MAX_INFLATED} bytes"
            )
        with self._archive.open(info) as member:
            content = member.read(info.file_size)
        if len(content) < info.file_size:
            raise _RefusedError(f"{info.filename!r} is truncated")
        return np.frombuffer(content, np.uint8)


def _read_zip(members: _Members) -> Any:
    objects = list(filter(None, map(_ZIP_OBJECT.fullmatch, members.names)))
    if len(objects) != 1:
        raise _RefusedError(
            "it must have one member NAME/data.pkl, "
            f"has {len(objects) or 'none'}"
        )
    folder = objects[0].group(1)
    script = (f"{folder}/code/", f"{folder}/constants.pkl")
    if any(name.startswith(script) for name in members.names):
        raise _RefusedError(
            "it is a TorchScript archive, a program; the state_dict() of what "
            "PyTorch loads from it can be saved"
        )
    order = f"{folder}/byteorder"
    if order in members.names:
        _check_order(members.read(order, 16).tobytes() == b"little")
    machine = _Machine(members.read(objects[0].group(), _MAX_PICKLE).data)
    root = machine.run()
    for key, storage in machine.storages.items():
        storage.fill(members.read(f"{folder}/data/{key}", storage.nbytes))
    return _plain(root)


def _read_legacy(data: mmap.mmap) -> Any:
    position = 0
    machines = []
    values = []
    # Magic number, version, system, object, keys of the storages to come.
    for _ in range(5):
        machine = _Machine(memoryview(data)[position:][:_MAX_PICKLE])
        values.append(machine.run())
        machines.append(machine)
        position += machine.position
    _, version, system, root, keys = values
    if version != _LEGACY_VERSION:
        raise _RefusedError(f"its version must be {_LEGACY_VERSION}")
    _check_order(isinstance(system, dict) and system.get("little_endian"))
    storages = machines[3].storages
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise _RefusedError("it does not list the storages of its tensors")
    content = np.frombuffer(data, np.uint8)
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(data[position : position + 8], "little")
        if count != storage.count:
            raise _RefusedError(
                f"storage {key} must have {storage.count} elements, has {count}"
            )
        position += 8
        storage.fill(content[position:][: storage.nbytes])
        position += storage.nbytes
    return _plain(root)


def _check_order(little_endian: Any) -> None:
    if little_endian is not True:
        raise _RefusedError("it must be of a little-endian machine")


# === What a pickle leaves to be made when all of it has been read ===


class _Storage:
    """The elements that tensors are views of."""

    def __init__(self, key: str, kind: str, count: int) -> None:
        self.key = key
        self.kind = kind
        self.count = count
        self.nbytes = count * np.dtype(_STORAGES[kind]).itemsize
        self.array = np.empty(0)

    def fill(self, content: np.ndarray) -> None:
        """Takes the bytes of the elements, uint8."""
        if len(content) != self.nbytes:
            raise _RefusedError(
                f"storage {self.key} must have {self.nbytes} bytes, "
                f"has {len(content)}"
            )
        self.array = content.view(_STORAGES[self.kind])
        if self.kind == _BFLOAT16:
            # It is the upper half of a float32.
            bits = self.array.astype("<u4") << 16
            self.array = bits.view("<f4")
            self.array.flags.writeable = False


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """Elements `start` to `start + count` of a storage."""

    storage: _Storage
    start: int
    count: int

    @functools.cached_property
    def plain(self) -> np.ndarray:
        return self.storage.array[self.start :][: self.count]


@dataclasses.dataclass(frozen=True, eq=False)
class _Tensor:
    """A view of a storage; offset and strides count elements."""

    part: _Part
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @functools.cached_property
    def plain(self) -> np.ndarray:
        elements = self.part.plain
        if 0 in self.shape:
            empty = np.empty(self.shape, elements.dtype)
            empty.flags.writeable = False
            return empty
        strides = (
            # The stride of a single element leads nowhere and may be anything.
            elements.itemsize * (stride if length > 1 else 1)
            for stride, length in zip(self.strides, self.shape, strict=True)
        )
        # Unlike as_strided, it checks once more that all is in the buffer.
        return np.ndarray(
            self.shape,
            elements.dtype,
            elements,
            elements.itemsize * self.offset,
            tuple(strides),
        )


class _NumpyDtype:
    """NumPy makes a dtype first and tells its byte order later."""

    def __init__(self, name: str) -> None:
        self.dtype = np.dtype(name)

    def build(self, state: Any) -> None:
        order, *fields = state[1:5]
        if order not in ("<", ">", "=", "|") or fields != [None] * 3:
            raise _RefusedError("a NumPy dtype in it is not a plain one")
        self.dtype = self.dtype.newbyteorder(order)

    @property
    def plain(self) -> str:
        return self.dtype.name


class _NumpyArray:
    """NumPy makes an empty array first and fills it later."""

    def __init__(self) -> None:
        self.plain = np.empty(0)

    def build(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        _check_shape(shape)
        expected = math.prod(shape) * kind.dtype.itemsize
        if not isinstance(content, bytes) or len(content) != expected:
            raise _RefusedError("a NumPy array in it does not have its size")
        array = np.frombuffer(content, kind.dtype)
        self.plain = array.reshape(shape, order="F" if fortran else "C")


_RECORDS = (_Part, _Tensor, _NumpyDtype, _NumpyArray)


def _plain(root: Any) -> Any:
    """Puts arrays into the place of records, however deep they are.

    A recursive function would fail at a depth that a file can choose.
    """
    # By identity: the old value, kept so that no other gets its identity, the
    # new one, its depth, and the number of values in it.
    done: dict[int, tuple[Any, Any, int, int]] = {}
    entered: set[int] = set()

    def finished(value: Any) -> tuple[Any, Any, int, int]:
        if isinstance(value, _RECORDS):
            return value, value.plain, 0, 1
        return done.get(id(value), (value, value, 0, 1))

    todo = [(root, False)]
    while todo:
        value, is_leaving = todo.pop()
        if not isinstance(value, dict | list | tuple) or id(value) in done:
            continue
        items = list(value.values() if isinstance(value, dict) else value)
        if not is_leaving:
            if id(value) in entered:
                raise _RefusedError("something in it holds itself")
            entered.add(id(value))
            todo.append((value, True))
            todo.extend((item, False) for item in items)
            continue
        entered.remove(id(value))
        results = [finished(item) for item in items]
        new = [result[1] for result in results]
        depth = 1 + max((result[2] for result in results), default=0)
        total = 1 + sum(result[3] for result in results)
        if depth > _MAX_DEPTH:
            raise _RefusedError(f"it is nested over {_MAX_DEPTH} deep")
        if total > _MAX_VALUES:
            raise _RefusedError(f"it unfolds to over {_MAX_VALUES} values")
        made: Any = tuple(new)
        if isinstance(value, dict):
            value.update(zip(value, new, strict=True))
            made = value
        elif isinstance(value, list):
            value[:] = new
            made = value
        done[id(value)] = value, made, depth, total
    return finished(root)[1]


# === The machine that follows a pickle ===


class _Stream:
    """What `pickletools` reads opcodes from."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self.position = 0

    def read(self, count: int) -> bytes:
        # No more than there is: `count` may be what a file declares.
        piece = bytes(self._content[self.position : self.position + count])
        self.position += len(piece)
        return piece

    def readline(self) -> bytes:
        width = 64
        while True:
            piece = bytes(self._content[self.position : self.position + width])
            end = piece.find(b"\n") + 1
            if end or len(piece) < width:
                break
            width *= 2
        self.position += end
        return piece[:end]


class _Machine:
    """Follows the opcodes of one pickle, with nothing but data on its stack.

    Attributes:
        storages: Key -> storage, of all that the pickle refers to.
    """

    def __init__(self, content: memoryview) -> None:
        self.storages: dict[str, _Storage] = {}
        self._stream = _Stream(content)
        self._stack: list[Any] = []
        # The stacks below the marks.
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._copied = 0

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._stream.position

    def run(self) -> Any:
        """Returns what the pickle makes, with records in place of arrays."""
        opcodes = pickletools.genops(self._stream)  # type: ignore[arg-type]
        for count, (opcode, argument, _) in enumerate(opcodes):
            if count >= _MAX_OPCODES:
                raise _RefusedError(f"it has over {_MAX_OPCODES} opcodes")
            if opcode.name not in _OPCODES:
                raise _RefusedError(
                    f"it has the opcode {opcode.name}, which no state_dict() "
                    "needs"
                )
            _OPCODES[opcode.name](self, argument)
        return self._stack.pop()

    def charge(self, count: int) -> None:
        """Counts bytes copied: one opcode may copy all that there is."""
        self._copied += count
        if self._copied > _MAX_COPIED:
            raise _RefusedError("it makes too many copies of what it holds")

    def check_key(self, key: Any) -> None:
        """Checks that `key` is quick to find in a dict or set."""
        parts = (key,)
        if isinstance(key, tuple) and len(key) <= _MAX_TUPLE_KEY:
            self.charge(_TUPLE_KEY_COST)
            parts = key
        for part in parts:
            if isinstance(part, int):
                plain = abs(part) <= _MAX_INT_KEY
            else:
                plain = isinstance(
                    part, str | bytes | float | Placeholder | None
                )
            if not plain:
                raise _RefusedError("a key in it is not a plain one")

    def _pop_marked(self) -> list[Any]:
        marked = self._stack
        self._stack = self._below.pop()
        return marked

    def _call(self, name: Any, args: Any) -> Any:
        """Makes what is on the list, and placeholders for other classes."""
        if not isinstance(name, Placeholder) or not isinstance(args, tuple):
            raise _RefusedError("it calls something that has no name")
        function = _CALLS.get(_path(name))
        if function:
            return function(self, *args)
        _check_inert(name)
        return name

    # What opcodes do; `pickletools` has read the argument that some have.

    def _nothing(self, _: Any) -> None:
        pass

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _integer(self, value: int) -> None:
        if value.bit_length() > _MAX_BITS:
            raise _RefusedError(f"an integer in it has over {_MAX_BITS} bits")
        self._push(value)

    def _python2_text(self, text: str) -> None:
        # It was bytes, which `pickletools` shows as Latin-1.
        with contextlib.suppress(UnicodeDecodeError):
            text = text.encode("latin-1").decode()
        self._push(text)

    def _name(self, names: str) -> None:
        module, _, name = names.partition(" ")
        self._push(_named(module, name))

    def _name_from_stack(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push(_named(module, name))

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _drop(self, _: Any) -> None:
        # A mark is dropped as a value is.
        self._stack.pop() if self._stack else self._pop_marked()

    def _drop_marked(self, _: Any) -> None:
        self._pop_marked()

    def _duplicate(self, _: Any) -> None:
        self._push(self._stack[-1])

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._put(len(self._memo))

    def _get(self, index: int) -> None:
        self._push(self._memo[index])

    def _tuple(self, _: Any) -> None:
        self._push(tuple(self._pop_marked()))

    def _short_tuple(self, length: int) -> None:
        if len(self._stack) < length:
            raise _RefusedError("it makes a tuple of what is not there")
        self._stack[-length:] = [tuple(self._stack[-length:])]

    def _list(self, _: Any) -> None:
        self._push(self._pop_marked())

    def _dict(self, _: Any) -> None:
        items = self._pop_marked()
        self._push({})
        self._update(items)

    def _frozenset(self, _: Any) -> None:
        self._push(_make_frozenset(self, self._pop_marked()))

    def _append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._pop_marked())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        else:
            _check_inert(target)

    def _set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def _set_items(self, _: Any) -> None:
        self._update(self._pop_marked())

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                self.check_key(key)
                target[key] = value
        else:
            _check_inert(target)

    def _add_items(self, _: Any) -> None:
        items = self._pop_marked()
        target = self._stack[-1]
        if isinstance(target, set):
            target |= _make_set(self, items)
        else:
            _check_inert(target)

    def _reduce(self, _: Any) -> None:
        args, name = self._stack.pop(), self._stack.pop()
        self._push(self._call(name, args))

    def _new_object_with_keywords(self, _: Any) -> None:
        keywords = self._stack.pop()
        args, name = self._stack.pop(), self._stack.pop()
        if keywords:
            _check_inert(name)
        self._push(self._call(name, args))

    def _object(self, _: Any) -> None:
        name, *args = self._pop_marked()
        self._push(self._call(name, tuple(args)))

    def _instance(self, names: str) -> None:
        module, _, name = names.partition(" ")
        args = tuple(self._pop_marked())
        self._push(self._call(_named(module, name), args))

    def _build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        match target, state:
            case ((_NumpyDtype() | _NumpyArray()), _):
                target.build(state)
            case (dict(), dict()) | (_Tensor(), (_, _, _)):
                # An OrderedDict's attributes; what Variables had besides.
                pass
            case _:
                _check_inert(target)

    def _persistent(self, _: Any) -> None:
        match self._stack.pop():
            case ("storage", Placeholder() as name, str() as key, _, count):
                view = None
            case (
                "storage",
                Placeholder() as name,
                str() as key,
                _,
                count,
                view,
            ):
                pass
            case ("module", *_):
                raise _RefusedError(
                    "it holds a whole module, a program; its state_dict() can "
                    "be saved"
                )
            case _:
                raise _RefusedError("it refers to something unknown")
        kind = _path(name)
        if kind not in _STORAGES:
            raise _RefusedError(f"it has elements of the unknown type {kind}")
        if not _STORAGE_KEY.fullmatch(key):
            raise _RefusedError("the key of a storage is not a plain one")
        _check_sizes((count,))
        storage = self.storages.setdefault(key, _Storage(key, kind, count))
        if (storage.kind, storage.count) != (kind, count):
            raise _RefusedError(f"it has two storages {key}")
        start = 0
        if view is not None:
            _, start, count = view
            _check_sizes((start, count))
            if start + count > storage.count:
                raise _RefusedError(f"a view reaches beyond storage {key}")
        self._push(_Part(storage, start, count))


_OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    name: function
    for names, function in (
        ("PROTO FRAME STOP", _Machine._nothing),
        ("NONE", lambda machine, _: machine._push(None)),
        ("NEWTRUE", lambda machine, _: machine._push(True)),
        ("NEWFALSE", lambda machine, _: machine._push(False)),
        ("INT BININT BININT1 BININT2", _Machine._integer),
        ("LONG LONG1 LONG4", _Machine._integer),
        ("FLOAT BINFLOAT", _Machine._push),
        ("UNICODE SHORT_BINUNICODE", _Machine._push),
        ("BINUNICODE BINUNICODE8", _Machine._push),
        ("SHORT_BINBYTES BINBYTES BINBYTES8", _Machine._push),
        ("STRING BINSTRING SHORT_BINSTRING", _Machine._python2_text),
        ("EMPTY_TUPLE", lambda machine, _: machine._push(())),
        ("EMPTY_LIST", lambda machine, _: machine._push([])),
        ("EMPTY_DICT", lambda machine, _: machine._push({})),
        ("EMPTY_SET", lambda machine, _: machine._push(set())),
        ("TUPLE", _Machine._tuple),
        ("TUPLE1", lambda machine, _: machine._short_tuple(1)),
        ("TUPLE2", lambda machine, _: machine._short_tuple(2)),
        ("TUPLE3", lambda machine, _: machine._short_tuple(3)),
        ("LIST", _Machine._list),
        ("DICT", _Machine._dict),
        ("FROZENSET", _Machine._frozenset),
        ("APPEND", _Machine._append),
        ("APPENDS", _Machine._appends),
        ("SETITEM", _Machine._set_item),
        ("SETITEMS", _Machine._set_items),
        ("ADDITEMS", _Machine._add_items),
        ("MARK", _Machine._mark),
        ("POP", _Machine._drop),
        ("POP_MARK", _Machine._drop_marked),
        ("DUP", _Machine._duplicate),
        ("PUT BINPUT LONG_BINPUT", _Machine._put),
        ("MEMOIZE", _Machine._memoize),
        ("GET BINGET LONG_BINGET", _Machine._get),
        ("GLOBAL", _Machine._name),
        ("STACK_GLOBAL", _Machine._name_from_stack),
        ("REDUCE NEWOBJ", _Machine._reduce),
        ("NEWOBJ_EX", _Machine._new_object_with_keywords),
        ("OBJ", _Machine._object),
        ("INST", _Machine._instance),
        ("BUILD", _Machine._build),
        ("BINPERSID", _Machine._persistent),
    )
    for name in names.split()
}


# === Names, and what stands in for the few that may be called ===


def _named(module: Any, name: Any) -> Placeholder:
    for text in (module, name):
        if (
            not isinstance(text, str)
            or len(text) > _MAX_NAME
            or not all(map(str.isidentifier, text.split(".")))
        ):
            raise _RefusedError("a name in it is none")
    return Placeholder(module, name)


def _path(name: Placeholder) -> str:
    return f"{_RENAMED.get(name.module, name.module)}.{name.name}"


def _check_inert(value: Any) -> None:
    """Checks that `value` stands for a class of a program of its own."""
    if not isinstance(value, Placeholder):
        raise _RefusedError(
            f"it changes a {type(value).__name__} in an unknown way"
        )
    package = value.module.partition(".")[0]
    own_name = value.name.rpartition(".")[2]
    if package in _REFUSED_PACKAGES or not _CLASS_NAME.fullmatch(own_name):
        raise _RefusedError(
            f"it uses {value.module}.{value.name}, which no state_dict() needs"
        )


def _check_sizes(sizes: Sequence[Any]) -> None:
    """Checks offsets, lengths or strides, whose sums must stay numbers."""
    for size in sizes:
        if type(size) is not int or not 0 <= size <= _MAX_ELEMENTS:
            raise _RefusedError(
                "a size in it is not an integer from 0 to 2**48"
            )


def _check_shape(shape: Sequence[Any]) -> None:
    if len(shape) > _MAX_DIMENSIONS:
        raise _RefusedError(
            f"an array in it has over {_MAX_DIMENSIONS} dimensions"
        )
    _check_sizes(shape)
    # An array without elements must have a shape that NumPy can hold, too.
    _check_sizes((math.prod(length or 1 for length in shape),))


def _make_tensor(
    _: _Machine,
    part: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
) -> _Tensor:
    if not isinstance(part, _Part) or metadata:
        raise _RefusedError("a tensor in it is not a plain view of a storage")
    shape, strides = tuple(shape), tuple(strides)
    _check_shape(shape)
    if len(shape) != len(strides):
        raise _RefusedError(
            f"a tensor of {len(shape)} dimensions has {len(strides)} strides"
        )
    _check_sizes((offset, *strides))
    count = math.prod(shape)
    steps = zip(shape, strides, strict=True)
    last = offset + sum((length - 1) * stride for length, stride in steps)
    if count and last >= part.count:
        raise _RefusedError("a tensor reaches beyond its storage")
    if count > max(part.count, _MAX_REPEATED):
        raise _RefusedError(f"a tensor repeats its elements {count} times")
    return _Tensor(part, offset, shape, strides)


def _make_parameter(_: _Machine, data: Any, *details: Any) -> _Tensor:
    if not isinstance(data, _Tensor):
        raise _RefusedError("a parameter in it is no tensor")
    return data


def _make_size(machine: _Machine, lengths: Any) -> tuple[Any, ...]:
    machine.charge(_ITEM_COST * len(lengths))
    return tuple(lengths)


def _make_device(_: _Machine, kind: Any, index: Any = None) -> str:
    device = _named("torch.device", kind).name
    if index is None:
        return device
    _check_sizes((index,))
    return f"{device}:{index}"


def _make_ordered_dict(machine: _Machine, pairs: Any = ()) -> dict[Any, Any]:
    # Python 2 gives the items to the class, 3 sets them afterwards.
    machine.charge(_ITEM_COST * len(pairs))
    made = {}
    for key, value in pairs:
        machine.check_key(key)
        made[key] = value
    return made


def _make_default_dict(_: _Machine, *factory: Any) -> dict[Any, Any]:
    return {}


def _make_set(machine: _Machine, items: Any = ()) -> set[Any]:
    machine.charge(_ITEM_COST * len(items))
    for item in items:
        machine.check_key(item)
    return set(items)


def _make_frozenset(machine: _Machine, items: Any = ()) -> frozenset[Any]:
    return frozenset(_make_set(machine, items))


def _make_complex(_: _Machine, real: Any, imaginary: Any) -> complex:
    return complex(real, imaginary)


def _make_bytes(machine: _Machine, text: Any = "", *encoding: Any) -> bytes:
    """Makes bytes of text, the only way that Python 3 has in protocol 2."""
    machine.charge(len(text))
    if isinstance(text, bytes) and not encoding:
        return text
    if not isinstance(text, str) or encoding not in (
        (),
        ("latin1",),
        ("latin-1",),
    ):
        raise _RefusedError("bytes in it are written in an unknown way")
    return text.encode("latin-1")


def _get_attribute(_: _Machine, owner: Any, name: Any) -> Placeholder:
    """Names a method, as the state of mmengine's HistoryBuffer does."""
    if not isinstance(owner, Placeholder) or not isinstance(name, str):
        raise _RefusedError(
            "it uses builtins.getattr, which no state_dict() needs"
        )
    _check_inert(owner)
    return _named(owner.module, f"{owner.name}.{name}")


def _make_numpy_dtype(_: _Machine, name: Any, *flags: Any) -> _NumpyDtype:
    if not isinstance(name, str) or not _NUMPY_DTYPE.fullmatch(name):
        raise _RefusedError("a NumPy dtype in it is not a plain one")
    return _NumpyDtype(name)


def _make_numpy_scalar(machine: _Machine, kind: Any, content: Any) -> Any:
    machine.charge(len(content))
    return np.frombuffer(content, kind.dtype).item()


def _make_numpy_array(_: _Machine, kind: Any, *start: Any) -> _NumpyArray:
    if kind != Placeholder("numpy", "ndarray"):
        raise _RefusedError("a NumPy array in it is not a plain one")
    return _NumpyArray()


_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _make_tensor,
    "torch._utils._rebuild_tensor_v2": _make_tensor,
    "torch._utils._rebuild_parameter": _make_parameter,
    "torch._utils._rebuild_parameter_with_state": _make_parameter,
    # Before PyTorch 0.4.
    "torch.nn.parameter.Parameter": _make_parameter,
    "torch.Size": _make_size,
    "torch.device": _make_device,
    "collections.OrderedDict": _make_ordered_dict,
    "collections.defaultdict": _make_default_dict,
    "builtins.set": _make_set,
    "builtins.frozenset": _make_frozenset,
    "builtins.complex": _make_complex,
    "builtins.bytes": _make_bytes,
    "builtins.bytearray": _make_bytes,
    "builtins.getattr": _get_attribute,
    "_codecs.encode": _make_bytes,
    "numpy.dtype": _make_numpy_dtype,
    "numpy.core.multiarray.scalar": _make_numpy_scalar,
    "numpy.core.multiarray._reconstruct": _make_numpy_array,
}
