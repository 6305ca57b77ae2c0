"""Converts a PSPNet's weights to the forms of published weights."""

from typing import Any

import numpy as np
import source_names
from source_names import renamed
from support import numpy

from keras_pspnet import PSPNet

State = dict[str, np.ndarray]
KINDS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
WIDTH = 1 / 8


def random_pspnet(depth: int = 18, **kwargs: Any) -> PSPNet:
    kwargs = {"num_classes": 21, "width": WIDTH} | kwargs
    model = PSPNet(backbone=f"resnet{depth}", **kwargs)
    rng = np.random.default_rng(depth)
    for variable in model.weights:
        if "seed_generator" not in variable.path:
            value = rng.normal(size=variable.shape)
            variable.assign(np.abs(value) + 0.5)
    return model


def mmseg_state(model: PSPNet) -> State:
    """Returns the weights with mmsegmentation's names and shapes."""
    config = model.get_config()
    depth = int(config["backbone"].removeprefix("resnet"))
    names = source_names.our_names(depth, config["stem"], config["shortcut"])
    state: State = {}
    for variable in model.weights:
        if "seed_generator" in variable.path:
            continue
        layer, _, kind = variable.path.rpartition("/")
        value = numpy(variable)
        if kind == "kernel":
            value = np.transpose(value, (3, 2, 0, 1))
        state[f"{names[layer]}.{KINDS[kind]}"] = value
        if kind == "gamma":
            counter = f"{names[layer]}.num_batches_tracked"
            state[counter] = np.array(40000)
    return state


def semseg_state(model: PSPNet, depth: int) -> State:
    state = renamed(mmseg_state(model), source_names.semseg_names(depth))
    return {name.removeprefix("module."): each for name, each in state.items()}


def caffe_layers(model: PSPNet, depth: int) -> dict[str, list[np.ndarray]]:
    """Returns the weights in Caffe's form, with a first kernel for BGR."""
    layers = source_names.caffe_layers(mmseg_state(model), depth)
    first = layers["conv1_1_3x3_s2"]
    first[0] = first[0][:, ::-1]
    return layers


# What `convert_paddleseg` knows of every network of its source.
PADDLESEG = {
    "shortcut": "average_pool",
    "contract_dilation": False,
    "mean": (127.5,) * 3,
    "std": (127.5,) * 3,
}


def paddleseg_state(model: PSPNet, depth: int) -> State:
    """Returns the weights with PaddleSeg's names and shapes.

    Heads have a bias before batch normalization, which subtracts it again as
    part of the mean: the result is exact.
    """
    names = source_names.paddleseg_names(depth)
    kinds = {"running_mean": "_mean", "running_var": "_variance"}
    state: State = {}
    for name, value in renamed(mmseg_state(model), names).items():
        layer, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        if layer == "head.psp_module.conv_bn_relu2._conv":
            value = source_names.falling_bins(value)
        if kind == "running_mean" and layer.startswith("head."):
            conv = layer.replace("._batch_norm", "._conv")
            state[f"{conv}.bias"] = value
            value = value + value
        state[f"{layer}.{kinds.get(kind, kind)}"] = value
    return state


def mmcv_state(model: PSPNet, depth: int) -> State:
    """Returns the backbone in the form of mmcv's ImageNet files."""
    state = {
        name.removeprefix("backbone."): value
        for name, value in mmseg_state(model).items()
        if name.startswith("backbone.")
    }
    return with_classifier(state)


def timm_state(model: PSPNet, depth: int) -> State:
    """Returns the backbone in the form of timm's files."""
    names = source_names.timm_names(depth)
    return with_classifier(renamed(mmseg_state(model), names))


def with_classifier(state: State) -> State:
    return state | {
        "fc.weight": np.zeros((1000, 512), "float32"),
        "fc.bias": np.zeros(1000, "float32"),
    }
