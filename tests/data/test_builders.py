"""Tests of the builders for TensorFlow Datasets, and of what load_tfds reads.

Nothing is downloaded: the archives are made here, of drawn pictures.
"""

import ast
import io
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data_trees import (
    write_array,
    write_text,
)
from dataset_archives import (
    MANUAL,
    SBD_TGZ,
    SEGNET,
    VOC_DEVKIT,
    VOC_TAR,
    pack,
    register,
    row,
    write_camvid,
    write_sbd,
    write_voc,
)
from image_files import encoded
from PIL import Image

import keras_pspnet
from keras_pspnet.data import load
from keras_pspnet.data.builders import CamVid, Voc2012Segmentation
from keras_pspnet.data.sources.tfds import TfdsData, load_tfds, pair_of
from keras_pspnet.labels import (
    CAMVID,
    CITYSCAPES_TRAIN_IDS,
    VOC,
    LabelSet,
)


def forbid_downloads(monkeypatch) -> None:
    def download(self, urls):
        raise RuntimeError(f"asked for {urls}")

    manager = tfds.download.DownloadManager
    monkeypatch.setattr(manager, "download_and_extract", download)


def offer(monkeypatch, root: Path) -> None:
    """Makes a folder what every archive unpacks to."""
    manager = tfds.download.DownloadManager
    monkeypatch.setattr(manager, "download_and_extract", lambda *_: root)


def pairs_of(data) -> list[tuple[bytes, bytes]]:
    """All pairs in an order of their own: TensorFlow Datasets shuffles."""
    return sorted((image.tobytes(), mask.tobytes()) for image, mask in data)


def assert_same_pairs(got: TfdsData, want) -> None:
    assert len(got) == len(want) > 0
    assert pairs_of(got) == pairs_of(want)
    assert got.labels == want.labels


def raw_examples(name: str, split: str, folder: Path) -> list[dict]:
    """The examples with files as they are stored."""
    builder = tfds.builder(name, data_dir=folder)
    skip = tfds.decode.SkipDecoding()
    decoders = {"image": skip, "segmentation_mask": skip}
    return list(builder.as_data_source(split, decoders=decoders))


def file_names(name: str, split: str, folder: Path) -> list[str]:
    examples = raw_examples(name, split, folder)
    return sorted(bytes(each["file_name"]).decode() for each in examples)


# === Archives ===


def test_sbd_from_two_archives(tmp_path, monkeypatch) -> None:
    write_voc(tmp_path)
    write_sbd(tmp_path)
    tree = shutil.copytree(tmp_path, tmp_path / "copy")
    for folder, kind, file in (
        ("VOCdevkit", "tar", VOC_TAR),
        ("benchmark_RELEASE", "gztar", SBD_TGZ),
    ):
        archive = tmp_path / MANUAL / file
        pack(tmp_path, Path(folder), kind, archive)
        register(monkeypatch, Voc2012Segmentation, archive)
    name = "voc2012_segmentation/sbd"
    data = load_tfds(name, "trainaug", tmp_path, download=True)
    want = load("voc", "trainaug", root=tree)
    assert_same_pairs(data, want)
    # VOC's own masks stand first: SBD's of b would be 11.
    assert {int(mask[0, 0]) for _, mask in data} == {1, 15, 13, 14}
    # c is in SBD's train, but in VOC's val.
    names = file_names(name, "trainaug", tmp_path)
    assert names == ["a.jpg", "b.jpg", "d.jpg", "e.jpg"]
    val = load_tfds(name, "validation", tmp_path)
    assert_same_pairs(val, load("voc", "val", root=tree))


def test_camvid_from_its_archive(tmp_path, monkeypatch) -> None:
    write_camvid(tmp_path / SEGNET)
    tree = shutil.copytree(tmp_path / SEGNET, tmp_path / "copy")
    archive = tmp_path / MANUAL / f"{SEGNET}.zip"
    pack(tmp_path, Path(SEGNET), "zip", archive)
    register(monkeypatch, CamVid, archive)
    splits = {"train": "train", "validation": "val", "test": "test"}
    for split, theirs in splits.items():
        data = load_tfds("camvid", split, tmp_path, download=True)
        assert_same_pairs(data, load("camvid", theirs, root=tree))
    assert {int(value) for value in np.unique(data[0][1])} == {*range(11), 255}


@pytest.mark.parametrize("builder", [Voc2012Segmentation, CamVid])
def test_registered_archives_are_whole(builder) -> None:
    assert {info.filename for info in builder.url_infos.values()} == (
        {f"{SEGNET}.zip"} if builder is CamVid else {VOC_TAR, SBD_TGZ}
    )
    for url, info in builder.url_infos.items():
        assert Path(url).suffix == Path(info.filename).suffix
        assert re.fullmatch("[0-9a-f]{64}", info.checksum)
        assert info.size > 2**27


def test_incomplete_sets_are_named(tmp_path, monkeypatch) -> None:
    offer(monkeypatch, tmp_path)
    voc = write_voc(tmp_path)
    (voc / "SegmentationClass" / "b.png").unlink()
    with pytest.raises(ValueError, match=r"b\.jpg has no mask in"):
        load_tfds("voc2012_segmentation", "train", tmp_path, download=True)
    write_camvid(tmp_path / SEGNET)
    mask = tmp_path / SEGNET / "CamVid" / "trainannot" / "train_1.png"
    write_array(mask, row(12))
    with pytest.raises(ValueError, match=r"label 12 .*train_1\.png"):
        load_tfds("camvid", "train", tmp_path, download=True)


def test_sbd_asks_for_scipy_before_it_downloads(tmp_path, monkeypatch) -> None:
    forbid_downloads(monkeypatch)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r"pip install keras-pspnet\[sbd\]"):
        name = "voc2012_segmentation/sbd"
        load_tfds(name, "trainaug", tmp_path, download=True)


# === Examples ===


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Iterator[Path]:
    """VOC and CamVid, as they unpack, and prepared."""
    folder = tmp_path_factory.mktemp("prepared")
    write_voc(folder)
    write_camvid(folder / SEGNET)
    with pytest.MonkeyPatch.context() as patch:
        offer(patch, folder)
        for name in ("voc2012_segmentation", "camvid"):
            load_tfds(name, "train", folder, download=True)
    return folder


def test_voc_and_its_splits(prepared) -> None:
    for split, theirs in {"train": "train", "validation": "val"}.items():
        data = load_tfds("voc2012_segmentation", split, prepared)
        assert_same_pairs(data, load("voc", theirs, root=prepared))
    assert (data.num_classes, data.ignore_label) == (21, 255)
    both = load_tfds("voc2012_segmentation", "train+validation", prepared)
    assert len(both) == 4


def test_pictures_are_stored_as_they_are(prepared) -> None:
    for name, split, folder in (
        ("voc2012_segmentation", "train", VOC_DEVKIT / "JPEGImages"),
        ("camvid", "validation", Path(SEGNET, "CamVid", "val")),
    ):
        for each in raw_examples(name, split, prepared):
            file = bytes(each["file_name"]).decode()
            path = prepared / folder / file
            assert each["image"] == path.read_bytes()


def test_masks_are_stored_as_indices_without_a_palette(prepared) -> None:
    want = {"a.jpg": row(1, 0, 255), "b.jpg": row(15, 0, 255)}
    for each in raw_examples("voc2012_segmentation", "train", prepared):
        with Image.open(io.BytesIO(each["segmentation_mask"])) as stored:
            assert (stored.format, stored.mode) == ("PNG", "L")
            file = bytes(each["file_name"]).decode()
            np.testing.assert_array_equal(np.asarray(stored), want.pop(file))
    assert not want


@pytest.mark.parametrize(
    "name, labels", [("voc2012_segmentation", VOC), ("camvid", CAMVID)]
)
def test_tensorflow_reads_the_same(
    prepared, tmp_path, monkeypatch, name, labels
) -> None:
    offer(monkeypatch, prepared)
    examples, info = tfds.load(
        name, split="train", data_dir=tmp_path, with_info=True
    )
    assert tuple(info.features["segmentation_mask"].names) == labels.names
    read = [pair_of(name, example) for example in tfds.as_numpy(examples)]
    want = load_tfds(name, "train", prepared)
    assert sorted(mask.tobytes() for _, mask in read) == sorted(
        mask.tobytes() for _, mask in want
    )
    # TensorFlow's decoder of JPEG files rounds otherwise.
    if name == "camvid":
        assert pairs_of(read) == pairs_of(want)


def example(values: np.ndarray, image="image", mask="segmentation_mask"):
    picture = np.zeros((*values.shape, 3), np.uint8)
    return {image: picture, mask: values[..., None]}


@pytest.mark.parametrize(
    "name, stored, want",
    [
        ("voc2012_segmentation", row(20, 255), row(20, 255)),
        ("camvid", row(0, 10, 255), row(0, 10, 255)),
        ("oxford_iiit_pet", row(1, 2, 3), row(0, 1, 2)),
    ],
)
def test_examples_are_mapped(name, stored, want) -> None:
    given = example(stored)
    image, mask = pair_of(name, given)
    assert image is given["image"]
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, want)


@pytest.mark.parametrize(
    "name, label, labels",
    [
        ("voc2012_segmentation", 21, "0..20"),
        # 11 is void in SegNet's files only.
        ("camvid", 11, "0..10"),
        ("oxford_iiit_pet", 0, "1..3"),
    ],
)
def test_examples_of_other_values_are_refused(name, label, labels) -> None:
    rule = f"within {re.escape(labels)}, or 255.*label {label} .*of {name}"
    with pytest.raises(ValueError, match=rule):
        pair_of(name, example(row(label)))


def test_examples_of_other_sets_and_sizes_are_refused() -> None:
    with pytest.raises(KeyError, match="image_left"):
        pair_of("cityscapes", example(row(0)))
    given = example(row(0))
    given["image"] = given["image"][1:]
    with pytest.raises(ValueError, match="an image and a mask of one size"):
        pair_of("camvid", given)
    with pytest.raises(ValueError, match="one of 'oxford_iiit_pet', .*'voc'"):
        pair_of("voc", given)


def test_cityscapes_examples(tmp_path) -> None:
    keys = "image_left", "segmentation_label"
    ids = np.arange(34, dtype=np.uint8).reshape(2, 17)
    want = [CITYSCAPES_TRAIN_IDS[index] for index in range(34)]
    given = example(ids, *keys)
    files = {key: encoded(np.squeeze(value)) for key, value in given.items()}
    # Decoded, and encoded as load_tfds asks for them.
    for each in (given, files):
        image, mask = pair_of("cityscapes", each)
        np.testing.assert_array_equal(image, given["image_left"])
        np.testing.assert_array_equal(mask, np.reshape(want, (2, 17)))
    name = "cityscapes/semantic_segmentation"
    assert (
        set(keys) <= tfds.builder(name, data_dir=tmp_path).info.features.keys()
    )


# === load_tfds ===


def test_names_and_the_library_are_checked(monkeypatch) -> None:
    with pytest.raises(ValueError, match="one of 'oxford_iiit_pet', .*'voc'"):
        load_tfds("voc", "train")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"keras-pspnet\[tfds\]"):
        load_tfds("camvid", "train")


def test_sets_that_are_not_there(tmp_path) -> None:
    with pytest.raises(ValueError, match="prepared set, unless download=True"):
        load_tfds("camvid", "train", tmp_path)
    # Its terms ask for a login.
    where = r"(?s)require a login to download.*https://www\.cityscapes-dataset\.com/login"
    with pytest.raises(FileNotFoundError, match=where):
        load_tfds("cityscapes", "train", tmp_path, download=True)


def test_splits_are_checked(prepared) -> None:
    assert len(load_tfds("camvid", "train[1:]", prepared)) == 2
    for split in ("val", "train[:x]"):
        rule = rf"one of train, validation, test.*{re.escape(repr(split))}"
        with pytest.raises(ValueError, match=rule):
            load_tfds("camvid", split, prepared)


def test_tfrecord_files_cannot_be_read_by_index(tmp_path, monkeypatch) -> None:
    offer(monkeypatch, tmp_path)
    write_camvid(tmp_path / SEGNET)
    tfds.load("camvid", data_dir=tmp_path, split="train")
    for download in (False, True):
        with pytest.raises(ValueError, match="ARRAY_RECORD.*'camvid'"):
            load_tfds("camvid", "train", tmp_path, download=download)


def test_nothing_else_imports_tensorflow_datasets() -> None:
    package = Path(keras_pspnet.__file__).parent
    for path in package.rglob("*.py"):
        if "builders" in path.parts:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                text = ast.unparse(node)
                assert "tensorflow_datasets" not in text, path
                assert "data.builders" not in text, path


# === Oxford-IIIT Pet ===


def write_pets(root: Path) -> None:
    """The two archives of Oxford-IIIT Pet, unpacked apart."""
    lists = {"trainval": ("Bombay_1", "pug_2", "pug_10"), "test": ("pug_3",)}
    annotations = root / "annotations" / "annotations"
    for split, names in lists.items():
        lines = ""
        for k, name in enumerate(names):
            mask = np.resize(np.arange(1, 4, dtype=np.uint8), (24, 30 + k))
            image = np.full((*mask.shape, 3), 80, np.uint8) * mask[..., None]
            write_array(root / "images" / "images" / f"{name}.jpg", image)
            write_array(annotations / "trimaps" / f"{name}.png", mask)
            lines += f"{name} {k + 1} 2 1\n"
        write_text(annotations / f"{split}.txt", lines)


def mock_pets(monkeypatch, root: Path) -> None:
    write_pets(root)

    def download(self, urls):
        return {name: root / name for name in urls}

    manager = tfds.download.DownloadManager
    monkeypatch.setattr(manager, "download_and_extract", download)


def test_pets_come_as_they_are_on_disk(tmp_path, monkeypatch) -> None:
    mock_pets(monkeypatch, tmp_path / "archives")
    data = load_tfds("oxford_iiit_pet", "train", tmp_path, download=True)
    # On disk the two archives lie side by side.
    root = tmp_path / "root"
    shutil.copytree(tmp_path / "archives" / "images", root)
    shutil.copytree(
        tmp_path / "archives" / "annotations", root, dirs_exist_ok=True
    )
    assert_same_pairs(data, load("oxford_iiit_pet", "trainval", root=root))
    assert {int(value) for value in np.unique(data[0][1])} == {0, 1, 2}


def test_the_ten_lines_of_the_documentation(
    tmp_path, monkeypatch, capsys
) -> None:
    mock_pets(monkeypatch, tmp_path / "archives")
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "pets.md"
    text = page.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 15
    # Smaller and shorter, and from scratch; else as it stands there.
    for given, small in (
        ("test[:200]", "test[:1]"),
        ("(257, 257)", "(17, 17)"),
        ("batch_size=8", "batch_size=2"),
        ("total_steps=2000", "total_steps=2"),
        ('backbone_weights="imagenet"', "width=0.0625"),
        ("compile()", "compile(run_eagerly=True)"),
    ):
        assert code.count(given) == 1
        code = code.replace(given, small)
    names: dict = {}
    exec(compile(code, str(page), "exec"), names)
    printed = capsys.readouterr().out
    labels: LabelSet = names["train"].labels
    for label in labels.names:
        assert label in printed
    assert (len(names["train"]), len(names["test"])) == (3, 1)
    assert names["net"].optimizer.iterations.numpy() == 2
    with Image.open("pet.png") as sheet:
        assert sheet.width >= 30
