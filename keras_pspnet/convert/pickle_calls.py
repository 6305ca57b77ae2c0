"""The few functions that a checkpoint calls, and their replacements.

Names in a file are looked up in a table, and never imported.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_pspnet.convert.pickle_values import (
    ITEM_COST,
    Budget,
    NumpyArray,
    NumpyDtype,
    Part,
    Placeholder,
    RefusedError,
    Tensor,
    check_shape,
    check_sizes,
)

_MAX_NAME = 256  # characters
_MAX_REPEATED = 2**24  # elements of a tensor that has more than its storage
# Keys of dicts. With large numbers or tuples, a file could give all keys the
# same hash, and every lookup would become a search.
_MAX_INT_KEY = 2**63
_MAX_TUPLE_KEY = 16  # items
_TUPLE_KEY_COST = 2**13  # bytes that stand for the work

_NUMPY_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|[SU][0-9]{1,9}")

# Modules with two names, in Python 2 and 3 or in NumPy 1 and 2.
_RENAMED = {
    "__builtin__": "builtins",
    "numpy._core.multiarray": "numpy.core.multiarray",
}
# Packages from which a file may use only what a table lists. The modules that
# are taken out have classes that hold data.
_REFUSED_PACKAGES = (
    sys.stdlib_module_names
    - {"argparse", "collections", "dataclasses", "decimal", "enum", "uuid"}
    | {"__builtin__", "cPickle", "copy_reg", "urllib2"}
    | {"dill", "jax", "joblib", "keras", "numpy", "tensorflow", "tf_keras"}
    | {"torch", "torchvision"}
)
_CLASS_NAME = re.compile(r"_*[A-Z]\w*")


def named(module: Any, name: Any) -> Placeholder:
    """Returns what a file names, after checking that it is a valid name."""
    for text in (module, name):
        if (
            not isinstance(text, str)
            or len(text) > _MAX_NAME
            or not all(map(str.isidentifier, text.split(".")))
        ):
            raise RefusedError("a name in it is invalid")
    return Placeholder(module, name)


def path_of(name: Placeholder) -> str:
    """Returns the path of a name, with renamed modules unified."""
    return f"{_RENAMED.get(name.module, name.module)}.{name.name}"


def check_key(budget: Budget, key: Any) -> None:
    """Checks that looking up `key` in a dict or set is fast."""
    parts = (key,)
    if isinstance(key, tuple) and len(key) <= _MAX_TUPLE_KEY:
        budget.charge(_TUPLE_KEY_COST)
        parts = key
    for part in parts:
        if isinstance(part, int):
            plain = abs(part) <= _MAX_INT_KEY
        else:
            plain = isinstance(part, str | bytes | float | Placeholder | None)
        if not plain:
            raise RefusedError("a key in it is not a plain one")


@dataclasses.dataclass(frozen=True)
class CallTable:
    """Functions that files of one kind may call.

    Args:
        functions: Path of a name -> its replacement, which takes the budget
            and the arguments.
        way_out: If nothing else may be called, how to write a file that does
            not. If empty, objects of other classes become a `Placeholder`.
    """

    functions: Mapping[str, Callable[..., Any]]
    way_out: str = ""


def call(table: CallTable, budget: Budget, name: Any, args: Any) -> Any:
    """Calls the replacement in the table, or returns a placeholder."""
    if not isinstance(name, Placeholder) or not isinstance(args, tuple):
        raise RefusedError("it calls something that has no name")
    budget.charge(ITEM_COST)
    function = table.functions.get(path_of(name))
    # A name with dots is an attribute of a class, whatever its path.
    if function and "." not in name.name:
        return function(budget, *args)
    if table.way_out:
        raise RefusedError(
            f"it uses {name}, which no state_dict() needs; {table.way_out}"
        )
    check_inert(name)
    return name


def check_inert(value: Any) -> None:
    """Checks that `value` stands for a class of some other package."""
    if not isinstance(value, Placeholder):
        raise RefusedError(
            f"it changes a {type(value).__name__} in an unknown way"
        )
    package = value.module.partition(".")[0]
    own_name = value.name.rpartition(".")[2]
    if package in _REFUSED_PACKAGES or not _CLASS_NAME.fullmatch(own_name):
        raise RefusedError(f"it uses {value}, which no state_dict() needs")


def _make_tensor(
    _: Budget,
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
    return Tensor(part.storage, offset, shape, strides)


def _make_parameter(_: Budget, data: Any, *details: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise RefusedError("a parameter in it is not a tensor")
    return data


def _make_size(budget: Budget, lengths: Any) -> tuple[Any, ...]:
    budget.charge(ITEM_COST * len(lengths))
    return tuple(lengths)


def _make_device(_: Budget, kind: Any, index: Any = None) -> str:
    device = named("torch.device", kind).name
    if index is None:
        return device
    check_sizes((index,))
    return f"{device}:{index}"


def _make_ordered_dict(budget: Budget, pairs: Any = ()) -> dict[Any, Any]:
    # Python 2 passes the items to the class; Python 3 sets them later.
    budget.charge(ITEM_COST * len(pairs))
    made = {}
    for key, value in pairs:
        check_key(budget, key)
        made[key] = value
    return made


def make_set(budget: Budget, items: Any = ()) -> set[Any]:
    """Makes a set of items that are fast to look up."""
    # An empty set takes as much memory as some items.
    budget.charge(ITEM_COST * (1 + len(items)))
    for item in items:
        check_key(budget, item)
    return set(items)


def _make_bytes(budget: Budget, text: Any = "", *encoding: Any) -> bytes:
    """Makes bytes from text, as Python 3 stores them in protocol 2."""
    budget.charge(len(text))
    if isinstance(text, bytes) and not encoding:
        return text
    known = ((), ("latin1",), ("latin-1",))
    if not isinstance(text, str) or encoding not in known:
        raise RefusedError("bytes in it are written in an unknown way")
    return text.encode("latin-1")


def _get_attribute(_: Budget, owner: Any, name: Any) -> Placeholder:
    """Names a method, which the state of mmengine's HistoryBuffer does."""
    if not isinstance(owner, Placeholder) or not isinstance(name, str):
        raise RefusedError(
            "it uses builtins.getattr, which no state_dict() needs"
        )
    check_inert(owner)
    return named(owner.module, f"{owner.name}.{name}")


def _make_numpy_dtype(_: Budget, name: Any, *flags: Any) -> NumpyDtype:
    if not isinstance(name, str) or not _NUMPY_DTYPE.fullmatch(name):
        raise RefusedError("a NumPy dtype in it is not a plain one")
    return NumpyDtype(name)


def _make_numpy_scalar(budget: Budget, kind: Any, content: Any) -> Any:
    budget.charge(len(content))
    return np.frombuffer(content, kind.dtype).item()


def _make_numpy_array(_: Budget, kind: Any, *start: Any) -> NumpyArray:
    if kind != Placeholder("numpy", "ndarray"):
        raise RefusedError("a NumPy array in it is not a plain one")
    return NumpyArray()


# For NumPy arrays and, in protocol 2, their bytes.
_ARRAY_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "builtins.bytes": _make_bytes,
    "_codecs.encode": _make_bytes,
    "numpy.dtype": _make_numpy_dtype,
    "numpy.core.multiarray._reconstruct": _make_numpy_array,
}
_TORCH_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_ARRAY_FUNCTIONS,
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
    "builtins.set": make_set,
    "builtins.frozenset": lambda *args: frozenset(make_set(*args)),
    "builtins.complex": lambda _, real, imaginary: complex(real, imaginary),
    "builtins.bytearray": _make_bytes,
    "builtins.getattr": _get_attribute,
    "numpy.core.multiarray.scalar": _make_numpy_scalar,
}
TORCH_CALLS = CallTable(_TORCH_FUNCTIONS)
PADDLE_CALLS = CallTable(
    _ARRAY_FUNCTIONS,
    "paddle.save(network.state_dict(), path) writes a file without it",
)
