"""Loads and runs a SavedModel in C++, as TensorFlow Serving does.

`CSession` calls the C interface of the wheel's library, without TensorFlow's
Python code or Keras. `ChildSession` does so in its own process, so that a
request that aborts ends only that process.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import pickle
import select
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping
from contextlib import ExitStack
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

# TF_DataType
_STRING = 7
_DTYPES = {
    1: np.dtype("float32"),
    3: np.dtype("int32"),
    4: np.dtype("uint8"),
    _STRING: np.dtype(object),
    9: np.dtype("int64"),
    10: np.dtype("bool"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
# sizeof(TF_TString)
_STRING_SIZE = 24
_START_SECONDS = 120


class SessionError(Exception):
    """An error that TensorFlow returns instead of values.

    Attributes:
        code: TF_Code, the same number as gRPC's: 3 is INVALID_ARGUMENT.
        message: TensorFlow's text.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class CSession:
    """A SavedModel in a session of the C API.

    Arrays are float32, int32, int64, uint8, bool, or object arrays of bytes
    for string tensors; NumPy's own bytes dtype would lose zeros at the end.

    Args:
        folder: The SavedModel.

    Raises:
        SessionError: If it cannot be loaded.
    """

    def __init__(self, folder: str | Path) -> None:
        library = load_library()
        with ExitStack() as stack, ExitStack() as graph_stack:
            status = _new(stack, "Status")
            options = _new(stack, "SessionOptions")
            meta_graph = _new(stack, "Buffer")
            self._graph = _new(graph_stack, "Graph")
            self._session = library.TF_LoadSessionFromSavedModel(
                options,
                None,
                str(folder).encode(),
                (c_char_p * 1)(b"serve"),
                1,
                self._graph,
                meta_graph,
                status,
            )
            _check(status)
            graph_stack.callback(self._close_session)
            buffer = ctypes.cast(meta_graph, POINTER(_Buffer)).contents
            content = ctypes.string_at(buffer.data, buffer.length)
            self.signatures = _read_signatures(content)
            self._stack = graph_stack.pop_all()

    def __enter__(self) -> CSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Runs a signature once.

        Shapes, dtypes and missing inputs are left to TensorFlow to notice,
        as TensorFlow Serving leaves the first two.

        Args:
            signature: Its name.
            inputs: Arrays by input name.

        Returns:
            Arrays by output name.

        Raises:
            KeyError: If the signature lacks one of the names.
            SessionError: If TensorFlow answers with an error.
        """
        known = self.signatures[signature]
        names = list(known.outputs)
        # A map of protos has whatever it is asked for.
        expected = dict(known.inputs)
        feeds = [self._find(expected[name].name) for name in inputs]
        fetches = [self._find(known.outputs[name].name) for name in names]
        results = (c_void_p * len(names))()
        with ExitStack() as stack:
            status = _new(stack, "Status")
            values = [
                _to_tensor(stack, np.asarray(array))
                for array in inputs.values()
            ]
            load_library().TF_SessionRun(
                self._session,
                None,
                (_Output * len(feeds))(*feeds),
                (c_void_p * len(values))(*values),
                len(values),
                (_Output * len(fetches))(*fetches),
                results,
                len(fetches),
                None,
                0,
                None,
                status,
            )
            for result in filter(None, results):
                stack.callback(load_library().TF_DeleteTensor, result)
            _check(status)
            arrays = [_to_array(result) for result in results]
        return dict(zip(names, arrays, strict=True))

    def close(self) -> None:
        """Frees the session; it may be called again."""
        self._stack.close()

    def _close_session(self) -> None:
        session, self._session = self._session, None
        with ExitStack() as stack:
            status = _new(stack, "Status")
            load_library().TF_CloseSession(session, status)
            _check(status)
            load_library().TF_DeleteSession(session, status)
            _check(status)

    def _find(self, tensor: str) -> _Output:
        operation, _, index = tensor.rpartition(":")
        found = load_library().TF_GraphOperationByName(
            self._graph, operation.encode()
        )
        if found is None:
            raise KeyError(tensor)
        return _Output(found, int(index))


# === A process of its own ===


class ChildSession:
    """A `CSession` in a fresh process, which has only the C library.

    Args:
        folder: The SavedModel.

    Raises:
        ChildProcessError: If it cannot be loaded.
    """

    def __init__(self, folder: str | Path) -> None:
        with ExitStack() as stack:
            self._stderr = stack.enter_context(tempfile.TemporaryFile())
            # -I: nothing comes in from the current folder or this one.
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-W", "error", __file__, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
            )
            stack.callback(self._end)
            self._receive(_START_SECONDS)
            self._stack = stack.pop_all()

    def __enter__(self) -> ChildSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        seconds: float = 60,
    ) -> Arrays:
        """Runs a signature once, see `CSession.run`.

        Raises:
            ChildProcessError: If the process has ended, or ends.
            KeyError: If the signature lacks one of the names.
            SessionError: If TensorFlow answers with an error.
            TimeoutError: If there is no answer in time.
        """
        # The answer tells of a process that has ended.
        with contextlib.suppress(BrokenPipeError):
            pickle.dump((signature, inputs), self.process.stdin)
            self.process.stdin.flush()
        answer = self._receive(seconds)
        if isinstance(answer, dict):
            return answer
        kind, arguments = answer
        raise {"KeyError": KeyError, "SessionError": SessionError}[kind](
            *arguments
        )

    def close(self) -> None:
        """Ends the process; it may be called again."""
        self._stack.close()

    def _receive(self, seconds: float) -> Any:
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise TimeoutError(f"no answer after {seconds} s")
        try:
            return pickle.load(self.process.stdout)
        except EOFError:
            status = self.process.wait()
            self._stderr.seek(0)
            told = self._stderr.read().decode(errors="replace")
            raise ChildProcessError(f"status {status}: {told}") from None

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        # What it did not read any more cannot be written.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()


def _answer_all(folder: str) -> None:
    """Answers requests in the child until it is stopped."""
    answers = sys.stdout.buffer
    with CSession(folder) as session:
        answer: Any = "loaded"
        while True:
            assert "tensorflow.python" not in sys.modules
            pickle.dump(answer, answers)
            answers.flush()
            request = pickle.load(sys.stdin.buffer)
            try:
                answer = session.run(*request)
            except (KeyError, SessionError) as error:
                answer = type(error).__name__, error.args


# === The C interface ===


class _Buffer(ctypes.Structure):
    """TF_Buffer; its third field, the deallocator, is not needed."""

    _fields_ = (("data", c_void_p), ("length", c_size_t))


class _Output(ctypes.Structure):
    """TF_Output"""

    _fields_ = (("operation", c_void_p), ("index", c_int))


_POINTER_TYPES = ("Status", "SessionOptions", "Buffer", "Graph")
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    **{f"TF_New{name}": (c_void_p, ()) for name in _POINTER_TYPES},
    **{f"TF_Delete{name}": (None, (c_void_p,)) for name in _POINTER_TYPES},
    "TF_GetCode": (c_int, (c_void_p,)),
    "TF_Message": (c_char_p, (c_void_p,)),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        (*[c_void_p] * 4, c_int, *[c_void_p] * 3),
    ),
    "TF_CloseSession": (None, (c_void_p, c_void_p)),
    "TF_DeleteSession": (None, (c_void_p, c_void_p)),
    "TF_GraphOperationByName": (c_void_p, (c_void_p, c_char_p)),
    "TF_SessionRun": (
        None,
        (
            *[c_void_p] * 4,
            *(c_int, c_void_p, c_void_p, c_int, c_void_p, c_int),
            *[c_void_p] * 2,
        ),
    ),
    "TF_AllocateTensor": (c_void_p, (c_int, c_void_p, c_int, c_size_t)),
    "TF_DeleteTensor": (None, (c_void_p,)),
    "TF_TensorType": (c_int, (c_void_p,)),
    "TF_NumDims": (c_int, (c_void_p,)),
    "TF_Dim": (c_int64, (c_void_p, c_int)),
    "TF_TensorData": (c_void_p, (c_void_p,)),
    "TF_StringInit": (None, (c_void_p,)),
    "TF_StringCopy": (None, (c_void_p, c_char_p, c_size_t)),
    "TF_StringGetDataPointer": (c_void_p, (c_void_p,)),
    "TF_StringGetSize": (c_size_t, (c_void_p,)),
}


@functools.cache
def load_library() -> ctypes.CDLL:
    """Returns TensorFlow's C library, and loads it if necessary."""
    library = ctypes.CDLL(str(_tensorflow_folder() / "libtensorflow_cc.so.2"))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@functools.cache
def _tensorflow_folder() -> Path:
    spec = importlib.util.find_spec("tensorflow")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def _new(stack: ExitStack, name: str) -> int:
    """Creates a TF_`name`, which the stack deletes."""
    made = getattr(load_library(), f"TF_New{name}")()
    stack.callback(getattr(load_library(), f"TF_Delete{name}"), made)
    return made


def _check(status: int) -> None:
    code = load_library().TF_GetCode(status)
    if code:
        message = load_library().TF_Message(status)
        raise SessionError(code, message.decode(errors="replace"))


def _to_tensor(stack: ExitStack, array: np.ndarray) -> int:
    """Copies an array into a TF_Tensor, which the stack deletes."""
    library = load_library()
    code = _CODES[array.dtype]
    size = array.size * (_STRING_SIZE if code == _STRING else array.itemsize)
    shape = (c_int64 * array.ndim)(*array.shape)
    tensor = library.TF_AllocateTensor(code, shape, array.ndim, size)
    stack.callback(library.TF_DeleteTensor, tensor)
    data = library.TF_TensorData(tensor)
    if code != _STRING:
        array = np.ascontiguousarray(array)
        ctypes.memmove(data, array.ctypes.data, size)
        return tensor
    starts = range(data, data + size, _STRING_SIZE) if size else ()
    # All of them first: deleting the tensor frees each of its strings.
    for string in starts:
        library.TF_StringInit(string)
    for string, value in zip(starts, array.flat, strict=True):
        library.TF_StringCopy(string, value, len(value))
    return tensor


def _to_array(tensor: int) -> np.ndarray:
    """Copies a TF_Tensor into an array."""
    library = load_library()
    code = library.TF_TensorType(tensor)
    shape = [
        library.TF_Dim(tensor, axis)
        for axis in range(library.TF_NumDims(tensor))
    ]
    array = np.empty(shape, _DTYPES[code])
    data = library.TF_TensorData(tensor)
    if code != _STRING:
        ctypes.memmove(array.ctypes.data, data, array.nbytes)
        return array
    for index in range(array.size):
        string = data + index * _STRING_SIZE
        array.flat[index] = ctypes.string_at(
            library.TF_StringGetDataPointer(string),
            library.TF_StringGetSize(string),
        )
    return array


# === Signatures ===


def _read_signatures(meta_graph: bytes) -> dict[str, Any]:
    """Reads the signatures as SignatureDef, with only TensorFlow's protos."""
    if "tensorflow" not in sys.modules:
        # A package in the place of the real one, which takes seconds to import.
        package = types.ModuleType("tensorflow")
        package.__path__ = [str(_tensorflow_folder())]
        sys.modules["tensorflow"] = package
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

    signatures = dict(MetaGraphDef.FromString(meta_graph).signature_def)
    # What the loader runs to initialize; it has no tensors.
    signatures.pop("__saved_model_init_op", None)
    return signatures


if __name__ == "__main__":
    _answer_all(sys.argv[1])
