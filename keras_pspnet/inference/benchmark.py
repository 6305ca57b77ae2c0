"""Measures size, time and memory of exported models, one process each."""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_pspnet.inference import measured
from keras_pspnet.inference.exported import check_installed
from keras_pspnet.inference.measuring import BenchmarkError, alternate
from keras_pspnet.utils import check_integer

# Arguments of `check_installed` for each kind.
_PACKAGES = {
    "onnx": ("onnxruntime", "onnxruntime", "onnx", "file"),
    "litert": ("ai_edge_litert", "ai-edge-litert", "litert", "file"),
}


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The measurements of one artifact. Megabytes are millions of bytes.

    Args:
        path: Path of the artifact.
        kind: `"savedmodel"`, `"onnx"`, `"litert"` or `"model"`.
        megabytes: Size of its files.
        size: (height, width) of the mask, and of the image that it saw.
        load_seconds: Time to load it, after the engine was imported.
        first_seconds: Time of the first run.
        seconds: Times of the runs once it is warm.
        started: Megabytes resident before the engine is imported, that is
            the interpreter and NumPy.
        imported: Megabytes after the engine is imported.
        loaded: Megabytes after the artifact is loaded.
        first: Megabytes after the first run.
        peak: Peak of the resident megabytes.
    """

    path: str
    kind: str
    megabytes: float
    size: tuple[int, int]
    load_seconds: float
    first_seconds: float
    seconds: tuple[float, ...]
    started: float
    imported: float
    loaded: float
    first: float
    peak: float

    @property
    def median_seconds(self) -> float:
        """The median of the runs."""
        return statistics.median(self.seconds)

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields, ready for JSON."""
        return {
            **dataclasses.asdict(self),
            "median_seconds": self.median_seconds,
        }


def check_artefacts(paths: Sequence[str | os.PathLike[str]]) -> None:
    """Checks that all artifacts can be measured, before any of them runs.

    Args:
        paths: As in `benchmark`.

    Raises:
        FileNotFoundError: If a path does not exist.
        ImportError: If the engine of an artifact is not installed.
        ValueError: If a path is no artifact, or occurs twice.
    """
    for path in paths:
        name = os.fspath(path)
        if not Path(path).exists():
            raise FileNotFoundError(
                f"`paths` must exist. Received: path={name!r}"
            )
        kind = measured.kind_of(path)
        if kind is None:
            raise ValueError(
                "`paths` must be folders of SavedModels or of save_pretrained, "
                f"or .tflite or .onnx files. Received: path={name!r}"
            )
        if kind in _PACKAGES:
            check_installed(*_PACKAGES[kind])
    names = [os.fspath(path) for path in paths]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"`paths` must hold each artifact once. Received: {names}"
        )


def benchmark(
    paths: Sequence[str | os.PathLike[str]],
    image: np.ndarray,
    rounds: int = 10,
    threads: int | None = None,
    progress: Callable[[], object] = lambda: None,
) -> list[Measurement]:
    """Measures artifacts on the CPU of this machine.

    Each runs in a fresh process that loads nothing else, from the image to
    its mask. All processes stay loaded and take turns, so that a machine that
    slows down affects all of them; waiting processes are stopped.

    Args:
        paths: Folders of SavedModels and of `save_pretrained`, and .tflite
            and .onnx files.
        image: (H, W, bands), RGB in 0..255 for 3. Artifacts of a fixed size
            get it resized to that size, by the nearest pixels.
        rounds: Number of runs of each artifact once it is warm.
        threads: Number of threads for each; None is the number of
            processors.
        progress: Called after each artifact is loaded, and after each run.

    Returns:
        The measurements, in the order of `paths`.

    Raises:
        BenchmarkError: If an artifact does not load or run; the message
            includes its output.
        FileNotFoundError: If a path does not exist.
        ImportError: If the engine of an artifact is not installed.
        ValueError: If a path is no artifact, or an argument is out of range.

    Examples:
        >>> from keras_pspnet.inference.benchmark import benchmark
        >>> parity = kp.export_onnx(net, "net.onnx")
        >>> (found,) = benchmark(["net.onnx"], images[0], rounds=3, threads=1)
        >>> found.size, len(found.seconds)
        ((33, 33), 3)
        >>> found.started < found.loaded <= found.peak
        True
    """
    check_artefacts(paths)
    rounds = check_integer("rounds", rounds)
    threads = check_integer("threads", threads or os.cpu_count() or 1)
    if np.ndim(image) != 3:
        raise ValueError(
            "`image` must have the shape (H, W, bands). "
            f"Received: shape {np.shape(image)}"
        )
    names = [os.fspath(path) for path in paths]
    with tempfile.TemporaryDirectory(prefix="pspnet-benchmark-") as temporary:
        folder = Path(temporary)
        np.save(folder / "image.npy", image)
        masks = [folder / f"{index}.npy" for index in range(len(names))]
        found = alternate(
            {
                name: [
                    # -P: the script's folder has modules of common names.
                    *(sys.executable, "-P", measured.__file__, name),
                    *(str(folder / "image.npy"), str(mask), str(threads)),
                ]
                for name, mask in zip(names, masks, strict=True)
            },
            folder,
            rounds,
            progress=progress,
        )
        sizes = [np.load(mask).shape[1:] for mask in masks]
    return [
        _measurement(name, size, found[name])
        for name, size in zip(names, sizes, strict=True)
    ]


def _measurement(
    name: str, size: tuple[int, int], found: dict[str, Any]
) -> Measurement:
    kind = measured.kind_of(name)
    if kind is None:
        raise BenchmarkError(f"{name} has been changed")
    root = Path(name)
    files = [root] if root.is_file() else root.rglob("*")
    total = sum(file.stat().st_size for file in files if file.is_file())
    found = {**found, "seconds": tuple(found["seconds"])}
    return Measurement(name, kind, total / 1e6, size, **found)
