"""A step of training beside mmsegmentation: time, peak memory, losses.

    python benchmarks/train_step.py

Both train the same network from the same weights, with auxiliary head and
loss, on the same batch, by SGD with momentum and weight decay, with the same
number of threads. Ours is a step of `PSPNet.fit`, with its two metrics.
mmsegmentation's network runs in PyTorch, `channels_last`, with PyTorch's SGD;
for bfloat16, under autocast, as in its own `AmpOptimWrapper`. Dropout is off,
since the random numbers would differ.

Before anything is timed, both take three steps and the losses are compared.
The first loss shows that network and loss are the same; the others, that
gradients and updates are. "loss" is the greatest relative difference. Each
engine has a process of its own; rounds alternate between the two, and the one
that waits is stopped, as in `export.py`. "import MB" is the memory before the
network is built.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from comparison import (
    HERE,
    NUM_CLASSES,
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

DTYPES = ("float32", "bfloat16")
# Target: at most this share of mmsegmentation's time.
AT_MOST = 0.95
COMPARED_STEPS = 3
LEARNING_RATE = 0.001
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
AUX_WEIGHT = 0.4
IGNORED = 255
# Relative difference of losses. In bfloat16, the engines round in different
# places, and batch normalization passes that on.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05}
LINE = "{:<9} {:>8} {:>7} {:>6} {:>8} {:>9} {:>7} {:>9} {:>7} {:>8}"


def engines_of(dtype: str) -> tuple[Engine, Engine]:
    """Returns mmsegmentation's row and ours.

    Args:
        dtype: Type that the convolutions compute in.
    """
    peer = Engine(f"mmseg-{dtype}", dtype, "peer", WEIGHTS)
    ours = Engine(
        f"ours-{dtype}",
        dtype,
        "tensorflow",
        WEIGHTS,
        mmseg=Against(peer.name, AT_MOST),
    )
    return peer, ours


def batch_of(image: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Makes a batch of one image.

    Args:
        image: float32 (1, H, W, 3), 0..255.
        count: Number of images in the batch.

    Returns:
        Shifted copies of the image, float32 (B, H, W, 3), and masks of its
        brightness, uint8 (B, H, W), ignored at the upper border.
    """
    images = np.concatenate(
        [np.roll(image, 31 * index, axis=(1, 2)) for index in range(count)]
    )
    masks = (images.mean(axis=-1) / 256 * NUM_CLASSES).astype("uint8")
    masks[:, :5] = IGNORED
    return images, masks


def after_compared_steps(step: Run) -> Run:
    """Makes the first run take the steps whose losses are compared.

    Args:
        step: Takes one step with an image (1, H, W, 3); returns its loss.

    Returns:
        A function from an image to the losses of the steps that it takes.
    """
    started = False

    def run(image: np.ndarray) -> np.ndarray:
        nonlocal started
        steps = 1 if started else COMPARED_STEPS
        started = True
        return np.stack([step(image) for _ in range(steps)])

    return run


def losses_agree(
    losses: dict[str, np.ndarray], engines: Sequence[Engine]
) -> dict[str, float]:
    """Compares losses with those of the first engine.

    Args:
        losses: Losses of the first steps, by engine.
        engines: All engines.

    Returns:
        The greatest relative difference of each engine.

    Raises:
        BenchmarkError: If the losses of an engine differ.
    """
    reference = next(iter(losses.values()))
    differences = {}
    for engine in engines:
        difference = np.abs(losses[engine.name] / reference - 1).max()
        if not difference <= TOLERANCE[engine.dtype]:
            raise BenchmarkError(
                f"{engine.name} has losses {losses[engine.name]}, "
                f"{next(iter(losses))} has {reference}"
            )
        differences[engine.name] = float(difference)
    return differences


def load(batch: int, engine: Engine, path: Path, threads: int) -> Run:
    """Loads our network with the weights of a file, ready to train.

    Args:
        batch: Number of images in a batch.
        engine: Engine whose dtype it computes in.
        path: mmsegmentation's file.
        threads: Number of threads that it may compute with.

    Returns:
        A function from a float32 image (1, H, W, 3) to the losses of the
        steps that it takes.
    """
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras_pspnet as kp
    from keras_pspnet.optimizers import SGD

    policy = engine.dtype
    keras.config.set_dtype_policy(
        policy if policy == "float32" else f"mixed_{policy}"
    )
    loaded = kp.convert_file(path)
    model = kp.PSPNet(**{**loaded.get_config(), "dropout": 0.0})
    model.set_weights(loaded.get_weights())
    del loaded
    model.compile(SGD(LEARNING_RATE, MOMENTUM, WEIGHT_DECAY))

    def step(image: np.ndarray) -> np.ndarray:
        model.reset_metrics()
        images, masks = batch_of(image, batch)
        logs = model.train_on_batch(images, masks, return_dict=True)
        return np.asarray(logs["loss"])

    return after_compared_steps(step)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line, also that of the processes it starts."""
    parser = peer_parser("Training beside mmsegmentation's.", rounds=5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if min(options.rounds, options.threads) < 1:
        parser.error("--rounds and --threads must be at least 1")
    if options.size < 64 or options.batch < 2:
        parser.error("--size must be at least 64, --batch at least 2")
    return options


def compare(options: argparse.Namespace) -> None:
    """Measures a step in every dtype and prints a table.

    Args:
        options: As `parse` gives them.

    Raises:
        BenchmarkError: If a process fails, or there is no peer.
    """
    check_peer(options.peer_python)
    print(
        f"PSPNet, {options.backbone}, batch {options.batch} at "
        f"{options.size}x{options.size}, {options.threads} threads, medians "
        f"of {options.rounds}",
        flush=True,
    )
    headings = (
        *("dtype", "mmseg s", "ours s", "ratio", "at most"),
        *("import MB", "peak MB", "import MB", "peak MB", "loss"),
    )
    print(LINE.format(*headings), flush=True)
    with tempfile.TemporaryDirectory(prefix="pspnet-train-") as temporary:
        folder = Path(temporary)
        write_image(folder, options.size)

        def command(role: str, python: object, script: str) -> list[str]:
            return [
                *(str(python), str(HERE / script), "--child", role),
                *("--folder", temporary, "--backbone", options.backbone),
                *("--size", str(options.size), "--batch", str(options.batch)),
                *("--threads", str(options.threads)),
            ]

        theirs = (options.peer_python, "train_step_peer.py")
        run_to_end("writing weights", command("write", *theirs))
        for dtype in options.dtypes:
            peer, ours = engines_of(dtype)
            results = measure(
                {
                    peer.name: command(peer.name, *theirs),
                    ours.name: command(
                        ours.name, sys.executable, "train_step.py"
                    ),
                },
                folder,
                options.rounds,
                (peer, ours),
                losses_agree,
            )
            them, us = results[peer.name], results[ours.name]
            print(
                LINE.format(
                    dtype,
                    f"{them.seconds:.3f}",
                    f"{us.seconds:.3f}",
                    f"{us.seconds / them.seconds:.2f}",
                    f"{AT_MOST:.2f}",
                    *(f"{them.imported:.0f}", f"{them.peak:.0f}"),
                    *(f"{us.imported:.0f}", f"{us.peak:.0f}"),
                    f"{us.same:.1e}",
                ),
                flush=True,
            )


def child_of(name: str) -> Engine:
    """Returns the engine of a process.

    Args:
        name: Its name.
    """
    peer, ours = engines_of(name.partition("-")[2])
    return peer if name == peer.name else ours


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares both engines, or runs as one of the processes."""
    options = parse(arguments)
    if options.child is not None:
        serve(
            child_of(options.child),
            options.folder,
            options.threads,
            lambda *arguments: load(options.batch, *arguments),
        )
        return
    try:
        compare(options)
    except BenchmarkError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
