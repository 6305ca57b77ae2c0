"""A short training run that may kill itself, for tests of going on.

    python killed_run.py OUTPUT [WHERE COUNT]

It stands for whatever ends a process without a word: out of memory, a power
cut, a preempted machine. WHERE is

- `step`: after the COUNT-th step of this process;
- `evaluate`: in the middle of the COUNT-th evaluation;
- `written`: when the COUNT-th checkpoint is on the disk under its temporary
  name;
- `renamed`: when it has its name and older ones have not been removed.

    python killed_run.py OUTPUT phases

says on the standard output what it is about to do, for somebody else to kill
it: lines of `phase: stepping`, `phase: saving`, `phase: evaluating` or
`phase: finishing`.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_pspnet.training.train as training
from keras_pspnet.training import checkpoints
from keras_pspnet.training.recipe import Recipe

import keras_pspnet.callbacks as callbacks
import keras_pspnet.files as files

RECIPE = Recipe(
    name="killed",
    labels=training.load_recipe("scenes").labels,
    backbone="resnet18",
    width=1 / 16,
    crop=(33, 41),
    batch_size=4,
    steps=12,
    steps_per_epoch=4,
    learning_rate=0.05,
    scenes=(10, 3),
    evaluations=3,
    checkpoint_steps=3,
    deterministic=True,
)


def killing(
    function: Callable[..., Any], count: int, before: bool = False
) -> Callable[..., Any]:
    """The function, which ends the process at its count-th call."""
    calls = itertools.count(1)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        last = next(calls) == count
        result = None if last and before else function(*args, **kwargs)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


def arm(where: str, count: int) -> None:
    if where == "step":
        stop = callbacks.StopOnNaN
        name = "on_train_batch_end"
        setattr(stop, name, killing(getattr(stop, name), count))
    elif where == "evaluate":
        # Its pictures are looked at one after the other.
        callbacks.evaluate = killing(callbacks.evaluate, count, before=True)
    elif where == "written":
        write = checkpoints.write_atomically

        def written(path: Path, data: bytes) -> None:
            replace = files.os.replace
            files.os.replace = killing(replace, 1, before=True)
            write(path, data)

        calls = itertools.count(1)
        checkpoints.write_atomically = lambda path, data: (
            written if next(calls) == count else write
        )(path, data)
    elif where == "renamed":
        checkpoints.write_atomically = killing(
            checkpoints.write_atomically, count
        )
    else:
        raise ValueError(where)


def telling(function: Callable[..., Any], phase: str) -> Callable[..., Any]:
    """The function, which says what it is for, and that steps follow."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        print(f"phase: {phase}", flush=True)
        result = function(*args, **kwargs)
        if phase != "finishing":
            print("phase: stepping", flush=True)
        return result

    return wrapped


def tell_phases() -> None:
    stop = callbacks.StopOnNaN
    stop.on_train_begin = telling(stop.on_train_begin, "stepping")
    callbacks.evaluate = telling(callbacks.evaluate, "evaluating")
    checkpoints.save = telling(checkpoints.save, "saving")
    training.save_pretrained = telling(training.save_pretrained, "finishing")


def main() -> None:
    output, *plan = sys.argv[1:]
    if plan == ["phases"]:
        tell_phases()
    elif plan:
        arm(plan[0], int(plan[1]))
    training.train(RECIPE, output, verbose=0)


if __name__ == "__main__":
    main()
