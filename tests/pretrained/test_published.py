"""Tests of published weights: found, checked, converted once, kept."""

import dataclasses
import hashlib
import os
import re
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from caffe_files import caffe_model
from http_server import serving
from paddle_files import write_paddle
from source_states import (
    PADDLESEG,
    WIDTH,
    caffe_layers,
    mmcv_state,
    mmseg_state,
    paddleseg_state,
    random_pspnet,
    semseg_state,
    timm_state,
)
from support import numpy
from torch_files import pickled, raw, tensor, write_zip
from torch_states import write_state

import keras_pspnet as kp
from keras_pspnet import PSPNet, convert_file, load_pretrained
from keras_pspnet import presets as presets_module
from keras_pspnet.labels import CITYSCAPES, VOC
from keras_pspnet.models.imagenet import load_backbone
from keras_pspnet.presets import (
    BACKBONE_WEIGHTS,
    PRESETS,
    find_backbone_weights,
    find_preset,
)
from keras_pspnet.pretrained import published
from keras_pspnet.pretrained.start import start_from

ROOT = Path(__file__).parents[2]
# The published model that takes the least time to build.
NAME = ("cityscapes", "resnet18")
load = partial(load_pretrained, NAME[0], backbone=NAME[1])


def assert_same_weights(got: PSPNet, want: PSPNet) -> None:
    values = {each.path: numpy(each) for each in want.weights}
    for variable in got.weights:
        if "seed_generator" not in variable.path:
            np.testing.assert_array_equal(
                numpy(variable), values[variable.path], err_msg=variable.path
            )


@pytest.fixture(scope="module")
def model() -> PSPNet:
    return random_pspnet(18, num_classes=19, head_channels=32)


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("KERAS_PSPNET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch, model: PSPNet) -> Path:
    """A folder with stand-ins of all published files that are used here."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("KERAS_PSPNET_MIRROR", str(folder))
    rows = []
    for row in PRESETS:
        if (row.name, row.backbone) == NAME:
            path = folder / row.url.rpartition("/")[2]
            write_state(path, mmseg_state(model))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            row = dataclasses.replace(row, sha256=digest[:8])
        rows.append(row)
    monkeypatch.setattr(presets_module, "PRESETS", tuple(rows))
    return folder


def files_below(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    )


# === By name ===


def test_a_published_model_is_fetched_once_and_kept(
    home: Path, mirror: Path, model: PSPNet, monkeypatch
) -> None:
    loaded = load()
    assert loaded.aux is False
    assert loaded.labels == CITYSCAPES
    assert loaded.get_config()["width"] == WIDTH
    assert_same_weights(loaded, model)
    (name,) = {Path(each).parent.name for each in files_below(home)}
    assert name.startswith("pspnet_r18-d8_512x1024_80k_cityscapes")
    assert {Path(each).name for each in files_below(home)} == {
        "config.json",
        "model.safetensors",
    }

    def no_download(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("it is kept already")

    monkeypatch.setattr(published, "download", no_download)
    again = load(aux=True, num_classes=4)
    assert again.num_classes == 4
    np.testing.assert_array_equal(
        numpy(again.get_layer("aux_conv").kernel),
        numpy(model.get_layer("aux_conv").kernel),
    )


def turn_last_bit(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_a_damaged_copy_is_fetched_again(home: Path, mirror: Path) -> None:
    row = find_preset(*NAME)
    folder = published.published_folder(row).path
    for file, damage in (
        ("config.json", Path.unlink),
        ("model.safetensors", turn_last_bit),
    ):
        whole = (folder / file).read_bytes()
        damage(folder / file)
        assert published.published_folder(row).is_intact
        assert (folder / file).read_bytes() == whole


def test_one_of_several_fetches_and_converts(
    home: Path, mirror: Path, monkeypatch
) -> None:
    path = next(mirror.iterdir())
    with serving() as server:
        server.files[f"/{path.name}"] = path.read_bytes()
        monkeypatch.setenv("KERAS_PSPNET_MIRROR", server.url(""))
        row = find_preset(*NAME)
        with ThreadPoolExecutor(3) as pool:
            folders = pool.map(published.published_folder, [row] * 3)
        assert len({folder.path for folder in folders}) == 1
        assert len(server.seen) == 1
    assert load().num_classes == 19


def test_a_file_of_another_hash_is_refused_and_not_kept(
    home: Path, mirror: Path
) -> None:
    (path,) = mirror.iterdir()
    path.write_bytes(path.read_bytes() + b"?")
    with pytest.raises(ValueError, match="SHA-256"):
        load()
    assert files_below(home) == []


def test_a_file_of_another_network_leaves_no_folder(
    home: Path, mirror: Path, model: PSPNet, monkeypatch
) -> None:
    (path,) = mirror.iterdir()
    state = mmseg_state(model)
    # Found out only when the network is filled.
    state["decode_head.conv_seg.weight"] = np.zeros((19, 7, 1, 1), "float32")
    write_state(path, state)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rows = [
        dataclasses.replace(row, sha256=digest)
        if (row.name, row.backbone) == NAME
        else row
        for row in PRESETS
    ]
    monkeypatch.setattr(presets_module, "PRESETS", tuple(rows))
    with pytest.raises(ValueError, match="head_classifier/kernel has shape"):
        load()
    assert {Path(name).suffix for name in files_below(home)} == {".pth"}
    assert not [each for each in (home / "models").iterdir() if each.is_dir()]


def test_without_network_the_message_names_what_helps(
    home: Path, tmp_path: Path, monkeypatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("KERAS_PSPNET_MIRROR", str(empty))
    with pytest.raises(OSError, match="KERAS_PSPNET_MIRROR") as caught:
        load()
    assert "Without network there is 'aerial'." in str(caught.value)


@pytest.mark.parametrize(
    ("name", "backbone", "message"),
    [
        ("voc", "resnet18", "resnet50, resnet101 for 'voc'"),
        ("aerial", "resnet50", "resnet18 for 'aerial'"),
        ("folder", "resnet50", "`backbone` must be left out unless"),
    ],
)
def test_a_backbone_that_is_not_published_is_refused(
    name: str, backbone: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_pretrained(name, backbone=backbone)


def test_rows_are_named_once_and_found() -> None:
    keys = [(row.name, row.backbone) for row in PRESETS]
    assert len(set(keys)) == len(keys)
    assert find_preset("voc").backbone == "resnet50"
    assert find_preset("aerial").is_shipped
    assert find_preset("cityscapes_769", "resnet18").align_corners
    assert not find_preset("cityscapes").align_corners
    with pytest.raises(ValueError, match="`name` must be one of aerial, voc"):
        find_preset("pascal")
    files = [row.file_name for row in PRESETS if row.url]
    assert len(set(files)) == len(files)
    for row in (*PRESETS, *BACKBONE_WEIGHTS):
        if not row.sha256:
            assert row.name == "aerial" or row.name.endswith("_paddleseg")
            assert row.is_shipped or row.url.endswith("/model.pdparams")
        elif row.url:
            # The name of the file carries the start of its hash.
            assert re.search(rf"-{row.sha256[:8]}\.pth$", row.url)
            assert re.fullmatch("[0-9a-f]{8}|[0-9a-f]{64}", row.sha256)


def test_paddleseg_publishes_no_hash_so_the_first_download_says_it(
    home: Path, mirror: Path
) -> None:
    row = find_preset("voc_paddleseg")
    assert row.sha256 == ""
    run = "pspnet_resnet50_os8_voc12aug_512x512_40k"
    assert row.file_name == f"{run}.pdparams"
    model = random_pspnet(50, head_channels=128, **PADDLESEG)
    write_paddle(mirror / row.file_name, paddleseg_state(model, 50))
    digest = hashlib.sha256((mirror / row.file_name).read_bytes()).hexdigest()
    loaded = load_pretrained("voc_paddleseg", aux=True)
    assert_same_weights(loaded, model)
    config = loaded.get_config()
    assert config["head_channels"] == 128
    assert config["shortcut"] == "average_pool"
    assert config["mean"] == (127.5,) * 3
    assert loaded.labels == VOC
    record = f"downloads/{run}.pdparams.sha256"
    assert files_below(home) == [
        record,
        f"models/{run}/config.json",
        f"models/{run}/model.safetensors",
    ]
    assert (home / record).read_text() == f"{digest}  {row.file_name}\n"
    # The folder that was made of it is checked at every use; where it is
    # fetched again, it must be the same file.
    (path,) = home.rglob("model.safetensors")
    turn_last_bit(path)
    assert published.published_folder(row).is_intact
    turn_last_bit(path)
    turn_last_bit(mirror / row.file_name)
    with pytest.raises(ValueError, match=f"starts with {digest}.*{record}"):
        load_pretrained("voc_paddleseg")


def test_training_goes_on_from_a_wider_head(
    home: Path, mirror: Path, model: PSPNet
) -> None:
    config = model.get_config() | {"num_classes": 4}
    started = PSPNet.from_config(config)
    start_from(started, "cityscapes")
    np.testing.assert_array_equal(
        numpy(started.get_layer("head_conv").kernel),
        numpy(model.get_layer("head_conv").kernel),
    )
    other = PSPNet.from_config(config | {"head_channels": None})
    with pytest.raises(ValueError, match="whose `head_channels` is that of"):
        start_from(other, "cityscapes")


@pytest.mark.parametrize("page", ["README.md", "docs/models.md"])
def test_pages_have_the_table_of_models(page: str) -> None:
    table = (ROOT / page).read_text().split("# Pretrained models")[1]
    table = table.split("\n## ")[0]
    name = ""
    found = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[1].startswith("resnet"):
            name = cells[0].split("`")[1] if "`" in cells[0] else name
            found[name, re.findall(r"\w+", cells[1])[0]] = cells[2:]
    assert len(found) == len(PRESETS)
    for row in PRESETS:
        single, multi, size = found[row.name, row.backbone]
        assert float(single) == row.mean_iou
        assert float(multi) == row.mean_iou_multi
        assert int(size) == row.megabytes


# === From the Hub ===


def test_a_folder_at_the_hub(tmp_path: Path, monkeypatch) -> None:
    small = random_pspnet(18, aux=False)
    kp.save_pretrained(small, tmp_path / "there")
    asked = []

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(tmp_path / "there")

    hub = types.ModuleType("huggingface_hub")
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download, False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert_same_weights(load_pretrained("hf://me/pets"), small)
    assert asked == [("me/pets", ["config.json", "model.safetensors"])]


# === Files of other frameworks ===


PAPER = {
    "stem": "deep_wide",
    "contract_dilation": False,
    "align_corners": True,
}
CAFFE = PAPER | {
    "stride_on": "1x1",
    "aux": False,
    "mean": (123.68, 116.779, 103.939),
    "std": (1, 1, 1),
}


def write_semseg(path: Path, model: PSPNet) -> None:
    state = {
        f"module.{name}": tensor(value)
        for name, value in semseg_state(model, 50).items()
    }
    data, storages = pickled({"epoch": 50, "state_dict": state})
    write_zip(path, data, raw(storages))


SOURCES = {
    "mmseg.pth": (
        {},
        lambda path, model: write_state(path, mmseg_state(model)),
    ),
    "legacy.pth": (
        {},
        lambda path, model: write_state(path, mmseg_state(model), True),
    ),
    "semseg_in_its_wrapper": (PAPER, write_semseg),
    "paddle.bin": (
        PADDLESEG | {"head_channels": 128},
        lambda path, model: write_paddle(path, paddleseg_state(model, 50)),
    ),
    # PyTorch's reader would refuse it; what is in the file decides.
    "paddle.pth": (
        PADDLESEG,
        lambda path, model: write_paddle(path, paddleseg_state(model, 50), 2),
    ),
    "caffe.bin": (
        CAFFE,
        lambda path, model: path.write_bytes(
            caffe_model(caffe_layers(model, 50))
        ),
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        # Read by other tests, too.
        pytest.param("mmseg.pth", marks=pytest.mark.slow),
        pytest.param("legacy.pth", marks=pytest.mark.slow),
        "semseg_in_its_wrapper",
        "paddle.bin",
        pytest.param("paddle.pth", marks=pytest.mark.slow),
        "caffe.bin",
    ],
)
def test_a_file_becomes_the_network(tmp_path: Path, name: str) -> None:
    geometry, write = SOURCES[name]
    model = random_pspnet(50, labels=VOC, **geometry)
    write(tmp_path / name, model)
    converted = convert_file(tmp_path / name)
    assert converted.get_config() == model.get_config()
    assert_same_weights(converted, model)


def test_what_a_source_is_known_for_can_be_overridden(
    tmp_path: Path,
) -> None:
    path = write_state(tmp_path / "x.pth", mmseg_state(random_pspnet(50)))
    labels = kp.LabelSet("mine", VOC.names[::-1], VOC.colors)
    converted = convert_file(
        path,
        labels=labels,
        align_corners=True,
        stride_on="1x1",
        mean=(1, 2, 3),
    )
    config = converted.get_config()
    assert config["align_corners"] is True
    assert config["stride_on"] == "1x1"
    assert config["mean"] == (1, 2, 3)
    assert converted.labels == labels
    with pytest.raises(TypeError, match="unexpected keyword.*banana"):
        convert_file(path, banana=2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.pth", b"", r"PyTorch checkpoint \(it is empty\)"),
        ("x.pt", b"<!DOCTYPE html><html></html>", r"\(it is a web page\)"),
        ("x.pth", os.urandom(1000), "does not begin like one"),
        ("x", b"", "must be a PyTorch checkpoint, a .pdparams, a .caffemodel"),
        ("x.bin", b"?" * 99, "must be a PyTorch checkpoint, a .pdparams, a"),
        ("x.pdparams", b"", r"that paddle.save wrote \(it is empty\)"),
        ("x.pdparams", b"<html></html>", r"wrote \(it is a web page\)"),
        ("x.pdparams", b"?" * 99, r"wrote \(it does not begin like one\)"),
        ("x", b"\x80\x04N.", r"wrote \(it does not hold a dict\)"),
    ],
)
def test_what_is_no_checkpoint_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{message}.*Received: .*{path}"):
        convert_file(path)
    assert os.listdir(tmp_path) == [name]


def test_files_by_name_get_the_message_of_their_reader(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text('name: "pspnet"\nlayer { name: "conv1" }\n')
    with pytest.raises(ValueError, match="prototxt"):
        convert_file(path)
    # Cut, and of a type that NumPy does not have.
    header = b'{"x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
    for content in (
        safetensors.numpy.save({"a": np.zeros(9)})[:-5],
        len(header).to_bytes(8, "little") + header + b"0",
    ):
        path = tmp_path / "odd.safetensors"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="valid safetensors file"):
            convert_file(path)
    for name in (tmp_path / "nobody.pth", tmp_path, "/dev/zero"):
        with pytest.raises(FileNotFoundError, match="must be an existing f"):
            convert_file(name)


def test_other_networks_are_refused_by_name(
    tmp_path: Path, model: PSPNet
) -> None:
    state = mmseg_state(model)
    state["decode_head.aspp_modules.0.conv.weight"] = np.zeros((1, 1, 1, 1))
    del state["decode_head.psp_modules.0.1.conv.weight"]
    path = write_state(tmp_path / "deeplab.pth", state)
    with pytest.raises(ValueError) as caught:
        convert_file(path)
    assert "deeplab.pth" in str(caught.value)
    assert "missing decode_head.psp_modules.0.1.conv.w" in str(caught.value)
    assert "unexpected decode_head.aspp_modules.0.con" in str(caught.value)
    path = write_state(tmp_path / "other.pth", {"body.x": np.zeros(3)})
    with pytest.raises(ValueError, match="with the tensors body.x"):
        convert_file(path)
    path = write_state(tmp_path / "backbone.pth", mmcv_state(model, 18))
    with pytest.raises(ValueError, match="takes backbones"):
        convert_file(path)


def test_a_tensor_named_twice_is_refused(tmp_path: Path) -> None:
    state = {"module.x": np.zeros(3), "x": np.ones(3)}
    path = write_state(tmp_path / "twice.pth", state)
    with pytest.raises(ValueError, match="every tensor once.*two of 'x'"):
        convert_file(path)


# === ImageNet backbones ===


@pytest.mark.parametrize(
    "shortcut",
    ["conv", pytest.param("average_pool", marks=pytest.mark.slow)],
)
def test_a_backbone_starts_from_imagenet(
    home: Path, tmp_path: Path, monkeypatch, shortcut: str
) -> None:
    model = random_pspnet(50, num_classes=4, shortcut=shortcut)
    backbone = model.backbone
    row = find_backbone_weights("resnet50", "deep", shortcut)
    path = tmp_path / row.url.rpartition("/")[2]
    names = mmcv_state if shortcut == "conv" else timm_state
    write_state(path, names(model, 50))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setenv("KERAS_PSPNET_MIRROR", str(tmp_path))
    monkeypatch.setattr(
        presets_module,
        "BACKBONE_WEIGHTS",
        (dataclasses.replace(row, sha256=digest),),
    )
    expected = [numpy(each).copy() for each in backbone.weights]
    for variable in backbone.weights:
        variable.assign(variable * 0)
    # The published ones are of full width, which takes longer.
    backbone.width = 1.0
    load_backbone(backbone, "imagenet")
    for got, want in zip(backbone.weights, expected, strict=True):
        np.testing.assert_array_equal(numpy(got), want)


def test_a_backbone_starts_from_a_file_of_ones_own(
    tmp_path: Path, model: PSPNet
) -> None:
    path = tmp_path / "model.safetensors"
    state = timm_state(model, 18)
    state = {
        name: np.ascontiguousarray(value)
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    }
    safetensors.numpy.save_file(state, path)
    started = PSPNet(4, "resnet18", width=WIDTH, backbone_weights=path)
    np.testing.assert_array_equal(
        numpy(started.backbone.weights[0]), numpy(model.backbone.weights[0])
    )
    with pytest.raises(ValueError, match=r"beta has shape \(8,\), not \(4,"):
        PSPNet(4, "resnet18", width=WIDTH / 2, backbone_weights=path)
    with pytest.raises(ValueError, match="must be those of a resnet34 with"):
        PSPNet(4, "resnet34", width=WIDTH, backbone_weights=path)
    whole = write_state(tmp_path / "whole.pth", mmseg_state(model))
    with pytest.raises(ValueError, match=r"whole.pth' of .* \(mmseg\)"):
        load_backbone(started.backbone, whole)


def test_a_stem_without_published_weights_says_so(model: PSPNet) -> None:
    with pytest.raises(
        ValueError, match="resnet50 with 'deep' and 'conv'.*'resnet34', stem"
    ):
        PSPNet(4, "resnet34", width=WIDTH, backbone_weights="imagenet")
    with pytest.raises(FileNotFoundError, match="'imagenet' or an existing f"):
        load_backbone(model.backbone, "nowhere.pth")
    for kwargs in (
        {"width": WIDTH},
        {"stride_on": "1x1"},
        {"width": WIDTH, "shortcut": "average_pool"},
    ):
        backbone = PSPNet(4, **({"width": WIDTH} | kwargs)).backbone
        # Building the full width takes longer.
        backbone.width = kwargs.get("width", 1)
        with pytest.raises(ValueError, match="unless width=1 and stride_on="):
            load_backbone(backbone, "imagenet")
