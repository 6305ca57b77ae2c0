"""Tests of keras_pspnet.evaluation.scores: counts and ratios against loops."""

import importlib.metadata
import itertools
import json
import math
import pickle
import sys

import keras
import numpy as np
import pytest

import keras_pspnet
from keras_pspnet.evaluation import Confusion, Scores
from keras_pspnet.labels import ADE20K, LabelSet, generic_labels

LABELS = LabelSet(
    "three", ("sky", "traffic light", "sea"), ((1, 0, 0), (2, 0, 0), (3, 0, 0))
)
# 3 of 4 sky and 4 of 6 traffic light pixels are right; there is no sea.
COUNTS = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]], "int64")
DIGEST = "0123456789abcdef" * 4
SUMMARIES = (
    "mean_iou",
    "mean_f1",
    "mean_accuracy",
    "pixel_accuracy",
    "frequency_weighted_iou",
)
NAN = float("nan")


def random_case(seed):
    """Masks and predictions that agree often; classes may be absent.

    Returns:
        (mask, prediction, number of classes, ignored label).
    """
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 12))
    # Often 255, else a class, or a label between the two.
    ignore = int(rng.choice([255, 255, rng.integers(classes), 254]))
    shape = tuple(rng.integers(1, 9, 2))
    in_truth = rng.choice(classes, rng.integers(1, classes + 1))
    predicted = rng.choice(classes, rng.integers(1, classes + 1))
    mask = rng.choice(in_truth, shape)
    prediction = np.where(
        rng.random(shape) < 0.6, mask, rng.choice(predicted, shape)
    )
    # Sometimes nothing is left to count.
    mask[rng.random(shape) < rng.choice([0, 0.3, 1])] = ignore
    kinds = ["uint8", "int16", "uint16", "int32", "int64"]
    return (
        mask.astype(rng.choice(kinds)),
        prediction.astype(rng.choice(kinds)),
        classes,
        ignore,
    )


def expected_scores(mask, prediction, classes, ignore):
    """All scores by their definitions, from sets of pixels."""
    pairs = [
        (int(label), int(guess))
        for label, guess in zip(
            mask.reshape(-1), prediction.reshape(-1), strict=True
        )
        if label != ignore
    ]
    truth = [
        {i for i, (label, _) in enumerate(pairs) if label == k}
        for k in range(classes)
    ]
    guess = [
        {i for i, (_, label) in enumerate(pairs) if label == k}
        for k in range(classes)
    ]

    def ratio(part, whole):
        return part / whole if whole else NAN

    def mean(values):
        known = [value for value in values if not math.isnan(value)]
        return ratio(sum(known), len(known))

    both = [t & g for t, g in zip(truth, guess, strict=True)]
    iou = [
        ratio(len(b), len(t | g))
        for b, t, g in zip(both, truth, guess, strict=True)
    ]
    accuracy = [ratio(len(b), len(t)) for b, t in zip(both, truth, strict=True)]
    precision = [
        ratio(len(b), len(g)) for b, g in zip(both, guess, strict=True)
    ]
    f1 = [
        ratio(2 * len(b), len(t) + len(g))
        for b, t, g in zip(both, truth, guess, strict=True)
    ]
    share = [ratio(len(t), len(pairs)) for t in truth]
    weighted = [s * i for s, i in zip(share, iou, strict=True) if s > 0]
    return {
        "iou": iou,
        "accuracy": accuracy,
        "precision": precision,
        "f1": f1,
        "share": share,
        "mean_iou": mean(iou),
        "mean_f1": mean(f1),
        "mean_accuracy": mean(accuracy),
        "pixel_accuracy": ratio(sum(map(len, both)), len(pairs)),
        "frequency_weighted_iou": sum(weighted) if weighted else NAN,
    }


def large_scores(labels=LABELS, **kwargs):
    """Counts that neither 32 bits nor float32 hold."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 10**12, (labels.num_classes,) * 2)
    counts[-1] = 0
    return Scores(counts, labels, images=7, **kwargs)


def assert_equal(got, want):
    np.testing.assert_array_equal(got.confusion, want.confusion)
    assert got.confusion.dtype == np.int64
    for name in (
        "labels",
        "protocol",
        "weights_sha256",
        "images",
        "versions",
    ):
        assert getattr(got, name) == getattr(want, name)


# === Counting ===


@pytest.mark.parametrize("seed", range(60))
def test_scores_are_those_of_the_definitions(seed):
    mask, prediction, classes, ignore = random_case(seed)
    confusion = Confusion(classes, ignore)
    confusion.add(mask, prediction)
    scores = Scores(confusion.counts, generic_labels(classes))
    want = expected_scores(mask, prediction, classes, ignore)
    for name, value in want.items():
        np.testing.assert_allclose(
            getattr(scores, name), value, rtol=1e-14, err_msg=name
        )
    assert scores.pixels == np.sum(mask != ignore)
    assert confusion.images == 1


def test_all_255_classes_and_labels_beside_them():
    mask = np.arange(256, dtype="uint8")[None]
    confusion = Confusion(255)
    confusion.add(mask, mask.clip(0, 254))
    np.testing.assert_array_equal(confusion.counts, np.eye(255))


def test_memory_order_does_not_matter():
    rng = np.random.default_rng(0)
    mask, prediction = rng.integers(0, 5, (2, 9, 4)).astype("uint8")
    want = Confusion(5)
    want.add(mask, prediction)
    for change in (np.asfortranarray, lambda x: np.repeat(x, 2, 0)[::2]):
        got = Confusion(5)
        got.add(change(mask), prediction)
        got.add(mask, change(prediction))
        np.testing.assert_array_equal(got.counts, 2 * want.counts)


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_arrays_without_pixels_count_nothing(dtype):
    confusion = Confusion(3)
    for shape in ((0, 4), (3, 0)):
        confusion.add(np.zeros(shape, dtype), np.zeros(shape, dtype))
    assert not confusion.counts.any()
    assert confusion.images == 2


def test_parts_add_up_in_any_order_and_process():
    cases = [random_case(seed)[:2] for seed in range(20)]
    whole, parts = Confusion(12, 254), [Confusion(12, 254) for _ in range(3)]
    for index, (mask, prediction) in enumerate(cases):
        mask = np.where(mask == 255, 254, mask)
        whole.add(mask, prediction)
        parts[index % 3].add(mask, prediction)
    parts = [pickle.loads(pickle.dumps(part)) for part in parts]
    for first, second, third in itertools.permutations(parts):
        total = first + second + third
        np.testing.assert_array_equal(total.counts, whole.counts)
        assert total.images == whole.images
    # Adding makes a new one.
    kept = parts[0].counts.copy()
    (parts[0] + parts[1]).add(*np.zeros((2, 1, 1), int))
    np.testing.assert_array_equal(parts[0].counts, kept)


def test_one_pixel_more_than_10_to_the_12_is_seen():
    confusion = Confusion(2)
    confusion.counts += [[10**12, 3], [2**40, 10**12]]
    confusion.add(np.array([[0]]), np.array([[0]]))
    assert confusion.counts[0, 0] == 10**12 + 1
    total = confusion + confusion
    np.testing.assert_array_equal(
        total.counts, [[2 * 10**12 + 2, 6], [2**41, 2 * 10**12]]
    )


@pytest.mark.parametrize(
    ("dtype", "label"),
    [
        ("uint8", 3),
        ("uint8", 254),
        ("int16", -1),
        ("int32", 256),
        ("int64", 2**40),
        ("int64", 2**32),
        ("uint64", 2**63),
        ("int8", -128),
    ],
)
def test_no_class_is_refused_by_name(dtype, label):
    confusion = Confusion(3)
    good = np.zeros((4, 5), dtype)
    bad = good.copy()
    bad[3, 4] = label
    with pytest.raises(
        ValueError,
        match=rf"`mask` must hold classes within 0\.\.2, or 255 to ignore\. "
        f"Received: mask with {label}$",
    ):
        confusion.add(bad, good)
    with pytest.raises(
        ValueError,
        match=rf"`prediction` must hold classes within 0\.\.2\. "
        f"Received: prediction with {label}$",
    ):
        confusion.add(good, bad)
    assert not confusion.counts.any()
    assert confusion.images == 0


def test_a_prediction_to_ignore_is_refused_on_ignored_pixels_too():
    with pytest.raises(ValueError, match="`prediction` must.*with 255"):
        Confusion(3).add(*np.full((2, 1, 1), 255))


@pytest.mark.parametrize(
    ("mask", "prediction"),
    [((4, 5), (5, 4)), ((1, 4, 5), (4, 5)), ((5,), (5,)), ((1,) * 3,) * 2],
)
def test_shapes_are_refused(mask, prediction):
    with pytest.raises(
        ValueError, match=r"must have one shape, \(H, W\)\. Rec"
    ):
        Confusion(3).add(np.zeros(mask, int), np.zeros(prediction, int))


@pytest.mark.parametrize("dtype", ["float32", "bool", "object"])
def test_what_is_no_integer_is_refused(dtype):
    good, bad = np.zeros((2, 2), "uint8"), np.zeros((2, 2), dtype)
    with pytest.raises(TypeError, match=f"`mask` must hold integers.*{dtype}"):
        Confusion(3).add(bad, good)
    with pytest.raises(TypeError, match=f"`prediction` must.*{dtype}"):
        Confusion(3).add(good, bad)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((0,), r"`num_classes` must be an integer from 1 to 255.*=0"),
        ((256,), "`num_classes` must.*=256"),
        ((2.0,), r"`num_classes` must.*=2\.0"),
        ((True,), "`num_classes` must.*=True"),
        ((3, -1), r"`ignore_label` must be an integer from 0 to 255.*=-1"),
        ((3, 256), "`ignore_label` must.*=256"),
        ((3, None), "`ignore_label` must.*=None"),
    ],
)
def test_confusion_refuses(arguments, match):
    with pytest.raises(ValueError, match=match):
        Confusion(*arguments)


def test_only_like_counts_add_up():
    with pytest.raises(ValueError, match="same `num_classes`.*=3 and.*=4"):
        Confusion(3) + Confusion(4)
    with pytest.raises(ValueError, match="same `ignore_label`.*=255 and.*=0"):
        Confusion(3) + Confusion(3, 0)
    with pytest.raises(TypeError, match="unsupported operand"):
        Confusion(3) + 0


# === Scores ===


def test_counts_beyond_32_bits_are_exact():
    few, many = Scores(COUNTS, LABELS), Scores(COUNTS * 10**12, LABELS)
    for name in SUMMARIES:
        assert getattr(many, name) == getattr(few, name)
    assert many.pixels == 10**13
    # Halves of these counts differ in the last bit of float64 only.
    odd = Scores(np.array([[2**53 - 1]]), generic_labels(1))
    assert odd.pixels == 2**53 - 1
    assert odd.mean_iou == 1


def test_nothing_seen_has_no_score():
    scores = Scores(np.zeros((3, 3), "int64"), LABELS)
    for name in ("iou", "f1", "precision", "accuracy", "share"):
        assert np.isnan(getattr(scores, name)).all()
    for name in SUMMARIES:
        assert np.isnan(getattr(scores, name))
        assert scores.to_dict()[name] is None


def test_scores_keep_a_copy_of_the_counts():
    confusion = Confusion(3)
    confusion.add(np.array([[1]]), np.array([[1]]))
    scores = Scores(confusion.counts, LABELS)
    confusion.add(np.array([[1]]), np.array([[2]]))
    assert scores.pixel_accuracy == 1
    assert Scores(COUNTS.astype("uint8"), LABELS).confusion.dtype == np.int64


def test_to_dict_says_it_all():
    scores = Scores(COUNTS, LABELS, {"scales": (1.0,)}, DIGEST, 2)
    # JSON proper: without NaN.
    assert json.loads(json.dumps(scores.to_dict(), allow_nan=False)) == {
        "mean_iou": pytest.approx(15 / 28),
        "mean_f1": pytest.approx((2 / 3 + 8 / 11) / 2),
        "mean_accuracy": pytest.approx(17 / 24),
        "pixel_accuracy": pytest.approx(0.7),
        "frequency_weighted_iou": pytest.approx(0.2 + 2.4 / 7),
        "iou": {
            "sky": 0.5,
            "traffic light": pytest.approx(4 / 7),
            "sea": None,
        },
        "f1": {
            "sky": pytest.approx(2 / 3),
            "traffic light": pytest.approx(8 / 11),
            "sea": None,
        },
        "precision": {"sky": 0.6, "traffic light": 0.8, "sea": None},
        "accuracy": {
            "sky": 0.75,
            "traffic light": pytest.approx(2 / 3),
            "sea": None,
        },
        "share": {"sky": 0.4, "traffic light": 0.6, "sea": 0.0},
        "images": 2,
        "pixels": 10,
        "protocol": {"scales": [1.0]},
        "weights_sha256": DIGEST,
        "versions": {
            "keras_pspnet": keras_pspnet.__version__,
            "keras": importlib.metadata.version("keras"),
            "numpy": importlib.metadata.version("numpy"),
            keras.backend.backend(): sys.modules[
                keras.backend.backend()
            ].__version__,
        },
        "labels": LABELS.to_dict(),
        "confusion": COUNTS.tolist(),
    }


def test_table():
    scores = Scores(COUNTS * 1000, LABELS, images=1234)
    assert scores.table().splitlines() == [
        "class                   IoU     F1      precision  accuracy   share",
        "sky                     0.5000  0.6667  0.6000     0.7500    40.00%",
        "traffic light           0.5714  0.7273  0.8000     0.6667    60.00%",
        "sea                     -       -       -          -          0.00%",
        "mean IoU                0.5357",
        "mean F1                 0.6970",
        "mean accuracy           0.7083",
        "pixel accuracy          0.7000",
        "frequency-weighted IoU  0.5429",
        "images                  1,234",
        "pixels                  10,000",
        "no ground truth: sea",
        "never predicted: sea",
    ]
    nothing = Scores(np.zeros((3, 3), "int64"), LABELS).table().splitlines()
    dashes = "-       -       -          -              -"
    assert nothing[1] == f"sky                     {dashes}"
    assert nothing[4] == "mean IoU                -"


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"confusion": COUNTS / 2}, TypeError, "`confusion` must.*float64"),
        ({"confusion": COUNTS > 0}, TypeError, "`confusion` must.*bool"),
        ({"confusion": [[1]]}, TypeError, "array of integers.*list"),
        ({"confusion": COUNTS[:2]}, ValueError, r"of the 3 labels.*\(2, 3\)"),
        ({"confusion": COUNTS[None]}, ValueError, r"\(1, 3, 3\)"),
        ({"confusion": COUNTS - 1}, ValueError, "at least 0.*with -1"),
        ({"weights_sha256": "abc"}, ValueError, "`weights_sha256`.*'abc'"),
        ({"weights_sha256": DIGEST.upper()}, ValueError, "64 lower-case hex"),
        ({"weights_sha256": 5}, ValueError, "`weights_sha256` must.*=5"),
        ({"images": -1}, ValueError, "`images` must.*=-1"),
        ({"images": 1.0}, ValueError, r"`images` must.*=1\.0"),
        ({"protocol": ["flip"]}, TypeError, "`protocol` must be a dict.*flip"),
        (
            {"protocol": {"a": {1}}},
            ValueError,
            "`protocol` must hold.*JSON can",
        ),
        (
            {"protocol": {"a": NAN}},
            ValueError,
            "`protocol` must hold.*JSON can",
        ),
        ({"versions": None}, TypeError, "`versions` must be a dict.*=None"),
    ],
)
def test_scores_refuse(kwargs, error, match):
    with pytest.raises(error, match=match):
        Scores(**{"confusion": COUNTS, "labels": LABELS, **kwargs})


def test_scores_of_parts_add_up():
    kwargs = {"protocol": {"flip": True}, "weights_sha256": DIGEST}
    first = large_scores(**kwargs)
    second = Scores(COUNTS, LABELS, images=2, **kwargs)
    for total in (first + second, second + first):
        np.testing.assert_array_equal(total.confusion, first.confusion + COUNTS)
        assert total.images == 9
        assert total.protocol == {"flip": True}
        assert total.weights_sha256 == DIGEST
        assert total.labels == LABELS
    assert first.images == 7


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (
            {"labels": generic_labels(3)},
            "same `labels`.*'three' with 3 classes and 'classes' with 3",
        ),
        ({"protocol": {"flip": True}}, "same `protocol`.*False.*True"),
        ({"protocol": None}, "same `protocol`.*False.*None"),
        ({"weights_sha256": None}, "same `weights_sha256`.*0123.*None"),
        ({"versions": {"keras": "2"}}, "same `versions`.*'keras': '2'"),
    ],
)
def test_scores_of_different_things_do_not_add_up(other, match):
    kwargs = {
        "labels": LABELS,
        "protocol": {"flip": False},
        "weights_sha256": DIGEST,
    }
    with pytest.raises(ValueError, match=match):
        Scores(COUNTS, **kwargs) + Scores(COUNTS, **{**kwargs, **other})
    with pytest.raises(TypeError, match="unsupported operand"):
        Scores(COUNTS, LABELS) + 1


# === Files ===


def test_a_file_holds_all_of_it(tmp_path):
    scores = large_scores(
        ADE20K,
        protocol={"scales": (0.5, 1), "flip": True},
        # Those of the predictions, whatever reads them.
        versions={"keras_pspnet": "0.0.1"},
    )
    path = tmp_path / "scores.json"
    scores.save(path)
    loaded = Scores.load(str(path))
    assert_equal(loaded, scores)
    assert loaded.to_dict() == scores.to_dict()
    assert json.loads(path.read_text()) == scores.to_dict()
    # For people: not a line for each of 22,500 numbers.
    assert len(path.read_text().splitlines()) == 2 + len(scores.to_dict())


def test_other_entries_are_not_read():
    content = large_scores().to_dict()
    content["recipe"] = "scenes"
    # Ratios are what the counts say.
    content["mean_iou"] = 1.0
    assert_equal(Scores.from_dict(content), large_scores())


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "scores.json"
    large_scores().save(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_pspnet.utils.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Scores(COUNTS, LABELS).save(path)
    assert_equal(Scores.load(path), large_scores())


def without(name):
    def change(content):
        del content[name]

    return change


def with_entry(name, value):
    return lambda content: content.update({name: value})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (without("confusion"), "must have the entries"),
        (without("versions"), "must have the entries"),
        (with_entry("confusion", [[1, 2], [3]]), "inhomogeneous"),
        (with_entry("confusion", [[1, 2], [3, 4]]), r"shape \(2, 2\)"),
        (with_entry("confusion", [[0.5] * 3] * 3), "array of integers"),
        (with_entry("confusion", [[2**70] * 3] * 3), "array of integers"),
        (with_entry("confusion", [[-1] * 3] * 3), "at least 0"),
        (with_entry("confusion", None), "array of integers"),
        (with_entry("labels", {"name": "x"}), "exactly the entries"),
        (with_entry("labels", 5), "exactly the entries"),
        (with_entry("images", "7"), "`images` must"),
        (with_entry("weights_sha256", "x"), "`weights_sha256` must"),
        (with_entry("protocol", "whole"), "`protocol` must"),
        (with_entry("versions", None), "`versions` must"),
    ],
)
def test_a_changed_file_is_one_clear_error(tmp_path, change, match):
    content = large_scores().to_dict()
    change(content)
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(content))
    with pytest.raises(
        ValueError,
        match=rf"`path` must be a file written by Scores\.save \(.*{match}"
        r".*\)\. Received: path='.*scores\.json'",
    ):
        Scores.load(path)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b"[" * 100_000]
)
def test_no_json_is_the_same_error(tmp_path, data):
    path = tmp_path / "scores.json"
    path.write_bytes(data)
    with pytest.raises(
        ValueError, match=r"`path` must be a file written by Scores"
    ):
        Scores.load(path)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`path` must be readable.*a'"):
        Scores.load(tmp_path / "a")
    with pytest.raises(IsADirectoryError, match="`path` must be readable"):
        Scores.load(tmp_path)
