"""Tests of measuring artifacts in processes of their own."""

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save
from support import picture

from keras_pspnet.inference import measured
from keras_pspnet.inference.benchmark import benchmark, check_artefacts
from keras_pspnet.inference.measuring import BenchmarkError, Child

# An array of this many megabytes is made of every image.
MEGABYTES = 200


def write_onnx(path: Path, *size: int, large: bool = False) -> str:
    """Writes a network whose logits are the bands of the image."""
    sides: list[int | str] = [*size] if size else ["height", "width"]
    shape = ["batch", *sides, 3]
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("images", "logits")
    ]
    nodes = [helper.make_node("Identity", ["images"], ["logits"])]
    initializers = []
    if large:
        values = np.ones(MEGABYTES * 250_000, "float32")
        initializers = [
            helper.make_tensor(
                "large",
                TensorProto.FLOAT,
                [values.size],
                values.tobytes(),
                True,
            )
        ]
        nodes = [
            helper.make_node("ReduceMin", ["images"], ["least"], keepdims=0),
            helper.make_node(
                "Cast", ["least"], ["index"], to=TensorProto.INT64
            ),
            helper.make_node("Gather", ["large", "index"], ["one"]),
            helper.make_node("Mul", ["images", "one"], ["logits"]),
        ]
    graph = helper.make_graph(
        nodes, "net", tensors[:1], tensors[1:], initializers
    )
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return str(path)


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("artifacts")
    return [
        write_onnx(folder / "free.onnx"),
        write_onnx(folder / "fixed.onnx", 24, 16),
        write_onnx(folder / "large.onnx", large=True),
    ]


def test_size_time_and_memory_of_each(paths) -> None:
    done = []
    found = benchmark(
        paths,
        picture(40, 48),
        rounds=3,
        threads=1,
        progress=lambda: done.append(1),
    )
    assert [each.path for each in found] == paths
    assert len(done) == 3 * (1 + 3)
    free, fixed, large = found
    # A fixed size is fed by pixels of the image.
    assert [each.size for each in found] == [(40, 48), (24, 16), (40, 48)]
    for each in found:
        assert each.kind == "onnx"
        assert len(each.seconds) == 3
        assert each.median_seconds == sorted(each.seconds)[1] > 0
        assert 0 < each.started < each.imported < each.peak
        assert each.megabytes == Path(each.path).stat().st_size / 1e6
        # No process has Keras or TensorFlow in it.
        assert each.imported < 150
    assert large.megabytes > MEGABYTES
    # What a file holds is in memory once it is loaded, and in no other.
    assert large.loaded - free.loaded > 0.9 * MEGABYTES
    assert abs(free.loaded - fixed.loaded) < 0.1 * MEGABYTES
    assert large.peak >= large.loaded


@pytest.mark.parametrize("size", [(), (24, 16)])
def test_what_is_measured_is_the_mask(tmp_path, size) -> None:
    path = write_onnx(tmp_path / "model.onnx", *size)
    image = np.random.default_rng(0).uniform(0, 255, (1, 40, 48, 3))
    image = image.astype("float32")
    rows, columns = (
        np.arange(side) * whole // side
        for side, whole in zip(size or (40, 48), (40, 48), strict=True)
    )
    want = image[:, rows][:, :, columns].argmax(-1)
    got = measured.load_artefact(path, threads=1)(image)
    np.testing.assert_array_equal(got, want)


def test_memory_is_that_of_the_process() -> None:
    before = measured.resident_memory()
    block = np.ones(MEGABYTES * 125_000)
    assert measured.resident_memory() - before > 0.9 * MEGABYTES
    del block
    assert measured.resident_memory() - before < 0.5 * MEGABYTES
    assert measured.peak_memory() - before > 0.9 * MEGABYTES


def test_what_does_not_load_is_named_with_its_error(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model at all")
    with pytest.raises(BenchmarkError) as error:
        benchmark([path], picture(40, 48))
    lines = str(error.value).splitlines()
    assert lines[0] == f"{path} ended with status 1:"
    assert "INVALID_PROTOBUF" in lines[-1]


def test_a_process_that_ends_between_rounds_is_an_error(tmp_path) -> None:
    code = "import sys; print('{}', flush=True); sys.exit('gone')"
    log = tmp_path / "log"
    with Child("mine", [sys.executable, "-c", code], log) as child:
        assert child.start() == {}
        with pytest.raises(BenchmarkError, match="mine ended.*\n.*gone"):
            child.round()


def test_what_is_no_artefact_is_refused(tmp_path, paths) -> None:
    for name in ("notes.txt", "folder/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("some notes")
    for wrong in ("notes.txt", "folder"):
        with pytest.raises(ValueError, match=f"`paths` must be.*{wrong}"):
            check_artefacts([paths[0], tmp_path / wrong])
    with pytest.raises(FileNotFoundError, match="`paths` must.*gone.onnx"):
        check_artefacts([tmp_path / "gone.onnx"])
    with pytest.raises(ValueError, match="`paths` must hold each.* once"):
        check_artefacts([paths[0], paths[0]])
    with pytest.raises(ValueError, match="`paths` must hold each.* once"):
        check_artefacts([])


def test_a_missing_runtime_is_named(paths, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(ImportError, match=r"keras-pspnet\[onnx\]"):
        check_artefacts(paths)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"rounds": 0}, "`rounds` must be a positive integer"),
        ({"threads": -1}, "`threads` must be a positive integer"),
        ({"image": picture(8, 8)[None]}, r"`image` must have.*\(1, 8, 8, 3\)"),
    ],
)
def test_arguments_are_checked(paths, arguments, match) -> None:
    with pytest.raises(ValueError, match=match):
        benchmark(paths, **{"image": picture(8, 8), **arguments})
