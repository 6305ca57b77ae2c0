"""Tests of keras_pspnet.labels: the tables, and what a set may hold."""

import json

import pytest

from keras_pspnet.labels import (
    ADE20K,
    AERIAL,
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TRAIN_IDS,
    SCENES,
    VOC,
    LabelSet,
    generic_labels,
)

ALL = (VOC, ADE20K, CITYSCAPES, CAMVID, AERIAL, SCENES)


def voc_color(index):
    """The color map of the VOC development kit, written the long way."""
    color = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            if index & (1 << (3 * place + channel)):
                color[channel] += 1 << (7 - place)
    return tuple(color)


@pytest.mark.parametrize(
    ("labels", "count", "first", "last"),
    [
        (VOC, 21, ("background", (0, 0, 0)), ("tvmonitor", (0, 64, 128))),
        (ADE20K, 150, ("wall", (120, 120, 120)), ("flag", (92, 0, 255))),
        (CITYSCAPES, 19, ("road", (128, 64, 128)), ("bicycle", (119, 11, 32))),
        (CAMVID, 11, ("Sky", (128, 128, 128)), ("Bicyclist", (0, 128, 192))),
        (AERIAL, 5, ("building", (209, 73, 63)), ("water", (61, 133, 216))),
        (SCENES, 11, ("sky", (142, 202, 230)), ("pillow", (255, 111, 181))),
    ],
)
def test_tables(labels, count, first, last):
    assert labels.num_classes == count == len(set(labels.names))
    assert (labels.names[0], labels.colors[0]) == first
    assert (labels.names[-1], labels.colors[-1]) == last
    assert labels.ignore_label == 255


def test_entries_inside_the_long_tables():
    spots = {
        name: ADE20K.colors[ADE20K.names.index(name)]
        for name in ("chest of drawers", "television receiver", "sink")
    }
    assert spots == {
        "chest of drawers": (6, 51, 255),
        "television receiver": (0, 255, 194),
        "sink": (0, 163, 255),
    }
    assert CITYSCAPES.names[6:8] == ("traffic light", "traffic sign")
    assert CAMVID.names[4] == "Pavement"


def test_voc_colors_follow_the_bit_map():
    assert VOC.colors == tuple(voc_color(index) for index in range(21))


def test_colors_differ_within_a_set():
    for labels in (VOC, CITYSCAPES, CAMVID, AERIAL, SCENES):
        assert len(set(labels.colors)) == labels.num_classes, labels.name


def test_cityscapes_ids():
    assert sorted(CITYSCAPES_TRAIN_IDS) == list(range(-1, 34))
    trained = {k: v for k, v in CITYSCAPES_TRAIN_IDS.items() if v != 255}
    assert sorted(trained.values()) == list(range(19))
    assert list(trained) == sorted(trained)
    assert [CITYSCAPES_TRAIN_IDS[label] for label in (7, 8, 24, 33)] == [
        *(0, 1, 11, 18)
    ]
    assert CITYSCAPES_TRAIN_IDS[-1] == CITYSCAPES_TRAIN_IDS[0] == 255
    with pytest.raises(TypeError):
        CITYSCAPES_TRAIN_IDS[0] = 3


@pytest.mark.parametrize("num_classes", [1, 2, 19, 255])
def test_generic_labels(num_classes):
    labels = generic_labels(num_classes)
    assert labels.name == "classes"
    assert labels.names[0] == "class_0"
    assert labels.names[-1] == f"class_{num_classes - 1}"
    assert len(set(labels.colors)) == num_classes
    assert (0, 0, 0) not in labels.colors
    assert labels == generic_labels(num_classes)
    # More classes leave the colors of the first ones as they are.
    assert labels.colors == generic_labels(255).colors[:num_classes]


@pytest.mark.parametrize("labels", ALL, ids=lambda labels: labels.name)
def test_dict_survives_json(labels):
    text = json.dumps(labels.to_dict())
    assert LabelSet.from_dict(json.loads(text)) == labels


@pytest.mark.parametrize("num_classes", [0, 256, -1])
def test_generic_labels_refuse_counts(num_classes):
    with pytest.raises(
        ValueError,
        match=r"`num_classes` must be within 1\.\.255. Received: "
        f"num_classes={num_classes}",
    ):
        generic_labels(num_classes)


@pytest.mark.parametrize("num_classes", [2.0, "3", True, None])
def test_generic_labels_refuse_types(num_classes):
    with pytest.raises(TypeError, match="`num_classes` must be an integer"):
        generic_labels(num_classes)


RED, BLUE = (255, 0, 0), (0, 0, 255)
MANY = tuple(f"c{index}" for index in range(256))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((7, ("a",), (RED,)), TypeError, "`name` must be a string.*name=7"),
        (("s", ["a"], (RED,)), TypeError, "`names` must be a tuple of str"),
        (("s", ("a", 3), (RED,) * 2), TypeError, "`names` must be a tuple of"),
        (("s", (), ()), ValueError, "`names` must have 1 to 255.*: 0 names"),
        (("s", MANY, (RED,) * 256), ValueError, "1 to 255.*: 256 names"),
        (("s", ("a", "a"), (RED, BLUE)), ValueError, r"different.*'a'"),
        (("s", ("",), (RED,)), ValueError, "printable and not empty.*name=''"),
        (
            ("s", ("a\nb",), (RED,)),
            ValueError,
            "`names` must be different, printable",
        ),
        (("s", ("a",), [RED]), TypeError, "`colors` must be a tuple"),
        (("s", ("a", "b"), (RED,)), ValueError, "of the 2 names.*: 1 colors"),
        (("s", ("a",), ((1, 2),)), ValueError, r"tuples.*color=\(1, 2\)"),
        (("s", ("a",), ((0, 0, 256),)), ValueError, r"0\.\.255.*colors=256"),
        (("s", ("a",), ((0, -1, 0),)), ValueError, r"0\.\.255.*colors=-1"),
        (("s", ("a",), ((0, 0.5, 0),)), TypeError, "an integer.*colors=0.5"),
        (("s", ("a",), (RED,), 0), ValueError, "one of the 1.*ignore_label=0"),
        (("s", ("a",), (RED,), 256), ValueError, r"0\.\.255.*label=256"),
        (("s", ("a",), (RED,), None), TypeError, "an integer.*label=None"),
    ],
)
def test_label_set_refuses(arguments, error, match):
    with pytest.raises(error, match=match):
        LabelSet(*arguments)


def test_from_dict_refuses():
    config = VOC.to_dict()
    del config["colors"]
    with pytest.raises(ValueError, match="`config` must have exactly.*colors"):
        LabelSet.from_dict(config)
    with pytest.raises(ValueError, match="Received: config=.*'extra'"):
        LabelSet.from_dict(VOC.to_dict() | {"extra": 1})
    with pytest.raises(ValueError, match="`config` must .*Received: config=3"):
        LabelSet.from_dict(3)
    with pytest.raises(TypeError, match="`names` must be a tup.*names='abc'"):
        LabelSet.from_dict(VOC.to_dict() | {"names": "abc"})
    with pytest.raises(ValueError, match=r"`colors` must hold.*color=3"):
        LabelSet.from_dict(VOC.to_dict() | {"colors": [3] * 21})
