"""Tests of data.write: what is written is read again as it was."""

import numpy as np
import pytest
from data_trees import full, row, write_array, write_own, write_text
from PIL import Image

from keras_pspnet.data import Issue, label_file_text, load, write_pairs
from keras_pspnet.labels import LabelSet

LABELS = LabelSet(
    "own", ("sky", "lane 2", "\u00fcber"), ((0, 0, 255), (9, 9, 9), (1, 2, 3))
)


def test_pairs_come_back(tmp_path) -> None:
    source = write_own(tmp_path / "source", a=row(0, 1, 255, 2), b=full(1))
    data = load(source, labels=LABELS)
    output = tmp_path / "output"
    seen = list(write_pairs(data, output))
    write_text(output / "labels.txt", label_file_text(data.labels))
    again = load(output)
    assert again.labels.names == LABELS.names
    assert again.labels.colors == LABELS.colors
    assert len(again) == len(seen) == 2
    for pair, shown, want in zip(again, seen, data, strict=True):
        np.testing.assert_array_equal(pair[0], want[0])
        np.testing.assert_array_equal(pair[1], want[1])
        np.testing.assert_array_equal(shown.mask, want[1])
    # Images are the same bytes, masks show the colors of their classes.
    for index in range(2):
        first, second = data.files(index)[0], again.files(index)[0]
        with open(first, "rb") as one, open(second, "rb") as other:
            assert one.read() == other.read()
    with Image.open(again.files(1)[1]) as mask:
        assert mask.convert("RGB").getpixel((0, 0)) == (9, 9, 9)


def test_pairs_that_cannot_be_read_are_left_out(tmp_path) -> None:
    source = write_own(tmp_path / "source", a=full(7), b=full(1))
    data = load(source, labels=LABELS)
    issue, shown = write_pairs(data, tmp_path / "output")
    assert isinstance(issue, Issue) and "label 7" in issue.text
    assert (shown.mask == 1).all()
    assert sorted(
        str(path.relative_to(tmp_path / "output"))
        for path in (tmp_path / "output").rglob("*.*")
    ) == ["images/b.jpg", "masks/b.png"]


@pytest.mark.parametrize("name", ["#1", "ignore"])
def test_names_must_fit_the_file(name) -> None:
    labels = LabelSet("own", ("sky", name), ((0, 0, 255), (9, 9, 9)))
    with pytest.raises(ValueError, match="`labels` must have names that"):
        label_file_text(labels)


def test_two_classes_of_which_one_is_absent_are_read_back(tmp_path) -> None:
    source = tmp_path / "source"
    write_array(source / "images/a.png", np.zeros((3, 4, 3), np.uint8))
    mask = np.array([[0, 0, 255, 255]] * 3, np.uint8)
    write_array(source / "masks/a.png", mask)
    write_text(source / "labels.txt", "sky 0\nroad 1\nignore 255\n")
    data, output = load(source), tmp_path / "output"
    list(write_pairs(data, output))
    write_text(output / "labels.txt", label_file_text(data.labels))
    again = load(output)
    again.check_pairs()
    np.testing.assert_array_equal(again[0][1], mask)
