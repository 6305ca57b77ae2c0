import json

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from small import (
    CLASSES,
    IMAGES,
    MASKS,
    SIDES,
    Small,
    assert_same,
    batches,
    small,
    values,
)

from keras_pspnet.losses import SegmentationLoss
from keras_pspnet.metrics import MeanIoU, PixelAccuracy
from keras_pspnet.models.pspnet import PSPNet
from keras_pspnet.optimizers import SGD


def numbers_by_hand(model, sizes):
    """Loss and confusion matrix of consecutive batches of given sizes."""
    losses, counts, start = {"main": 0.0, "aux": 0.0}, 0, 0
    for size in sizes:
        y = MASKS[start : start + size]
        outputs = model(IMAGES[start : start + size], training=False)
        for name, logits in outputs.items():
            total, valid = reference.cross_entropy(logits.numpy(), y)
            losses[name] += size * total / valid / sum(sizes)
        ids = np.argmax(outputs["main"], -1)
        counts = counts + reference.confusion_matrix(y, ids, CLASSES)
        start += size
    return losses, counts


# === What compile() chooses ===


def test_compile_is_the_papers_recipe():
    model = small(total_steps=40)
    optimizer = model.optimizer
    assert type(optimizer) is SGD
    assert (optimizer.momentum, optimizer.l2) == (0.9, 1e-4)
    assert optimizer.decay_norm_and_bias and not optimizer.lr_multipliers
    schedule = optimizer.get_config()["learning_rate"]
    assert schedule["class_name"] == "PolynomialDecay"
    expected = {
        "initial_learning_rate": 0.01,
        "total_steps": 40,
        "power": 0.9,
    }
    assert schedule["config"] == expected
    assert type(model.loss["main"]) is SegmentationLoss
    assert model.loss["aux"].ignore_label == 255
    model.compile(total_steps=4, learning_rate=0.2, head_lr_multiplier=10.0)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.2)
    (pattern, factor), *_ = model.optimizer.lr_multipliers.items()
    assert factor == 10.0


@pytest.mark.slow  # `test_custom_backbone` trains with one.
def test_head_lr_multiplier_is_for_the_new_layers():
    model = PSPNet(CLASSES, "resnet18", width=1 / 16)
    model.compile(total_steps=4, head_lr_multiplier=10.0)
    rates = {
        variable.path: model.optimizer._lr_multiplier(variable)
        for variable in model.trainable_variables
    }
    backbone = {v.path for v in model.backbone.trainable_variables}
    for path, rate in rates.items():
        assert rate == (1.0 if path in backbone else 10.0)
    assert len(backbone) < len(rates)


@pytest.mark.parametrize("eager", [True, False])
def test_evaluate_gives_the_numbers_by_hand(eager):
    model = small(eager=eager)
    scores = model.evaluate(
        IMAGES[:7], MASKS[:7], batch_size=3, verbose=0, return_dict=True
    )
    losses, counts = numbers_by_hand(model, (3, 3, 1))
    wanted = {
        "main_loss": losses["main"],
        "aux_loss": losses["aux"],
        "loss": losses["main"] + 0.4 * losses["aux"],
        "main_mean_iou": reference.mean_iou(counts),
        "main_pixel_accuracy": reference.pixel_accuracy(counts),
    }
    assert sorted(scores) == sorted(wanted)
    if not eager:
        # Keras weighs all batches alike in a graph, for these two alone.
        del wanted["main_loss"], wanted["aux_loss"]
    for name, value in wanted.items():
        assert scores[name] == pytest.approx(value, rel=1e-5)


def test_one_output():
    model = small(aux=False)
    scores = model.evaluate(IMAGES, MASKS, verbose=0, return_dict=True)
    assert sorted(scores) == ["loss", "mean_iou", "pixel_accuracy"]
    total, valid = reference.cross_entropy(model(IMAGES).numpy(), MASKS)
    assert scores["loss"] == pytest.approx(total / valid, rel=1e-5)
    before = values(model)
    model.fit(IMAGES, {"main": MASKS}, verbose=0)
    assert not np.array_equal(before[0], values(model)[0])


def test_train_on_batch():
    by_fit, by_batch = small(total_steps=2), small(total_steps=2)
    by_fit.fit(IMAGES[:4], MASKS[:4], batch_size=2, shuffle=False, verbose=0)
    for start in (0, 2):
        logs = by_batch.train_on_batch(
            IMAGES[start : start + 2],
            MASKS[start : start + 2],
            return_dict=True,
        )
    assert {"loss", "main_loss", "main_mean_iou"} <= set(logs)
    assert_same(values(by_batch), values(by_fit), 0)
    with pytest.raises(
        ValueError, match="the learning rate is 0.*steps taken=2"
    ):
        by_batch.train_on_batch(IMAGES[:2], MASKS[:2])
    with pytest.raises(
        ValueError, match=r"`total_steps` must be passed to com"
    ):
        small().train_on_batch(IMAGES[:2], MASKS[:2])


# === Arguments ===


def test_the_first_steps_are_traced_once(monkeypatch):
    calls = []
    compute_loss = Small.compute_loss

    def noting(self, x, y, y_pred, sample_weight, training=True):
        calls.append(training)
        return compute_loss(self, x, y, y_pred, sample_weight, training)

    monkeypatch.setattr(Small, "compute_loss", noting)
    model = small(eager=False)
    model.fit(IMAGES[:4], MASKS[:4], batch_size=2, verbose=0)
    assert calls == [True]
    model = small(eager=False)
    model.evaluate(IMAGES[:4], MASKS[:4], batch_size=2, verbose=0)
    assert calls == [True, False]


def test_labels_are_checked_on_every_device():
    # Compiled by XLA, the graph would lose its assertions.
    assert small().jit_compile is False
    assert small(eager=False, jit_compile=True).jit_compile is True


@pytest.mark.parametrize(
    "argument", ["loss", "loss_weights", "metrics", "weighted_metrics"]
)
@pytest.mark.parametrize("aux", [True, False])
def test_unknown_outputs_are_refused(argument, aux):
    with pytest.raises(
        ValueError, match=f"`{argument}` must name the outputs main.*'foo'"
    ):
        small(aux=aux, **{argument: {"main": None, "foo": None}})
    if not aux:
        with pytest.raises(ValueError, match="name the outputs main.*'aux'"):
            small(aux=False, **{argument: {"aux": None}})


@pytest.mark.parametrize(
    "recipe",
    # Those that equal the defaults, too.
    ["total_steps=5", "learning_rate=0.01", "head_lr_multiplier=1.0"],
)
def test_recipe_and_optimizer_exclude_each_other(recipe):
    name, value = recipe.split("=")
    with pytest.raises(
        ValueError,
        match="cannot be combined with `optimizer`. "
        f"Received: {recipe}, optimizer='adam'",
    ):
        small(optimizer="adam", **{name: json.loads(value)})


# === Plain and dictionary forms ===

WEIGHT = np.random.default_rng(1).uniform(0, 2, 4).astype("float32")
PEER = keras.losses.SparseCategoricalCrossentropy(
    from_logits=True, ignore_class=255
)


def one_step(compile_with=None, y=MASKS[:4], **fit):
    model = small(total_steps=1, learning_rate=0.1, **(compile_with or {}))
    logs = model.fit(IMAGES[:4], y, verbose=0, **fit).history
    return values(model), {name: value[0] for name, value in logs.items()}


@pytest.mark.parametrize(
    "plain, by_name",
    [
        ({}, {"y": {"main": MASKS[:4], "aux": MASKS[:4]}}),
        ({}, {"y": MASKS[:4, ..., None]}),
        (
            {"compile_with": {"loss": PEER}},
            {
                "compile_with": {
                    "loss": {"main": PEER, "aux": PEER},
                    "loss_weights": {"main": 1.0, "aux": 0.4},
                }
            },
        ),
        (
            {"compile_with": {"metrics": [MeanIoU(CLASSES, name="a")]}},
            {
                "compile_with": {
                    "metrics": {"main": [MeanIoU(CLASSES, name="a")]}
                }
            },
        ),
        (
            {"compile_with": {"weighted_metrics": [PixelAccuracy(CLASSES)]}}
            | {"sample_weight": np.array([1, 0, 0, 1])},
            {
                "compile_with": {
                    "weighted_metrics": {"main": [PixelAccuracy(CLASSES)]}
                },
                "sample_weight": np.array([1, 0, 0, 1]),
            },
        ),
        (
            {"sample_weight": WEIGHT},
            {"sample_weight": {"main": WEIGHT, "aux": WEIGHT}},
        ),
        (
            {"class_weight": {0: 3.0}},
            {
                "class_weight": {0: 3.0},
                "y": {"main": MASKS[:4], "aux": MASKS[:4]},
            },
        ),
    ],
    ids=["masks", "axis", "loss", "metrics", "weighted", "weight", "class"],
)
def test_plain_means_both_heads(plain, by_name):
    got, logs = one_step(**plain)
    wanted, wanted_logs = one_step(**by_name)
    assert_same(got, wanted, 0)
    assert logs == wanted_logs
    assert not any(name.startswith("aux_mean") for name in logs)


def test_loss_of_one_output():
    model = small(loss={"main": SegmentationLoss()})
    scores = model.evaluate(IMAGES, MASKS, verbose=0, return_dict=True)
    total, valid = reference.cross_entropy(model(IMAGES)["main"], MASKS)
    assert scores["loss"] == pytest.approx(total / valid, rel=1e-5)


def test_loss_weights():
    _, logs = one_step({"loss_weights": {"main": 0.5, "aux": 2.0}})
    assert logs["loss"] == pytest.approx(
        0.5 * logs["main_loss"] + 2.0 * logs["aux_loss"], rel=1e-6
    )


# === Batches and replicas ===


def test_batch_without_a_valid_pixel():
    model = small(total_steps=2)
    before = values(model)
    y = np.full((2, *SIDES), 255, "uint8")
    history = model.fit(IMAGES[:2], y, verbose=0).history
    assert history["loss"] == history["main_loss"] == [0.0]
    assert history["main_mean_iou"] == [0.0]
    # Only weight decay is left, and the statistics.
    for variable, old in zip(model.variables, before, strict=True):
        if variable.trainable:
            np.testing.assert_allclose(
                variable.value, old * (1 - 0.01 * 1e-4), rtol=1e-6
            )
        else:
            assert np.isfinite(variable.value).all()


def unequal_masks(count):
    """Every second half of a batch of 4 is ignored but for a few pixels."""
    rng = np.random.default_rng(3)
    masks = rng.integers(0, CLASSES, (count, *SIDES)).astype("uint8")
    for index in range(count):
        if index % 4 >= 2:
            masks[index] = 255
            masks[index, 5, index % 7] = 1
    return masks


def run_of(make, strategy=None):
    """Weights and reports of two epochs over 8 images in batches of 4."""
    keras.utils.set_random_seed(0)
    eager = strategy is None
    strategy = strategy or tf.distribute.get_strategy()
    x = np.concatenate([IMAGES, IMAGES])[:8]
    data = tf.data.Dataset.from_tensor_slices((x, unequal_masks(8)))
    with strategy.scope():
        model = make()
        model.compile(learning_rate=0.05, run_eagerly=eager)
    history = model.fit(
        data.batch(4, drop_remainder=True), epochs=2, verbose=0
    ).history
    return values(model), history


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(Small, id="small", marks=pytest.mark.slow),
        pytest.param(
            lambda: PSPNet(
                CLASSES,
                "resnet18",
                (*SIDES, 3),
                width=1 / 16,
                bin_sizes=(1,),
                dropout=0.0,
            ),
            id="pspnet",
        ),
    ],
)
def test_two_replicas_equal_one(two_replicas, make):
    got, reports = run_of(make, two_replicas)
    wanted, wanted_reports = run_of(make)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    assert sorted(reports) == sorted(wanted_reports)
    for name, value in wanted_reports.items():
        assert reports[name] == pytest.approx(value, rel=1e-4)


def test_unequal_parts_of_the_first_batch_equal_one(two_replicas):
    def trained(strategy, eager):
        with strategy.scope():
            model = small(eager=eager, learning_rate=0.05)
        # 3 images and 2, then one image each.
        data = tf.data.Dataset.from_tensor_slices((IMAGES[:7], MASKS[:7]))
        model.fit(data.batch(5), verbose=0)
        return values(model)

    got = trained(two_replicas, False)
    assert_same(got, trained(tf.distribute.get_strategy(), True))


# === What several replicas cannot do ===


def accumulating():
    return keras.optimizers.SGD(gradient_accumulation_steps=2)


def averaging():
    return keras.optimizers.SGD(use_ema=True)


# What is compiled -> the argument that is refused, and what it must be.
REFUSED = {
    "steps": (lambda: {"steps_per_execution": 2}, "steps_per_execution", 1),
    "xla": (lambda: {"jit_compile": True}, "jit_compile", False),
    "accumulation": (
        lambda: {"optimizer": accumulating()},
        "gradient_accumulation_steps",
        None,
    ),
    "ema": (lambda: {"optimizer": averaging()}, "use_ema", False),
    "scaled": (
        lambda: {"optimizer": keras.optimizers.LossScaleOptimizer(averaging())},
        "use_ema",
        False,
    ),
    "several": (
        lambda: {
            "optimizer": keras.optimizers.MultiOptimizer(
                keras.optimizers.OptimizerMap(accumulating())
            )
        },
        "gradient_accumulation_steps",
        None,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_replicas_cannot_train_with(two_replicas, case):
    settings, name, wanted = REFUSED[case]
    with two_replicas.scope():
        model = small()
        model.compile(**settings())
    for call in (
        model.check_replicas,
        lambda: model.fit(batches()),
        lambda: model.train_on_batch(IMAGES[:2], MASKS[:2]),
    ):
        with pytest.raises(
            ValueError,
            match=f"^`{name}` must be {wanted} on several replicas. "
            f"Received: {name}=(2|True) on 2 replicas$",
        ):
            call()
    model = small()
    model.compile(**settings())
    model.check_replicas()


def test_a_second_strategy_is_refused(two_replicas):
    with two_replicas.scope():
        model = small()
    model.check_replicas()
    model.check_replicas()
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        other = small()
    with pytest.raises(
        ValueError,
        match=r"^`strategy` must be the one .*=tf.distribute.ReductionToOne"
        r"Device\(\). Received: another MirroredStrategy$",
    ):
        other.fit(batches())


@pytest.mark.slow
def test_a_second_strategy_that_reduces_to_one_device_trains(two_replicas):
    with two_replicas.scope():
        small(eager=False).fit(batches(4, 4), verbose=0)
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )
    with strategy.scope():
        model = small(bins=(2,), eager=False)
    model.fit(batches(4, 4), verbose=0)
    one = small(bins=(2,))
    one.fit(batches(4, 4), verbose=0)
    assert_same(values(model), values(one))


def test_fit_is_refused_on_several_workers(two_replicas, monkeypatch):
    with two_replicas.scope():
        model = small()
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", type(two_replicas)
    )
    with pytest.raises(
        ValueError,
        match="^`fit` must run on one worker.*`keras-pspnet train`.*of 2 rep",
    ):
        model.fit(batches())
    # A loop over train_step may go on.
    model.check_replicas()


# === A loop over train_step ===


@pytest.mark.slow
def test_a_loop_in_replicas_creates_nothing_and_equals_fit(two_replicas):
    def made():
        with two_replicas.scope():
            return small(eager=False, total_steps=2)

    model, created = made(), []
    before = [weight.numpy() for weight in model.weights]
    model.build_training(None, None)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)

    def creator(make_variable, **kwargs):
        created.append(kwargs)
        return make_variable(**kwargs)

    @tf.function
    def step(batch):
        return two_replicas.run(model.train_step, (batch,))

    data = batches(8, 4)
    with tf.variable_creator_scope(creator):
        for batch in two_replicas.experimental_distribute_dataset(data):
            step(batch)
    assert not created
    assert int(model.optimizer.iterations.numpy()) == 2
    fitted = made()
    fitted.fit(data, verbose=0)
    for name in "weights", "metrics_variables":
        # A fit on a data set counts what it is given as well.
        for got, wanted in zip(
            getattr(model, name), getattr(fitted, name), strict=False
        ):
            np.testing.assert_allclose(
                got.numpy(), wanted.numpy(), rtol=0, atol=1e-6
            )


def test_a_loop_without_replicas_creates_nothing():
    model = small(eager=False, total_steps=1)
    model.build_training(*SIDES)
    count = len(model.metrics_variables)
    tf.function(model.train_step)((IMAGES[:2], MASKS[:2]))
    assert len(model.metrics_variables) == count


@pytest.mark.parametrize("name", ["build_training", "check_replicas"])
def test_a_loop_needs_a_compiled_model(name):
    arguments = SIDES if name == "build_training" else ()
    with pytest.raises(ValueError, match=r"must call `compile\(\)`"):
        getattr(Small(), name)(*arguments)
