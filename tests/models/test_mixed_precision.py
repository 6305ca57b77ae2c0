"""Tests of training in mixed precision: what is kept in float32, and learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_pspnet.data.synthetic.scenes import scene_arrays
from keras_pspnet.layers.batch_norm import BatchNorm
from keras_pspnet.layers.pyramid import InputNormalization
from keras_pspnet.losses import SegmentationLoss
from keras_pspnet.models.pspnet import PSPNet

POLICIES = ("mixed_bfloat16", "mixed_float16")
IMAGES, MASKS = scene_arrays(0, 4, (64, 96), seed=0)
# The loss scale that Keras starts from.
SCALE = 2.0**15


def network(policy: str, **kwargs: object) -> PSPNet:
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    return PSPNet(11, "resnet18", (64, 96, 3), width=0.25, **kwargs)


def gradients(
    policy: str, weights: list[np.ndarray] | None = None
) -> tuple[float, dict[str, np.ndarray], list[np.ndarray]]:
    """Loss of both heads, its gradients by path, and the weights."""
    model = network(policy, dropout=0.0)
    if weights is not None:
        model.set_weights(weights)
    scale = SCALE if policy == "mixed_float16" else 1.0
    loss = SegmentationLoss()

    @tf.function
    def step(images, masks):
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            value = loss(masks, outputs["main"])
            value += 0.4 * loss(masks, outputs["aux"])
            scaled = value * scale
        return value, tape.gradient(scaled, model.trainable_variables)

    value, found = step(tf.constant(IMAGES), tf.constant(MASKS))
    paths = [variable.path for variable in model.trainable_variables]
    assert {each.dtype for each in found} == {tf.float32}
    arrays = (each.numpy() / scale for each in found)
    by_path = dict(zip(paths, arrays, strict=True))
    return float(value), by_path, model.get_weights()


@pytest.fixture(scope="module")
def exact() -> tuple[float, dict[str, np.ndarray], list[np.ndarray]]:
    return gradients("float32")


def distance(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


@pytest.mark.parametrize("policy", POLICIES)
def test_pictures_logits_and_loss_are_float32(policy, monkeypatch):
    dtypes: dict[str, set[str]] = {}

    def note(name, *tensors):
        dtypes.setdefault(name, set()).update(each.dtype for each in tensors)

    call = SegmentationLoss.call

    def noting_call(self, y_true, y_pred):
        losses = call(self, y_true, y_pred)
        note("loss", y_pred, losses)
        return losses

    monkeypatch.setattr(SegmentationLoss, "call", noting_call)
    convolved: list[str] = []
    convolution = tf.nn.convolution

    def noting_convolution(inputs, filters, *args, **kwargs):
        convolved.append(inputs.dtype.name)
        return convolution(inputs, filters, *args, **kwargs)

    monkeypatch.setattr(tf.nn, "convolution", noting_convolution)
    model = network(policy)
    convolved.clear()
    loss = SegmentationLoss()
    outputs = model(tf.constant(IMAGES), training=True)
    note("logits", *outputs.values())
    note("value", *(loss(MASKS, each) for each in outputs.values()))
    # Losses of one's own may bring half precision.
    half = tf.cast(outputs["main"], policy.removeprefix("mixed_"))
    note("value", loss(MASKS, half))
    (layer,) = (
        each for each in model.layers if isinstance(each, InputNormalization)
    )
    note("pictures", layer(IMAGES))
    names = {"loss", "logits", "value", "pictures"}
    assert dtypes == dict.fromkeys(names, {tf.float32})
    assert {variable.dtype for variable in model.weights} <= {
        "float32",
        "uint32",
    }
    # All but the classifiers compute in half precision.
    assert convolved.count(policy.removeprefix("mixed_")) > 0.8 * len(convolved)
    assert convolved.count("float32") == 2


@pytest.mark.parametrize("policy", POLICIES)
def test_statistics_of_batches_are_float32(policy):
    half = policy.removeprefix("mixed_")
    layer = BatchNorm(momentum=0.0, dtype=policy)
    x = np.random.default_rng(0).normal(10, 2, (4, 32, 32, 8))
    x = tf.cast(x, half)
    assert layer(x, training=True).dtype == half
    exact = tf.cast(x, "float64").numpy()
    # Half precision has no more than 3 digits.
    for got, want in (
        (layer.moving_mean, exact.mean((0, 1, 2))),
        (layer.moving_variance, exact.var((0, 1, 2))),
    ):
        assert got.dtype == "float32"
        np.testing.assert_allclose(got, want, rtol=1e-4)


@pytest.mark.parametrize(
    "policy, whole, classifier, bias",
    [("mixed_bfloat16", 0.35, 0.06, 3e-4), ("mixed_float16", 0.12, 6e-3, 5e-5)],
)
def test_gradients_agree_with_float32(exact, policy, whole, classifier, bias):
    """By the distance over the length, of all gradients as one vector.

    Rounding the pictures alone to bfloat16 moves a float32 network's
    gradients by 0.14, and to float16 by 0.05, since units of the first layers
    come to be on or off. Next to the loss there is nothing of the kind.
    """
    loss, want, weights = exact
    got_loss, got, _ = gradients(policy, weights)
    assert got_loss == pytest.approx(loss, rel=1e-3)
    vectors = [
        np.concatenate([array.ravel() for array in each.values()])
        for each in (got, want)
    ]
    assert distance(*vectors) < whole
    for head in ("head", "aux"):
        path = f"{head}_classifier/kernel"
        assert distance(got[path], want[path]) < classifier
        path = f"{head}_classifier/bias"
        assert distance(got[path], want[path]) < bias


@pytest.mark.parametrize("policy", POLICIES)
def test_it_learns(policy):
    model = network(policy)
    model.compile(total_steps=16, learning_rate=0.1)
    losses = model.fit(
        IMAGES, MASKS, batch_size=4, epochs=16, verbose=0
    ).history["loss"]
    assert losses[-1] < 0.75 * losses[0]
    assert model.optimizer.iterations.numpy() >= 12


def state(model: PSPNet) -> list[np.ndarray]:
    return [np.array(each.value) for each in model.optimizer.variables]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("later", ["float32", *POLICIES])
def test_a_saved_run_keeps_scale_and_counters(policy, later, tmp_path):
    model = network(policy)
    model.compile(total_steps=9)
    if policy == "mixed_float16":
        # Two steps are skipped.
        model.optimizer.dynamic_scale.assign(2.0**100)
        model.fit(IMAGES, MASKS, batch_size=2, verbose=0)
        assert float(model.optimizer.dynamic_scale) == 2.0**98
        model.optimizer.dynamic_scale.assign(2.0**7)
    model.fit(IMAGES, MASKS, batch_size=4, verbose=0)
    model.save(tmp_path / "last.keras")
    # Whatever the policy of the process that goes on.
    keras.config.set_dtype_policy(later)
    loaded = keras.saving.load_model(tmp_path / "last.keras")
    assert type(loaded.optimizer) is type(model.optimizer)
    for got, want in zip(state(loaded), state(model), strict=True):
        np.testing.assert_array_equal(got, want)
    assert int(loaded.optimizer.iterations) == 1
    assert loaded.total_steps == 9
    assert loaded.global_step == (3 if policy == "mixed_float16" else 1)
    loaded.fit(IMAGES, MASKS, batch_size=4, verbose=0)
    assert int(loaded.optimizer.iterations) == 2
    if policy == "mixed_float16":
        assert float(loaded.optimizer.dynamic_scale) == 2.0**7
        assert int(loaded.optimizer.step_counter) == 2
    loaded.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")
    for got, want in zip(state(again), state(loaded), strict=True):
        np.testing.assert_array_equal(got, want)
