"""Tests of the drawn towns that the shipped model is shown on."""

import numpy as np
import pytest

import keras_pspnet as kp
from keras_pspnet.data.synthetic import towns
from keras_pspnet.data.synthetic.towns import make_town
from keras_pspnet.labels import AERIAL


def test_a_town_depends_on_its_seed_alone() -> None:
    image, mask = make_town(3)
    np.random.seed(1)
    before = np.random.random()
    np.random.seed(1)
    again, mask_again = make_town(3)
    assert np.random.random() == before
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(mask, mask_again)
    assert not np.array_equal(image, make_town(4)[0])


@pytest.mark.parametrize("size", [(32, 32), (129, 300), (240, 320), (384, 512)])
def test_towns_have_their_classes(size: tuple[int, int]) -> None:
    for seed in range(8):
        image, mask = make_town(seed, size)
        assert (image.shape, image.dtype) == ((*size, 3), np.uint8)
        assert (mask.shape, mask.dtype) == (size, np.uint8)
        shares = np.bincount(mask.reshape(-1), minlength=AERIAL.num_classes)
        assert len(shares) == AERIAL.num_classes
        # Small ones may be without one of the things that a large one has.
        assert min(size) < 240 or shares.min() / mask.size > 0.01


def test_classes_are_those_of_the_labels() -> None:
    for index, name in enumerate(AERIAL.names):
        assert getattr(towns, name.upper()) == index


def test_the_shipped_model_knows_its_way_about() -> None:
    """Wrong colors, a wrong order of channels or of classes would show."""
    model = kp.load_pretrained("aerial")
    scores = kp.evaluate(model, [make_town(seed) for seed in range(2)])
    assert scores.mean_iou > 0.6
    assert scores.iou.min() > 0.4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, (31, 300)), ValueError, "two integers of at least 32"),
        ((0, 300), ValueError, "`size` must be"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        make_town(*arguments)
