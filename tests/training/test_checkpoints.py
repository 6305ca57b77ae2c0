"""Tests of the checkpoints of training runs."""

import json
import os
import resource
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy
from small import IMAGES, MASKS, small

from keras_pspnet import PSPNet
from keras_pspnet.optimizers import SGD
from keras_pspnet.training import checkpoints
from keras_pspnet.training.checkpoints import (
    SaveCheckpoints,
    check_run,
    listed,
    newest,
    path_of,
    read,
    restore,
    save,
    state,
)

pytestmark = pytest.mark.long

RUN = {"width": "0.5", "steps": "12"}
TENSORS = {
    "model/kernel": np.arange(12, dtype="float32").reshape(3, 4),
    "model/seed": np.array([7, 9], "uint32"),
    "optimizer/iteration": np.array(5, "int64"),
    "metrics/empty": np.zeros((0, 3), "float32"),
}


def kept(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def network(**kwargs: Any) -> PSPNet:
    keras.utils.set_random_seed(3)
    model = PSPNet(3, "resnet18", (33, 41, 3), width=1 / 16, **kwargs)
    model.compile(total_steps=8, learning_rate=0.05)
    model.build_training(33, 41)
    return model


def batch(step: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(step)
    images = rng.integers(0, 256, (4, 33, 41, 3)).astype("float32")
    return images, (images[..., 0] // 86).astype("uint8")


def trained(model: PSPNet, first: int, last: int) -> PSPNet:
    for step in range(first, last):
        model.train_on_batch(*batch(step))
    return model


# === Files ===


def test_what_is_saved_is_read(tmp_path) -> None:
    path = save(tmp_path, TENSORS, RUN, step=7, steps_per_epoch=5)
    assert path == path_of(tmp_path, 7)
    assert kept(tmp_path) == ["step-00000007.safetensors"]
    checkpoint = read(path)
    assert checkpoint.run == RUN
    assert checkpoint.step == 7
    assert (checkpoint.header["epoch"], checkpoint.header["batch"]) == (
        "1",
        "2",
    )
    assert set(checkpoint.tensors) == set(TENSORS)
    for name, array in TENSORS.items():
        got = checkpoint.tensors[name]
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(got, array)


def test_the_file_is_a_safetensors_file_with_its_run(tmp_path) -> None:
    path = save(tmp_path, TENSORS, RUN, step=7, steps_per_epoch=5)
    loaded = safetensors.numpy.load(path.read_bytes())
    assert set(loaded) == set(TENSORS)
    with safetensors.safe_open(path, framework="np") as stream:
        header = stream.metadata()
    assert json.loads(header["run"]) == RUN
    assert header["step"] == "7"
    assert len(header["sha256"]) == 64


def test_the_last_two_are_kept(tmp_path) -> None:
    for step in (3, 4, 7, 8):
        save(tmp_path, TENSORS, RUN, step, 4)
    (tmp_path / "notes.txt").write_text("the user's")
    save(tmp_path, TENSORS, RUN, 11, 4)
    assert kept(tmp_path) == [
        "notes.txt",
        "step-00000008.safetensors",
        "step-00000011.safetensors",
    ]
    # A run that went back: what it had reached before is of another past.
    save(tmp_path, TENSORS, RUN, 9, 4)
    assert [each.name for each in listed(tmp_path)] == [
        "step-00000009.safetensors",
        "step-00000008.safetensors",
    ]


def test_there_may_be_none(tmp_path) -> None:
    assert newest(tmp_path / "none") is None
    assert newest(tmp_path) is None


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    at = data.index(TENSORS["model/kernel"].tobytes()) + 9
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def _rename_run(data: bytes) -> bytes:
    return data.replace(rb"\"0.5\"", rb"\"0.9\"")


def _other_file(data: bytes) -> bytes:
    return safetensors.numpy.save({"weights": np.zeros(3)})


DAMAGES = {
    "cut": (_cut, "intact checkpoint"),
    "empty": (lambda data: b"", "intact checkpoint"),
    "one bit": (_flip, "its hash does not match"),
    "header": (_rename_run, "its hash does not match"),
    "zeros": (lambda data: bytes(len(data)), "intact checkpoint"),
    "another file": (_other_file, "of a training run"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(
    tmp_path, damage: str
) -> None:
    save(tmp_path, TENSORS, RUN, 4, 4)
    path = save(tmp_path, TENSORS, RUN, 8, 4)
    change, message = DAMAGES[damage]
    data = path.read_bytes()
    assert change(data) != data
    path.write_bytes(change(data))
    with pytest.raises(ValueError, match=f"{message}.*step-00000008"):
        read(path)
    with pytest.warns(
        UserWarning, match=f"previous one used.*{message}.*00000008"
    ):
        checkpoint = newest(tmp_path)
    assert checkpoint is not None and checkpoint.step == 4
    path_of(tmp_path, 4).write_bytes(b"")
    with pytest.raises(
        ValueError, match="an intact checkpoint, or none: .*0000008.*0000004"
    ):
        newest(tmp_path)


@pytest.mark.parametrize(
    "run, message",
    [
        (RUN | {"width": "0.25"}, "width=0.25, and a checkpoint with width=0"),
        ({"width": "0.5"}, "steps=nothing, and a checkpoint with steps=12"),
        (RUN | {"aux": "True"}, "aux=True, and a checkpoint with aux=nothing"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_name(
    tmp_path, run: dict[str, str], message: str
) -> None:
    checkpoint = read(save(tmp_path, TENSORS, RUN, 4, 4))
    check_run(checkpoint, dict(RUN))
    with pytest.raises(ValueError, match=f"of the same run.*{message}"):
        check_run(checkpoint, run)


# === A disk that refuses ===


@pytest.fixture
def small_files():
    """Files may not grow beyond 100 bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, request) -> None:
    save(tmp_path, TENSORS, RUN, 4, 4)
    request.getfixturevalue("small_files")
    with pytest.raises(OSError, match="`path` must be writable.*too large"):
        save(tmp_path, TENSORS, RUN, 8, 4)
    assert kept(tmp_path) == ["step-00000004.safetensors"]
    assert read(path_of(tmp_path, 4)).step == 4


# === Models ===


@pytest.mark.slow
def test_a_model_goes_on_as_if_nothing_had_been(tmp_path) -> None:
    first = trained(network(), 0, 3)
    before = state(first)
    save(tmp_path, before, RUN, first.global_step, 4)
    wanted = state(trained(first, 3, 6))
    # Its metrics and velocities are not those of the beginning.
    second = trained(network(), 5, 6)
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    restore(second, checkpoint)
    assert second.global_step == 3
    after = state(second)
    assert list(before) == list(after)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    trained(second, 3, 6)
    got = state(second)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def test_all_that_changes_is_saved() -> None:
    model = network()
    before = state(model)
    trained(model, 0, 1)
    after = state(model)
    same = {
        name for name in before if np.array_equal(before[name], after[name])
    }
    # Counts above 2**24; weights that are not trained but by decay.
    assert all("high_counts" in name or "stem" in name for name in same)
    moving = [name for name in before if name.endswith("moving_mean")]
    seeds = [name for name in before if "seed_generator" in name]
    velocities = [name for name in before if name.endswith("_momentum")]
    assert len(moving) > 20 and len(seeds) == 2 and len(velocities) > 60
    assert after["optimizer/sgd/iteration"] == 1


def test_a_checkpoint_of_another_network_is_refused(tmp_path) -> None:
    tensors = state(network())
    save(tmp_path, tensors, RUN, 1, 4)
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    model = network(aux=False)
    before = state(model)
    message = r"same network.*model/aux_bn/beta of shape None.*\(\d+,\)"
    with pytest.raises(ValueError, match=message):
        restore(model, checkpoint)
    for name, array in state(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_counts_of_two_replicas_are_restored(two_replicas, tmp_path) -> None:
    def build() -> Any:
        # Its layers are numbered through the process.
        keras.backend.clear_session(free_memory=False)
        with two_replicas.scope():
            model = small(optimizer=SGD(0.01), eager=False)
        model.build_training(17, 21)
        return model

    model = build()
    model.evaluate(IMAGES[:8], MASKS[:8], batch_size=2, verbose=0)
    before = state(model)
    counts = before["metrics/mean_iou/low_counts"]
    # An odd number cannot be halved.
    assert counts.sum() == (MASKS[:8] != 255).sum() and (counts % 2).any()
    save(tmp_path, before, RUN, 1, 4)
    again = build()
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    restore(again, checkpoint)
    for name, array in state(again).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    for name, value in again.get_metrics_result().items():
        assert float(value) == float(model.get_metrics_result()[name])


# === When they are saved ===


class Counting:
    """As much of a model as the callback asks for."""

    global_step = 0


def saved_at(
    monkeypatch, folder: Path, every: int, epochs: int, steps: int, **kwargs
) -> list[int]:
    monkeypatch.setattr(checkpoints, "state", lambda *_: TENSORS)
    callback = SaveCheckpoints(folder, RUN, every, **kwargs)
    model: Any = Counting()
    callback.set_model(model)
    callback.set_params({"steps": steps})
    callback.on_train_begin()
    seen: dict[int, None] = {newest_step(folder): None}
    for epoch in range(epochs):
        for number in range(steps):
            model.global_step += 1
            callback.on_train_batch_end(number)
            seen |= {newest_step(folder): None}
        callback.on_epoch_end(epoch)
        seen |= {newest_step(folder): None}
    return list(seen)


def newest_step(folder: Path) -> int:
    checkpoint = newest(folder)
    return 0 if checkpoint is None else checkpoint.step


@pytest.mark.parametrize(
    "every, steps",
    [
        (1, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (2, [0, 2, 4, 6, 8]),
        (3, [0, 3, 4, 7, 8]),
        (100, [0, 4, 8]),
    ],
)
def test_epochs_end_with_one_and_long_ones_have_more(
    monkeypatch, tmp_path, every: int, steps: list[int]
) -> None:
    assert saved_at(monkeypatch, tmp_path, every, 2, 4) == steps


def test_one_of_many_machines_writes(monkeypatch, tmp_path) -> None:
    saved = saved_at(monkeypatch, tmp_path, 1, 2, 4, writes=False)
    assert saved == [0]
    assert kept(tmp_path) == []


def test_what_a_killed_run_had_begun_is_removed(monkeypatch, tmp_path) -> None:
    (tmp_path / ".0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("the user's")
    saved_at(monkeypatch, tmp_path, 1, 1, 1)
    assert kept(tmp_path) == ["notes.txt", "step-00000001.safetensors"]


def test_a_run_of_former_names_goes_on(tmp_path) -> None:
    run = {**RUN, "head_rate_factor": "10.0"}
    path = save(tmp_path, TENSORS, run, 4, 12)
    checkpoint = read(path)
    check_run(checkpoint, {**RUN, "head_lr_multiplier": "10.0"})
    with pytest.raises(ValueError, match="head_lr_multiplier=5.0.*=10.0"):
        check_run(checkpoint, {**RUN, "head_lr_multiplier": "5.0"})


def test_the_loss_scale_is_saved(tmp_path) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    model = network()
    model.optimizer.dynamic_scale.assign(512.0)
    model.optimizer.step_counter.assign(77)
    save(tmp_path, state(model), RUN, 1, 4)
    again = network()
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    restore(again, checkpoint)
    assert float(again.optimizer.dynamic_scale) == 512.0
    assert int(again.optimizer.step_counter) == 77
