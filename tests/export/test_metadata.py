"""Tests of LiteRT metadata, read by field numbers of the two schemas."""

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from band_files import band_conv
from flatbuffers.number_types import Uint8Flags, Uint32Flags
from flatbuffers.table import Table
from support import picture, tiny_pspnet
from tensorflow.lite.python.schema_py_generated import ModelT

from keras_pspnet import LabelSet, __version__, export_litert
from keras_pspnet.export import litert

SIZE = (48, 64)
LABELS = LabelSet(
    "ground", ("grass", "Straße", "water", "sand"), ((0, 0, 0),) * 4
)


@dataclass
class Export:
    """A file, and what the converter gave for it."""

    converted: bytes
    path: Path

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()


@pytest.fixture(
    scope="module",
    params=[
        "float32",
        "int8",
        pytest.param("float16", marks=pytest.mark.slow),
        pytest.param("dynamic", marks=pytest.mark.slow),
    ],
)
def export(request, tmp_path_factory) -> Export:
    given = []

    def add_metadata(data: bytes, *rest: Any) -> bytes:
        given.append(data)
        return add(data, *rest)

    add = litert.add_metadata
    path = tmp_path_factory.mktemp("litert") / "model.tflite"
    seen = [picture(height, 64) for height in range(40, 60, 2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(litert, "add_metadata", add_metadata)
        export_litert(
            tiny_pspnet(4, labels=LABELS),
            path,
            SIZE,
            request.param,
            seen if request.param == "int8" else (),
        )
    return Export(*given, path)


# === A reader of FlatBuffers: field `slot` of a table, by type ===


def root(data: bytes) -> Table:
    return Table(data, struct.unpack_from("<I", data)[0])


def place(table: Table, slot: int) -> int:
    """Where a field is, relative to the table; 0 if it is left out."""
    return table.Offset(4 + 2 * slot)


def number(table: Table, slot: int, flags: Any) -> int:
    offset = place(table, slot)
    return table.Get(flags, table.Pos + offset) if offset else 0


def text(table: Table, slot: int) -> str:
    return table.String(table.Pos + place(table, slot)).decode()


def child(table: Table, slot: int) -> Table:
    return Table(table.Bytes, table.Indirect(table.Pos + place(table, slot)))


def children(table: Table, slot: int) -> Iterator[Table]:
    offset = place(table, slot)
    for i in range(table.VectorLen(offset)):
        start = table.Vector(offset) + 4 * i
        yield Table(table.Bytes, table.Indirect(start))


def array(table: Table, slot: int, dtype: str) -> np.ndarray:
    offset = place(table, slot)
    return np.frombuffer(
        table.Bytes, dtype, table.VectorLen(offset), table.Vector(offset)
    )


def slots(table: Table) -> set[int]:
    """The fields that are there, of as many as the schemas have at most."""
    return {slot for slot in range(20) if place(table, slot)}


def metadata_of(data: bytes) -> bytes:
    """The buffer that TFLITE_METADATA of `Model.metadata` names."""
    model = root(data)
    (index,) = (
        number(entry, 1, Uint32Flags)
        for entry in children(model, 6)
        if text(entry, 0) == "TFLITE_METADATA"
    )
    return array(list(children(model, 4))[index], 0, "uint8").tobytes()


# === What is added ===


def test_the_metadata_is_of_its_schema(export) -> None:
    data = metadata_of(export.data)
    assert data[4:8] == b"M001"
    model = root(data)
    assert slots(model) == {0, 1, 2, 3, 7}
    assert text(model, 0) == "PSPNet"
    assert "4 classes" in text(model, 1)
    assert text(model, 2) == __version__
    # The least parser version that knows every field there is.
    assert text(model, 7) == "1.0.0"
    (subgraph,) = children(model, 3)
    assert slots(subgraph) == {2, 3}


def test_the_input_is_a_picture_in_0_to_255(export) -> None:
    (subgraph,) = children(root(metadata_of(export.data)), 3)
    (images,) = children(subgraph, 2)
    assert slots(images) == {0, 1, 3, 4, 5}
    assert text(images, 0) == "images"
    assert "0..255" in text(images, 1)
    content = child(images, 3)
    assert number(content, 0, Uint8Flags) == 2  # ImageProperties
    assert number(child(content, 1), 0, Uint8Flags) == 1  # RGB
    (unit,) = children(images, 4)
    assert number(unit, 0, Uint8Flags) == 1  # NormalizationOptions
    options, stats = child(unit, 1), child(images, 5)
    assert array(options, 0, "<f4").tolist() == [0]  # mean
    assert array(options, 1, "<f4").tolist() == [1]  # std
    assert array(stats, 0, "<f4").tolist() == [255]  # max
    assert array(stats, 1, "<f4").tolist() == [0]  # min


@pytest.mark.parametrize("bands", [1, 4])
def test_other_bands_are_grey_or_no_image(bands, tmp_path) -> None:
    path = tmp_path / "model.tflite"
    export_litert(band_conv(bands), path, (16, 16))
    (subgraph,) = children(root(metadata_of(path.read_bytes())), 3)
    (images,) = children(subgraph, 2)
    # Their values have no range that all models share.
    assert slots(images) == {0, 1, 3, 4}
    assert f"its {bands} bands" in text(images, 1)
    content = child(images, 3)
    if bands == 1:
        assert number(content, 0, Uint8Flags) == 2  # ImageProperties
        assert number(child(content, 1), 0, Uint8Flags) == 2  # GRAYSCALE
    else:
        assert number(content, 0, Uint8Flags) == 1  # FeatureProperties


def test_the_output_names_the_file_of_its_classes(export) -> None:
    (subgraph,) = children(root(metadata_of(export.data)), 3)
    (logits,) = children(subgraph, 3)
    assert slots(logits) == {0, 1, 3, 6}
    assert text(logits, 0) == "logits"
    assert "before softmax" in text(logits, 1)
    content = child(logits, 3)
    assert number(content, 0, Uint8Flags) == 1  # FeatureProperties
    assert slots(child(content, 1)) == set()
    (labels,) = children(logits, 6)
    assert slots(labels) == {0, 1, 2}
    assert "classes" in text(labels, 1)
    assert number(labels, 2, Uint8Flags) == 2  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(export.path) as archive:
        assert text(labels, 0) == "labels.txt"
        assert archive.namelist() == ["labels.txt", "pspnet.json"]
        # Readers map it where it lies.
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED
        names = archive.read("labels.txt").decode()
    assert names == "grass\nStraße\nwater\nsand\n"


def test_a_mask_is_of_ids_of_the_classes(tmp_path) -> None:
    path = tmp_path / "model.tflite"
    export_litert(band_conv(), path, (16, 16), output="mask")
    (subgraph,) = children(root(metadata_of(path.read_bytes())), 3)
    (mask,) = children(subgraph, 3)
    assert text(mask, 0) == "mask"
    assert "id of the class" in text(mask, 1)
    (labels,) = children(mask, 6)
    assert number(labels, 2, Uint8Flags) == 3  # TENSOR_VALUE_LABELS


# === What stays ===


def test_tensors_are_those_of_the_signature(export) -> None:
    interpreter = Interpreter(str(export.path))
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["images"], "outputs": ["logits"]}
    }
    runner = interpreter.get_signature_runner()
    # Metadata goes by the order in the subgraph, callers by these names.
    for by_order, by_name, channels in (
        (interpreter.get_input_details(), runner.get_input_details(), 3),
        (interpreter.get_output_details(), runner.get_output_details(), 4),
    ):
        (tensor,) = by_order
        (named,) = by_name.values()
        assert tensor["index"] == named["index"]
        assert tensor["shape"].tolist() == [1, *SIZE, channels]
        assert tensor["dtype"] == np.float32


def plain(value: Any) -> Any:
    """What an unpacked model holds, comparable."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tobytes()
    if isinstance(value, list):
        return [plain(each) for each in value]
    if hasattr(value, "__dict__"):
        return type(value), {k: plain(v) for k, v in vars(value).items()}
    return value


def test_everything_else_of_the_model_stays(export) -> None:
    before = ModelT.InitFromPackedBuf(export.converted)
    after = ModelT.InitFromPackedBuf(export.data)
    assert export.data[4:8] == export.converted[4:8] == b"TFL3"
    added = after.metadata.pop()
    assert added.buffer == len(after.buffers) - 1
    assert after.buffers.pop().data.tobytes() == metadata_of(export.data)
    names = {entry.name for entry in after.metadata}
    assert {b"min_runtime_version", b"CONVERSION_METADATA"} <= names
    assert len(before.subgraphs[0].operators) > 10
    assert plain(after) == plain(before)


def test_buffers_are_aligned_as_the_schema_demands(export) -> None:
    starts = [
        buffer.Vector(place(buffer, 0))
        for buffer in children(root(export.data), 4)
        if place(buffer, 0)
    ]
    assert len(starts) > 10
    assert {start % 16 for start in starts} == {0}
