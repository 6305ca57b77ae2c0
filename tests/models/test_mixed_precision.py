"""Tests of training in mixed precision: what is kept in float32, and learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_pspnet.data.synthetic.scenes import scene_arrays
from keras_pspnet.losses import SegmentationLoss
from keras_pspnet.models.pspnet import PSPNet
from keras_pspnet.utils import keras_private

pytestmark = pytest.mark.long

POLICIES = ("mixed_bfloat16", "mixed_float16")
# Processors compute float16 slowly.
IMAGES, MASKS = scene_arrays(0, 4, (32, 32), seed=0)
# The loss scale that Keras starts from.
SCALE = 2.0**15


def network(policy: str, width: float = 1 / 8, **kwargs: object) -> PSPNet:
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    kwargs = {"width": width, "bin_sizes": (1, 2), **kwargs}
    return PSPNet(11, "resnet18", (32, 32, 3), **kwargs)


def gradients(
    policy: str, weights: list[np.ndarray] | None = None
) -> tuple[float, dict[str, np.ndarray], list[np.ndarray]]:
    """Loss of both heads, its gradients by path, and the weights."""
    model = network(policy, 1 / 4, dropout=0.0)
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
def test_images_logits_and_loss_are_float32(policy, monkeypatch):
    losses: list[str] = []
    loss_of = SegmentationLoss.loss_of

    def noting(self, pixels):
        losses.append(pixels.logits.dtype)
        return loss_of(self, pixels)

    monkeypatch.setattr(SegmentationLoss, "loss_of", noting)
    model, half = network(policy), policy.removeprefix("mixed_")
    outputs = model(tf.constant(IMAGES), training=True)
    # Losses of one's own may bring half precision.
    for logits in (*outputs.values(), tf.cast(outputs["main"], half)):
        assert SegmentationLoss()(MASKS, logits).dtype == tf.float32
    assert losses == [tf.float32] * 3
    assert {each.dtype for each in model.weights} <= {"float32", "uint32"}
    in_float32 = {
        layer.name
        for layer in keras_private.nested_layers(model)
        if layer.compute_dtype == "float32"
        and not isinstance(layer, keras.layers.InputLayer)
    }
    assert in_float32 == {
        "normalization",
        "head_classifier",
        "head_resize",
        "aux_classifier",
        "aux_resize",
    }


@pytest.mark.parametrize(
    "policy, whole, classifier, bias",
    [
        ("mixed_bfloat16", 0.35, 0.06, 3e-4),
        pytest.param(
            *("mixed_float16", 0.12, 6e-3, 5e-5), marks=pytest.mark.slow
        ),
    ],
)
def test_gradients_agree_with_float32(exact, policy, whole, classifier, bias):
    """By the distance over the length, of all gradients as one vector.

    Rounding the images alone to bfloat16 moves a float32 network's
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


@pytest.mark.parametrize(
    "policy",
    [pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"],
)
def test_it_learns(policy):
    model = network(policy)
    model.compile(total_steps=10, learning_rate=0.2)
    losses = model.fit(
        IMAGES, MASKS, batch_size=4, epochs=10, verbose=0
    ).history["loss"]
    assert losses[-1] < 0.75 * losses[0]
    assert model.optimizer.iterations.numpy() >= 8


def state(model: PSPNet) -> list[np.ndarray]:
    return [np.array(each.value) for each in model.optimizer.variables]


@pytest.mark.parametrize(
    "policy, later",
    [
        pytest.param("mixed_bfloat16", "mixed_float16", marks=pytest.mark.slow),
        ("mixed_float16", "float32"),
    ],
)
def test_a_saved_run_keeps_scale_and_counters(policy, later, tmp_path):
    model = network(policy)
    model.compile(total_steps=9, run_eagerly=True)
    if policy == "mixed_float16":
        # Two steps are skipped.
        model.build_training(None, None)
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
