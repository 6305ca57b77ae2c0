"""Tests of the dilated residual networks."""

import math
from typing import Any

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from layer_checks import run_config_test, run_model_test
from support import assert_close, numpy, randomize

from keras_pspnet.backbones.resnet import DilatedResNet, scaled

WIDTH = 1 / 16
STEMS = {"deep": (32, 32, 64), "deep_wide": (64, 64, 128), "7x7": (64,)}
ODD_AND_EVEN = ((65, 49), (64, 50))


def images(height: int, width: int) -> np.ndarray:
    """Numbers that float32 holds exactly, since that is what inputs become."""
    rng = np.random.default_rng(height * 100 + width)
    return rng.normal(size=(2, height, width, 3)).astype("float32")


def make_resnet(depth: int = 50, **kwargs: Any) -> DilatedResNet:
    """A narrow network in float64, in which every weight matters."""
    kwargs = {"width": WIDTH, **kwargs}
    keras.config.set_dtype_policy("float64")
    model = DilatedResNet(depth, **kwargs)
    kernels = [v for v in model.variables if v.name == "kernel"]
    initial = [numpy(kernel) for kernel in kernels]
    randomize(model)
    # He's kernels keep the features in range through many layers.
    for kernel, value in zip(kernels, initial, strict=True):
        kernel.assign(value)
    return model


@pytest.mark.parametrize(
    "depth, size, contract, kwargs",
    [
        pytest.param(50, (64, 50), True, {}, marks=pytest.mark.slow),
        (50, (33, 47), False, {"stem": "7x7", "stride_on": "1x1"}),
        (18, (41, 64), True, {"stem": "deep_wide"}),
        pytest.param(18, (34, 33), False, {}, marks=pytest.mark.slow),
        (50, (35, 49), True, {"shortcut": "average_pool"}),
    ],
)
def test_features_are_those_of_the_definition(
    depth: int, size: tuple[int, int], contract: bool, kwargs: dict[str, Any]
) -> None:
    model = make_resnet(depth, contract_dilation=contract, **kwargs)
    x = images(*size)
    firsts = (1, 2) if contract else (2, 4)
    oracle = reference.ResNet({v.path: numpy(v) for v in model.variables})
    want = oracle(x, depth, firsts, **kwargs)
    eager = model(x, training=False)
    graph = tf.function(
        lambda x: model(x, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3))],
    )(x)
    for results in (eager, graph):
        for got, expected in zip(results, want, strict=True):
            assert_close(got, expected, 1e-11)


def stage5(model: DilatedResNet, x: np.ndarray) -> np.ndarray:
    return numpy(model(x, training=False)[1])


@pytest.mark.parametrize(
    "stride_on, contract",
    [
        ("3x3", True),
        pytest.param("1x1", False, marks=pytest.mark.slow),
    ],
)
def test_dense_features_subsampled_are_the_strided_ones(
    stride_on: str, contract: bool
) -> None:
    kwargs = {"stride_on": stride_on, "contract_dilation": contract}
    dense = make_resnet(output_stride=8, **kwargs)
    features = {size: stage5(dense, images(*size)) for size in ODD_AND_EVEN}
    for stride in (16, 32):
        strided = make_resnet(output_stride=stride, **kwargs)
        strided.set_weights(dense.get_weights())
        step = stride // 8
        for size, full in features.items():
            want = stage5(strided, images(*size))
            assert_close(full[:, ::step, ::step], want, 1e-11)


@pytest.mark.slow
def test_without_contraction_a_strided_3x3_makes_another_network() -> None:
    # Why the flag exists: the first block's 3x3 convolution sees the map
    # before the stage's subsampling, so its own dilation must stay behind.
    kwargs = {"stride_on": "3x3", "contract_dilation": False}
    dense = make_resnet(output_stride=8, **kwargs)
    strided = make_resnet(output_stride=32, **kwargs)
    strided.set_weights(dense.get_weights())
    x = images(65, 49)
    want = stage5(strided, x)
    difference = np.abs(stage5(dense, x)[:, ::4, ::4] - want)
    assert difference.max() > 0.01 * np.abs(want).max()


@pytest.mark.parametrize("stem", list(STEMS))
def test_stem_pads_both_sides(stem: str) -> None:
    model = make_resnet(18, stem=stem)
    conv = model.get_layer("stem1_conv")
    half = 3 if stem == "7x7" else 1
    assert conv.kernel.shape[0] == 2 * half + 1
    before = model.get_layer(f"stem{len(STEMS[stem])}_relu").output
    after = model.get_layer("stem_pool").output
    parts = keras.Model(model.inputs[0], [conv.output, before, after])
    for size in ((64, 64), (63, 48), (2, 1)):
        x = images(*size)
        first, before, after = parts(x)
        want = reference.conv2d(x, numpy(conv.kernel), stride=2, padding=half)
        assert_close(first, want, 1e-12)
        np.testing.assert_array_equal(
            after, reference.max_pool(before, 3, stride=2, padding=1)
        )


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_sides_are_rounded_up(stride: int) -> None:
    kwargs = {"width": WIDTH, "output_stride": stride}
    model = DilatedResNet(18, **kwargs)
    for height, width in ((65, 49), (64, 48), (63, 50), (1, 7)):
        stage4, stage5 = model(images(height, width))
        for output, channels, step in (
            (stage4, 16, min(stride, 16)),
            (stage5, 32, stride),
        ):
            sides = math.ceil(height / step), math.ceil(width / step)
            assert output.shape == (2, *sides, channels)
    fixed = DilatedResNet(18, (63, None, 3), **kwargs)
    assert fixed.output_shape[1] == (None, math.ceil(63 / stride), None, 32)


def test_every_variable_names_its_stage() -> None:
    model = DilatedResNet(50, width=WIDTH)
    stages = [variable.path.split("/")[0] for variable in model.variables]
    counts = {
        stage: len({name for name in stages if name.startswith(stage)})
        for stage in ("stem", "stage2", "stage3", "stage4", "stage5")
    }
    # A convolution and its normalization count two; projections come once.
    assert counts == {
        "stem": 2 * 3,
        "stage2": 2 * (3 * 3 + 1),
        "stage3": 2 * (3 * 4 + 1),
        "stage4": 2 * (3 * 6 + 1),
        "stage5": 2 * (3 * 3 + 1),
    }
    assert sum(counts.values()) == len(set(stages))


@pytest.mark.parametrize(
    "kwargs",
    [
        {
            "depth": 18,
            "input_shape": (33, None, 4),
            "stem": "7x7",
            "output_stride": 16,
            "trainable": False,
            "name": "small",
        },
        pytest.param(
            {
                "depth": 50,
                "stem": "deep_wide",
                "contract_dilation": False,
                "stride_on": "1x1",
                "width": WIDTH,
            },
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_way_to_use_it(kwargs: dict[str, Any]) -> None:
    model = DilatedResNet(**{"width": WIDTH, **kwargs})
    assert model.get_config().items() >= kwargs.items()
    run_config_test(model)
    channels = model.input_shape[-1]
    x = np.random.default_rng(0).normal(size=(2, 33, 41, channels))
    run_model_test(model, x.astype("float32"))


def test_width_never_leaves_a_layer_without_channels() -> None:
    assert scaled(64, 1 / 1000) == 1
    assert DilatedResNet(18, width=1e-3).output_shape[1][-1] == 1


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"depth": 20}, "`depth` must be one of 18, 34, .*, 269.*depth=20"),
        ({"depth": "50"}, "`depth` must be one of .*depth='50'"),
        ({"stem": "wide"}, "`stem` must be one of 'deep', .*stem='wide'"),
        ({"output_stride": 4}, "`output_stride` must be one of 8, 16, 32.*=4"),
        ({"stride_on": "2x2"}, "`stride_on` must be one of '3x3', '1x1'.*2x2"),
        (
            {"depth": 34, "stride_on": "1x1"},
            "`stride_on` must be '3x3' for the basic blocks of depth 34",
        ),
        ({"width": 0}, "`width` must be a number above 0 and at most 8.*=0"),
        ({"width": -1.5}, "`width` must be a number above 0.*=-1.5"),
        ({"width": 9}, "`width` must be a number above 0.*=9"),
        ({"width": float("nan")}, "`width` must be a number above 0.*=nan"),
        ({"width": "1"}, "`width` must be a number above 0.*='1'"),
    ],
)
def test_bad_arguments_are_refused(
    kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DilatedResNet(**kwargs)
