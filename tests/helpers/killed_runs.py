"""Kills training runs at random moments, and compares their results.

A run is started, killed with SIGKILL at a random moment, started again, and so
on. After a few kills it may finish. Its checkpoint, history, best and last
model must then equal those of an undisturbed run, bit for bit.
"""

from __future__ import annotations

import itertools
import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from forked import Forked
from killed_run import run

from keras_pspnet.training.checkpoints import newest

KILLS_A_RUN = 5
# Of twelve steps and three evaluations, seconds are too few to say.
_PATIENCE = 300.0


class Runs:
    """Starts runs of `killed_run`, one after the other."""

    def __init__(self) -> None:
        self._process: Forked | None = None

    def start(self, output: Path, where: str = "", count: int = 0) -> None:
        self.close()
        self._process = Forked(run, output, where, count)

    @property
    def process(self) -> Forked:
        """The run at hand."""
        assert self._process is not None
        return self._process

    def wait(self) -> int:
        """Waits for the end: 0, or what `subprocess` has as a return code."""
        return self.process.wait(_PATIENCE)

    def finish(self, output: Path, where: str = "", count: int = 0) -> int:
        self.start(output, where, count)
        return self.wait()

    @property
    def log(self) -> str:
        return self.process.printed + self.process.errors

    @property
    def phase(self) -> str:
        """Returns the last phase that the run printed."""
        told = re.findall(r"^phase: (\w+)$", self.log, re.MULTILINE)
        return told[-1] if told else "starting"

    def wait_for_work(self) -> None:
        until = time.monotonic() + _PATIENCE
        while self.phase == "starting" and time.monotonic() < until:
            time.sleep(0.02)

    def close(self) -> None:
        if self._process is not None:
            self._process.close()


def kill_at_random(
    runs: Runs, output: Path, draw: random.Random, length: float
) -> str:
    """Starts a run and kills it.

    Args:
        runs: Where to start it.
        output: Its folder.
        draw: Random number generator.
        length: Seconds that a whole run takes.

    Returns:
        The phase that was killed; "" if the run finished first.
    """
    runs.start(output)
    # Most of a short life is getting started.
    if draw.random() < 0.9:
        runs.wait_for_work()
    time.sleep(draw.uniform(0.0, length))
    runs.process.kill()
    status = runs.wait()
    if status == 0:
        return ""
    assert status == -signal.SIGKILL, runs.log
    return runs.phase


def kill_until_done(
    runs: Runs, folder: Path, draw: random.Random, length: float, kills: int
) -> Iterator[tuple[Path, list[str]]]:
    """Starts runs, kills each a few times, and lets it finish.

    Args:
        runs: Where to start them.
        folder: Parent of their folders.
        draw: Random number generator.
        length: Seconds that a whole run takes.
        kills: Number of kills over all runs.

    Yields:
        The folder of a finished run, and the phases of its kills.
    """
    for number in itertools.count(1):
        if not kills:
            return
        output = folder / f"run{number}"
        met: list[str] = []
        for _ in range(min(KILLS_A_RUN, kills)):
            phase = kill_at_random(runs, output, draw, length)
            # A machine that others use as well is not always as quick, and
            # most of what comes too late to kill would only take time.
            length *= 1.1 if phase else 0.7
            if not phase:
                break
            met.append(phase)
        kills -= len(met)
        assert runs.finish(output) == 0, runs.log
        yield output, met


def difference(output: Path, whole: Path) -> str:
    """Returns the first difference of two finished runs, or ""."""
    got, wanted = (newest(folder / "checkpoints") for folder in (output, whole))
    if got is None or wanted is None or got.step != wanted.step:
        return "step"
    for name, array in wanted.tensors.items():
        if not np.array_equal(got.tensors[name], array):
            return name
    if got.digest != wanted.digest:
        return "header"
    for name in (
        "history.csv",
        "best/model.safetensors",
        "model/model.safetensors",
    ):
        if (output / name).read_bytes() != (whole / name).read_bytes():
            return name
    return ""
