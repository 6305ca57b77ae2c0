"""Tests of the name tables: every tensor placed, geometry by the source."""

import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from source_states import (
    PADDLESEG,
    WIDTH,
    State,
    caffe_layers,
    mmcv_state,
    mmseg_state,
    paddleseg_state,
    random_pspnet,
    semseg_state,
    timm_state,
)
from support import numpy, tiny_pspnet

from keras_pspnet import PSPNet
from keras_pspnet.convert.assign import Converted, fill
from keras_pspnet.convert.caffe import convert_caffe
from keras_pspnet.convert.imagenet import convert_backbone, is_backbone
from keras_pspnet.convert.mmseg import convert_mmseg, is_mmseg
from keras_pspnet.convert.paddleseg import convert_paddleseg, is_paddleseg
from keras_pspnet.convert.semseg import convert_semseg, is_semseg
from keras_pspnet.labels import CITYSCAPES, VOC


def assert_same(converted: Converted, model: PSPNet) -> None:
    """The converted network is the model, weight by weight."""
    config = model.get_config()
    for name, value in converted.config.items():
        if name != "labels":
            assert config[name] == value, name
    built = PSPNet(**converted.config)
    fill(built.weights, converted.arrays)
    want = {each.path: numpy(each) for each in model.weights}
    for variable in built.weights:
        np.testing.assert_array_equal(
            numpy(variable), want[variable.path], err_msg=variable.path
        )
    assert len(built.weights) == len(model.weights)


# Tests copy a state before they change it.
@pytest.fixture(scope="module")
def mmseg() -> State:
    return mmseg_state(random_pspnet())


@pytest.fixture(scope="module")
def paddle() -> State:
    return paddleseg_state(random_pspnet(50, **PADDLESEG), 50)


@pytest.fixture(scope="module")
def caffe() -> dict[str, list[np.ndarray]]:
    return caffe_layers(random_pspnet(50, stem="deep_wide", aux=False), 50)


# === Every tensor in its place ===


@pytest.mark.parametrize(
    ("depth", "stem", "aux"),
    [
        (18, "deep", True),
        (18, "7x7", False),
        (50, "7x7", True),
        pytest.param(18, "deep", False, marks=pytest.mark.slow),
        pytest.param(50, "deep", True, marks=pytest.mark.slow),
        pytest.param(50, "deep", False, marks=pytest.mark.slow),
    ],
)
def test_mmseg_networks_come_over(depth: int, stem: str, aux: bool) -> None:
    model = random_pspnet(depth, stem=stem, aux=aux)
    state = mmseg_state(model)
    assert is_mmseg(state)
    assert not is_semseg(state)
    assert not is_backbone(state)
    assert_same(convert_mmseg(state, {}), model)


@pytest.mark.parametrize(
    "aux", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_semseg_networks_come_over(aux: bool) -> None:
    model = random_pspnet(
        50,
        stem="deep_wide",
        contract_dilation=False,
        align_corners=True,
        aux=aux,
    )
    state = semseg_state(model, 50)
    assert is_semseg(state)
    assert not is_mmseg(state)
    assert_same(convert_semseg(state), model)


@pytest.mark.parametrize(
    ("depth", "stride_on"),
    [(50, "1x1"), pytest.param(101, "3x3", marks=pytest.mark.slow)],
)
def test_caffe_networks_come_over(depth: int, stride_on: str) -> None:
    model = random_pspnet(
        depth,
        stem="deep_wide",
        contract_dilation=False,
        align_corners=True,
        stride_on=stride_on,
        aux=False,
        mean=(123.68, 116.779, 103.939),
        std=(1, 1, 1),
    )
    assert_same(convert_caffe(caffe_layers(model, depth)), model)


# A quarter of the features' 256, and PaddleSeg's half.
@pytest.mark.parametrize(
    ("depth", "aux", "head_channels"),
    [
        (50, True, 128),
        pytest.param(50, True, None, marks=pytest.mark.slow),
        pytest.param(101, False, None, marks=pytest.mark.slow),
        pytest.param(101, False, 128, marks=pytest.mark.slow),
    ],
)
def test_paddleseg_networks_come_over(
    depth: int, aux: bool, head_channels: int | None
) -> None:
    model = random_pspnet(
        depth, aux=aux, head_channels=head_channels, **PADDLESEG
    )
    state = paddleseg_state(model, depth)
    assert is_paddleseg(state)
    assert not (is_mmseg(state) or is_semseg(state) or is_backbone(state))
    if depth == 50:
        # As Paddle counts them, with the biases of the heads.
        assert len(state) == 315
    converted = convert_paddleseg(state)
    assert converted.config["head_channels"] == head_channels
    assert converted.config["labels"] == VOC
    assert_same(converted, model)


def test_heads_may_have_any_number_of_channels_up_to_half(mmseg) -> None:
    for channels in (1, 32):
        model = random_pspnet(head_channels=channels)
        assert_same(convert_mmseg(mmseg_state(model), {}), model)
    # Half of the 64 features is the most that is built.
    state = dict(mmseg)
    state["decode_head.bottleneck.conv.weight"] = np.zeros((9999, 1, 1, 1))
    converted = convert_mmseg(state, {})
    assert converted.config["head_channels"] is None
    with pytest.raises(ValueError, match="head_conv/kernel has shape .*9999"):
        fill(model.weights, converted.arrays)


def test_the_oldest_caffe_files_have_four_axes_everywhere(caffe) -> None:
    layers = {name: list(arrays) for name, arrays in caffe.items()}
    want = convert_caffe(layers).arrays["head_classifier/bias"]
    layers["conv6"][1] = layers["conv6"][1].reshape(1, 1, 1, -1)
    got = convert_caffe(layers).arrays["head_classifier/bias"]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("source", "depth", "stem", "shortcut"),
    [
        ("mmcv", 18, "deep", "conv"),
        ("timm", 50, "deep", "average_pool"),
        pytest.param("timm", 50, "deep_wide", "conv", marks=pytest.mark.slow),
    ],
)
def test_imagenet_backbones_come_over(
    source: str, depth: int, stem: str, shortcut: str
) -> None:
    kwargs = {"stem": stem, "shortcut": shortcut}
    model = random_pspnet(depth, **kwargs)
    make = timm_state if source == "timm" else mmcv_state
    state = make(model, depth)
    assert is_backbone(state)
    converted = convert_backbone(state)
    assert converted.config == {
        "backbone": f"resnet{depth}",
        **kwargs,
        "width": WIDTH,
    }
    weights = model.backbone.weights
    expected = [numpy(variable).copy() for variable in weights]
    for variable in weights:
        variable.assign(variable * 0)
    fill(weights, converted.arrays)
    for got, want in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(numpy(got), want)


def test_arrays_are_views_until_they_are_needed(mmseg) -> None:
    converted = convert_mmseg(mmseg, {})
    for name, value in mmseg.items():
        if name.endswith(".weight"):
            assert any(
                np.shares_memory(value, array)
                for array in converted.arrays.values()
            )


# === What the file says of itself ===


def test_class_names_come_from_the_file_or_go_by_their_number() -> None:
    states = {
        count: mmseg_state(random_pspnet(num_classes=count))
        for count in (3, 19, 21)
    }

    def labels(count: int, meta: dict[str, Any]) -> Any:
        return convert_mmseg(states[count], meta).config["labels"]

    assert labels(21, {}) == VOC
    assert labels(19, {}) == CITYSCAPES
    assert labels(3, {}) is None
    named = {"CLASSES": ("a", "b", "c"), "PALETTE": [[1, 2, 3]] * 3}
    assert labels(3, named).names == ("a", "b", "c")
    assert labels(3, named).colors == ((1, 2, 3),) * 3
    assert labels(21, {"CLASSES": VOC.names, "PALETTE": VOC.colors}) == VOC
    # Names that cannot be used are no reason to take another set's.
    for names in (["x"] * 3, named["CLASSES"][:2], 7):
        inner = {"dataset_meta": {"classes": names, "palette": None}}
        assert labels(3, inner) is None
        assert labels(19, inner) is None
    own = [f"own {index}" for index in range(19)]
    for palette in (None, [[0, 0]], [[float("inf"), 0, 0]] * 19, 3):
        meta = {"CLASSES": own, "PALETTE": palette}
        assert labels(19, meta).names == tuple(own)
        assert len(set(labels(19, meta).colors)) > 1


def test_the_configuration_in_the_file_decides_geometry(mmseg) -> None:
    def geometry(text: Any) -> tuple[Any, ...]:
        config = convert_mmseg(mmseg, {"config": text}).config
        names = ("output_stride", "stride_on", "bin_sizes")
        return tuple(config[name] for name in names)

    for text, corners in (
        ("model = dict(align_corners=True)", True),
        ("align_corners=False", False),
    ):
        for name in ("config", "cfg"):
            config = convert_mmseg(mmseg, {name: text}).config
            assert config["align_corners"] is corners
    usual = (8, "3x3", (1, 2, 3, 6))
    assert geometry("") == usual
    assert geometry(np.zeros(3)) == usual
    published = (
        "strides=(1, 2, 1, 1),\n style='pytorch', pool_scales=(1, 2, 3, 6)"
    )
    assert geometry(published) == usual
    assert geometry("strides=(1, 2, 2, 2)") == (32, "3x3", (1, 2, 3, 6))
    other = "style='caffe', pool_scales=[1, 2, 4, 8]"
    assert geometry(other) == (8, "1x1", (1, 2, 4, 8))
    with pytest.raises(ValueError, match=r"strides=\(1, 1, 1, 1\) in its conf"):
        geometry("strides=(1, 1, 1, 1)")
    with pytest.raises(ValueError, match=r"must have 4 pyramid maps.*\(1, 2\)"):
        geometry("pool_scales=(1, 2)")


# === What does not fit ===


def without(name: str) -> Callable[[State], None]:
    return lambda state: state.__delitem__(name)


def added(name: str) -> Callable[[State], None]:
    return lambda state: state.update({name: np.zeros(3, "float32")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("decode_head.bottleneck.conv.weight"),
            "missing decode_head.bottleneck.conv.weight",
        ),
        (added("decode_head.image_pool.weight"), "unexpected decode_head.im"),
        (
            lambda state: state.update(
                {"decode_head.conv_seg.bias": np.zeros((3, 1), "float32")}
            ),
            r"decode_head.conv_seg.bias has shape \(3, 1\) of float32, not 1",
        ),
        (
            lambda state: state.update(
                {"decode_head.conv_seg.bias": np.zeros(3, "int64")}
            ),
            "of int64, not 1 axes of floats",
        ),
        (
            without("backbone.layer3.1.conv1.weight"),
            r"backbone of a PSPNet. Received: \(2, 2, 1, 2\) basic blocks",
        ),
        (
            lambda state: state.update(
                {"backbone.stem.0.weight": np.zeros((5, 3, 3, 3), "float32")}
            ),
            r"a stem of \[5, 4, 8\] channels",
        ),
    ],
)
def test_another_network_is_refused(
    change: Callable[[State], None], message: str, mmseg: State
) -> None:
    state = dict(mmseg)
    change(state)
    with pytest.raises(ValueError, match=message):
        convert_mmseg(state, {})


def test_all_faults_are_told_at_once_and_a_long_list_is_cut(mmseg) -> None:
    state = dict(mmseg)
    for name in list(state):
        if name.startswith("decode_head.psp"):
            del state[name]
    state |= {f"decode_head.aspp.{i}": np.zeros(1) for i in range(30)}
    with pytest.raises(ValueError) as caught:
        convert_mmseg(state, {})
    message = str(caught.value)
    assert "missing decode_head.psp_modules.0.1.conv.weight" in message
    # 4 maps of a kernel and four vectors are missing, 30 are unexpected.
    assert message.endswith("; and 30 more")
    assert message.count(";") == 20


def test_nothing_wider_than_published_is_built(mmseg) -> None:
    state = dict(mmseg)
    state["backbone.layer1.0.conv1.weight"] = np.zeros((512, 1, 1, 1))
    with pytest.raises(ValueError, match=r"a stem of \[4, 4, 8\] channels"):
        convert_mmseg(state, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("head.conv.bias"), "missing head.conv.bias"),
        (added("head.ocr.weight"), "unexpected head.ocr.weight"),
        # A bias is taken off the mean behind it; where there is none, or one
        # of another kind, it is left over.
        (added("backbone.fc._conv.bias"), "unexpected backbone.fc._conv.bias"),
        (
            added("head.auxlayer.conv_bn_relu._conv.bias"),
            "unexpected head.auxlayer.conv_bn_relu._conv.bias",
        ),
        (
            lambda state: state.update(
                {"head.auxlayer.conv_bn_relu._conv.bias": np.array(["x"] * 32)}
            ),
            "unexpected head.auxlayer.conv_bn_relu._conv.bias",
        ),
        (
            without("backbone.bb_2_1.conv0._conv.weight"),
            r"backbone of a PSPNet. Received: \(3, 4, 1, 3\) bottleneck",
        ),
    ],
)
def test_another_network_of_paddleseg_is_refused(
    change: Callable[[State], None], message: str, paddle: State
) -> None:
    state = dict(paddle)
    change(state)
    with pytest.raises(ValueError, match=message):
        convert_paddleseg(state)


def test_basic_blocks_of_paddleseg_are_refused() -> None:
    model = random_pspnet(18, **PADDLESEG)
    state = paddleseg_state(model, 18)
    with pytest.raises(
        ValueError, match="must have bottleneck blocks.*resnet18"
    ):
        convert_paddleseg(state)


def test_caffe_files_of_other_networks_are_refused(caffe) -> None:
    with pytest.raises(ValueError, match=r"backbone of a PSPNet. .*\(0, 0, 0"):
        convert_caffe({"conv1": [np.zeros((8, 3, 3, 3), "float32")]})
    layers = {name: list(arrays) for name, arrays in caffe.items()}
    layers["conv5_4/bn"].pop()
    layers["fc6"] = [np.zeros((5, 5), "float32")]
    with pytest.raises(ValueError) as caught:
        convert_caffe(layers)
    assert "missing conv5_4/bn[3]" in str(caught.value)
    assert "unexpected fc6[0]" in str(caught.value)


# === Filling variables ===


def test_nothing_is_assigned_before_everything_fits() -> None:
    model = tiny_pspnet()
    before = {each.path: numpy(each).copy() for each in model.weights}
    arrays = {path: value + 1 for path, value in before.items()}
    arrays["head_bn/beta"] = arrays["head_bn/beta"].copy()
    arrays["head_bn/beta"][0] = np.nan
    # Finite, but not in float32.
    arrays["head_bn/gamma"] = arrays["head_bn/gamma"].astype("float64") * 1e300
    arrays["head_bn/moving_variance"] = -arrays["head_bn/moving_variance"]
    arrays["aux_bn/gamma"] = arrays["aux_bn/gamma"][:-1]
    del arrays["stem1_conv/kernel"]
    arrays["nobody"] = np.zeros(1)
    with pytest.raises(ValueError) as caught:
        fill(model.weights, arrays)
    for problem in (
        "head_bn/beta has NaN or infinity",
        "head_bn/gamma has NaN or infinity",
        "head_bn/moving_variance has a negative variance",
        r"aux_bn/gamma has shape \(3,\), not \(4,\)",
        "missing stem1_conv/kernel",
        "unexpected nobody",
    ):
        assert re.search(problem, str(caught.value)), problem
    for variable in model.weights:
        np.testing.assert_array_equal(numpy(variable), before[variable.path])


def test_values_keep_their_digits_in_float64() -> None:
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    dense = keras.layers.Dense(1, name="dense")
    dense.build((None, 2))
    arrays = {
        "dense/kernel": np.array([[1 / 3], [1e-12]]),
        "dense/bias": np.array([np.pi]),
    }
    fill(dense.weights, arrays)
    np.testing.assert_array_equal(numpy(dense.kernel), arrays["dense/kernel"])
    np.testing.assert_array_equal(numpy(dense.bias), arrays["dense/bias"])
