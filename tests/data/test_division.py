"""Tests of dividing a set that has no split for validation."""

import numpy as np
import pytest
from PIL import Image

from keras_pspnet.data import class_counts, divide, division, load
from keras_pspnet.data.sources.encodings import count_values


def write(folder, *masks):
    """Images and masks of the classes that are given, a row for each."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    (folder / "labels.txt").write_text("sky\nroad\nsea\n")
    for index, classes in enumerate(masks):
        mask = np.repeat(np.array(classes, "uint8")[:, None], 5, axis=1)
        image = np.zeros((*mask.shape, 3), "uint8")
        Image.fromarray(image).save(folder / "images" / f"{index:02}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{index:02}.png")
    return load(folder)


def names(data):
    return {data.files(index)[0] for index in range(len(data))}


def test_pixels_are_counted_by_class(tmp_path):
    data = write(tmp_path, (0, 0, 1), (2, 255, 0))
    np.testing.assert_array_equal(
        class_counts(data), [[10, 5, 0], [5, 0, 5]], strict=True
    )


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_each_image_is_in_one_part(tmp_path, share):
    data = write(tmp_path, *[(0, 1)] * 10)
    train, val = divide(data, share, seed=0)
    assert names(train) | names(val) == names(data)
    assert not names(train) & names(val)
    assert len(val) == {0.01: 1, 0.2: 2, 0.5: 5, 0.99: 9}[share]
    assert names(divide(data, share, seed=0)[1]) == names(val)
    image, mask = val[0]
    assert image.shape == (2, 5, 3)
    assert mask.tolist() == [[0] * 5, [1] * 5]


def test_another_seed_divides_otherwise(tmp_path):
    data = write(tmp_path, *[(0, 1)] * 10)
    drawn = {frozenset(names(divide(data, 0.3, seed)[1])) for seed in range(9)}
    assert len(drawn) > 5


@pytest.mark.parametrize("seed", range(8))
def test_no_class_is_left_without_a_training_image(tmp_path, seed):
    data = write(tmp_path, *[(0, 1)] * 7, (0, 2))
    train, val = divide(data, 0.8, seed)
    assert (class_counts(train).sum(0) > 0).all()
    assert len(val) in (5, 6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_rare_classes_go_back_by_the_whole_sets_counts(tmp_path, seed, share):
    draw = np.random.default_rng(seed)
    rows = [draw.choice((0, 0, 0, 0, 1, 2), 3).tolist() for _ in range(9)]
    data = write(tmp_path, *rows)
    present = class_counts(data) > 0
    order = np.random.default_rng(seed).permutation(len(data)).tolist()
    chosen = order[: round(share * len(data))]
    for label in range(3):
        shown = set(np.flatnonzero(present[:, label]))
        if shown and shown <= set(chosen):
            chosen.remove(next(each for each in chosen if each in shown))
    files = [data.files(index)[0] for index in chosen]
    assert names(divide(data, share, seed)[1]) == set(files)


def test_masks_are_read_until_each_class_is_seen(tmp_path, monkeypatch):
    data = write(tmp_path, *[(0, 1)] * 10)
    read = []
    monkeypatch.setattr(
        division,
        "count_values",
        lambda mask: read.append(1) or count_values(mask),
    )
    divide(data, 0.2, seed=0)
    # Those of two for validation, and one more.
    assert len(read) == 3


def test_what_cannot_be_divided_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`data` must hold two images"):
        divide(write(tmp_path / "a", (0, 1)), 0.5, 0)
    with pytest.raises(ValueError, match="`data` must have an image for val"):
        divide(write(tmp_path / "b", (0,), (1,)), 0.5, 0)
