"""What users hand to compile, fit, evaluate and train_on_batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import small
from user_input import Case, each, run

from keras_pspnet.losses import SegmentationLoss
from keras_pspnet.metrics import MeanIoU
from keras_pspnet.optimizers import SGD

pytestmark = [pytest.mark.long, pytest.mark.user_input]

RNG = np.random.default_rng(0)
SIDE = 9
IMAGES = RNG.integers(0, 256, (4, SIDE, SIDE, 3)).astype("uint8")
MASKS = RNG.integers(0, 2, (4, SIDE, SIDE)).astype("uint8")
FLOATS = IMAGES.astype("float32")


def make(eager=True, **compile_with):
    return small(classes=2, eager=eager, **compile_with)


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(2 * index, 2 * index + 2)
        return self.x[part], self.y[part]


def generate(x, y):
    def batches():
        for part in (slice(0, 2), slice(2, 4)):
            yield x[part], y[part]

    return batches()


def data(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(2)


# Entry point -> how images and masks are handed in there.
ARRAYS = {
    "fit": lambda x, y: make().fit(x, y, batch_size=2, verbose=0),
    "validation_data": lambda x, y: make().fit(
        IMAGES, MASKS, batch_size=2, validation_data=(x, y), verbose=0
    ),
    "evaluate": lambda x, y: make().evaluate(x, y, verbose=0),
}
STREAMS = {
    "fit tf.data": lambda x, y: make().fit(data(x, y), verbose=0),
    "fit in a graph": lambda x, y: make(eager=False).fit(data(x, y), verbose=0),
    "fit PyDataset": lambda x, y: make().fit(Batches(x, y), verbose=0),
    "fit generator": lambda x, y: make().fit(
        generate(x, y), steps_per_epoch=2, verbose=0
    ),
    "validation_data tf.data": lambda x, y: make().fit(
        IMAGES, MASKS, batch_size=2, validation_data=data(x, y), verbose=0
    ),
    "evaluate tf.data": lambda x, y: make().evaluate(data(x, y), verbose=0),
}
BATCH = {
    "train_on_batch": lambda x, y: make(total_steps=1).train_on_batch(x, y)
}
TEST_BATCH = {"test_on_batch": lambda x, y: make().test_on_batch(x, y)}
EVALUATE = {
    name: entries[name]
    for entries, name in ((ARRAYS, "evaluate"), (STREAMS, "evaluate tf.data"))
}
LABELS = {
    "SegmentationLoss": lambda x, y: SegmentationLoss()(
        y, np.zeros((*y.shape[:3], 2), "float32")
    ),
    "MeanIoU": lambda x, y: MeanIoU(2).update_state(
        y, np.zeros((*y.shape[:3], 2), "float32")
    ),
}


# What is tried at every entry point by default, and where the rest is.
EVERYWHERE = ("masks divided by 255", "masks of 0 and 255, two classes")
USUAL = ("fit", "fit tf.data", *BATCH, *TEST_BATCH, *LABELS)


def cases(what, entries, x, y, **outcome):
    """The same input at several entry points."""
    return [
        Case(
            what,
            entry,
            lambda call=call: call(x, y),
            slow=what not in EVERYWHERE and entry not in USUAL,
            **outcome,
        )
        for entry, call in entries.items()
    ]


FRACTIONS = MASKS / np.float32(255)
ONLY_255 = MASKS * np.uint8(255)
ONE_GOOD = np.concatenate([MASKS[:1], ONLY_255[1:]])
ONE_HOT = keras.ops.convert_to_numpy(keras.ops.one_hot(MASKS, 2))
PADDED = np.where(np.arange(SIDE) < 5, 255, MASKS).astype("uint8")

ROWS = [
    *cases(
        "masks divided by 255",
        ARRAYS | STREAMS | BATCH | LABELS,
        IMAGES,
        FRACTIONS,
        error=r"labels must be whole numbers.*Received: label =? ?0\.0039",
    ),
    *cases(
        "whole numbers as floats",
        ARRAYS | STREAMS | BATCH | LABELS,
        IMAGES,
        MASKS.astype("float32"),
    ),
    *cases(
        "masks of 0 and 255, two classes",
        {name: ARRAYS[name] for name in ("fit", "evaluate")},
        IMAGES,
        ONLY_255,
        error=r"`y`: two classes must be 0 and 1.*Received: 4 of 4 masks",
    ),
    *cases(
        "masks of 0 and 255, two classes",
        {"validation_data": ARRAYS["validation_data"]} | STREAMS,
        IMAGES,
        ONLY_255,
        warning=r"two classes must be 0 and 1.*Received: 4 of 4 masks",
    ),
    *cases(
        "one good mask among 0 and 255",
        ARRAYS | STREAMS,
        IMAGES,
        ONE_GOOD,
        warning="Received: 3 of 4 masks.*, and 1 that hold 1",
    ),
    *cases(
        "masks of 0 and 255, two classes",
        TEST_BATCH,
        IMAGES,
        ONLY_255,
        error=r"`y`: two classes must be 0 and 1.*Received: 4 of 4 masks",
    ),
    *[
        row
        for what, masks, label in (
            ("masks of 0", MASKS * 0, 0),
            ("masks of 1 and 255", np.where(MASKS == 1, 255, 1), 1),
        )
        for row in cases(
            f"{what}, two classes",
            ARRAYS | STREAMS,
            IMAGES,
            masks.astype("uint8"),
            warning=f"must show at least two.* 4 masks .* class {label} has gr",
        )
    ],
    *cases(
        "masks of 0 and 255, three classes",
        {
            "fit": lambda x, y: small().fit(x, y, verbose=0),
            "fit tf.data": lambda x, y: small().fit(data(x, y), verbose=0),
            "fit in a graph": lambda x, y: small(eager=False).fit(
                data(x, y), verbose=0
            ),
        },
        IMAGES,
        ONLY_255,
        warning="must show at least two classes.* only class 0 has ground tr",
    ),
    *[
        row
        for label in (7, -1)
        for row in cases(
            f"label {label} of two classes",
            LABELS,
            IMAGES,
            np.where(PADDED == 1, label, PADDED.astype("int32")),
            error=f"labels must be 0..1 or the ignore.* label = {label}",
        )
    ],
    *cases("masks of 0", BATCH | TEST_BATCH, IMAGES, MASKS * 0),
    *cases("one mask of 0", EVALUATE, IMAGES[:1], MASKS[:1] * 0),
    *cases("masks padded with 255", ARRAYS | STREAMS | BATCH, IMAGES, PADDED),
    *cases(
        "images in 0..1",
        ARRAYS | STREAMS,
        FLOATS / 255,
        MASKS,
        warning=r"images must be in 0\.\.255.*Received: 4 images",
    ),
    *cases(
        "images in -1..1",
        ARRAYS | STREAMS,
        FLOATS / 127.5 - 1,
        MASKS,
        warning=r"images must be in 0\.\.255.*within -1\.\.1",
    ),
    *cases("dark images of bytes", ARRAYS | STREAMS, IMAGES // 255, MASKS),
    *cases(
        "one-hot masks",
        ARRAYS | STREAMS | BATCH,
        IMAGES,
        ONE_HOT,
        error=r"masks .*one-hot masks into labels with argmax",
    ),
    *cases(
        "RGB masks",
        ARRAYS | STREAMS | BATCH,
        IMAGES,
        IMAGES,
        error="masks .*map the colors of RGB masks to labels",
    ),
    *cases(
        "lists of images and masks", ARRAYS | BATCH, list(IMAGES), list(MASKS)
    ),
    *cases(
        "images of several sizes",
        ARRAYS,
        [IMAGES[0], IMAGES[1, 1:]],
        list(MASKS[:2]),
        error=r"(`x`|images) must hold arrays of one shape.*\(8, 9, 3\)",
    ),
    *cases(
        "images without masks",
        ARRAYS,
        IMAGES,
        None,
        error="(`y`|masks) must be the masks of the images",
    ),
]


@each(ROWS)
def test_images_and_masks(case):
    run(case)


def trained(**kwargs):
    return make().fit(IMAGES, MASKS, batch_size=2, verbose=0, **kwargs)


def compiled(**kwargs):
    return lambda: make(**kwargs).fit(IMAGES, MASKS, batch_size=2, verbose=0)


SCHEDULE = keras.optimizers.schedules.CosineDecay(0.01, 10)
MINUS_ONE = np.where(PADDED == 255, -1, PADDED.astype("int32"))


def monitored(callback, monitor):
    def call():
        watch = getattr(keras.callbacks, callback)(monitor=monitor)
        return (
            make(optimizer=SGD(0.01))
            .fit(
                IMAGES,
                MASKS,
                batch_size=2,
                callbacks=[watch],
                validation_data=(IMAGES, MASKS),
                verbose=0,
            )
            .history
        )

    return call


def has(*names):
    def check(history):
        assert set(names) <= set(history)

    return check


def first_rate(rate):
    def check(history):
        assert float(SCHEDULE(0)) == pytest.approx(rate)

    return check


ARGUMENTS = [
    *[
        Case(
            f"{name} of probabilities",
            "compile",
            compiled(loss=loss),
            error=f"`loss` must take logits.*{match}",
        )
        for name, loss, match in (
            (
                "a loss's name",
                "sparse_categorical_crossentropy",
                "'sparse_categorical_crossentropy'",
            ),
            (
                "a Keras loss",
                keras.losses.SparseCategoricalCrossentropy(),
                "SparseCategoricalCrossentropy",
            ),
            (
                "a loss function",
                keras.losses.categorical_crossentropy,
                "categorical_crossentropy",
            ),
            ("Keras's Dice", keras.losses.Dice(), "Dice"),
        )
    ],
    Case(
        "Keras's MeanIoU of class ids",
        "compile",
        compiled(metrics=[keras.metrics.MeanIoU(2)]),
        error="`metrics` must take logits.*use keras_pspnet.MeanIoU",
    ),
    Case(
        "a loss of logits",
        "compile",
        compiled(
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        ),
    ),
    Case(
        "a learning rate schedule", "compile", compiled(learning_rate=SCHEDULE)
    ),
    Case(
        "a schedule and total_steps",
        "compile",
        compiled(learning_rate=SCHEDULE, total_steps=9),
        error="`total_steps` cannot be combined with a schedule, which ",
    ),
    *[
        Case(
            f"batch_size={size}",
            "fit",
            lambda size=size: make().fit(IMAGES, MASKS, batch_size=size),
            error=f"`batch_size` must be a positive integer.*={size}",
        )
        for size in (0, -2, 1.5)
    ],
    Case(
        "no classes",
        "MeanIoU",
        lambda: MeanIoU(0),
        error="`num_classes` must be a positive integer.*num_classes=0",
    ),
    Case(
        "a word as ignore_label",
        "MeanIoU",
        lambda: MeanIoU(3, ignore_label="x"),
        error="`ignore_label` must be an integer.*ignore_label='x'",
    ),
    Case(
        "the default rate and an optimizer",
        "compile",
        compiled(optimizer="sgd", learning_rate=0.01),
        error="cannot be combined with `optimizer`",
    ),
    *cases(
        "ignore_label=-1 of the loss",
        {
            "fit": lambda x, y: make(
                loss=SegmentationLoss(ignore_label=-1)
            ).fit(x, y, verbose=0),
            "fit tf.data": lambda x, y: make(
                loss=SegmentationLoss(ignore_label=-1)
            ).fit(data(x, y), verbose=0),
        },
        IMAGES,
        MINUS_ONE,
    ),
    *cases(
        "ignore_class=-1 of Keras's loss",
        {
            "fit": lambda x, y: make(
                loss=keras.losses.SparseCategoricalCrossentropy(
                    from_logits=True, ignore_class=-1
                )
            ).fit(x, y, verbose=0)
        },
        IMAGES,
        MINUS_ONE,
    ),
    *cases(
        "one-hot masks for a categorical loss",
        {
            name: lambda x, y, d=d: make(
                loss=keras.losses.CategoricalCrossentropy(from_logits=True)
            ).fit(*d(x, y), verbose=0)
            for name, d in (
                ("fit", lambda x, y: (x, y)),
                ("fit tf.data", lambda x, y: (data(x, y),)),
            )
        },
        IMAGES,
        ONE_HOT,
    ),
    *[
        Case(
            f"class_weight as {name}",
            "fit",
            lambda w=weight: trained(class_weight=w),
        )
        for name, weight in (
            ("array", np.array([1.0, 2.0])),
            ("list", [1, 2.0]),
            ("balanced", "balanced"),
            ("dictionary", {1: 2.0}),
        )
    ],
    *[
        Case(
            f"class_weight {name}",
            "fit",
            lambda w=weight: trained(class_weight=w),
            error=match,
        )
        for name, weight, match in (
            ("of NaN", {0: float("nan")}, "factors of at least 0.*nan"),
            ("by fractions", {0.5: 1.0}, "must map class ids below 2.*0.5"),
            ("by output", {"main": {0: 1.0}}, "must map class ids below 2"),
            (
                "of three of two classes",
                [1, 1, 1],
                r"a factor for each of the 2 classes.*\(3,\)",
            ),
            ("equal", "equal", "'balanced'. Received: class_weight='equal'"),
        )
    ],
    Case(
        "class_weight balanced of a data set",
        "fit tf.data",
        lambda: make().fit(
            data(IMAGES, MASKS), class_weight="balanced", verbose=0
        ),
        error="`class_weight` must hold numbers unless the masks are an array",
    ),
    Case(
        "class_weight, masks by output, weights",
        "fit",
        lambda: make().fit(
            IMAGES,
            {"main": MASKS, "aux": MASKS},
            class_weight={1: 2.0},
            sample_weight=np.ones(4),
            verbose=0,
        ),
    ),
    *[
        Case(
            f"monitor={monitor}",
            callback,
            monitored(callback, monitor),
            slow=slow,
        )
        for callback, monitor, slow in (
            ("EarlyStopping", "val_main_mean_iou", False),
            ("EarlyStopping", "val_mean_iou", False),
            ("EarlyStopping", "mean_iou", True),
            ("EarlyStopping", "val_main_loss", True),
            ("ReduceLROnPlateau", "val_main_mean_iou", True),
            ("ReduceLROnPlateau", "mean_iou", False),
        )
    ],
    Case(
        "the names in the history",
        "fit",
        monitored("EarlyStopping", "val_mean_iou"),
        value=has("mean_iou", "val_mean_iou", "val_main_mean_iou", "loss"),
    ),
]


@each(ARGUMENTS)
def test_arguments(case):
    run(case)
