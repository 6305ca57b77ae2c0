"""Tests of keras_pspnet.data.load and check on somebody's own data."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from data_trees import (
    SIZE,
    first_label,
    full,
    names,
    row,
    write_array,
    write_noise,
    write_own,
    write_text,
)
from dataset_archives import write_voc
from image_files import png

from keras_pspnet.data import (
    check,
    check_label_file,
    find_label_file,
    label_set_encoding,
    load,
    read_pair,
)
from keras_pspnet.labels import LabelSet

OWN = LabelSet("own", ("sky", "road"), ((0, 0, 255), (9, 9, 9)))


def test_own_data_flat_and_by_split(tmp_path) -> None:
    flat = write_own(tmp_path / "flat", b=row(0, 1, 255), a=full(1))
    write_text(flat / "labels.txt", "sky\nroad\n")
    data = load(flat)
    assert names(data) == ["a", "b"]
    np.testing.assert_array_equal(data[1][1], row(0, 1, 255))
    assert data.labels.names == ("sky", "road")
    assert data.labels.name == "flat"
    split = tmp_path / "split"
    write_own(split / "train", a=full(0))
    write_own(split / "val", b=full(1))
    write_text(split / "labels.txt", "sky\nroad\n")
    assert first_label(load(str(split), "train")) == {"a": 0}
    assert first_label(load(split, "val")) == {"b": 1}


def test_own_data_may_have_hidden_files_and_dots_in_names(tmp_path) -> None:
    write_own(tmp_path, **{"v1.2": full(0), "v1.3": full(1)})
    write_text(tmp_path / "images/._v1.2.jpg", "made by an archiver")
    write_text(tmp_path / "images/notes.txt", "not a picture")
    (tmp_path / "images/old.png").mkdir()
    assert names(load(tmp_path, labels=OWN)) == ["v1.2", "v1.3"]


def test_own_data_in_colors(tmp_path) -> None:
    colors = np.array(
        [(128, 64, 128), (250, 170, 30), (0, 0, 0), (255, 255, 255)], np.uint8
    )
    index = np.arange(24).reshape(SIZE) % 4
    rgba = np.dstack([colors[index], full(0)])
    write_own(tmp_path, a=colors[index], b=rgba, c=row(1, 0))
    lines = "road 128 64 128\ntraffic light #faaa1e\n"
    lines += "ignore 0 0 0\nignore 255 255 255\n"
    write_text(tmp_path / "labels.txt", lines)
    data = load(tmp_path)
    want = np.array([0, 1, 255, 255])[index]
    np.testing.assert_array_equal(data[0][1], want)
    np.testing.assert_array_equal(data[1][1], want)
    np.testing.assert_array_equal(data[2][1], row(1, 0))
    assert data.labels.names == ("road", "traffic light")
    assert data.labels.colors == ((128, 64, 128), (250, 170, 30))


def test_colors_must_be_exact(tmp_path) -> None:
    mask = np.zeros((*SIZE, 3), np.uint8)
    mask[2, 3] = 1, 2, 3
    mask[3, 0] = 4, 5, 6
    write_own(tmp_path, a=mask)
    write_text(tmp_path / "labels.txt", "sky 0 0 0\n")
    rule = r"labels\.txt lists.*\[1, 2, 3\] \(#010203\) \(1 pixels\), .*"
    rule += "at x=3, y=2,"
    with pytest.raises(ValueError, match=rule):
        load(tmp_path)[0]


def test_colored_masks_need_colors_that_tell_classes_apart(tmp_path) -> None:
    write_own(tmp_path, a=np.zeros((*SIZE, 3), np.uint8), b=full(1))
    write_text(tmp_path / "labels.txt", "sky\nroad\n")
    with pytest.raises(ValueError, match=r"labels\.txt lists no colors.*a"):
        load(tmp_path)[0]
    write_text(tmp_path / "labels.txt", "sky #000000\nroad 0 0 0\n")
    data = load(tmp_path)
    with pytest.raises(ValueError, match="#000000 twice in .*labels"):
        data[0]
    np.testing.assert_array_equal(data[1][1], full(1))


def test_a_label_set_stands_in_for_the_file(tmp_path) -> None:
    mask = np.array(OWN.colors, np.uint8)[row(0, 1)]
    write_own(tmp_path, a=row(0, 1, 7), b=mask)
    write_text(tmp_path / "labels.txt", "not, this\n")
    labels = LabelSet("own", OWN.names, OWN.colors, ignore_label=7)
    data = load(tmp_path, labels=labels)
    np.testing.assert_array_equal(data[0][1], row(0, 1, 255))
    np.testing.assert_array_equal(data[1][1], row(0, 1))
    assert data.labels == OWN
    assert (data.num_classes, data.ignore_label) == (2, 255)


def test_colors_of_16_bits_are_refused(tmp_path) -> None:
    write_own(tmp_path, a=full(0, (1, 1)))
    # 0x0001 would be black in 8 bits.
    content = png(1, 1, 16, 2, [b"\0\1" * 3])
    (tmp_path / "masks/a.png").write_bytes(content)
    write_text(tmp_path / "labels.txt", "sky 0 0 0\n")
    with pytest.raises(ValueError, match=r"index mask, .*a\.png"):
        load(tmp_path)[0]


def test_long_indices_are_never_taken_for_colors(tmp_path) -> None:
    write_own(tmp_path, a=np.full(SIZE, 65535, np.uint16))
    write_text(tmp_path / "labels.txt", "sky 255 255 255\n")
    with pytest.raises(ValueError, match=r"within 0, or 255.*65535"):
        load(tmp_path)[0]


def test_missing_folders_and_files(tmp_path) -> None:
    write_own(tmp_path / "flat", a=full(0))
    write_own(tmp_path / "split" / "train", a=full(0))
    with pytest.raises(FileNotFoundError, match="split=None takes images and"):
        load(tmp_path / "flat", "train", labels=OWN)
    with pytest.raises(FileNotFoundError, match="split='val'. Received"):
        load(tmp_path / "split", "val", labels=OWN)
    # The only split need not be named.
    assert names(load(tmp_path / "split", labels=OWN)) == ["a"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="must hold images and masks"):
        load(tmp_path / "empty", labels=OWN)
    with pytest.raises(FileNotFoundError, match=r"must hold labels\.txt"):
        load(tmp_path / "flat")
    with pytest.raises(FileNotFoundError, match="existing folder.*'nothing'"):
        load("nothing", "train")


# === Readers ===


def test_cached_pairs_are_read_once_and_cannot_be_changed(tmp_path) -> None:
    write_own(tmp_path, a=full(0), b=full(1))
    room = SIZE[0] * SIZE[1] * 4
    data = load(tmp_path, labels=OWN, cache_bytes=room)
    kept = data[0]
    assert data[0] is kept
    assert data[-2] is kept
    with pytest.raises(ValueError, match="read-only"):
        kept[1][0, 0] = 1
    assert data[1] is not data[1]
    data[1][1][0, 0] = 0
    with pytest.raises(IndexError):
        data[2]


def test_sizes_must_be_the_same(tmp_path) -> None:
    write_own(tmp_path, a=full(0, (6, 4)), b=full(0, (4, 5)))
    data = load(tmp_path, labels=OWN)
    with pytest.raises(ValueError, match=r"a\.png' of 4x6, .*6x4; was the mas"):
        data[0]
    with pytest.raises(ValueError, match=r"b\.png' of 5x4, .*b\.jpg' of 6x4$"):
        data[1]


def test_files_that_went_away_are_named(tmp_path) -> None:
    write_own(tmp_path, a=full(0), b=full(0))
    data = load(tmp_path, labels=OWN)
    (tmp_path / "masks/a.png").unlink()
    (tmp_path / "images/b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"`mask` .*masks/a\.png"):
        data[0]
    with pytest.raises(FileNotFoundError, match=r"`image` .*images/b\.jpg"):
        data[1]
    assert [len(issue.files) for issue in check(data)[:2]] == [1, 1]


def test_pairs_can_be_checked_before_long_work(tmp_path) -> None:
    write_own(tmp_path, a=full(1), b=row(0, 2))
    data = load(tmp_path, labels=OWN)
    with pytest.raises(ValueError, match=r"0\.\.1, .*label 2 .*b\.png"):
        data.check_pairs()
    write_array(tmp_path / "masks/b.png", full(255))
    data.check_pairs()
    write_array(tmp_path / "masks/a.png", full(255))
    with pytest.raises(ValueError, match=r"not ignored.*a\.png' and 1 more"):
        data.check_pairs()
    (tmp_path / "images/b.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"b\.jpg"):
        data.check_pairs()


def test_arguments_are_checked(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"`root` must.*'\./voc'"):
        load("voc", "train")
    with pytest.raises(ValueError, match="`split` must be a string for 'voc'"):
        load("voc", root=tmp_path)
    with pytest.raises(ValueError, match="one of voc, cityscapes, .*'vocc'"):
        load("vocc", "train", root=tmp_path)
    with pytest.raises(ValueError, match="`labels` must be None for 'voc'"):
        load("voc", "train", root=tmp_path, labels=OWN)


# === Scoring ===


def test_masks_of_a_model_s_classes_and_colors(tmp_path) -> None:
    colors = np.array([*OWN.colors, (1, 2, 3)], np.uint8)
    write_own(tmp_path, a=row(0, 1, 255, 7), b=colors[row(0, 1)])
    data = load(tmp_path, labels=OWN, ignore_label=7)
    np.testing.assert_array_equal(data[0][1], row(0, 1, 255, 255))
    np.testing.assert_array_equal(data[1][1], row(0, 1))
    # A class may be ignored as well.
    data = load(tmp_path, labels=OWN, ignore_label=1)
    np.testing.assert_array_equal(data[1][1], row(0, 255))
    with pytest.raises(ValueError, match=r"within 0\.\.1, or 255.*label 7 "):
        data[0]
    # The colors of a file stand in for the model's.
    write_array(tmp_path / "masks/b.png", colors[row(2, 1)])
    with pytest.raises(ValueError, match=r"label set 'own' lists.*\[1, 2, 3\]"):
        load(tmp_path, labels=OWN)[1]
    path = tmp_path / "labels.txt"
    write_text(path, "sky 1 2 3\nroad 9 9 9\n")
    assert find_label_file(tmp_path) == path
    # Splits lie beside it.
    assert find_label_file(tmp_path / "images") == path
    assert find_label_file(tmp_path / "images/deeper") is None
    data = load(tmp_path, labels=OWN)
    np.testing.assert_array_equal(data[1][1], row(0, 1))


def test_masks_of_values_are_scored_by_their_label_file(tmp_path) -> None:
    write_own(tmp_path, a=row(0, 255, 7))
    path = tmp_path / "labels.txt"
    write_text(path, "sky 0\nroad 255\n")
    with pytest.raises(ValueError, match=r"0, 255, as .*labels\.txt.*label 7 "):
        load(tmp_path, labels=OWN)[0]
    data = load(tmp_path, labels=OWN, ignore_unknown=True)
    np.testing.assert_array_equal(data[0][1], row(0, 1, 255))
    data = load(tmp_path, labels=OWN, ignore_label=1, ignore_unknown=True)
    np.testing.assert_array_equal(data[0][1], row(0, 255, 255))
    with pytest.raises(ValueError, match="at most 23 pixels"):
        load(tmp_path, labels=OWN, max_pixels=23)[0]


def test_pairs_are_read_from_bytes_as_well(tmp_path) -> None:
    colors = np.array(OWN.colors, np.uint8)
    write_own(tmp_path, a=colors[row(0, 1)], b=full(0, (6, 4)))
    data = load(tmp_path, labels=OWN)
    encoding = label_set_encoding(OWN)
    files = [
        [Path(path).read_bytes() for path in data.files(index)]
        for index in range(2)
    ]
    want = data[0]
    for array, expected in zip(
        read_pair(*files[0], encoding), want, strict=True
    ):
        np.testing.assert_array_equal(array, expected)
    rule = r"mask=<\d+ bytes> of 4x6, image=<\d+ bytes> of 6x4"
    with pytest.raises(ValueError, match=rule):
        read_pair(*files[1], encoding)


@pytest.mark.parametrize("text", ["road\nsky\n", "sky\nroad\nfish\n"])
def test_other_classes_than_the_model_s_are_refused(tmp_path, text) -> None:
    write_own(tmp_path, a=full(0))
    check_label_file(OWN, tmp_path, None)
    write_text(tmp_path / "labels.txt", text)
    rule = r"must list the 2 classes of the model in their order: sky, road\. "
    with pytest.raises(ValueError, match=rf"{rule}Received: .*labels\.txt"):
        check_label_file(OWN, tmp_path, None)
    # The same by other names.
    write_text(tmp_path / "labels.txt", "heaven\nstreet\n")
    check_label_file(OWN, tmp_path, None)


# === check ===


def test_check_warns_of_pages_that_are_not_read(tmp_path) -> None:
    write_own(tmp_path, a=row(0, 1))
    (tmp_path / "images/a.jpg").unlink()
    pages = np.full((3, *SIZE), 80, np.uint8)
    tifffile.imwrite(tmp_path / "images/a.tif", pages, photometric="minisblack")
    (issue,) = check(load(tmp_path, labels=OWN))
    assert issue.is_warning and "a.tif has 3 pages, of which" in issue.text
    # Overviews are no pages.
    with tifffile.TiffWriter(tmp_path / "images/a.tif") as file:
        file.write(pages[0], photometric="minisblack")
        file.write(pages[0, ::2, ::2], photometric="minisblack", subfiletype=1)
    assert check(load(tmp_path, labels=OWN)) == []


def test_check_finds_nothing_in_a_sound_set(tmp_path) -> None:
    write_own(tmp_path, a=row(0, 1, 255))
    assert check(load(tmp_path, labels=OWN)) == []


def test_check_lists_every_fault(tmp_path) -> None:
    write_own(
        tmp_path,
        bad_label=row(0, 1, 5, 77),
        bad_size=full(1, (5, 6)),
        both_bad=full(9),
        colored=full(0)[..., None].repeat(3, axis=2),
        lost_mask=full(0),
        lost_picture=full(0),
        no_truth=full(255),
        twice=full(0),
        unreadable=full(0),
    )
    images, masks = tmp_path / "images", tmp_path / "masks"
    (masks / "lost_mask.png").unlink()
    write_noise(masks / "lost_mask.jpg")
    (images / "lost_picture.jpg").unlink()
    write_noise(images / "twice.png")
    for path in (images / "both_bad.jpg", masks / "unreadable.png"):
        path.write_bytes(path.read_bytes()[:-30])
    write_text(tmp_path / "labels.txt", "sky\nroad\nfish\n")
    with pytest.raises(ValueError, match=r"lossy files .* \(1 of 4 issues"):
        load(tmp_path)
    data = load(tmp_path, strict=False)
    assert "lost_mask" not in names(data)
    found = [
        (
            issue.is_warning,
            tuple(Path(file).name for file in issue.files),
            str(issue),
        )
        for issue in check(data)
    ]
    want = [
        (False, ("lost_mask.jpg",), "lossy files change indices"),
        (False, ("twice.jpg", "twice.png"), "2 files of one name"),
        (False, ("lost_mask.jpg",), "has no mask in"),
        (False, ("lost_picture.png",), "has no image in"),
        (
            False,
            ("bad_label.png",),
            "labels 5 (6 pixels), 77 (6 pixels), the first at x=2, y=0",
        ),
        (False, ("bad_size.jpg", "bad_size.png"), "of 6x5"),
        (False, ("both_bad.jpg",), "can be decoded"),
        (False, ("both_bad.png",), "label 9"),
        (False, ("colored.png",), "labels.txt lists no colors"),
        (True, ("no_truth.png",), "warning: "),
        (False, ("unreadable.png",), "can be decoded"),
        (False, ("bad_label.png", "both_bad.png"), "2 masks hold values"),
        (True, ("masks",), f"no mask in {masks} that can be read shows these "),
    ]
    assert [each[:2] for each in found] == [each[:2] for each in want]
    for (_, _, text), (_, _, part) in zip(found, want, strict=True):
        assert part in text


def test_check_lists_what_lists_get_wrong(tmp_path) -> None:
    write_voc(tmp_path, "")
    path = tmp_path / "ImageSets" / "Segmentation" / "train.txt"
    write_text(path, "a\nghost\na\n")
    issues = check(load("voc", "train", root=tmp_path, strict=False))
    assert issues[0].text == f"{path} lists a 2 times"
    text = f"{path} lists 'ghost', which has neither an image in "
    assert issues[1].text.startswith(text)
    write_text(path, "\n")
    with pytest.raises(ValueError, match=r"no pair .* that .*train\.txt lists"):
        load("voc", "train", root=tmp_path)
    assert len(load("voc", "train", root=tmp_path, strict=False)) == 0


def test_check_refuses_a_split_without_truth(tmp_path) -> None:
    write_own(tmp_path, a=full(255), b=full(255))
    issues = check(load(tmp_path, labels=OWN))
    assert [issue.is_warning for issue in issues] == [True, True, False]
    place = tmp_path / "masks"
    assert issues[2].text.startswith(f"no mask in {place} has any ground truth")
    assert issues[2].files == (str(place),)
    # One pixel is enough to train on.
    mask = full(255)
    mask[0, 0] = 1
    write_array(tmp_path / "masks/b.png", mask)
    issues = check(load(tmp_path, labels=OWN))
    assert [issue.is_warning for issue in issues] == [True, True]


def test_check_warns_of_classes_that_no_mask_shows(tmp_path) -> None:
    write_own(tmp_path, a=row(0, 7))
    many = LabelSet("many", tuple("abcdefgh"), ((0, 0, 0),) * 8)
    (issue,) = check(load(tmp_path, labels=many))
    assert issue.is_warning
    assert issue.text.endswith("classes: b, c, d, e, f and 1 more")
