"""Checkpoints of a run: everything needed to resume to the same weights.

A checkpoint is one safetensors file, `step-00001200.safetensors`. It holds
weights, statistics, velocities, the optimizer's count, and the states of seed
generators and metrics. Its header identifies the run and the step, and holds a
hash of the whole file. Checkpoints are written under a temporary name, synced
to disk and renamed; the last two are kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from keras_pspnet.callbacks import WeightAverage
from keras_pspnet.models import PSPNet
from keras_pspnet.training.recipe_rules import RENAMED
from keras_pspnet.utils import check_rule, write_atomically
from keras_pspnet.utils.types import Logs

FORMAT = "keras_pspnet checkpoint 1"
KEPT = 2
_NAME = re.compile(r"step-(\d{8})\.safetensors")
_HASH = "sha256"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory, as `read` returns it.

    Attributes:
        tensors: Name -> array of every variable.
        header: The header of the file, without the hash.
        digest: The hash of both.
    """

    tensors: dict[str, np.ndarray]
    header: dict[str, str]
    digest: str

    @property
    def step(self) -> int:
        """The number of steps taken."""
        return int(self.header["step"])

    @property
    def run(self) -> dict[str, str]:
        """The identity of the run, see `save`, with current field names."""
        run = json.loads(self.header["run"])
        for name, old in RENAMED.items():
            if old in run:
                run[name] = run.pop(old)
        if "pictures" in run:
            run["images"] = run.pop("pictures").replace("pictures,", "images,")
        return run


def path_of(folder: Path, step: int) -> Path:
    """Returns the file of the checkpoint after `step` steps."""
    return folder / f"step-{step:08d}.safetensors"


def listed(folder: Path) -> list[Path]:
    """Returns the checkpoints in a folder, corrupt ones too, newest first."""
    if not folder.is_dir():
        return []
    found = [each for each in folder.iterdir() if _NAME.fullmatch(each.name)]
    return sorted(found, reverse=True)


def save(
    folder: Path,
    tensors: Mapping[str, np.ndarray],
    run: Mapping[str, str],
    step: int,
    steps_per_epoch: int,
) -> Path:
    """Writes a checkpoint, then removes all but the last `KEPT` of the run.

    Args:
        folder: Folder of the run's checkpoints; it must exist.
        tensors: The result of `state`.
        run: Identity of the run, name -> value. A run can resume only from a
            checkpoint with the same identity.
        step: Number of steps taken.
        steps_per_epoch: Steps of an epoch.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be written; earlier checkpoints then stay.
    """
    epoch, batch = divmod(step, steps_per_epoch)
    header = {
        "format": FORMAT,
        "run": json.dumps(dict(run)),
        "step": str(step),
        "epoch": str(epoch),
        "batch": str(batch),
    }
    arrays = {
        name: np.asarray(array, order="C") for name, array in tensors.items()
    }
    hashed = header | {_HASH: _digest(arrays, header)}
    path = path_of(folder, step)
    write_atomically(path, safetensors.numpy.save(arrays, hashed))
    # The new name must be on disk before the old ones are removed.
    _sync_names(folder)
    found = listed(folder)
    # Later steps are left from before the run resumed at an earlier one.
    kept = [each for each in found if each <= path][:KEPT]
    for each in set(found) - set(kept):
        each.unlink(missing_ok=True)
    return path


def read(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Args:
        path: The file.

    Returns:
        Its content, after a check of the hash.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is corrupt, or not a checkpoint.
    """
    received = os.fspath(path)
    try:
        with safetensors.safe_open(path, framework="np") as stream:
            header = dict(stream.metadata() or {})
            names = stream.keys()
            tensors = {name: stream.get_tensor(name) for name in names}
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"`path` must be an intact checkpoint ({error}). "
            f"Received: path={received!r}"
        ) from error
    digest = header.pop(_HASH, "")
    rule = "be a checkpoint of a training run"
    check_rule("path", received, rule, header.get("format") == FORMAT)
    rule = "be an intact checkpoint (its hash does not match)"
    check_rule("path", received, rule, digest == _digest(tensors, header))
    return Checkpoint(tensors, header, digest)


def newest(folder: Path) -> Checkpoint | None:
    """Reads the newest intact checkpoint.

    Args:
        folder: Folder of the run's checkpoints.

    Returns:
        The checkpoint, or None if there is none. Corrupt ones are skipped
        with a warning.

    Raises:
        OSError: If a checkpoint cannot be read.
        ValueError: If all checkpoints are corrupt.
    """
    damages = []
    for path in listed(folder):
        try:
            checkpoint = read(path)
        except ValueError as error:
            damages.append(str(error))
            continue
        for damage in damages:
            message = "A corrupt checkpoint is skipped, the previous one used"
            warnings.warn(f"{message}: {damage}", stacklevel=2)
        return checkpoint
    if damages:
        raise ValueError(
            "`output` must hold an intact checkpoint, or none: delete the "
            f"corrupt ones to train from the start. {' '.join(damages)}"
        )
    return None


def check_run(checkpoint: Checkpoint, run: Mapping[str, str]) -> None:
    """Refuses a checkpoint of another run.

    Args:
        checkpoint: The checkpoint.
        run: Identity of the run to resume, see `save`.

    Raises:
        ValueError: If the two differ; the error names the difference.
    """
    other = checkpoint.run
    for name in {**run, **other}:
        if run.get(name) != other.get(name):
            raise ValueError(
                "`output` must hold checkpoints of the same run, or none. "
                f"Received: {name}={run.get(name, 'nothing')}, and a "
                f"checkpoint with {name}={other.get(name, 'nothing')}"
            )


def state(
    model: PSPNet, average: WeightAverage | None = None
) -> dict[str, np.ndarray]:
    """Reads all variables of a model in training.

    On several machines all of them must call it, since it sums metrics over
    them.

    Args:
        model: A compiled and built model.
        average: The average of its weights.

    Returns:
        Name -> array: weights, statistics and seed states of the model, its
        metrics, its optimizer and its averages.
    """
    kept = average.removed() if average else contextlib.nullcontext()
    with kept:
        return {
            name: keras.ops.convert_to_numpy(variable)
            for name, variable in _variables(model, average).items()
        }


def restore(
    model: PSPNet, checkpoint: Checkpoint, average: WeightAverage | None = None
) -> None:
    """Restores a model's variables and its `global_step`.

    Args:
        model: A compiled and built model of the same run.
        checkpoint: The checkpoint.
        average: The average of its weights, after `begin`.

    Raises:
        ValueError: If the model has other variables.
    """
    variables = _variables(model, average)
    have = {name: tuple(each.shape) for name, each in variables.items()}
    got = {name: array.shape for name, array in checkpoint.tensors.items()}
    # Layers first: they say more than the states of metrics.
    for name in sorted(
        have | got, key=lambda name: not name.startswith("model/")
    ):
        if have.get(name) != got.get(name):
            raise ValueError(
                "`output` must hold checkpoints of the same network, or none. "
                f"Received: {name} of shape {have.get(name)}, and in the "
                f"checkpoint {got.get(name)}"
            )
    metrics = {id(each) for each in model.metrics_variables}
    strategy = model.distribute_strategy
    for name, variable in variables.items():
        array = checkpoint.tensors[name]
        if id(variable) in metrics:
            strategy.run(_assign_in_first, (variable, array))
        else:
            variable.assign(array)
    model.global_step = checkpoint.step


class SaveCheckpoints(keras.callbacks.Callback):
    """Saves a checkpoint at the end of every epoch, and within long ones.

    Put it last in the list, so that the logs hold everything that a
    checkpoint holds.

    Args:
        folder: Folder of the checkpoints; it must exist.
        run: See `save`.
        every: Steps between checkpoints within an epoch.
        writes: Whether this process writes, as one of all machines does.
        average: The average of the model's weights.

    Raises:
        OSError: From `run`, if a checkpoint cannot be written; earlier ones
            stay.
    """

    def __init__(
        self,
        folder: Path,
        run: Mapping[str, str],
        every: int,
        writes: bool = True,
        average: WeightAverage | None = None,
    ) -> None:
        super().__init__()
        self._average = average
        self._folder = folder
        self._run = run
        self._every = every
        self._writes = writes

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self._writes:
            # Partial files of a killed run.
            for path in self._folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        # An epoch is whole when the callbacks before this have seen its end.
        if (batch + 1) % self._every == 0 and batch + 1 < self.params["steps"]:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._save()

    def _save(self) -> None:
        tensors = state(self.model, self._average)
        if self._writes:
            step, steps = self.model.global_step, self.params["steps"]
            save(self._folder, tensors, self._run, step, steps)


def _variables(model: PSPNet, average: WeightAverage | None) -> dict[str, Any]:
    groups = {
        "model": model.variables,
        "metrics": model.metrics_variables,
        "optimizer": model.optimizer.variables,
        "average": average.averages if average else [],
    }
    known: set[int] = set()
    named: dict[str, Any] = {}
    for group, variables in groups.items():
        for variable in variables:
            if id(variable) in known:
                continue
            known.add(id(variable))
            # Keras numbers them across all models of the process.
            path = re.sub(r"(seed_generator)_\d+", r"\1", variable.path)
            named[_unused(f"{group}/{path}", named)] = variable
    return named


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    """Numbers a name that is taken: `name:2`, `name:3` and so on."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}:{number}"
    return free


def _assign_in_first(variable: Any, array: np.ndarray) -> None:
    # The state of a metric is the sum over replicas.
    context = tf.distribute.get_replica_context()
    first = context.replica_id_in_sync_group == 0
    variable.assign(tf.where(first, array, np.zeros_like(array)))


def _digest(
    tensors: Mapping[str, np.ndarray], header: Mapping[str, str]
) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _sync_names(folder: Path) -> None:
    """Syncs the names in a folder to disk, on POSIX systems."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
