"""What all benchmarks beside a peer share: engines, processes, medians.

Every engine has a process of its own. Rounds alternate between the processes,
and those that wait are stopped. Each process carries what this module imports,
so it imports no framework and nothing of the package but `measured.py` and
`measuring.py`, by their files.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "keras_pspnet/inference"))
import measured  # noqa: E402
from measured import Run  # noqa: E402
from measuring import (  # noqa: E402
    BenchmarkError,
    alternate,
    environment,
    failure,
)

PEER_PYTHON = HERE.parent / ".venv-mmseg/bin/python"
BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
NUM_CLASSES = 21
# Engines that compute in float32 agree on at least this share of the pixels.
AGREEMENT = 0.99
IMAGE = "image.npy"
IMAGE_FILE = "image.png"
WEIGHTS = "weights.pth"


class Against(NamedTuple):
    """Another engine, and the target: at most this share of its time."""

    name: str
    at_most: float | None = None


class Engine(NamedTuple):
    """One row of a table: what runs, and what it is compared with.

    Args:
        name: Name of the row.
        dtype: Type that it computes in.
        module: Module that its process imports before it loads the file.
        file: Name of the file or folder that it loads.
        keras: Keras's own export to compare with.
        mmseg: mmsegmentation's row to compare with.
    """

    name: str
    dtype: str
    module: str
    file: str
    keras: Against | None = None
    mmseg: Against | None = None


class Result(NamedTuple):
    """Measurements of one engine: seconds, MB, and share of equal pixels."""

    seconds: float
    imported: float
    loaded: float
    first: float
    peak: float
    same: float


def write_image(folder: Path, size: int) -> np.ndarray:
    """Writes the image that all engines see, as an array and as PNG.

    Args:
        folder: Folder to write to.
        size: Its height and width.

    Returns:
        The image, uint8 (H, W, 3).
    """
    from PIL import Image

    from keras_pspnet.data.synthetic.scenes import make_scene

    image = make_scene(0, 0, (size, size))[0]
    np.save(folder / IMAGE, image)
    Image.fromarray(image).save(folder / IMAGE_FILE)
    return image


def serve(
    engine: Engine,
    folder: Path,
    threads: int,
    load: Callable[[Engine, Path, int], Run],
) -> None:
    """Loads one engine's file, then runs it on request.

    Args:
        engine: The engine.
        folder: Folder that holds the image and the file, and gets the mask.
        threads: Number of threads that it may compute with.
        load: Loads the file.
    """
    measured.serve(
        lambda: importlib.import_module(engine.module),
        lambda: load(engine, folder / engine.file, threads),
        folder / IMAGE,
        folder / f"{engine.name}.npy",
    )


def run_to_end(name: str, command: Sequence[str]) -> None:
    """Runs a process and waits for it.

    Args:
        name: What it does, for the error.
        command: Its command.

    Raises:
        BenchmarkError: If it fails.
    """
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )
    if done.returncode:
        raise failure(name, done.returncode, done.stdout)


def agreement(
    masks: dict[str, np.ndarray], engines: Sequence[Engine]
) -> dict[str, float]:
    """Compares masks with the first of them.

    Args:
        masks: Mask (1, H, W) of each engine, by name.
        engines: All engines.

    Returns:
        Share of equal pixels of each engine, by name.

    Raises:
        BenchmarkError: If a mask has another shape, or an engine in float32
            gives another mask.
    """
    reference = next(iter(masks.values()))
    shares = {}
    for engine in engines:
        if engine.name not in masks:
            continue
        mask = masks[engine.name]
        if mask.shape != reference.shape:
            raise BenchmarkError(
                f"{engine.name} gives a mask of shape {mask.shape}, "
                f"{next(iter(masks))} one of shape {reference.shape}"
            )
        shares[engine.name] = float((mask == reference).mean())
        if engine.dtype == "float32" and shares[engine.name] < AGREEMENT:
            raise BenchmarkError(
                f"{engine.name} agrees with {next(iter(masks))} on only "
                f"{shares[engine.name]:.1%} of the pixels"
            )
    return shares


def measure(
    commands: dict[str, Sequence[str]],
    folder: Path,
    rounds: int,
    engines: Sequence[Engine],
    compare_results: Callable[
        [dict[str, np.ndarray], Sequence[Engine]], dict[str, float]
    ] = agreement,
) -> dict[str, Result]:
    """Measures engines in rounds that alternate between them.

    Args:
        commands: Command that starts each engine, by name.
        folder: Folder of their logs and masks.
        rounds: Number of times that each runs.
        engines: All engines.
        compare_results: Compares the results of the first run, as `agreement`
            does.

    Returns:
        The result of each engine.

    Raises:
        BenchmarkError: If one fails, or computes something else.
    """
    same: dict[str, float] = {}

    def compare_masks() -> None:
        masks = {name: np.load(folder / f"{name}.npy") for name in commands}
        same.update(compare_results(masks, engines))

    found = alternate(commands, folder, rounds, started=compare_masks)
    return {
        name: Result(
            statistics.median(each["seconds"]),
            each["imported"],
            each["loaded"],
            each["first"],
            each["peak"],
            same[name],
        )
        for name, each in found.items()
    }


def check_peer(python: Path) -> None:
    """Raises BenchmarkError if the peer is not installed."""
    if not python.exists():
        raise BenchmarkError(f"{python} must exist; run: make .venv-mmseg/peer")


def peer_parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """Returns the options of a benchmark beside mmsegmentation.

    Args:
        description: What it measures.
        rounds: Default number of rounds.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--peer-python",
        type=Path,
        default=PEER_PYTHON,
        help="Python that has mmsegmentation",
    )
    parser.add_argument("--size", type=int, default=473)
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=2)
    # For the processes that it starts.
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser
