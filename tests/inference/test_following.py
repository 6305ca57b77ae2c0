"""Tests of networks that follow their model, folded and traced once."""

import gc
import inspect
import json
import os
import subprocess
import sys
import weakref
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from folded_models import batch, foreign_model, normalized_model, scale_weights
from support import (
    ON_JAX,
    assert_close,
    conv_logits,
    conv_model,
    numpy,
    picture,
    randomize,
    tiny_pspnet,
)

from keras_pspnet.inference import predictor
from keras_pspnet.inference.predictor import (
    Predictor,
    as_predictor,
    predict_logits,
)
from keras_pspnet.inference.segment import segment
from keras_pspnet.labels import LabelSet, generic_labels
from keras_pspnet.models.named_backbone import IMAGENET_MEAN
from keras_pspnet.models.pspnet import PSPNet


@pytest.fixture(scope="module")
def pspnet() -> keras.Model:
    """Made once; tests that change its weights change them back."""
    return tiny_pspnet()


class Subclassed(keras.Model):
    """Has neither inputs nor outputs before it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = keras.layers.Conv2D(4, 3, padding="same")

    def call(self, inputs):
        return self.conv(inputs)


def assert_follows(model: keras.Model, before: np.ndarray) -> None:
    """The network gives what the model gives now, and gave another."""
    images = batch(21, 30)
    now = as_predictor(model)(images)
    assert_close(now, predict_logits(model, images), 1e-5)
    assert np.abs(now - before).max() > 1e-2 * np.abs(before).max()


# === Folded copies ===


def test_the_copy_gives_the_model_s_logits_at_every_size(pspnet) -> None:
    assert pspnet.aux
    folded = as_predictor(pspnet)
    for shape in ((33, 47, 2), (1, 1, 1), (64, 17, 3)):
        logits = folded(batch(*shape))
        assert logits.dtype == np.float32
        assert_close(logits, predict_logits(pspnet, batch(*shape)), 1e-5)
    assert folded.traces() == 1
    assert folded.model is pspnet
    assert folded.size is None
    assert folded.fill == pytest.approx(IMAGENET_MEAN)


def test_nothing_is_copied_while_nothing_changes() -> None:
    model = normalized_model()
    first = as_predictor(model)
    first(batch(9, 9))
    again = as_predictor(model)
    assert again.run is first.run
    # Labels are no weights, and yet up to date.
    model.labels = LabelSet("abc", tuple("abc"), ((0, 0, 0),) * 3)
    named = as_predictor(model)
    assert named.run is first.run
    assert named.labels is model.labels
    assert as_predictor(model, "bfloat16").run is not first.run
    assert as_predictor(model).run is first.run
    assert as_predictor(normalized_model()).run is not first.run


def test_new_weights_are_followed(pspnet) -> None:
    before = as_predictor(pspnet)(batch(21, 30))
    kernel = pspnet.get_layer("head_conv").kernel
    kernel.assign(-kernel)
    assert_follows(pspnet, before)
    # Back to what it was folded of before.
    kernel.assign(-kernel)
    assert_close(as_predictor(pspnet)(batch(21, 30)), before, 1e-5)


def take_a_step(model: keras.Model) -> None:
    model.compile("sgd", "mse", run_eagerly=True)
    images = batch(21, 30) / 255
    model.train_on_batch(images, np.ones((2, 21, 30, 3), "float32"))


@pytest.mark.parametrize("name", [None, "moving_mean", "moving_variance"])
def test_every_change_is_followed(name: str | None) -> None:
    model = normalized_model()
    before = as_predictor(model)(batch(21, 30))
    if name is None:
        take_a_step(model)
    else:
        statistic = getattr(model.get_layer("norm"), name)
        statistic.assign(statistic * 3 + 1)
    assert_follows(model, before)


def test_the_smallest_change_of_one_weight_is_seen() -> None:
    model = normalized_model()
    for weight in model.weights:
        value = numpy(weight).copy()
        # Numbers below the smallest normal one are zeros to processors.
        value[value == 0] = 1.0
        weight.assign(value)
        for place in (0, value.size // 2, value.size - 1):
            as_predictor(model)
            assert predictor._followers[model]["float32"].follow(model) is False
            changed = value.copy()
            changed.flat[place] = np.nextafter(changed.flat[place], 9)
            weight.assign(changed)
            assert predictor._followers[model]["float32"].follow(model) is True
            weight.assign(value)


@pytest.mark.parametrize("make", [normalized_model, lambda: tiny_pspnet()])
def test_copies_die_with_their_model(make) -> None:
    model = make()
    run = weakref.ref(as_predictor(model).run)
    assert run() is not None
    dead = weakref.ref(model)
    del model
    gc.collect()
    assert dead() is None
    assert run() is None


def test_models_of_layers_that_are_not_folded() -> None:
    image = keras.Input((None, None, 3))
    x = keras.layers.DepthwiseConv2D(3, padding="same")(image)
    inner = normalized_model()
    model = keras.Model(image, inner(keras.layers.ReLU()(x)))
    randomize(model)
    images = batch(19, 22)
    before = as_predictor(model)(images)
    assert_close(before, predict_logits(model, images), 1e-5)
    # They are not copied, but what is around them is.
    inner.get_layer("classifier").bias.assign([1e3, -1e3, 0])
    after = as_predictor(model)(images)
    assert_close(after, predict_logits(model, images), 1e-5)
    assert np.abs(after - before).max() > 100


def test_folding_many_models_says_nothing(caplog) -> None:
    for _ in range(8):
        as_predictor(conv_model())(batch(5, 5))
    assert "retracing" not in caplog.text


# === What copies leave behind ===


def alive(model: keras.Model) -> Counter:
    """Counts what keeps weights in memory, and the nodes of the model."""
    gc.collect()
    counts = Counter()
    # Asking each type is much faster than asking each object.
    for kind, count in Counter(map(type, gc.get_objects())).items():
        if issubclass(kind, keras.Model | keras.Variable | keras.Layer):
            counts[kind.__name__] += count
        if issubclass(kind, tf.Tensor | tf.Variable):
            counts["tensors"] += count
    pending = [model]
    while pending:
        for each in pending.pop().operations:
            counts["nodes"] += len(each._inbound_nodes)
            counts["nodes"] += len(each._outbound_nodes)
            if isinstance(each, keras.Model):
                pending.append(each)
    return counts


@pytest.mark.parametrize(
    "make",
    [tiny_pspnet, pytest.param(foreign_model, marks=pytest.mark.slow)],
)
def test_changes_of_weights_leave_nothing_behind(make) -> None:
    model = make()
    untouched = alive(model)["nodes"]
    segment(model, picture(21, 30))
    # What is remembered shares the memory of the weights until they change.
    scale_weights(model)
    segment(model, picture(21, 30))
    before = alive(model)
    for _ in range(4):
        scale_weights(model, 0.99)
        segment(model, picture(21, 30))
    after = alive(model)
    assert after == before
    assert after["nodes"] == untouched


@pytest.mark.parametrize(
    "make",
    [pytest.param(tiny_pspnet, marks=pytest.mark.slow), foreign_model],
)
def test_a_copy_dies_with_its_predictor(make) -> None:
    model = make()
    before = alive(model)
    own = Predictor(model)
    run = weakref.ref(own.run)
    own(batch(21, 30))
    del own
    gc.collect()
    assert run() is None
    after = alive(model)
    assert after["nodes"] == before["nodes"]
    assert after["Functional"] <= before["Functional"]


# === Precision ===


def test_a_model_of_mixed_precision_computes_in_float32(pspnet) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = tiny_pspnet()
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(pspnet.get_weights())
    images = batch(33, 47)
    want = predict_logits(pspnet, images)
    assert_close(as_predictor(mixed)(images), want, 1e-5)
    # As it is, it would be off by far more.
    rough = predict_logits(mixed, images)
    assert np.abs(rough - want).max() > 1e-3 * np.abs(want).max()
    assert mixed.get_layer("head_conv").compute_dtype == "bfloat16"


def test_bfloat16_is_close_to_float32(pspnet) -> None:
    images = batch(33, 47)
    want = as_predictor(pspnet)(images)
    half = as_predictor(pspnet, "bfloat16")(images)
    assert half.dtype == np.float32
    difference = np.abs(half - want).max() / np.abs(want).max()
    assert 1e-4 < difference < 0.05
    assert np.mean(half.argmax(-1) == want.argmax(-1)) > 0.97


# === Models that run as they are ===


@pytest.mark.parametrize("built", [False, True])
def test_subclassed_models_run_as_they_are(built: bool) -> None:
    model = Subclassed()
    if built:
        model(batch(5, 5))
    plain = as_predictor(model)
    assert plain.traces() is None
    assert (plain.size, plain.fill) == (None, (0, 0, 0))
    assert plain.labels == generic_labels(4)
    images = batch(12, 9)
    assert_close(plain(images), conv_logits(model, images), 1e-5)
    result = segment(model, picture(12, 9))
    assert result.mask.shape == (12, 9)
    with pytest.raises(ValueError, match="'float32' for a model that cannot"):
        as_predictor(model, "bfloat16")


def test_models_of_two_outputs_run_as_they_are() -> None:
    # One that is no PSPNet, with its auxiliary branch.
    model = conv_model()
    image = keras.Input((None, None, 3))
    main = model(image)
    two = keras.Model(image, {"main": main, "aux": -main})
    plain = as_predictor(two)
    assert plain.traces() is None
    assert plain.labels.num_classes == 4
    images = batch(12, 9)
    assert_close(plain(images), conv_logits(model, images), 1e-5)


def on_a_convolution() -> PSPNet:
    """A PSPNet whose backbone is one layer."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, 4, "same", use_bias=False)(image)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    backbone = keras.Model(image, [x, x])
    return PSPNet(3, backbone, head_channels=8, bin_sizes=(1, 2))


# What a process on another backend does; it prints JSON on its last line.
PROGRAM = (
    f"""
{inspect.getsource(on_a_convolution).replace("PSPNet:", "object:")}
"""
    + """
import json, sys
sys.modules["tensorflow"] = None  # as where it is not installed
import numpy as np
import keras
from keras_pspnet import PSPNet, segment
from keras_pspnet.inference import as_predictor, predictor

data = np.load(sys.argv[1])
image = keras.Input((None, None, 3))
model = keras.Model(image, keras.layers.Conv2D(4, 3, padding="same")(image))
model.set_weights([data["kernel"], data["bias"]])
whole = as_predictor(model)(data["image"][None].astype("float32"))[0]
result = segment(model, data["image"], flip=True, window=16, confidence=True)
np.savez(
    sys.argv[2], whole=whole, mask=result.mask, confidence=result.confidence
)
pspnet = on_a_convolution()
pspnet.load_weights(sys.argv[3])
logits = {}
for precision in ("float32", "bfloat16"):
    logits[precision] = as_predictor(pspnet, precision)(data["images"])
for weight in pspnet.weights:
    weight.assign(weight * 1.5)
logits["later"] = as_predictor(pspnet)(data["images"])
np.savez(sys.argv[2] + ".pspnet.npz", **logits)
copy = predictor._followers[pspnet]["float32"]._copy
print(json.dumps({
    "backend": keras.backend.backend(),
    "traces": as_predictor(model).traces(),
    "norms": [each.name for each in copy._flatten_layers()
              if "BatchNorm" in type(each).__name__],
}))
"""
)


@pytest.mark.slow
def test_on_jax_the_copy_is_folded_too(tmp_path) -> None:
    model, image = conv_model(), picture(19, 37)
    pspnet = on_a_convolution()
    randomize(pspnet)
    kernel, bias = model.get_weights()
    images = batch(33, 41)
    given, found = tmp_path / "given.npz", tmp_path / "found.npz"
    np.savez(given, image=image, kernel=kernel, bias=bias, images=images)
    weights = tmp_path / "start.weights.h5"
    pspnet.save_weights(weights)
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(given), str(found), str(weights)],
        env={**os.environ, **ON_JAX},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout.splitlines()[-1])
    assert report["backend"] == "jax"
    assert report["traces"] is None
    assert report["norms"] == []
    want = segment(model, image, flip=True, window=16, confidence=True)
    got = np.load(found)
    assert_close(got["whole"], conv_logits(model, image[None])[0], 1e-5)
    np.testing.assert_array_equal(got["mask"], want.mask)
    np.testing.assert_allclose(got["confidence"], want.confidence, atol=1e-5)
    logits = np.load(f"{found}.pspnet.npz")
    exact = predict_logits(pspnet, images)
    assert_close(logits["float32"], exact, 1e-5)
    half = np.abs(logits["bfloat16"] - exact).max() / np.abs(exact).max()
    assert 1e-4 < half < 0.05
    pspnet.set_weights([1.5 * each for each in pspnet.get_weights()])
    assert_close(logits["later"], predict_logits(pspnet, images), 1e-5)
