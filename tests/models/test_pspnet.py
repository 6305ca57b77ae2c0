import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import run_config_test, run_model_test

from keras_pspnet.labels import generic_labels
from keras_pspnet.layers.batch_norm import BatchNorm
from keras_pspnet.models.pspnet import PSPNet
from keras_pspnet.optimizers import SGD
from keras_pspnet.utils.keras_private import nested_layers

CLASSES = 3
SIDES = (33, 41)
SMALL = {"backbone": "resnet18", "width": 1 / 16}
# Known sizes and two bins make eager steps twice as fast.
FAST = {"input_shape": (*SIDES, 3), "bin_sizes": (1, 2)}


def make_model(input_shape=(None, None, 3), seed=0, **kwargs):
    """A tiny network whose statistics and logits are not at their start."""
    keras.utils.set_random_seed(seed)
    kwargs = {"dropout": 0.0, **SMALL, **kwargs}
    model = PSPNet(CLASSES, input_shape=input_shape, **kwargs)
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name != "kernel":
            shift = rng.uniform(0, 0.5, variable.shape).astype("float32")
            variable.assign_add(shift)
    return model


def images(count=2, sides=SIDES, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *sides, 3)).astype("uint8")


def masks(count=2, sides=SIDES, seed=1):
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, CLASSES, (count, *sides))
    drawn[:, :3] = 255
    return drawn.astype("uint8")


def values(variables):
    return [np.array(variable.value) for variable in variables]


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def logits(model):
    return {name: t.numpy() for name, t in model(images()).items()}


def assert_same_logits(got, wanted, tolerance=1e-5):
    for name in ("main", "aux"):
        limit = tolerance * np.abs(wanted[name]).max()
        np.testing.assert_allclose(got[name], wanted[name], atol=limit)


# === Outputs ===


@pytest.mark.parametrize("sides", [SIDES, (64, 48), (8, 9), (1, 1)])
def test_outputs_have_the_size_of_the_image(model, sides):
    outputs = model(images(sides=sides))
    assert sorted(outputs) == ["aux", "main"]
    for output in outputs.values():
        assert output.shape == (2, *sides, CLASSES)
        assert output.dtype == tf.float32
        assert np.isfinite(output).all()


def test_fixed_size_gives_the_same_logits(model, logits):
    fixed = make_model((*SIDES, 3), seed=9)
    assert fixed.output["main"].shape == (None, *SIDES, CLASSES)
    assert model.output["main"].shape == (None, None, None, CLASSES)
    fixed.set_weights(values(model.variables))
    assert_same_logits(fixed(images()), logits)


def test_normalization_is_inside(logits):
    # A model told mean 0 and deviation 1 needs images normalized by hand.
    bare = make_model(mean=(0, 0, 0), std=(1, 1, 1))
    mean = np.array([123.675, 116.28, 103.53])
    std = np.array([58.395, 57.12, 57.375])
    by_hand = ((images() - mean) / std).astype("float32")
    assert_same_logits(bare(by_hand), logits)


# === Models made from models ===


def test_inference_model(model, logits):
    inference = model.inference_model()
    output = inference(images())
    np.testing.assert_allclose(output, logits["main"], rtol=1e-6, atol=1e-6)
    assert not any("aux" in v.path for v in inference.variables)
    assert {id(v) for v in inference.variables} < {
        id(v) for v in model.variables
    }


def test_inference_model_follows_the_training():
    model = make_model()
    inference = model.inference_model()
    before = inference(images()).numpy()
    model.get_layer("head_classifier").bias.assign([5.0, 0.0, 0.0])
    moved = inference(images()).numpy() - before
    assert moved[..., 0].min() > 4
    np.testing.assert_allclose(
        inference(images()), model(images())["main"], rtol=1e-6
    )


def test_without_aux(model, logits):
    single = make_model(aux=False, seed=5)
    assert single.inference_model() is single
    inference = model.inference_model()
    by_path = {v.path: np.array(v.value) for v in inference.variables}
    for variable in single.variables:
        variable.assign(by_path.pop(variable.path))
    assert not by_path
    assert_same_logits({"main": single(images()), "aux": logits["aux"]}, logits)


# Every argument that is an attribute, with another value than its default.
OPTIONS = {
    "stem": "7x7",
    "output_stride": 16,
    "contract_dilation": False,
    "stride_on": "3x3",
    "shortcut": "conv",
    "width": 1 / 16,
    "align_corners": True,
    "bin_sizes": (1, 4),
    "pooling": "max",
    "reduce": False,
    "head_channels": 5,
    "aux": True,
    "dropout": 0.2,
    "freeze": "batch_norm",
    "mean": (1.0, 2.0, 3.0),
    "std": (4.0, 5.0, 6.0),
    "labels": generic_labels(CLASSES),
    "name": "net",
}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="default", marks=pytest.mark.slow),
        pytest.param(OPTIONS, id="other"),
    ],
)
def test_every_way_to_use_it(options):
    model = make_model((65, None, 3) if options else (None, None, 3), **options)
    for name, value in options.items():
        assert getattr(model, name) == value
    run_config_test(model)
    run_model_test(model, images(sides=(65, 33)).astype("float32"), 2e-5)
    run_model_test(model.inference_model(), images(sides=(65, 33)), 2e-5)


def test_presets_are_pretrained_models(model, logits, tmp_path):
    model.save_to_preset(tmp_path / "net", dtype="float32")
    loaded = PSPNet.from_preset(tmp_path / "net", aux=True)
    assert type(loaded) is PSPNet
    assert_same_logits(loaded(images()), logits)
    with pytest.raises(FileNotFoundError, match="`source` must be one of"):
        PSPNet.from_preset("no_such_preset")


def test_saved_model_goes_on_as_if_it_had_not_stopped(tmp_path):
    model = make_model(**FAST, labels=generic_labels(CLASSES))
    model.compile(total_steps=10, head_lr_multiplier=10.0, run_eagerly=True)
    data = {"x": images(), "y": masks(), "verbose": 0}
    model.fit(**data, shuffle=False)
    model.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")

    assert type(loaded) is PSPNet
    assert loaded.labels == generic_labels(CLASSES)
    assert loaded.compiled
    assert type(loaded.optimizer) is SGD
    assert int(loaded.optimizer.iterations) == 1
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for a, b in zip(
        values(model.variables + model.optimizer.variables),
        values(loaded.variables + loaded.optimizer.variables),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)

    histories = [m.fit(**data, shuffle=False) for m in (model, loaded)]
    assert histories[0].history == histories[1].history
    assert int(loaded.optimizer.iterations) == 2
    for a, b in zip(
        values(model.variables), values(loaded.variables), strict=True
    ):
        np.testing.assert_array_equal(a, b)


# === Freezing ===


def changed_by_one_step(model):
    """Paths of the variables that one step changes."""
    model.compile(total_steps=3, learning_rate=0.5, run_eagerly=True)
    before = values(model.variables)
    model.train_on_batch(images(), masks())
    return {
        variable.path
        for variable, old in zip(model.variables, before, strict=True)
        if not np.array_equal(variable.value, old)
    }


def test_everything_learns():
    model = make_model(**FAST)
    learned = changed_by_one_step(model)
    statistics = {v.path for v in model.variables if "moving" in v.path}
    assert statistics <= learned
    assert {v.path for v in model.trainable_variables} <= learned


def test_freeze_backbone():
    model = make_model(**FAST, freeze="backbone")
    learned = changed_by_one_step(model)
    backbone = {v.path for v in model.backbone.variables}
    assert not learned & backbone
    heads = {v.path for v in model.variables} - backbone
    assert heads == learned
    assert any("moving" in path for path in heads)


def test_freeze_batch_norm():
    model = make_model(**FAST, freeze="batch_norm")
    norms = [
        layer for layer in nested_layers(model) if type(layer) is BatchNorm
    ]
    frozen = {v.path for norm in norms for v in norm.variables}
    assert {v.path for v in model.pyramid.norms[0].variables} <= frozen
    learned = changed_by_one_step(model)
    assert not learned & frozen
    assert learned == {v.path for v in model.variables} - frozen


# === Errors ===


@pytest.mark.parametrize("num_classes", [0, 256, -1, 2.0, True, "3", None])
def test_num_classes_error(num_classes):
    with pytest.raises(
        ValueError, match="`num_classes` must be an integer from 1 to 255"
    ):
        PSPNet(num_classes, **SMALL)


@pytest.mark.parametrize(
    "input_shape",
    [(33, 41), (33, 41, 0), (0, 41, 3), (33.0, 41, 3), 33, None],
)
def test_input_shape_error(input_shape):
    with pytest.raises(
        ValueError, match=r"`input_shape` must be \(height, width, bands\)"
    ):
        PSPNet(CLASSES, input_shape=input_shape, **SMALL)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"backbone": "vgg16"}, "`backbone` must be one of 'resnet18'.*vgg16"),
        (
            {"backbone": 50},
            "`backbone` must be the name of a ResNet or .*backbone=50",
        ),
        ({"freeze": "head"}, "`freeze` must be one of None, 'backbone'.*head"),
        ({"labels": generic_labels(4)}, "`labels` must name as many.*4 names"),
        ({"labels": {"name": "x"}}, "`config` must have exactly the entries"),
    ],
)
def test_constructor_errors(arguments, match):
    with pytest.raises(ValueError, match=match):
        PSPNet(CLASSES, **{**SMALL, **arguments})
