"""Tests of the agreement between the masks of adjacent photographs."""

import numpy as np
import pytest
from PIL import Image

from training import label_agreement


@pytest.fixture
def folder(tmp_path):
    """Photographs 1, 2 (beside 1), 4 (below 1) and 9 of an area."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    masks = {number: np.zeros((8, 12), np.uint8) for number in (1, 2, 4, 9)}
    # Two of its eight pixels beside photograph 1, and one without a label.
    masks[2][:2, 0] = 1
    masks[2][7, 0] = 255
    masks[2][:, 4] = 3
    masks[4][0, :3] = 4
    for number, mask in masks.items():
        split = "val" if number == 2 else "train"
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True, exist_ok=True)
        for column in (0, 1):
            part = np.s_[:, 6 * column : 6 * column + 6]
            name = f"tile1_{number:03}_0{column}.png"
            path = tmp_path / split / "images" / name
            Image.fromarray(noise[part]).save(path)
            path = tmp_path / split / "masks" / name
            Image.fromarray(mask[part]).save(path)
    return tmp_path


def test_lines_across_photographs(folder) -> None:
    photos = {}
    for split in ("train", "val"):
        photos |= label_agreement.read_photos(folder, split)
    photos = dict(sorted(photos.items()))
    assert [number for _, number in photos] == [1, 2, 4, 9]
    assert {gray.shape for gray, _ in photos.values()} == {(8, 12)}
    right, below = label_agreement.across(photos)
    np.testing.assert_array_equal(right.confusion[0], [5, 2, 0, 0, 0])
    np.testing.assert_array_equal(below.confusion[0], [9, 0, 0, 0, 3])
    assert right.confusion.sum() == 7


def test_lines_within_a_photograph(folder) -> None:
    photos = label_agreement.read_photos(folder, "val")
    assert label_agreement.area_shares(photos) == {1: 1}
    same, _ = label_agreement.within(photos, 0)
    assert same.correlation == pytest.approx(1)
    across, _ = label_agreement.within(photos, 2)
    assert across.confusion[0, 0] == 8
    photos[1, 2][1][:, 6] = 3
    across, _ = label_agreement.within(photos, 2)
    assert across.confusion[3, 0] == 8


def test_scores_take_both_sides_as_ground_truth() -> None:
    confusion = np.zeros((5, 5), np.int64)
    confusion[0, 0], confusion[0, 1] = 6, 2
    lines = [label_agreement.Line(1, 1.0, confusion)]
    iou = label_agreement.scores(lines, {1: 0.5, 2: 0.5}).iou
    # 12 pixels of class 0 on both sides, 4 with it on one side.
    assert iou[:2] == pytest.approx([12 / 16, 0])


def test_other_names_are_refused(folder) -> None:
    path = folder / "train" / "images" / "tile1_001_00.png"
    path.rename(path.with_name("other.png"))
    path = folder / "train" / "masks" / "tile1_001_00.png"
    path.rename(path.with_name("other.png"))
    with pytest.raises(ValueError, match="named tileA_PPP_RC"):
        label_agreement.read_photos(folder, "train")
