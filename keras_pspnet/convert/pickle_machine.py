"""Interprets a pickle without running any code that it names.

A pickle is a program that may name any function and call it. Here, names are
looked up in a table of what checkpoints need, and never imported.
"""

from __future__ import annotations

import contextlib
import mmap
import pickletools
import re
from collections.abc import Callable
from typing import Any

from keras_pspnet.convert.pickle_calls import (
    TORCH_CALLS,
    CallTable,
    call,
    check_inert,
    check_key,
    make_set,
    named,
    path_of,
)
from keras_pspnet.convert.pickle_values import (
    ITEM_COST,
    MAX_COPIED,
    STORAGES,
    Budget,
    NumpyArray,
    NumpyDtype,
    Part,
    Placeholder,
    RefusedError,
    Storage,
    Tensor,
    check_sizes,
)

_MAX_OPCODES = 2**22
_MAX_BITS = 1024  # of an integer
_STORAGE_KEY = re.compile(r"[0-9A-Za-z_]{1,64}")


class _Stream:
    """A part of a file, from which `pickletools` reads opcodes."""

    def __init__(
        self, content: bytes | mmap.mmap, position: int, limit: int
    ) -> None:
        self._content = content
        self._end = min(position + limit, len(content))
        self.position = position

    def read(self, count: int) -> bytes:
        # At most what is left: the file may declare any `count`.
        end = min(self.position + count, self._end)
        piece = self._content[self.position : end]
        self.position = end
        return piece

    def readline(self) -> bytes:
        end = self._content.find(b"\n", self.position, self._end) + 1
        return self.read((end or self._end) - self.position)


class Machine:
    """Interprets the opcodes of one pickle, with only data on its stack.

    Args:
        content: Content of the file that holds the pickle.
        position: Start of the pickle.
        limit: Number of bytes that it may have.
        calls: Functions that it may call.
        copied: Number of bytes that its opcodes may copy.

    Attributes:
        storages: Key -> storage, for all storages of the pickle.
    """

    def __init__(
        self,
        content: bytes | mmap.mmap,
        position: int,
        limit: int,
        calls: CallTable = TORCH_CALLS,
        copied: int = MAX_COPIED,
    ) -> None:
        self._calls = calls
        self.storages: dict[str, Storage] = {}
        self._stream = _Stream(content, position, limit)
        self._budget = Budget(copied)
        self._stack: list[Any] = []
        # The stacks below the marks.
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    @property
    def position(self) -> int:
        """Position of the next opcode; after `run`, the end of the pickle."""
        return self._stream.position

    def run(self) -> Any:
        """Returns the pickled object, with records in place of arrays."""
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
        return self._pop()

    def _pop(self) -> Any:
        return self._stack.pop()

    def _marked(self) -> list[Any]:
        """Removes a mark, and returns the values above it."""
        marked = self._stack
        self._stack = self._below.pop()
        return marked

    # The opcodes; `pickletools` has read the argument that some of them have.

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _integer(self, value: int) -> None:
        if value.bit_length() > _MAX_BITS:
            raise RefusedError(f"an integer in it has over {_MAX_BITS} bits")
        self._push(value)

    def _python2_text(self, text: str) -> None:
        # Python 2 stored bytes, which `pickletools` decodes as Latin-1.
        with contextlib.suppress(UnicodeDecodeError):
            text = text.encode("latin-1").decode()
        self._push(text)

    def _name(self, names: str) -> None:
        self._push(named(*names.split(" ", 1)))

    def _name_from_stack(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._push(named(module, name))

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _drop(self, _: Any) -> None:
        # POP removes a mark like a value.
        self._pop() if self._stack else self._marked()

    def _put(self, index: int) -> None:
        # Larger indices could all have the same hash.
        if not 0 <= index < _MAX_OPCODES:
            raise RefusedError(f"an index in it is not below {_MAX_OPCODES}")
        self._memo[index] = self._stack[-1]

    def _short_tuple(self, length: int) -> None:
        if len(self._stack) < length:
            raise RefusedError("it makes a tuple of missing values")
        self._stack[-length:] = [tuple(self._stack[-length:])]

    def _dict(self, _: Any) -> None:
        items = self._marked()
        self._push({})
        self._add(dict, items)

    def _set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._add(dict, [key, value])

    def _add(self, kind: type[Any], items: list[Any]) -> None:
        """Puts items into a list, a set or a dict."""
        target = self._stack[-1]
        if type(target) is not kind:
            check_inert(target)
        elif kind is list:
            target.extend(items)
        elif kind is set:
            target |= make_set(self._budget, items)
        else:
            for key, value in zip(items[::2], items[1::2], strict=True):
                check_key(self._budget, key)
                target[key] = value

    def _reduce(self, _: Any) -> None:
        args, name = self._pop(), self._pop()
        self._push(self._call(name, args))

    def _call(self, name: Any, args: Any) -> Any:
        return call(self._calls, self._budget, name, args)

    def _new_object_with_keywords(self, _: Any) -> None:
        if self._pop():
            check_inert(self._stack[-2])
        self._reduce(_)

    def _object(self, _: Any) -> None:
        name, *args = self._marked()
        self._push(self._call(name, tuple(args)))

    def _instance(self, names: str) -> None:
        args = tuple(self._marked())
        self._push(self._call(named(*names.split(" ", 1)), args))

    def _build(self, _: Any) -> None:
        state, target = self._pop(), self._stack[-1]
        match target, state:
            case ((NumpyDtype() | NumpyArray()), _):
                target.build(state)
            case (dict(), dict()) | (Tensor(), (_, _, _)):
                # Attributes of an OrderedDict, and of old Variables.
                pass
            case _:
                check_inert(target)

    def _persistent(self, _: Any) -> None:
        match self._pop():
            case ("storage", Placeholder() as name, str() as key, *rest):
                _, count, *views = rest
            case ("module", *_):
                raise RefusedError(
                    "it holds a whole module, which is a program; save its "
                    "state_dict() instead"
                )
            case _:
                raise RefusedError("it refers to something unknown")
        # Files from before PyTorch 0.4 have [None].
        if views not in ([], [None]):
            raise RefusedError("it has an unknown view of a storage")
        kind = path_of(name)
        if kind not in STORAGES:
            raise RefusedError(f"it has elements of the unknown type {kind}")
        if not _STORAGE_KEY.fullmatch(key):
            raise RefusedError("the key of a storage is not a plain one")
        check_sizes((count,))
        storage = self.storages.setdefault(key, Storage(key, kind, count))
        if (storage.kind, storage.count) != (kind, count):
            raise RefusedError(f"it has two storages {key}")
        self._budget.charge(ITEM_COST)
        self._push(Part(storage, 0, (count,), (1,)))


_OPCODES: dict[str, Callable[[Machine, Any], Any]] = {
    name: function
    for names, function in (
        ("PROTO FRAME STOP", lambda machine, _: None),
        ("NEWTRUE", lambda machine, _: machine._push(True)),
        ("NEWFALSE", lambda machine, _: machine._push(False)),
        ("INT BININT BININT1 BININT2", Machine._integer),
        ("LONG LONG1 LONG4", Machine._integer),
        ("NONE FLOAT BINFLOAT", Machine._push),
        ("UNICODE SHORT_BINUNICODE", Machine._push),
        ("BINUNICODE BINUNICODE8", Machine._push),
        ("SHORT_BINBYTES BINBYTES BINBYTES8", Machine._push),
        ("STRING BINSTRING SHORT_BINSTRING", Machine._python2_text),
        ("EMPTY_TUPLE", lambda machine, _: machine._push(())),
        ("EMPTY_LIST", lambda machine, _: machine._push([])),
        ("EMPTY_DICT", lambda machine, _: machine._push({})),
        (
            "EMPTY_SET",
            lambda machine, _: machine._push(make_set(machine._budget)),
        ),
        ("TUPLE", lambda machine, _: machine._push(tuple(machine._marked()))),
        ("TUPLE1", lambda machine, _: machine._short_tuple(1)),
        ("TUPLE2", lambda machine, _: machine._short_tuple(2)),
        ("TUPLE3", lambda machine, _: machine._short_tuple(3)),
        ("LIST", lambda machine, _: machine._push(machine._marked())),
        ("DICT", Machine._dict),
        (
            "FROZENSET",
            lambda machine, _: machine._push(
                frozenset(make_set(machine._budget, machine._marked()))
            ),
        ),
        (
            "APPEND",
            lambda machine, _: machine._add(list, [machine._pop()]),
        ),
        ("APPENDS", lambda machine, _: machine._add(list, machine._marked())),
        ("SETITEM", Machine._set_item),
        ("SETITEMS", lambda machine, _: machine._add(dict, machine._marked())),
        ("ADDITEMS", lambda machine, _: machine._add(set, machine._marked())),
        ("MARK", Machine._mark),
        ("POP", Machine._drop),
        ("POP_MARK", lambda machine, _: machine._marked()),
        ("DUP", lambda machine, _: machine._push(machine._stack[-1])),
        ("PUT BINPUT LONG_BINPUT", Machine._put),
        ("MEMOIZE", lambda machine, _: machine._put(len(machine._memo))),
        (
            "GET BINGET LONG_BINGET",
            lambda machine, index: machine._push(machine._memo[index]),
        ),
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
