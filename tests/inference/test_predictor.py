"""Tests of networks: folded copies of models, and whatever else computes."""

import gc
import hashlib
import json
import os
import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest
import reference
from support import (
    assert_close,
    conv_logits,
    conv_model,
    numpy,
    picture,
    randomize,
    tiny_pspnet,
)

from keras_pspnet.inference import predictor as network
from keras_pspnet.inference.predictor import (
    Predictor,
    as_predictor,
    description,
    fill_color,
    fit_inside,
    model_labels,
    network_size,
    plain_network,
    predict_logits,
    weights_sha256,
)
from keras_pspnet.inference.segment import segment
from keras_pspnet.labels import LabelSet, generic_labels
from keras_pspnet.models.pspnet import IMAGENET_MEAN

LABELS = LabelSet("two", ("land", "sea"), ((0, 200, 0), (0, 0, 200)))


@pytest.fixture(scope="module")
def pspnet() -> keras.Model:
    """Made once; tests that change its weights change them back."""
    return tiny_pspnet()


def batch(height: int, width: int, count: int = 2) -> np.ndarray:
    image = picture(height, width).astype("float32")
    return np.stack([np.roll(image, index, axis=0) for index in range(count)])


class Counting(keras.layers.Layer):
    """Passes pictures on, and counts how often Python is asked to."""

    calls = 0

    def call(self, inputs):
        type(self).calls += 1
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape


def normalized_model(channels: int = 8) -> keras.Model:
    """A convolution with batch normalisation, and a classifier."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False)(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    logits = keras.layers.Conv2D(3, 1, name="classifier")(x)
    model = keras.Model(image, logits)
    for variable in model.get_layer("norm").weights:
        variable.assign(np.linspace(0.5, 1.5, channels))
    return model


class Subclassed(keras.Model):
    """Has neither inputs nor outputs before it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = keras.layers.Conv2D(4, 3, padding="same")

    def call(self, inputs):
        return self.conv(inputs)


def doubled(images: np.ndarray) -> np.ndarray:
    """Logits of two classes: red twice, and green."""
    return images[..., :2] * np.float32([2, 1])


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
    assert (folded.size, folded.batch_size) == (None, None)
    assert folded.fill == pytest.approx(IMAGENET_MEAN)


def test_python_runs_once_for_all_sizes() -> None:
    image = keras.Input((None, None, 3))
    x = Counting()(image)
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(x))
    folded = as_predictor(model)
    # Making the copy and tracing it.
    before = Counting.calls
    for size in ((5, 7), (7, 5), (1, 40)):
        for count in (1, 2, 5):
            folded(batch(*size, count))
            as_predictor(model)(batch(*size, count))
    assert Counting.calls == before
    assert folded.traces() == 1


def test_a_model_of_fixed_size_keeps_it() -> None:
    model = conv_model(size=(8, 12))
    folded = as_predictor(model)
    assert folded.size == (8, 12)
    images = batch(8, 12, 3)
    assert_close(folded(images), conv_logits(model, images), 1e-5)


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


@pytest.mark.parametrize(
    "change",
    [
        lambda kernel: kernel[:, :, ::-1],
        lambda kernel: kernel[:, ::-1],
        lambda kernel: kernel[..., ::-1],
        lambda kernel: np.roll(kernel, 2, axis=-1),
        lambda kernel: -kernel,
    ],
)
def test_weights_in_another_order_are_new_ones(change) -> None:
    # 3 * 3 * 3 * 128 numbers: more than a row that is summed at once.
    model = normalized_model(128)
    before = as_predictor(model)(batch(21, 30))
    weights = model.get_weights()
    model.set_weights([change(weights[0]), *weights[1:]])
    assert_follows(model, before)


def test_the_smallest_change_of_one_weight_is_seen() -> None:
    model = normalized_model(128)
    for weight in model.weights:
        value = numpy(weight).copy()
        # Numbers below the smallest normal one are zeros to processors.
        value[value == 0] = 1.0
        weight.assign(value)
        for place in (0, value.size // 2, value.size - 1):
            as_predictor(model)
            assert network._followers[model]["float32"].follow(model) is False
            changed = value.copy()
            changed.flat[place] = np.nextafter(changed.flat[place], 9)
            weight.assign(changed)
            assert network._followers[model]["float32"].follow(model) is True
            weight.assign(value)


def test_weights_that_change_places_are_new_ones() -> None:
    model = normalized_model()
    norm = model.get_layer("norm")
    norm.gamma.assign(norm.gamma * 3)
    before = as_predictor(model)(batch(21, 30))
    gamma, beta = numpy(norm.gamma), numpy(norm.beta)
    norm.gamma.assign(beta)
    norm.beta.assign(gamma)
    assert_follows(model, before)


def test_a_step_of_training_is_followed() -> None:
    model = normalized_model()
    model.compile("sgd", "mse", run_eagerly=True)
    before = as_predictor(model)(batch(21, 30))
    images = batch(21, 30) / 255
    model.train_on_batch(images, np.ones((2, 21, 30, 3), "float32"))
    assert_follows(model, before)


def test_statistics_alone_are_followed() -> None:
    for name in ("moving_mean", "moving_variance"):
        model = normalized_model()
        before = as_predictor(model)(batch(21, 30))
        statistic = getattr(model.get_layer("norm"), name)
        statistic.assign(statistic * 3 + 1)
        assert_follows(model, before)


@pytest.mark.parametrize(
    "make", [normalized_model, lambda: tiny_pspnet(), lambda: conv_model()]
)
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


def test_a_plain_network_follows_its_model() -> None:
    model = conv_model()
    plain = plain_network(model)
    images = batch(12, 9)
    before = plain(images)
    model.set_weights([-each for each in model.get_weights()])
    assert_close(plain(images), -before, 1e-5)


# What a process on another backend does; it prints JSON on its last line.
PROGRAM = """
import json, sys
sys.modules["tensorflow"] = None  # as where it is not installed
import numpy as np
import keras
from keras_pspnet.inference import segment
from keras_pspnet import network as network_module
from keras_pspnet.model import PSPNet
from keras_pspnet.network import as_predictor

data = np.load(sys.argv[1])
image = keras.Input((None, None, 3))
model = keras.Model(image, keras.layers.Conv2D(4, 3, padding="same")(image))
model.set_weights([data["kernel"], data["bias"]])
network = as_predictor(model)
whole = network(data["image"][None].astype("float32"))[0]
result = segment(model, data["image"], flip=True, window=16, confidence=True)
np.savez(
    sys.argv[2], whole=whole, mask=result.mask, confidence=result.confidence
)
pspnet = PSPNet(3, "resnet18", width=1 / 16)
pspnet.load_weights(sys.argv[3])
logits = {}
for precision in ("float32", "bfloat16"):
    logits[precision] = as_predictor(pspnet, precision)(data["images"])
for weight in pspnet.weights:
    weight.assign(weight * 1.5)
logits["later"] = as_predictor(pspnet)(data["images"])
np.savez(sys.argv[2] + ".pspnet.npz", **logits)
copy = network_module._followers[pspnet]["float32"]._copy
print(json.dumps({
    "backend": keras.backend.backend(),
    "traces": network.traces(),
    "norms": [each.name for each in copy._flatten_layers()
              if "BatchNorm" in type(each).__name__],
}))
"""


def test_on_jax_the_copy_is_folded_too(pspnet, tmp_path) -> None:
    model, image = conv_model(), picture(19, 37)
    kernel, bias = model.get_weights()
    images = batch(33, 41)
    given, found = tmp_path / "given.npz", tmp_path / "found.npz"
    np.savez(given, image=image, kernel=kernel, bias=bias, images=images)
    weights = tmp_path / "start.weights.h5"
    pspnet.save_weights(weights)
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(given), str(found), str(weights)],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
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
    changed = tiny_pspnet()
    changed.set_weights([1.5 * each for each in pspnet.get_weights()])
    assert_close(logits["later"], predict_logits(changed, images), 1e-5)


# === Networks of one's own ===


def test_any_function_is_a_network() -> None:
    own = Predictor(doubled, LABELS)
    assert as_predictor(own) is own
    assert own.traces() is None
    image = picture(9, 14)
    result = segment(own, image)
    assert result.labels is LABELS
    want = 2.0 * image[..., 0] < image[..., 1]
    np.testing.assert_array_equal(result.mask, want)
    # Integers come as float32, and float64 goes back as it.
    exact = Predictor(lambda images: images[..., :2].astype("float64"), LABELS)
    assert exact(image[None]).dtype == np.float32


@pytest.mark.parametrize("count", [1, 3, 4, 7])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_fixed_batch_size_is_kept(batch_size: int, count: int) -> None:
    sizes = []

    def run(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return doubled(images)

    images = batch(4, 5, count)
    logits = Predictor(run, LABELS, batch_size=batch_size)(images)
    np.testing.assert_array_equal(logits, doubled(images))
    assert sizes == [batch_size] * -(-count // batch_size)


def test_pictures_are_fitted_into_a_fixed_size() -> None:
    seen = []

    def run(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return doubled(images)

    own = Predictor(run, LABELS, size=(8, 12), fill=(1, 2, 3), batch_size=2)
    images = batch(16, 12, 3)
    logits = own(images)
    inside = reference.bilinear(images, (8, 6))
    assert_close(logits, doubled(inside), 1e-5)
    for each in seen:
        assert each.shape == (2, 8, 12, 3)
        assert (each[:, :, 6:] == (1, 2, 3)).all()


@pytest.mark.parametrize(
    "shape", [(1, 4, 5, 3), (1, 4, 5), (1, 5, 4, 2), (2, 4, 5, 2)]
)
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    own = Predictor(lambda images: np.zeros(shape), LABELS)
    with pytest.raises(
        ValueError,
        match=r"`run` must give logits of shape \(1, 4, 5, 2\) for images of "
        r"shape \(1, 4, 5, 3\)\. Received: shape \(" + str(shape)[1:-1],
    ):
        own(batch(4, 5, 1))


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 5, 7, 4), (1, 0, 7, 3)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="`images` must be RGB images of sha"):
        Predictor(doubled, LABELS)(np.zeros(shape, "float32"))


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(TypeError, match="`model` must be a Keras.*ed: str"):
        as_predictor("model.keras")
    with pytest.raises(TypeError, match="`model` must be.*Received: Conv2D"):
        as_predictor(keras.layers.Conv2D(2, 1))


def test_precisions_are_checked() -> None:
    with pytest.raises(ValueError, match="`precision` must.*'float16'"):
        as_predictor(conv_model(), "float16")
    with pytest.raises(
        ValueError, match="left out for a predictor.*'bfloat16'"
    ):
        as_predictor(Predictor(doubled, LABELS), "bfloat16")


# === Fitting pictures inside ===


@pytest.mark.parametrize(
    ("size", "inside"),
    [
        ((16, 12), (8, 6)),
        ((4, 6), (8, 12)),
        ((3, 100), (1, 12)),
        ((1, 1000), (1, 12)),
        ((100, 1), (8, 1)),
        ((9, 12), (8, 11)),
    ],
)
def test_fitted_pictures_keep_their_ratio(size, inside) -> None:
    images = batch(*size)
    fitted, found = fit_inside(images, (8, 12), (7, 8, 9))
    assert found == inside
    assert fitted.shape == (2, 8, 12, 3)
    assert fitted.dtype == np.float32
    want = np.empty((2, 8, 12, 3))
    want[:] = (7, 8, 9)
    want[:, : inside[0], : inside[1]] = reference.bilinear(images, inside)
    np.testing.assert_allclose(fitted, want, rtol=1e-5, atol=1e-4)


def test_pictures_of_the_size_are_not_touched() -> None:
    images = batch(8, 12)
    fitted, inside = fit_inside(images, (8, 12), (7, 8, 9))
    assert fitted is images
    assert inside == (8, 12)


# === What is said of a model ===


def test_the_hash_is_that_of_all_weights_in_order() -> None:
    model = normalized_model()
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(numpy(weight).astype("<f4").tobytes())
    assert weights_sha256(model) == digest.hexdigest()
    statistic = model.get_layer("norm").moving_mean
    statistic.assign(statistic + 1)
    assert weights_sha256(model) != digest.hexdigest()


def test_the_description_is_what_exports_need(pspnet) -> None:
    labels = LabelSet("three", ("a", "b", "c"), ((1, 2, 3),) * 3)
    model = tiny_pspnet(labels=labels, mean=(10, 20, 30), align_corners=True)
    for form in (model, model.inference_model()):
        assert json.loads(json.dumps(description(form))) == {
            "labels": labels.to_dict(),
            "fill": [10, 20, 30],
            "align_corners": True,
        }
    assert description(pspnet)["labels"] == generic_labels(3).to_dict()
    assert description(pspnet)["align_corners"] is False
    assert as_predictor(model).align_corners is True
    assert as_predictor(pspnet).align_corners is False


def test_models_that_say_nothing_have_names_and_no_size() -> None:
    assert model_labels(Subclassed()) == generic_labels(4)
    assert network_size(Subclassed()) is None
    assert fill_color(Subclassed()) == (0, 0, 0)
    assert description(conv_model())["fill"] == [0, 0, 0]
