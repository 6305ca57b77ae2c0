"""Short training runs, each in a process of its own that may be killed.

`run` is started by `forked.Forked`. Lines of `phase: stepping`, `phase:
saving`, `phase: evaluating` or `phase: finishing` say what it is about to do,
for somebody else to kill it.

A run whose `where` is not empty kills itself, which stands for whatever ends a
process without a word: out of memory, a power cut, a preempted machine. `where`
is

- `step`: after the `count`-th step of this process;
- `evaluate`: in the middle of the `count`-th evaluation;
- `written`: when the `count`-th checkpoint is on the disk under its temporary
  name;
- `renamed`: when it has its name and older ones are not yet removed.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_pspnet.recipes as recipe_files
import keras_pspnet.training.run as training
import keras_pspnet.utils.files as files
from keras_pspnet.backbones import BLOCKS
from keras_pspnet.callbacks import StopOnNaN, validation_scores
from keras_pspnet.training import checkpoints
from keras_pspnet.training.recipe import Recipe

RECIPE = Recipe(
    name="killed",
    labels=recipe_files.load_recipe("scenes").labels,
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
    ema=0.9,
)


def killing(
    function: Callable[..., Any], count: int, before: bool = False
) -> Callable[..., Any]:
    """Wraps a function so that its `count`-th call kills the process."""
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
        stop = StopOnNaN
        name = "on_train_batch_end"
        setattr(stop, name, killing(getattr(stop, name), count))
    elif where == "evaluate":
        # Its pictures have been asked for, and its scores are still missing.
        evaluate = validation_scores.evaluate
        calls = itertools.count(1)

        def evaluated(model: Any, dataset: Any, **kwargs: Any) -> Any:
            if next(calls) == count:
                dataset = map(killing(lambda pair: pair, 1), dataset)
            return evaluate(model, dataset, **kwargs)

        validation_scores.evaluate = evaluated
    elif where == "written":
        write = checkpoints.write_atomically
        calls = itertools.count(1)

        def written(path: Path, data: bytes) -> None:
            if next(calls) == count:
                files.os.replace = killing(files.os.replace, 1, before=True)
            write(path, data)

        checkpoints.write_atomically = written
    elif where == "renamed":
        checkpoints.write_atomically = killing(
            checkpoints.write_atomically, count
        )
    else:
        raise ValueError(where)


def telling(function: Callable[..., Any], phase: str) -> Callable[..., Any]:
    """Wraps a function so that it prints its phase, then `stepping`."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        print(f"phase: {phase}", flush=True)
        result = function(*args, **kwargs)
        if phase != "finishing":
            print("phase: stepping", flush=True)
        return result

    return wrapped


def tell_phases() -> None:
    stop = StopOnNaN
    stop.on_train_begin = telling(stop.on_train_begin, "stepping")
    scoring = validation_scores
    scoring.evaluate = telling(scoring.evaluate, "evaluating")
    checkpoints.save = telling(checkpoints.save, "saving")
    training.save_pretrained = telling(training.save_pretrained, "finishing")


def run(output: Path, where: str, count: int) -> None:
    """Trains a shallow network; the process is this run's."""
    BLOCKS[18] = (1, 1, 1, 1)
    tell_phases()
    if where:
        arm(where, count)
    training.train(RECIPE, output, verbose=0)
