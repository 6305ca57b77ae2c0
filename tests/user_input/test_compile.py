"""What users hand to compile, and the weights and callbacks of a fit."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import IMAGES, MASKS, small
from user_input import Case, each, run

import keras_pspnet as kp

pytestmark = [pytest.mark.long, pytest.mark.user_input]

X, Y = IMAGES[:4], MASKS[:4]
NAN, INF = float("nan"), float("inf")


def compiled(**kwargs):
    return lambda: small(**kwargs)


def fitted(compile_with=None, **kwargs):
    def call():
        return small(**(compile_with or {})).fit(
            X, Y, batch_size=2, verbose=0, **kwargs
        )

    return call


def rate_is(rate):
    def check(model):
        assert float(model.optimizer.learning_rate) == pytest.approx(rate)

    return check


# === Numbers ===

NUMBERS = [
    *[
        Case(
            f"{name}={value!r}",
            "compile",
            compiled(**{name: value}),
            error=f"`{name}` must be a finite number of at least 0.*{value!r}",
        )
        for name in ("learning_rate", "head_lr_multiplier")
        for value in (-0.1, NAN, INF, "0.1")
    ],
    *[
        Case(
            f"learning_rate={rate}",
            "compile",
            compiled(learning_rate=rate, total_steps=10),
            value=rate_is(rate),
        )
        for rate in (0, 1, np.float32(0.5))
    ],
    Case(
        "SGD of a negative rate",
        "compile",
        lambda: kp.SGD(-0.1),
        error="`learning_rate` must be a finite number of at least 0.*-0.1",
    ),
    Case(
        "SGD of a negative multiplier",
        "compile",
        lambda: kp.SGD(0.1, lr_multipliers={"^head": -1}),
        error=r"`lr_multipliers\['\^head'\]` must be a finite number.*-1",
    ),
    *[
        Case(
            f"loss_weights {weights}",
            "compile",
            compiled(loss_weights=weights),
            error="`loss_weights` must be a finite number of at least 0",
        )
        for weights in ({"main": -1.0, "aux": 0.4}, {"main": 1, "aux": NAN})
    ],
    Case("aux loss of 0", "compile", compiled(loss_weights={"aux": 0})),
    Case(
        "class_weight of zeros",
        "fit",
        fitted(class_weight=[0, 0, 0]),
        error="`class_weight` must have a factor above 0",
    ),
    Case(
        "class_weight of 1e38",
        "fit",
        fitted(class_weight={0: 1e38}),
        error=r"factors of at least 0, at most 1e\+12.*1e\+38",
    ),
]


@each(NUMBERS)
def test_numbers(case):
    run(case)


# === Sample weights ===

ENTRIES = {
    "fit": lambda w: fitted(sample_weight=w)(),
    "validation_data": lambda w: fitted(validation_data=(X, Y, w))(),
    "evaluate": lambda w: small().evaluate(X, Y, sample_weight=w, verbose=0),
    "train_on_batch": lambda w: small(total_steps=1).train_on_batch(X, Y, w),
}
# Weights that work as those of pixels do.
ALIKE = ("of images", "of images, as columns", "of pixels, with channel")
SHAPE = r"`sample_weight` must have shape .*Received: .*\(4, 17\)"
WEIGHTS = [
    Case(
        f"sample_weight {what}",
        entry,
        lambda call=call, weight=weight: call(weight),
        error=error,
        slow=entry == "validation_data" and what in ALIKE,
    )
    for what, weight, error in (
        ("of rows", np.ones((4, 17)), SHAPE),
        (
            "of other images",
            np.ones((4, 17, 20)),
            r"`sample_weight` must have shape .*\(4, 17, 20\)",
        ),
        ("below 0", np.array([1, 1, 1, -1.0]), "at least 0.*weight -1"),
        ("of NaN", np.array([1, NAN, 1, 1]), "finite numbers.*weight nan"),
        ("of images", np.ones(4), None),
        ("of images, as columns", np.ones((4, 1)), None),
        ("of pixels", np.ones(Y.shape, "uint8"), None),
        ("of pixels, with channel", np.ones((*Y.shape, 1)), None),
        ("by output", {"main": np.ones(4), "aux": np.ones(4)}, None),
    )
    for entry, call in ENTRIES.items()
]
WEIGHTS.append(
    Case(
        "sample_weight of rows",
        "fit tf.data",
        lambda: small().fit(
            tf.data.Dataset.from_tensor_slices((X, Y, np.ones((4, 17)))).batch(
                2
            ),
            verbose=0,
        ),
        error=r"`sample_weight` must have shape .*Received: .*, 17\)",
    )
)


@each(WEIGHTS)
def test_sample_weights(case):
    run(case)


# === Losses, metrics and callbacks ===

REGRESSIONS = ("mse", "mae", "huber", "hinge", "poisson")
OF_ALL = (
    "accuracy",
    "sparse_categorical_accuracy",
    keras.metrics.SparseCategoricalAccuracy(),
    keras.metrics.SparseTopKCategoricalAccuracy(k=2),
)
CALLBACKS = (
    keras.callbacks.ReduceLROnPlateau(monitor="loss"),
    keras.callbacks.LearningRateScheduler(lambda epoch: 0.1),
)
KEPT = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
CHOSEN = [
    *[
        Case(
            f"a loss of numbers, {getattr(loss, 'name', loss)}",
            "compile",
            compiled(loss=loss),
            error="`loss` must take labels or one-hot.*SegmentationLoss",
        )
        for loss in (*REGRESSIONS, keras.losses.MeanSquaredError())
    ],
    *[
        Case(
            f"a metric that ignores nothing, {getattr(metric, 'name', metric)}",
            "compile",
            compiled(metrics=[metric]),
            error="`metrics` must skip pixels.*PixelAccuracy",
        )
        for metric in OF_ALL
    ],
    Case(
        "accuracy where the loss ignores nothing",
        "compile",
        compiled(loss=KEPT, metrics=["accuracy"]),
    ),
    *[
        Case(
            "the default schedule",
            type(callback).__name__,
            fitted(callbacks=[callback]),
            error="`callbacks` must not set the learning rate.*"
            + type(callback).__name__,
        )
        for callback in CALLBACKS
    ],
    Case(
        "a rate that is a number",
        "LearningRateScheduler",
        fitted({"optimizer": kp.SGD(0.01)}, callbacks=[CALLBACKS[1]]),
    ),
    Case(
        "images by the input's name",
        "fit",
        lambda: small().fit({"image": X}, Y, batch_size=2, verbose=0),
    ),
    Case(
        "images by the input's name",
        "fit tf.data",
        lambda: small().fit(
            tf.data.Dataset.from_tensor_slices(({"image": X}, Y)).batch(2),
            verbose=0,
        ),
    ),
]


@each(CHOSEN)
def test_losses_metrics_and_callbacks(case):
    run(case)
