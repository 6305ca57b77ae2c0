"""Tests of c_session: the C++ loader gives what Python's loader gives."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from c_session import ChildSession, CSession, SessionError

INVALID_ARGUMENT = 3
NOT_FOUND = 5


def strings(*values: bytes) -> np.ndarray:
    return np.array([*values, None], object)[:-1]


# TF_TString keeps up to 22 bytes inside itself.
TEXTS = strings(b"", b"a", b"\0", b"a\0b\0", b"x" * 22, b"y" * 23, b"z" * 5000)
FLOATS = np.linspace(-2, 3, 12, dtype="float32").reshape(3, 4)
REQUESTS = {
    "floats": ("floats", {"x": FLOATS}),
    "not contiguous": ("floats", {"x": FLOATS[::2, ::-1]}),
    "no rows": ("floats", {"x": FLOATS[:0]}),
    "dtypes": (
        "dtypes",
        {
            "bytes": np.arange(250, 256, dtype="uint8").reshape(1, 2, 3),
            "flag": np.array([True, False, True]),
            "large": np.array([2**40, -(2**62)]),
            "small": np.array(-(2**31), "int32"),
        },
    ),
    "strings": ("strings", {"x": TEXTS}),
    "table": ("strings", {"x": TEXTS[:6].reshape(2, 3)}),
    "one": ("strings", {"x": np.array(b"one\0", object)}),
    "none": ("strings", {"x": TEXTS[:0]}),
}


def spec(shape: Any, dtype: Any, name: str) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name)


class Module(tf.Module):
    def __init__(self) -> None:
        self.weight = tf.Variable([1.0, -2.0, 0.5, 3.0])

    @tf.function(input_signature=[spec([None, 4], tf.float32, "x")])
    def floats(self, x: Any) -> Any:
        return {"y": tf.exp(x) * self.weight, "total": tf.reduce_sum(x)}

    @tf.function(
        input_signature=[
            spec([None, 2, 3], tf.uint8, "bytes"),
            spec([3], tf.bool, "flag"),
            spec([None], tf.int64, "large"),
            spec([], tf.int32, "small"),
        ]
    )
    def dtypes(self, bytes: Any, flag: Any, large: Any, small: Any) -> Any:
        return {
            "bytes": bytes + 1,
            "flag": ~flag,
            "large": large - 1,
            "small": small + 1,
        }

    @tf.function(input_signature=[spec(None, tf.string, "x")])
    def strings(self, x: Any) -> Any:
        return {
            "same": x,
            "longer": tf.strings.join([x, x], separator="\0"),
            "length": tf.strings.length(x),
        }

    @tf.function(input_signature=[spec([None], tf.int32, "x")])
    def positive(self, x: Any) -> Any:
        check = tf.debugging.Assert(tf.reduce_all(x > 0), ["x must be > 0", x])
        with tf.control_dependencies([check]):
            return {"y": tf.identity(x)}

    @tf.function(input_signature=[spec([], tf.int32, "x")])
    def abort(self, x: Any) -> Any:
        end = tf.raw_ops.Abort(error_msg="asked for")
        with tf.control_dependencies([end]):
            return {"y": tf.identity(x)}


SIGNATURES = ("floats", "dtypes", "strings", "positive", "abort")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    module = Module()
    folder = tmp_path_factory.mktemp("saved") / "1"
    signatures = {name: getattr(module, name) for name in SIGNATURES}
    tf.saved_model.save(module, str(folder), signatures)
    return folder


@pytest.fixture(scope="module")
def loaded(folder) -> Any:
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def session(folder) -> Any:
    with CSession(folder) as session:
        yield session


def oracle(loaded: Any, signature: str, inputs: Any) -> dict[str, np.ndarray]:
    outputs = loaded.signatures[signature](
        **{name: tf.constant(x) for name, x in inputs.items()}
    )
    return {name: np.asarray(y.numpy()) for name, y in outputs.items()}


def assert_equal(got: Any, want: dict[str, np.ndarray]) -> None:
    assert set(got) == set(want)
    for name, array in want.items():
        # Scalars of strings come from TensorFlow as bytes.
        if array.dtype.kind == "S":
            array = array.astype(object)
        assert got[name].dtype == array.dtype
        assert got[name].shape == array.shape
        np.testing.assert_array_equal(got[name], array)


# === Values ===


@pytest.mark.parametrize("name", REQUESTS)
def test_gives_what_tensorflow_gives(session, loaded, name) -> None:
    got = session.run(*REQUESTS[name])
    want = oracle(loaded, *REQUESTS[name])
    if name == "one":
        # NumPy's bytes dtype loses the zero at the end.
        want["same"] = np.array(b"one\0", object)
        want["longer"] = np.array(b"one\0\0one\0", object)
    assert_equal(got, want)


def test_reads_signatures(session, loaded) -> None:
    assert set(session.signatures) == set(SIGNATURES)
    for name, signature in session.signatures.items():
        function = loaded.signatures[name]
        _, inputs = function.structured_input_signature
        for infos, specs in (
            (signature.inputs, inputs),
            (signature.outputs, function.structured_outputs),
        ):
            assert set(infos) == set(specs)
            for key, info in infos.items():
                assert info.dtype == np.dtype(specs[key].dtype.as_numpy_dtype)


@pytest.mark.parametrize("name", ["strings", "floats"])
def test_memory_is_given_back(session, name) -> None:
    inputs = {
        "strings": strings(b"x" * 2_000_000, b"y"),
        "floats": np.ones((2**17, 4), "float32"),
    }

    def run(times: int) -> int:
        for _ in range(times):
            session.run(name, {"x": inputs[name]})
        pages = Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    # 50 times 2 MB or more, were they kept.
    before = run(5)
    assert run(50) - before < 5e7


# === Errors ===


def test_errors_have_code_and_message(session) -> None:
    with pytest.raises(SessionError, match="x must be > 0") as caught:
        session.run("positive", {"x": np.array([1, -5], "int32")})
    assert caught.value.code == INVALID_ARGUMENT
    assert "-5" in caught.value.message
    got = session.run("positive", {"x": np.array([1, 5], "int32")})
    assert got["y"].tolist() == [1, 5]


def test_tensorflow_notices_wrong_shapes_and_dtypes(session) -> None:
    with pytest.raises(SessionError) as caught:
        session.run("floats", {"x": FLOATS[:, :3]})
    assert caught.value.code == INVALID_ARGUMENT
    with pytest.raises(SessionError, match="float"):
        session.run("floats", {"x": FLOATS.astype("int32")})


@pytest.mark.parametrize(
    "signature, inputs, missing",
    [("none", {}, "none"), ("floats", {"z": FLOATS}, "z")],
)
def test_refuses_unknown_names(session, signature, inputs, missing) -> None:
    with pytest.raises(KeyError, match=missing):
        session.run(signature, inputs)


def test_loading_fails_with_an_error(tmp_path) -> None:
    with pytest.raises(SessionError, match=str(tmp_path)) as caught:
        CSession(tmp_path)
    assert caught.value.code == NOT_FOUND


# === In a process of its own ===


@pytest.fixture
def child(folder) -> Any:
    with ChildSession(folder) as child:
        yield child


def test_the_child_answers_the_same(session, child) -> None:
    with pytest.raises(SessionError, match="x must be > 0") as caught:
        child.run("positive", {"x": np.array([-5], "int32")})
    assert caught.value.code == INVALID_ARGUMENT
    with pytest.raises(KeyError, match="other"):
        child.run("other", {})
    for request in REQUESTS.values():
        assert_equal(child.run(*request), session.run(*request))


def test_an_abort_of_the_child_is_reported(child) -> None:
    for _ in range(2):
        with pytest.raises(ChildProcessError, match="(?s)-6: .*asked for"):
            child.run("abort", {"x": np.array(1, "int32")})


def test_a_child_that_is_stopped_is_not_waited_for(child) -> None:
    child.process.send_signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError, match=r"no answer after 0\.1 s"):
        child.run(*REQUESTS["floats"], seconds=0.1)


def test_the_child_ends_with_the_session(folder) -> None:
    with ChildSession(folder) as child:
        pass
    assert child.process.returncode == -signal.SIGKILL
    child.close()


def test_a_child_that_cannot_load_is_reported(tmp_path) -> None:
    match = "(?s)status 1: .*SessionError: .*nowhere"
    with pytest.raises(ChildProcessError, match=match):
        ChildSession(tmp_path / "nowhere")
