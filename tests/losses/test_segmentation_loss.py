import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from layer_checks import run_config_test

from keras_pspnet.losses import SegmentationLoss

CLASSES = 4


@pytest.fixture(params=["eager", "graph"])
def run(request):
    """Runs a function of tensors eagerly or as a `tf.function`."""
    if request.param == "eager":
        return lambda function, *args: function(*args)
    return lambda function, *args: tf.function(function)(*args)


def example(shape=(3, 7, 5), ignore=255, seed=0, dtype="uint8"):
    """Logits and masks, a third of whose pixels is ignored."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (*shape, CLASSES)).astype("float32")
    masks = rng.integers(0, CLASSES, shape)
    masks[rng.random(shape) < 1 / 3] = ignore
    return logits, masks.astype(dtype)


def expected_gradient(logits, masks, ignore=255):
    """(softmax - one hot) / count on valid pixels, 0 on the others."""
    logits = logits.astype("float64")
    exponential = np.exp(logits - logits.max(-1, keepdims=True))
    gradient = exponential / exponential.sum(-1, keepdims=True)
    for index in np.ndindex(masks.shape):
        if masks[index] == ignore:
            gradient[index] = 0
        else:
            gradient[(*index, masks[index])] -= 1
    return gradient / max(1, (masks != ignore).sum())


def value_and_gradient(loss, masks, logits, sample_weight=None):
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(masks, logits, sample_weight)
    return value, tape.gradient(value, logits)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("axis", [False, True])
def test_value_and_gradient(run, dtype, axis):
    logits, masks = example(dtype=dtype)
    total, count = reference.cross_entropy(logits, masks)
    value, gradient = run(
        lambda y, z: value_and_gradient(SegmentationLoss(), y, z),
        tf.constant(masks[..., None] if axis else masks),
        tf.constant(logits),
    )
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, total / count, rtol=1e-6)
    np.testing.assert_allclose(
        gradient, expected_gradient(logits, masks), rtol=1e-5, atol=1e-8
    )


def test_sizes_known_only_at_run_time():
    loss = tf.function(
        SegmentationLoss(),
        input_signature=[
            tf.TensorSpec((None, None, None, 1), tf.uint8),
            tf.TensorSpec((None, None, None, CLASSES), tf.float32),
        ],
    )
    for shape in [(1, 1, 1), (2, 9, 3), (3, 4, 11)]:
        logits, masks = example(shape, seed=sum(shape))
        total, count = reference.cross_entropy(logits, masks)
        np.testing.assert_allclose(
            loss(masks[..., None], logits), total / max(count, 1), atol=1e-6
        )


@pytest.mark.parametrize("ignore", [0, 2, 200, 255, -1])
def test_ignore_label(ignore):
    # An ignore label inside 0..C-1 takes that class out.
    logits, masks = example(ignore=ignore, dtype="int32")
    masks[0, 0, :2] = 1, 3
    total, count = reference.cross_entropy(logits, masks, ignore)
    value, gradient = value_and_gradient(
        SegmentationLoss(ignore), masks, tf.constant(logits)
    )
    np.testing.assert_allclose(value, total / count, rtol=1e-6)
    np.testing.assert_allclose(
        gradient, expected_gradient(logits, masks, ignore), atol=1e-8
    )


def test_all_ignored_is_zero(run):
    logits, _ = example()
    masks = np.full((3, 7, 5), 255, "uint8")
    value, gradient = run(
        lambda y, z: value_and_gradient(SegmentationLoss(), y, z),
        tf.constant(masks),
        tf.constant(logits),
    )
    assert float(value) == 0.0
    assert not np.any(gradient)


@pytest.mark.parametrize("shape", [(3,), (3, 7, 5), (3, 7, 5, 1)])
def test_sample_weight(run, shape):
    logits, masks = example()
    rng = np.random.default_rng(1)
    weight = rng.uniform(0, 2, shape).astype("float32")
    per_pixel = weight.reshape(3, 1, 1) if weight.ndim == 1 else weight
    per_pixel = np.broadcast_to(
        per_pixel.reshape(per_pixel.shape[:3]), masks.shape
    )
    total = sum(
        per_pixel[index]
        * reference.cross_entropy(logits[index][None], masks[index])[0]
        for index in np.ndindex(masks.shape)
    )
    value, gradient = run(
        lambda y, z, w: value_and_gradient(SegmentationLoss(), y, z, w),
        tf.constant(masks),
        tf.constant(logits),
        tf.constant(weight),
    )
    # The divisor stays the number of valid pixels.
    np.testing.assert_allclose(value, total / (masks != 255).sum(), rtol=1e-5)
    np.testing.assert_allclose(
        gradient,
        expected_gradient(logits, masks) * per_pixel[..., None],
        rtol=1e-5,
        atol=1e-8,
    )


def test_equals_keras_on_one_replica():
    peer = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=255
    )
    logits, masks = example()
    weight = np.random.default_rng(2).uniform(0, 2, masks.shape)
    for sample_weight in (None, weight.astype("float32")):
        ours, gradient = value_and_gradient(
            SegmentationLoss(), masks, tf.constant(logits), sample_weight
        )
        theirs, peer_gradient = value_and_gradient(
            peer, masks, tf.constant(logits), sample_weight
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        np.testing.assert_allclose(gradient, peer_gradient, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    logits, masks = example((2, 33, 41))
    half = tf.cast(logits, dtype)
    exact = tf.cast(half, tf.float32)
    value = SegmentationLoss()(masks, half)
    assert value.dtype == tf.float32
    assert float(value) == float(SegmentationLoss()(masks, exact))
    _, gradient = value_and_gradient(SegmentationLoss(), masks, half)
    assert gradient.dtype == dtype


def test_float64_stays_float64():
    logits, masks = example()
    total, count = reference.cross_entropy(logits, masks)
    value = SegmentationLoss()(masks, logits.astype("float64"))
    assert value.dtype == tf.float64
    np.testing.assert_allclose(value, total / count, rtol=1e-12)


def test_extreme_logits_stay_finite():
    logits = np.array([[[[1e4, 0, 0, -1e4]], [[-1e4, 1e4, 0, 0]]]], "float32")
    masks = np.array([[[0], [0]]], "uint8")
    value, gradient = value_and_gradient(
        SegmentationLoss(), masks, tf.constant(logits)
    )
    np.testing.assert_allclose(value, 1e4)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("label", [CLASSES, 254, 256, -1, -7])
def test_label_out_of_range_stops(run, label):
    logits, masks = example(dtype="int32")
    masks[1, 2, 3] = label
    with pytest.raises(
        (ValueError, tf.errors.InvalidArgumentError),
        match=rf"labels must be 0\.\.3 or the ignore label 255.*\n?.*{label}",
    ):
        run(SegmentationLoss(), tf.constant(masks), tf.constant(logits))


def test_label_out_of_range_is_nan_under_xla():
    # Compiled code cannot raise; a NaN is still better than training on it.
    logits, masks = example()
    loss = tf.function(SegmentationLoss(), jit_compile=True)
    assert np.isfinite(loss(tf.constant(masks), tf.constant(logits)))
    masks[1, 2, 3] = CLASSES
    assert np.isnan(loss(tf.constant(masks), tf.constant(logits)))


def test_mismatched_sizes():
    logits, masks = example()
    loss = SegmentationLoss()
    for bad in (masks[:, 1:], masks[:, :, 1:], masks[1:]):
        with pytest.raises(
            ValueError, match="masks must have the size of their images"
        ):
            loss(bad, logits)
    for bad in (masks[0], masks.reshape(-1)):
        with pytest.raises(ValueError, match=r"masks must have shape \(B, H"):
            loss(bad, logits)


def test_config_round_trip():
    loss = SegmentationLoss(ignore_label=0, name="pixels")
    copy = run_config_test(loss)
    assert (copy.ignore_label, copy.name) == (0, "pixels")


@pytest.mark.parametrize("weighted", [False, True])
def test_two_replicas_share_the_count(two_replicas, weighted):
    # The first replica has 35 valid pixels, the second one a single one.
    logits, masks = example((2, 7, 5), ignore=1)
    masks[1] = 255
    masks[1, 3, 2] = 3
    weight = np.array([0.5, 2.0] if weighted else [1.0, 1.0], "float32")
    loss = SegmentationLoss()
    value, gradient = value_and_gradient(
        loss, masks, tf.constant(logits), weight
    )

    def share(index):
        place = slice(index, index + 1)
        return masks[place], logits[place], weight[place]

    shares = [
        two_replicas.experimental_distribute_values_from_function(
            lambda context, i=i: tf.constant(
                share(context.replica_id_in_sync_group)[i]
            )
        )
        for i in range(3)
    ]
    values, gradients = two_replicas.run(
        tf.function(lambda y, z, w: value_and_gradient(loss, y, z, w)),
        args=tuple(shares),
    )
    total = sum(two_replicas.experimental_local_results(values))
    np.testing.assert_allclose(total, value, rtol=1e-6)
    np.testing.assert_allclose(
        np.concatenate(two_replicas.experimental_local_results(gradients)),
        gradient,
        rtol=1e-5,
        atol=1e-8,
    )
    # The mean of the replicas' own means would be another number.
    own = [float(loss(*share(index))) for index in (0, 1)]
    assert abs(np.mean(own) - float(value)) > 0.1


def test_two_replicas_without_a_valid_pixel(two_replicas):
    loss = SegmentationLoss()
    masks = np.full((1, 3, 3), 255, "uint8")
    logits = np.ones((1, 3, 3, CLASSES), "float32")
    values = two_replicas.run(tf.function(lambda: loss(masks, logits)))
    for value in two_replicas.experimental_local_results(values):
        assert float(value) == 0.0


@pytest.mark.parametrize("compiled", [False, True])
def test_labels_beyond_32_bits_are_no_classes(compiled):
    loss = SegmentationLoss()
    call = tf.function(loss) if compiled else loss
    masks = np.full((1, 2, 2), 2**32 + 1)
    with pytest.raises(
        (ValueError, tf.errors.InvalidArgumentError),
        match="labels must be class ids",
    ):
        call(tf.constant(masks), tf.zeros((1, 2, 2, 3)))
    assert float(call(tf.constant(masks % 2), tf.zeros((1, 2, 2, 3)))) > 0
