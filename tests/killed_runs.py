"""Kills training runs at random moments, and compares what they end with.

    python tests/killed_runs.py [--kills 50] [--seed 0]

The slow form of `test_resume.py`. A run is started, killed with SIGKILL at a
random moment of its life, started again, and so on; every few kills it is let
come to its end, and its checkpoint, history, best and last model must be those
of a run that nobody disturbed, bit for bit. Prints a table of what the kills
met; the exit status is 1 where a run ended otherwise, or too few kills met a
run at work.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

PROGRAM = Path(__file__).with_name("killed_run.py")
KILLS_A_RUN = 5


def start(output: Path, log: Path) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    return subprocess.Popen(
        [sys.executable, os.fspath(PROGRAM), os.fspath(output), "phases"],
        env=environment,
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    )


def finish(output: Path, log: Path) -> tuple[float, float]:
    """Lets a run come to its end; when its work began, and how long it took."""
    began = time.monotonic()
    process = start(output, log)
    first = 0.0
    while process.poll() is None:
        time.sleep(0.02)
        if not first and phase(log) != "starting":
            first = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"A run failed:\n{log.read_text()}")
    return first, time.monotonic() - began


def phase(log: Path) -> str:
    """What a run was doing last, by its own word."""
    told = re.findall(r"^phase: (\w+)$", log.read_text(), re.MULTILINE)
    return told[-1] if told else "starting"


def same(output: Path, whole: Path) -> str:
    """The first thing in which two finished runs differ, or nothing."""
    from keras_pspnet.training.checkpoints import newest

    got, wanted = (newest(folder / "checkpoints") for folder in (output, whole))
    assert got is not None and wanted is not None
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    met: Counter[str] = Counter()
    differing = []
    runs = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "log.txt"
        whole = folder / "whole"
        first, length = finish(whole, log)
        print(f"A run works from second {first:.1f} to {length:.1f}.")
        while sum(met.values()) < options.kills:
            runs += 1
            output = folder / f"run{runs}"
            for _ in range(KILLS_A_RUN):
                if sum(met.values()) == options.kills:
                    break
                process = start(output, log)
                # Most of a short life is getting started.
                if draw.random() < 0.9:
                    while process.poll() is None and phase(log) == "starting":
                        time.sleep(0.02)
                    wait = draw.uniform(0.0, length - first)
                else:
                    wait = draw.uniform(0.0, first)
                try:
                    process.wait(wait)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    met[phase(log)] += 1
                    continue
                # It was quicker than the first; that is no kill.
                if process.returncode:
                    raise SystemExit(f"A run failed:\n{log.read_text()}")
                break
            finish(output, log)
            difference = same(output, whole)
            if difference:
                differing.append(f"run {runs}: {difference}")
            print(
                f"run {runs}: {sum(met.values())} kills so far, "
                f"{difference or 'bit-equal'}",
                flush=True,
            )
    table = Table("killed while", "times")
    for each, count in sorted(met.items()):
        table.add_row(each, str(count))
    table.add_row("all", str(sum(met.values())), style="bold")
    Console().print(table)
    print(f"{runs} runs, {len(differing)} of them not bit-equal")
    for text in differing:
        print(text)
    at_work = sum(met.values()) - met["starting"]
    return int(bool(differing) or at_work < options.kills // 2)


if __name__ == "__main__":
    sys.exit(main())
