"""Follows a pickle with nothing but data at hand.

A pickle is a program: one that may name any function and call it. What this
one names is looked up in a list of what checkpoints are made of, and never
imported.
"""

from __future__ import annotations

import contextlib
import math
import pickletools
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_pspnet.convert.pickle_values import (
    STORAGES,
    NumpyArray,
    NumpyDtype,
    Part,
    Placeholder,
    RefusedError,
    Storage,
    Tensor,
    check_shape,
    check_sizes,
)

# What a file may make the reader do. A large checkpoint, with the state of
# its optimiser, stays far below each.
_MAX_OPCODES = 2**22
_MAX_COPIED = 2**26  # bytes, by opcodes that can copy many
_ITEM_COST = 2**6  # bytes that stand for a call and for an item of a set
_MAX_BITS = 1024  # of an integer
_MAX_NAME = 256  # characters
_MAX_REPEATED = 2**24  # elements of a tensor that has more than its storage
# Keys of dicts: a file can choose numbers, large or in tuples, that all have
# the same hash, which would make every look-up a search.
_MAX_INT_KEY = 2**63
_MAX_TUPLE_KEY = 16  # items
_TUPLE_KEY_COST = 2**13  # bytes that stand for the work

_STORAGE_KEY = re.compile(r"[0-9A-Za-z_]{1,64}")
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


class Machine:
    """Follows the opcodes of one pickle, with nothing but data on its stack.

    Attributes:
        storages: Key -> storage, of all that the pickle refers to.
    """

    def __init__(self, content: memoryview) -> None:
        self.storages: dict[str, Storage] = {}
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
                raise RefusedError(f"it has over {_MAX_OPCODES} opcodes")
            if opcode.name not in _OPCODES:
                raise RefusedError(
                    f"it has the opcode {opcode.name}, which no state_dict() "
                    "needs"
                )
            _OPCODES[opcode.name](self, argument)
        return self._stack.pop()

    def charge(self, count: int) -> None:
        """Counts bytes copied: one opcode may copy all that there is.

        So does what a short opcode makes that takes much more memory.
        """
        self._copied += count
        if self._copied > _MAX_COPIED:
            raise RefusedError("it makes too many copies of what it holds")

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
                raise RefusedError("a key in it is not a plain one")

    def _pop_marked(self) -> list[Any]:
        marked = self._stack
        self._stack = self._below.pop()
        return marked

    def _call(self, name: Any, args: Any) -> Any:
        """Makes what is on the list, and placeholders for other classes."""
        if not isinstance(name, Placeholder) or not isinstance(args, tuple):
            raise RefusedError("it calls something that has no name")
        self.charge(_ITEM_COST)
        function = _CALLS.get(_path(name))
        # A name with dots is of a class's own, whatever the path looks like.
        if function and "." not in name.name:
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
            raise RefusedError(f"an integer in it has over {_MAX_BITS} bits")
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
        # Larger ones could all have the same hash.
        if not 0 <= index < _MAX_OPCODES:
            raise RefusedError(f"an index in it is not below {_MAX_OPCODES}")
        self._memo[index] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._put(len(self._memo))

    def _get(self, index: int) -> None:
        self._push(self._memo[index])

    def _tuple(self, _: Any) -> None:
        self._push(tuple(self._pop_marked()))

    def _short_tuple(self, length: int) -> None:
        if len(self._stack) < length:
            raise RefusedError("it makes a tuple of what is not there")
        self._stack[-length:] = [tuple(self._stack[-length:])]

    def _list(self, _: Any) -> None:
        self._push(self._pop_marked())

    def _dict(self, _: Any) -> None:
        items = self._pop_marked()
        self._push({})
        self._update(items)

    def _empty_set(self, _: Any) -> None:
        self._push(_make_set(self))

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
            case ((NumpyDtype() | NumpyArray()), _):
                target.build(state)
            case (dict(), dict()) | (Tensor(), (_, _, _)):
                # An OrderedDict's attributes; what Variables had besides.
                pass
            case _:
                _check_inert(target)

    def _persistent(self, _: Any) -> None:
        match self._stack.pop():
            case (
                "storage",
                Placeholder() as name,
                str() as key,
                _,
                count,
                *views,
            ) if len(views) < 2:
                pass
            case ("module", *_):
                raise RefusedError(
                    "it holds a whole module, a program; its state_dict() can "
                    "be saved"
                )
            case _:
                raise RefusedError("it refers to something unknown")
        kind = _path(name)
        if kind not in STORAGES:
            raise RefusedError(f"it has elements of the unknown type {kind}")
        if not _STORAGE_KEY.fullmatch(key):
            raise RefusedError("the key of a storage is not a plain one")
        check_sizes((count,))
        storage = self.storages.setdefault(key, Storage(key, kind, count))
        if (storage.kind, storage.count) != (kind, count):
            raise RefusedError(f"it has two storages {key}")
        start = 0
        if views not in ([], [None]):
            _, start, count = views[0]
            check_sizes((start, count))
            if start + count > storage.count:
                raise RefusedError(f"a view reaches beyond storage {key}")
        self.charge(_ITEM_COST)
        self._push(Part(storage, start, (count,), (1,)))


_OPCODES: dict[str, Callable[[Machine, Any], None]] = {
    name: function
    for names, function in (
        ("PROTO FRAME STOP", Machine._nothing),
        ("NONE", lambda machine, _: machine._push(None)),
        ("NEWTRUE", lambda machine, _: machine._push(True)),
        ("NEWFALSE", lambda machine, _: machine._push(False)),
        ("INT BININT BININT1 BININT2", Machine._integer),
        ("LONG LONG1 LONG4", Machine._integer),
        ("FLOAT BINFLOAT", Machine._push),
        ("UNICODE SHORT_BINUNICODE", Machine._push),
        ("BINUNICODE BINUNICODE8", Machine._push),
        ("SHORT_BINBYTES BINBYTES BINBYTES8", Machine._push),
        ("STRING BINSTRING SHORT_BINSTRING", Machine._python2_text),
        ("EMPTY_TUPLE", lambda machine, _: machine._push(())),
        ("EMPTY_LIST", lambda machine, _: machine._push([])),
        ("EMPTY_DICT", lambda machine, _: machine._push({})),
        ("EMPTY_SET", Machine._empty_set),
        ("TUPLE", Machine._tuple),
        ("TUPLE1", lambda machine, _: machine._short_tuple(1)),
        ("TUPLE2", lambda machine, _: machine._short_tuple(2)),
        ("TUPLE3", lambda machine, _: machine._short_tuple(3)),
        ("LIST", Machine._list),
        ("DICT", Machine._dict),
        ("FROZENSET", Machine._frozenset),
        ("APPEND", Machine._append),
        ("APPENDS", Machine._appends),
        ("SETITEM", Machine._set_item),
        ("SETITEMS", Machine._set_items),
        ("ADDITEMS", Machine._add_items),
        ("MARK", Machine._mark),
        ("POP", Machine._drop),
        ("POP_MARK", Machine._drop_marked),
        ("DUP", Machine._duplicate),
        ("PUT BINPUT LONG_BINPUT", Machine._put),
        ("MEMOIZE", Machine._memoize),
        ("GET BINGET LONG_BINGET", Machine._get),
        ("GLOBAL", Machine._name),
        ("STACK_GLOBAL", Machine._name_from_stack),
        ("REDUCE NEWOBJ", Machine._reduce),
        ("NEWOBJ_EX", Machine._new_object_with_keywords),
        ("OBJ", Machine._object),
        ("INST", Machine._instance),
        ("BUILD", Machine._build),
        ("BINPERSID", Machine._persistent),
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
            raise RefusedError("a name in it is none")
    return Placeholder(module, name)


def _path(name: Placeholder) -> str:
    return f"{_RENAMED.get(name.module, name.module)}.{name.name}"


def _check_inert(value: Any) -> None:
    """Checks that `value` stands for a class of a program of its own."""
    if not isinstance(value, Placeholder):
        raise RefusedError(
            f"it changes a {type(value).__name__} in an unknown way"
        )
    package = value.module.partition(".")[0]
    own_name = value.name.rpartition(".")[2]
    if package in _REFUSED_PACKAGES or not _CLASS_NAME.fullmatch(own_name):
        raise RefusedError(
            f"it uses {value.module}.{value.name}, which no state_dict() needs"
        )


def _make_tensor(
    _: Machine,
    part: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
) -> Tensor:
    if not isinstance(part, Part) or metadata:
        raise RefusedError("a tensor in it is not a plain view of a storage")
    shape, strides = tuple(shape), tuple(strides)
    check_shape(shape)
    if len(shape) != len(strides):
        raise RefusedError(
            f"a tensor of {len(shape)} dimensions has {len(strides)} strides"
        )
    check_sizes((offset, *strides))
    count = math.prod(shape)
    steps = zip(shape, strides, strict=True)
    last = offset + sum((length - 1) * stride for length, stride in steps)
    if count and last >= part.shape[0]:
        raise RefusedError("a tensor reaches beyond its storage")
    if count > max(part.shape[0], _MAX_REPEATED):
        raise RefusedError(f"a tensor repeats its elements {count} times")
    return Tensor(part.storage, part.offset + offset, shape, strides)


def _make_parameter(_: Machine, data: Any, *details: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise RefusedError("a parameter in it is no tensor")
    return data


def _make_size(machine: Machine, lengths: Any) -> tuple[Any, ...]:
    machine.charge(_ITEM_COST * len(lengths))
    return tuple(lengths)


def _make_device(_: Machine, kind: Any, index: Any = None) -> str:
    device = _named("torch.device", kind).name
    if index is None:
        return device
    check_sizes((index,))
    return f"{device}:{index}"


def _make_ordered_dict(machine: Machine, pairs: Any = ()) -> dict[Any, Any]:
    # Python 2 gives the items to the class, 3 sets them afterwards.
    machine.charge(_ITEM_COST * len(pairs))
    made = {}
    for key, value in pairs:
        machine.check_key(key)
        made[key] = value
    return made


def _make_set(machine: Machine, items: Any = ()) -> set[Any]:
    # An empty set takes as much as some items.
    machine.charge(_ITEM_COST * (1 + len(items)))
    for item in items:
        machine.check_key(item)
    return set(items)


def _make_frozenset(machine: Machine, items: Any = ()) -> frozenset[Any]:
    return frozenset(_make_set(machine, items))


def _make_bytes(machine: Machine, text: Any = "", *encoding: Any) -> bytes:
    """Makes bytes of text, the only way that Python 3 has in protocol 2."""
    machine.charge(len(text))
    if isinstance(text, bytes) and not encoding:
        return text
    if not isinstance(text, str) or encoding not in (
        (),
        ("latin1",),
        ("latin-1",),
    ):
        raise RefusedError("bytes in it are written in an unknown way")
    return text.encode("latin-1")


def _get_attribute(_: Machine, owner: Any, name: Any) -> Placeholder:
    """Names a method, as the state of mmengine's HistoryBuffer does."""
    if not isinstance(owner, Placeholder) or not isinstance(name, str):
        raise RefusedError(
            "it uses builtins.getattr, which no state_dict() needs"
        )
    _check_inert(owner)
    return _named(owner.module, f"{owner.name}.{name}")


def _make_numpy_dtype(_: Machine, name: Any, *flags: Any) -> NumpyDtype:
    if not isinstance(name, str) or not _NUMPY_DTYPE.fullmatch(name):
        raise RefusedError("a NumPy dtype in it is not a plain one")
    return NumpyDtype(name)


def _make_numpy_scalar(machine: Machine, kind: Any, content: Any) -> Any:
    machine.charge(len(content))
    return np.frombuffer(content, kind.dtype).item()


def _make_numpy_array(_: Machine, kind: Any, *start: Any) -> NumpyArray:
    if kind != Placeholder("numpy", "ndarray"):
        raise RefusedError("a NumPy array in it is not a plain one")
    return NumpyArray()


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
    "collections.defaultdict": lambda _, *factory: {},
    "builtins.set": _make_set,
    "builtins.frozenset": _make_frozenset,
    "builtins.complex": lambda _, real, imaginary: complex(real, imaginary),
    "builtins.bytes": _make_bytes,
    "builtins.bytearray": _make_bytes,
    "builtins.getattr": _get_attribute,
    "_codecs.encode": _make_bytes,
    "numpy.dtype": _make_numpy_dtype,
    "numpy.core.multiarray.scalar": _make_numpy_scalar,
    "numpy.core.multiarray._reconstruct": _make_numpy_array,
}
