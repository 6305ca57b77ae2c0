"""Tests of models on disk: nothing lost, nothing damaged gets in."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors.numpy
from support import conv_model, tiny_pspnet

import keras_pspnet
from keras_pspnet import DilatedResNet, PSPNet
from keras_pspnet.inference.predictor import predict_logits
from keras_pspnet.inference.segment import segment
from keras_pspnet.labels import AERIAL, LabelSet
from keras_pspnet.presets import find_preset
from keras_pspnet.pretrained import load_pretrained, save_pretrained
from keras_pspnet.pretrained.model_card import model_card

LABELS = LabelSet("three", ("x", "y", "z"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
FILES = ["README.md", "config.json", "model.safetensors"]
IMAGES = np.random.default_rng(0).uniform(0, 255, (1, 33, 47, 3))


def values(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights by path, without the state of random layers."""
    return {
        variable.path: keras.ops.convert_to_numpy(variable)
        for variable in model.weights
        if "seed_generator" not in variable.path
    }


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return tiny_pspnet(labels=LABELS, name="parks", bin_sizes=(1, 4))


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "parks"
    save_pretrained(model, folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def rewrite(
    folder: Path, change: Callable[[dict[str, np.ndarray]], object]
) -> None:
    """Changes the weights, and the config's hash with them."""
    weights, config = folder / "model.safetensors", folder / "config.json"
    arrays = safetensors.numpy.load_file(weights)
    change(arrays)
    rehash(config, safetensors.numpy.save(arrays), weights)


def rehash(config: Path, data: bytes, weights: Path) -> None:
    weights.write_bytes(data)
    content = json.loads(config.read_text())
    content["weights_sha256"] = hashlib.sha256(data).hexdigest()
    config.write_text(json.dumps(content))


# === What comes back ===


def test_float32_weights_come_back_bit_for_bit(model, saved) -> None:
    loaded = load_pretrained(str(saved), aux=True, num_classes=3)
    assert loaded.get_config() == model.get_config()
    assert loaded.labels == LABELS
    found, want = values(loaded), values(model)
    assert list(found) == list(want)
    for path, array in want.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
    assert sorted(os.listdir(saved)) == FILES


def test_the_auxiliary_head_is_dropped_unless_asked_for(model, saved) -> None:
    loaded = load_pretrained(saved)
    assert loaded.aux is False
    found, want = values(loaded), values(model)
    assert {path for path in want if path.startswith("aux_")}
    assert set(found) == {path for path in want if not path.startswith("aux_")}
    np.testing.assert_array_equal(
        predict_logits(loaded, IMAGES), predict_logits(model, IMAGES)
    )


def test_float16_weights_are_those_of_the_model_rounded(
    model, saved, tmp_path
) -> None:
    save_pretrained(model, tmp_path / "half", dtype="float16")
    loaded = load_pretrained(tmp_path / "half", aux=True)
    for path, array in values(loaded).items():
        assert array.dtype == np.float32
        want = values(model)[path].astype("float16")
        np.testing.assert_array_equal(array, want, err_msg=path)
    sizes = [
        (place / "model.safetensors").stat().st_size
        for place in (tmp_path / "half", saved)
    ]
    assert sizes[0] < 0.6 * sizes[1]


def test_another_number_of_classes_makes_new_classifiers_only(
    model, saved
) -> None:
    loaded = load_pretrained(saved, num_classes=7, aux=True)
    assert loaded.num_classes == 7
    assert loaded.labels is None
    found, want = values(loaded), values(model)
    fresh = {path for path in found if "classifier" in path}
    assert len(fresh) == 4
    assert {found[path].shape[-1] for path in fresh} == {7}
    # The initial values of the paper's new layers.
    assert 0.005 < found["head_classifier/kernel"].std() < 0.02
    for path in found.keys() - fresh:
        np.testing.assert_array_equal(found[path], want[path], err_msg=path)


def test_an_auxiliary_head_can_be_added(saved, tmp_path) -> None:
    single = load_pretrained(saved)
    save_pretrained(single, tmp_path / "single")
    loaded = load_pretrained(tmp_path / "single", aux=True)
    assert set(loaded.output) == {"main", "aux"}
    for path, array in values(single).items():
        np.testing.assert_array_equal(values(loaded)[path], array)


def test_another_input_shape(saved) -> None:
    fixed = load_pretrained(saved, input_shape=(33, 47, 3))
    assert fixed.input_shape == (None, 33, 47, 3)
    # Fixed sizes have their matrices computed in float64.
    np.testing.assert_allclose(
        predict_logits(fixed, IMAGES),
        predict_logits(load_pretrained(saved), IMAGES),
        rtol=1e-3,
        atol=1e-3,
    )


def test_saving_replaces_what_was_there(model, folder) -> None:
    save_pretrained(load_pretrained(folder), folder)
    assert load_pretrained(folder, aux=True).get_config()["aux"] is True
    assert sorted(os.listdir(folder)) == FILES


# === The model card ===


def test_a_card_says_what_the_files_hold(saved: Path) -> None:
    text = (saved / "README.md").read_text(encoding="utf-8")
    # Model hubs read what stands between the first two rules, as YAML.
    _, front, body = text.split("---\n", 2)
    assert "pipeline_tag: image-segmentation\n" in front
    assert "# parks\n" in body
    assert "for 3 classes" in body
    assert "| classes | x, y, z; 255 is ignored |" in body
    assert "resnet18, 0.0625 of its width" in body
    assert "bins 1, 4," in body
    assert "any size" in body
    arrays = safetensors.numpy.load_file(saved / "model.safetensors")
    count = sum(array.size for array in arrays.values())
    assert f"| weights | {count:,}, float32 |" in body


def test_names_of_classes_are_text_in_a_card(model) -> None:
    colors = ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    labels = LabelSet("odd", ("a|b", "<script>", "[c](d)"), colors)
    config = model.get_config() | {"labels": labels.to_dict()}
    text = model_card(config, 7, "float32")
    assert r"a\|b, \<script\>, \[c\](d); 255" in text
    fixed = config | {"labels": None, "input_shape": (33, 47, 3)}
    card = model_card(fixed, 7, "float16")
    assert "| classes | 0 to 2, without names |" in card
    assert "RGB, 0..255, 33 x 47;" in card


def test_a_card_is_replaced_unless_somebody_has_written_one(
    model, folder
) -> None:
    card = folder / "README.md"
    before = card.read_text(encoding="utf-8")
    save_pretrained(model, folder, dtype="float16")
    replaced = card.read_text(encoding="utf-8")
    assert replaced == before.replace("float32", "float16") != before
    own = replaced + "- License of the weights: CC0\n"
    for text in (own, ""):
        card.write_text(text, encoding="utf-8")
        for _ in range(2):
            save_pretrained(model, folder)
            assert card.read_text(encoding="utf-8") == text
    # Nothing but the card is lost with it.
    card.unlink()
    assert load_pretrained(folder).labels == LABELS
    save_pretrained(model, folder)
    assert card.read_text(encoding="utf-8") == before
    for content in ("{", "[]", "{}"):
        card.write_text("mine")
        (folder / "config.json").write_text(content)
        save_pretrained(model, folder)
        assert card.read_text() == "mine"


# === What is refused when loading ===


@pytest.mark.parametrize("source", ["mars", Path("no/such/folder"), "", b"x"])
def test_unknown_names_and_folders(source, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    if source == "":
        # The empty path would be the current folder.
        match = r"must hold the files config\.json and model\.safetensors"
    else:
        match = "`source` must be one of 'aerial', .* or a folder.*Received"
    error = TypeError if source == b"x" else FileNotFoundError
    with pytest.raises(error, match=None if source == b"x" else match):
        load_pretrained(source)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name: str) -> None:
    (folder / name).unlink()
    match = rf"`source` must hold the files.*Received: no '.*{name}'"
    with pytest.raises(FileNotFoundError, match=match):
        load_pretrained(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"[]", b"3", b'{"model": {}}', b"[" * 100_000],
)
def test_a_config_that_is_none(folder, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"hold a config\.json that save_p"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"banana": 1}, r"hold a config\.json that save_pretrained wrote"),
        ({"labels": 3}, r"hold a config\.json that save_pretrained wrote"),
        ({"backbone_weights": "imagenet"}, r"config\.json that save_pretr"),
        ({"mean": [10**400, 1, 1]}, r"hold a config\.json that save_pretr"),
        ({"labels": {"name": "x"}}, "must have exactly the entries"),
        ({"num_classes": 0}, "`num_classes` must be.*num_classes=0"),
        ({"width": "wide"}, "`width` must be.*'wide'"),
        ({"backbone": "vgg"}, "`backbone` must be.*'vgg'"),
    ],
)
def test_a_config_of_no_network(folder, change, match: str) -> None:
    config = folder / "config.json"
    content = json.loads(config.read_text())
    content["model"] |= change
    config.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=match):
        load_pretrained(folder)


@pytest.mark.parametrize("build", [lambda **kw: PSPNet(2, **kw), DilatedResNet])
def test_a_misspelt_argument_is_not_ignored(build) -> None:
    # Keras itself drops what it does not know.
    with pytest.raises(TypeError, match="unexpected keyword.*bacbone"):
        build(bacbone="resnet18")


def test_changed_weights_are_noticed(folder) -> None:
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    match = r"weights its config\.json names; their sha256.*model.safetensors'"
    with pytest.raises(ValueError, match=match):
        load_pretrained(folder)


@pytest.mark.parametrize("keep", [0, 5, 3000])
def test_truncated_weights_are_noticed(folder, keep: int) -> None:
    # The hash is right: this is what the reader of the format must find.
    weights = folder / "model.safetensors"
    rehash(folder / "config.json", weights.read_bytes()[:keep], weights)
    with pytest.raises(ValueError, match=r"whole model\.safetensors: .*Rec"):
        load_pretrained(folder)


def test_all_that_does_not_fit_is_told_at_once(folder) -> None:
    def damage(arrays: dict[str, np.ndarray]) -> None:
        del arrays["head_bn/gamma"], arrays["head_bn/beta"]
        arrays["extra"] = np.zeros(3, "float32")
        arrays["another/extra"] = np.zeros(3, "float32")
        arrays["head_classifier/bias"] = np.zeros(4, "float32")
        # Of no concern without the head it belongs to.
        del arrays["aux_bn/gamma"]

    rewrite(folder, damage)
    told = (
        "Received: missing head_bn/beta; missing head_bn/gamma; "
        "unexpected another/extra; unexpected extra; "
        r"head_classifier/bias has shape \(4,\), not \(3,\)$"
    )
    with pytest.raises(ValueError, match=told):
        load_pretrained(folder)
    with pytest.raises(ValueError, match="missing aux_bn/gamma; missing head"):
        load_pretrained(folder, aux=True)


# === What is refused when saving ===


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.nan, "float32"),
        pytest.param(np.inf, "float32", marks=pytest.mark.slow),
        (1e6, "float16"),
    ],
)
def test_weights_that_are_no_numbers_are_not_saved(
    folder, value: float, dtype: str
) -> None:
    model = load_pretrained(folder)
    before = (folder / "model.safetensors").read_bytes()
    bias = model.get_layer("head_classifier").bias
    bias.assign([0, value, 0])
    match = f"finite {dtype} weights.*in head_classifier/bias"
    with pytest.raises(ValueError, match=match):
        save_pretrained(model, folder, dtype)
    assert (folder / "model.safetensors").read_bytes() == before


def test_only_a_pspnet_in_two_precisions_is_saved(model, tmp_path) -> None:
    with pytest.raises(TypeError, match="`model` must be a PSPNet.*Functional"):
        save_pretrained(conv_model(), tmp_path / "a")
    with pytest.raises(ValueError, match="`dtype` must be.*'bfloat16'"):
        save_pretrained(model, tmp_path / "a", dtype="bfloat16")
    assert not list(tmp_path.iterdir())


def test_an_unwritable_place_is_named(model, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in ("file", "file/model"):
        with pytest.raises(OSError, match="file"):
            save_pretrained(model, tmp_path / place)
    (tmp_path / "model" / "config.json").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"config\.json"):
        save_pretrained(model, tmp_path / "model")
    assert os.listdir(tmp_path / "model") == ["config.json"]


# === The model that ships ===


def test_the_aerial_model_is_whole_and_says_what_it_is() -> None:
    model = load_pretrained("aerial")
    assert model.labels == AERIAL
    assert model.num_classes == 5
    image = np.random.default_rng(0).integers(0, 256, (65, 97, 3), "uint8")
    assert np.isfinite(predict_logits(model, image[None])).all()
    result = segment(model, image)
    assert result.mask.shape == (65, 97)
    assert sum(result.areas().values()) == pytest.approx(1)

    folder = Path(keras_pspnet.__file__).parent / "weights" / "aerial"
    weights = folder / "model.safetensors"
    assert weights.stat().st_size < 30e6
    arrays = safetensors.numpy.load_file(weights)
    assert {array.dtype.name for array in arrays.values()} == {"float16"}
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "CC0" in card
    assert f"{find_preset('aerial').mean_iou:.3f}" in card
