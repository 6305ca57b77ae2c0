"""Tests of the training pipeline: every picture, in an order a seed gives."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support import tiny_pspnet

from keras_pspnet.data import pipeline
from keras_pspnet.data.augment.augmentation import train_augmentation
from keras_pspnet.data.dataset import load
from keras_pspnet.data.pipeline import batch_indices, training_dataset
from keras_pspnet.labels import VOC, generic_labels

SIZE = (5, 7)
UNCHANGED = train_augmentation(SIZE, scales=None, flip=False)
ALL_CHANGES = train_augmentation(SIZE, rotate90=True)


def random_pair(seed: int, size: tuple[int, int] = SIZE, classes: int = 3):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype="uint8")
    return image, rng.integers(0, classes, size, dtype="uint8")


def write_pair(
    folder: Path, name: str, image: np.ndarray, mask: np.ndarray
) -> None:
    """Writes a PNG and a palette mask, as VOC's are."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(exist_ok=True)
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    picture = Image.frombytes("P", mask.shape[::-1], mask.tobytes())
    picture.putpalette([value for color in VOC.colors for value in color])
    picture.save(folder / "masks" / f"{name}.png")


def numbered(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures of one color and label each, both the picture's index."""
    return [
        (np.full((*SIZE, 3), k, "uint8"), np.full(SIZE, k, "uint8"))
        for k in range(count)
    ]


def order(pairs, batch_size: int, steps: int, **kwargs: int) -> list[int]:
    """Which pictures come, one after the other."""
    found = []
    dataset = training_dataset(pairs, UNCHANGED, batch_size, steps, **kwargs)
    for images, masks in dataset.as_numpy_iterator():
        np.testing.assert_array_equal(images, np.stack([masks] * 3, axis=-1))
        found += masks[:, 0, 0].tolist()
    return found


def batches(pairs, steps: int, **kwargs: int) -> list[np.ndarray]:
    """Pictures and masks of a run with all changes, as one array each."""
    dataset = training_dataset(pairs, ALL_CHANGES, 2, steps, **kwargs)
    return [
        np.concatenate([images, masks[..., None]], axis=-1)
        for images, masks in dataset.as_numpy_iterator()
    ]


def test_batches_are_what_a_model_is_trained_on() -> None:
    pairs = [random_pair(k, (9 + k, 11)) for k in range(3)]
    dataset = training_dataset(pairs, ALL_CHANGES, batch_size=4, total_steps=5)
    assert int(dataset.cardinality()) == 5
    assert dataset.element_spec == (
        tf.TensorSpec((4, *SIZE, 3), tf.float32),
        tf.TensorSpec((4, *SIZE), tf.uint8),
    )
    seen = list(dataset.as_numpy_iterator())
    assert len(seen) == 5
    images = np.stack([images for images, _ in seen])
    assert images.min() >= 0
    assert 200 < images.max() <= 255


def test_every_epoch_has_every_picture_once() -> None:
    # Batches of 3 cross the borders of epochs of 7.
    found = order(numbered(7), batch_size=3, steps=14)
    epochs = np.reshape(found, (6, 7))
    for epoch in epochs:
        assert sorted(epoch) == list(range(7))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 3


def test_a_later_part_is_the_end_of_the_whole_run() -> None:
    pairs = [random_pair(k, (9, 8)) for k in range(3)]
    whole = batches(pairs, steps=6)
    for first_step in (1, 4):
        part = batches(pairs, steps=6, first_step=first_step)
        np.testing.assert_array_equal(part, whole[first_step:])
    assert not batches(pairs, steps=6, first_step=6)


def test_seeds_decide_order_and_changes() -> None:
    pairs = [random_pair(k, (9, 8)) for k in range(3)]
    whole = batches(pairs, steps=6)
    np.testing.assert_array_equal(batches(pairs, steps=6), whole)
    assert not np.array_equal(batches(pairs, steps=6, seed=1), whole)
    orders = [order(numbered(9), 3, 3, seed=seed) for seed in range(4)]
    assert len({tuple(found) for found in orders}) > 1


def test_a_picture_comes_in_another_form_every_epoch() -> None:
    pairs = [random_pair(0, (9, 8))]
    seen = {batch[k].tobytes() for batch in batches(pairs, 4) for k in range(2)}
    assert len(seen) > 5


@pytest.mark.parametrize("seed", [0, 5])
def test_the_pairs_of_a_batch_can_be_told(seed: int) -> None:
    # Batches of 4 cross the borders of epochs of 7; one has two of them.
    for count, batch_size in ((7, 4), (3, 8)):
        found = order(numbered(count), batch_size, 5, seed=seed)
        told = [batch_indices(count, batch_size, seed, k) for k in range(5)]
        assert told[0].dtype == np.int64
        assert np.concatenate(told).tolist() == found


@pytest.mark.parametrize("calls", [1, 2, 7])
def test_batches_do_not_depend_on_how_many_are_made_at_a_time(
    monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    pairs = [random_pair(k, (9, 8 + k)) for k in range(3)]
    whole = batches(pairs, steps=6)
    monkeypatch.setattr(pipeline, "_PARALLEL_CALLS", calls)
    np.testing.assert_array_equal(batches(pairs, steps=6), whole)


def test_files_are_read_once_where_there_is_room(tmp_path) -> None:
    pairs = [random_pair(k, (9, 8 + k)) for k in range(3)]
    for k, pair in enumerate(pairs):
        write_pair(tmp_path, str(k), *pair)
    classes = generic_labels(3)
    want = batches(load(tmp_path, labels=classes), steps=6)
    kept = load(tmp_path, labels=classes, cache_bytes=10**6)
    np.testing.assert_array_equal(batches(kept, steps=6), want)
    for path in [*tmp_path.glob("*/*")]:
        path.unlink()
    np.testing.assert_array_equal(batches(kept, steps=6), want)


def test_a_wrong_label_stops_training_with_its_file(tmp_path) -> None:
    # The last picture of the first epoch: training is under way by then.
    last = order(numbered(6), batch_size=2, steps=3)[-1]
    pairs = [random_pair(k, (32, 32)) for k in range(6)]
    pairs[last][1][8, 9] = 77
    for k, pair in enumerate(pairs):
        write_pair(tmp_path, str(k), *pair)
    reader = load(tmp_path, labels=generic_labels(3))
    augment = train_augmentation((32, 32), scales=None)
    dataset = training_dataset(reader, augment, batch_size=2, total_steps=3)
    model = tiny_pspnet(bin_sizes=(), aux=False)
    model.compile(total_steps=3)
    match = rf"0\.\.2, or 255.*label 77.*mask='.*masks.{last}.png'$"
    with pytest.raises(ValueError, match=match):
        model.fit(dataset, verbose=0)
    # The failing step's counter may go up beside the read that fails.
    assert int(model.optimizer.iterations) >= 2
