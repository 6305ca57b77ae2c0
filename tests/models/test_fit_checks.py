import numpy as np
import pytest
import tensorflow as tf
from small import (
    CLASSES,
    IMAGES,
    MASKS,
    Small,
    assert_same,
    batches,
    small,
    values,
)

from keras_pspnet.layers.batch_norm import BatchNorm
from keras_pspnet.models.pspnet import PSPNet
from keras_pspnet.utils.keras_private import nested_layers

pytestmark = pytest.mark.long

BATCH_OF_ONE = "the global batch must hold at least 2 images while batch norm"


# === A batch of one image ===


@pytest.mark.parametrize(
    "count, batch_size", [(1, None), (1, 4), (5, 4), (3, 1)]
)
def test_batch_of_one_is_refused_before_training(count, batch_size):
    model = small()
    with pytest.raises(
        ValueError, match=f"{BATCH_OF_ONE}.*freeze='batch_norm'.*{count} images"
    ):
        model.fit(IMAGES[:count], MASKS[:count], batch_size=batch_size)
    assert int(model.optimizer.iterations) == 0


def test_batch_of_one_after_the_split():
    model = small()
    split = {"validation_split": 0.4, "batch_size": 4}
    with pytest.raises(ValueError, match=f"{BATCH_OF_ONE}.*Received: 5 images"):
        model.fit(IMAGES[:9], MASKS[:9], **split)
    model.fit(IMAGES[:8], MASKS[:8], verbose=0, **split)


@pytest.mark.parametrize(
    "dynamic, eager", [(True, True), (True, False), (False, True)]
)
def test_batch_of_one_from_a_data_set(eager, dynamic):
    data = batches(1, 1)
    if dynamic:
        data = tf.data.Dataset.from_tensor_slices((IMAGES[:3], MASKS[:3]))
        data = data.batch(2)
    with pytest.raises(
        ValueError, match=f"^{BATCH_OF_ONE}.*='batch_norm'.*: a batch of 1$"
    ):
        small(eager=eager).fit(data, verbose=0)


def test_batch_of_one_by_train_on_batch():
    with pytest.raises(ValueError, match=BATCH_OF_ONE):
        small(total_steps=3).train_on_batch(IMAGES[:1], MASKS[:1])


def test_one_image_over_two_replicas_is_refused(two_replicas):
    with two_replicas.scope():
        model = small(eager=False)
    data = tf.data.Dataset.from_tensor_slices((IMAGES[:5], MASKS[:5]))
    with pytest.raises(ValueError, match=BATCH_OF_ONE):
        model.fit(data.batch(4), verbose=0)


def test_fewer_images_than_replicas_are_refused(two_replicas):
    with two_replicas.scope():
        model = small(eager=False)
    for layer in nested_layers(model):
        layer.trainable = not isinstance(layer, BatchNorm)
    with two_replicas.scope():
        model.compile()
    data = tf.data.Dataset.from_tensor_slices((IMAGES[:5], MASKS[:5]))
    with pytest.raises(ValueError, match=r"^the global batch must.*replica"):
        model.fit(data.batch(4), verbose=0)


def test_one_image_on_each_replica_is_a_batch_of_two(two_replicas):
    with two_replicas.scope():
        model = small(eager=False)
    model.fit(batches(2, 2), verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 1


def test_batch_of_one_without_a_live_one_pixel_bin():
    small(bins=(2, 3)).fit(IMAGES[:1], MASKS[:1], verbose=0)
    model = PSPNet(
        CLASSES, "resnet18", width=1 / 16, bin_sizes=(1,), freeze="batch_norm"
    )
    model.compile(run_eagerly=True)
    history = model.fit(IMAGES[:1], MASKS[:1], verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_one_image_can_be_evaluated():
    scores = small().evaluate(IMAGES[:1], MASKS[:1], verbose=0)
    assert np.isfinite(scores).all()


# === Bad input ===


@pytest.mark.parametrize("method", ["fit", "evaluate", "validation"])
@pytest.mark.parametrize(
    "x, y, match",
    [
        (
            IMAGES[0],
            MASKS,
            r"must be RGB images of shape \(N, H, W, 3\).*21, 3",
        ),
        (IMAGES[..., :1], MASKS, r"must be RGB images.*21, 1\)"),
        (IMAGES, MASKS[:, 1:], "must have the size of the images.*16, 21"),
        (IMAGES, MASKS[1:], "must have the size of the images.*8, 17, 21"),
        (IMAGES, MASKS[0], "must be masks of shape"),
        (IMAGES, np.stack([MASKS] * 2, -1), "must be masks of shape.*2"),
        (
            IMAGES,
            {"main": MASKS, "aux": MASKS[..., 1:]},
            "must have the size of the images.*17, 20",
        ),
    ],
)
def test_bad_arrays_are_refused_before_training(method, x, y, match):
    model = small(total_steps=9)
    before = values(model)
    with pytest.raises(ValueError, match=match):
        if method == "validation":
            model.fit(IMAGES[:4], MASKS[:4], validation_data=(x, y), verbose=0)
        else:
            getattr(model, method)(x, y, verbose=0)
    assert_same(values(model), before, 0)


def bad_masks(label, dtype="int32"):
    masks = MASKS[:4].astype(dtype)
    masks[2, 7, 8] = label
    return masks


@pytest.mark.parametrize("label", [3, 254, 256, -1])
def test_bad_label_in_arrays_is_named_before_training(label):
    model = small(total_steps=9)
    match = (
        rf"`y` must hold labels 0\.\.2 or the ignore.*label {label} in mask 2"
    )
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match=match):
            call(IMAGES[:4], bad_masks(label))
    assert int(model.optimizer.iterations) == 0


@pytest.mark.parametrize("label, eager", [(3, False), (-1, True)])
def test_bad_label_in_a_data_set_is_named(eager, label):
    model = small(total_steps=9, eager=eager)
    data = tf.data.Dataset.from_tensor_slices((IMAGES[:4], bad_masks(label)))
    match = rf"^labels must be 0\.\.2 or the ignore label 255.*label = {label}$"
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=match):
            call(data.batch(4), verbose=0)


def test_mask_size_in_a_data_set():
    data = tf.data.Dataset.from_tensor_slices((IMAGES, MASKS[:, 1:]))
    with pytest.raises(ValueError, match="masks must have the size of their"):
        small().fit(data.batch(3), verbose=0)


def test_other_errors_of_tensorflow_stay():
    def fail(x, y):
        tf.debugging.assert_greater(tf.shape(x)[0], 100, "not my business")
        return x, y

    with pytest.raises(tf.errors.InvalidArgumentError, match="not my business"):
        small().fit(batches().map(fail), verbose=0)


def test_uncompiled_model():
    model = Small()
    for call in (model.fit, model.train_on_batch, model.evaluate):
        with pytest.raises(ValueError, match=r"You must call `compile\(\)`"):
            call(IMAGES, MASKS)
