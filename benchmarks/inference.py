"""Segmentation of one image beside mmsegmentation: whole, windows, scales.

    python benchmarks/inference.py

Both use the same weights, image and number of threads, from a uint8 image to
its mask. Ours is `predict_plan` of keras_pspnet.inference with a folded copy
of the network. mmsegmentation runs its own `inference` in PyTorch,
`channels_last` and in inference mode, with its own windows; for several scales
it averages softmax probabilities as its `SegTTAModel` does. Each engine has a
process of its own; rounds alternate between the two, and the one that waits is
stopped, as in `export.py`. "same" is the share of pixels of the same class.

The benchmark fails if our graph is traced more than once: it must serve views
and windows of all sizes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from comparison import (
    HERE,
    WEIGHTS,
    Against,
    BenchmarkError,
    Engine,
    Run,
    check_peer,
    measure,
    peer_parser,
    run_to_end,
    serve,
    write_image,
)

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
DTYPES = ("float32", "bfloat16")


class Mode(NamedTuple):
    """A way to segment an image.

    Args:
        scales: Image scales whose probabilities are averaged.
        flip: Whether to average the flipped image as well.
        window: Side of a sliding window, as a share of the image's side.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: float | None = None


MODES = {
    "whole": Mode(),
    "windows": Mode(window=0.6),
    "scales": Mode(SCALES, flip=True),
}
# Target: at most this share of mmsegmentation's time.
AT_MOST = {"float32": 1.0, "bfloat16": 0.9}
LINE = "{:<9} {:<9} {:>9} {:>9} {:>7} {:>8} {:>9} {:>9} {:>8}"


def engines_of(mode: str, dtype: str) -> tuple[Engine, Engine]:
    """Returns mmsegmentation's row and ours.

    Args:
        mode: Key of `MODES`.
        dtype: Type that the convolutions compute in.
    """
    peer = Engine(f"mmseg-{mode}-{dtype}", dtype, "peer", WEIGHTS)
    ours = Engine(
        f"ours-{mode}-{dtype}",
        dtype,
        "tensorflow",
        WEIGHTS,
        mmseg=Against(peer.name, AT_MOST[dtype]),
    )
    return peer, ours


def window_of(mode: Mode, size: int) -> int | None:
    """Returns the side of a mode's windows.

    Args:
        mode: The mode.
        size: Height and width of the image.
    """
    return None if mode.window is None else round(mode.window * size)


def load(mode: Mode, engine: Engine, path: Path, threads: int) -> Run:
    """Loads our network with the weights of a file.

    Args:
        mode: The mode.
        engine: Engine whose dtype it computes in.
        path: mmsegmentation's file.
        threads: Number of threads that it may compute with.

    Returns:
        A function from a float32 image (1, H, W, 3) to its mask (1, H, W).
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras_pspnet as kp
    from keras_pspnet.inference import as_predictor, make_plan, predict_plan

    predictor = as_predictor(kp.convert_file(path), engine.dtype)
    classes = predictor.labels.num_classes

    def run(image: np.ndarray) -> np.ndarray:
        pixels = image[0].astype("uint8")
        size = pixels.shape[:2]
        window = window_of(mode, size[0])
        plan = make_plan(size, classes, mode.scales, mode.flip, window)
        mask = predict_plan(predictor, pixels, plan)[0]
        if predictor.traces() != 1:
            raise RuntimeError(f"traced {predictor.traces()} times")
        return mask[None]

    return run


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line, also that of the processes it starts."""
    parser = peer_parser("Segmentation beside mmsegmentation's.", rounds=3)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=[*MODES])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if min(options.rounds, options.threads) < 1 or options.size < 64:
        parser.error(
            "--rounds and --threads must be at least 1, --size at least 64"
        )
    return options


def compare(options: argparse.Namespace) -> None:
    """Measures every mode in every dtype and prints a table.

    Args:
        options: As `parse` gives them.

    Raises:
        BenchmarkError: If a process fails, or there is no peer.
    """
    check_peer(options.peer_python)
    print(
        f"PSPNet, {options.backbone}, {options.size}x{options.size}, "
        f"{options.threads} threads, medians of {options.rounds}",
        flush=True,
    )
    headings = ("mode", "dtype", "mmseg s", "ours s", "ratio", "at most")
    print(LINE.format(*headings, "mmseg MB", "ours MB", "same"), flush=True)
    with tempfile.TemporaryDirectory(prefix="pspnet-inference-") as temporary:
        folder = Path(temporary)
        write_image(folder, options.size)

        def command(role: str, python: object, script: str) -> list[str]:
            return [
                *(str(python), str(HERE / script), "--child", role),
                *("--folder", temporary, "--backbone", options.backbone),
                *("--size", str(options.size)),
                *("--threads", str(options.threads)),
            ]

        theirs = (options.peer_python, "inference_peer.py")
        run_to_end("writing weights", command("write", *theirs))
        for dtype in options.dtypes:
            for mode in options.modes:
                peer, ours = engines_of(mode, dtype)
                results = measure(
                    {
                        peer.name: command(peer.name, *theirs),
                        ours.name: command(
                            ours.name, sys.executable, "inference.py"
                        ),
                    },
                    folder,
                    options.rounds,
                    (peer, ours),
                )
                them, us = results[peer.name], results[ours.name]
                print(
                    LINE.format(
                        mode,
                        dtype,
                        f"{them.seconds:.3f}",
                        f"{us.seconds:.3f}",
                        f"{us.seconds / them.seconds:.2f}",
                        f"{AT_MOST[dtype]:.2f}",
                        f"{them.peak:.0f}",
                        f"{us.peak:.0f}",
                        f"{us.same:.2%}",
                    ),
                    flush=True,
                )


def child_of(name: str) -> tuple[Mode, Engine]:
    """Returns the mode and the engine of a process.

    Args:
        name: Name of the engine.
    """
    _, mode, dtype = name.split("-")
    peer, ours = engines_of(mode, dtype)
    return MODES[mode], peer if name == peer.name else ours


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares both engines, or runs as one of the processes."""
    options = parse(arguments)
    if options.child is not None:
        mode, engine = child_of(options.child)
        serve(
            engine,
            options.folder,
            options.threads,
            lambda *arguments: load(mode, *arguments),
        )
        return
    try:
        compare(options)
    except BenchmarkError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
