"""Training batches beside the same chain in OpenCV and a PyTorch DataLoader.

    python benchmarks/input.py

JPEG files of 500x375 (quality 90, chroma subsampled) and palette masks become
batches of 16 float32 crops of 473x473 and their masks, as in the recipe for
PASCAL VOC: scaled by 0.5 to 2; each with probability 0.5 rotated by up to 10
degrees, blurred and flipped; padded with the mean color and 255. Ours is
`training_dataset` with semseg's augmentation. The peer runs OpenCV's functions
in semseg's order, in the workers of a DataLoader. It keeps images uint8 up to
the end, where semseg has float32, and neither transposes nor normalizes them:
this is the fastest that OpenCV can be.

Both get the same cores: first one, on which the DataLoader does the work
itself, since a worker would make it slower; then all, with as many workers or
threads. Each has a process of its own. Rounds alternate between the two, and
the one that waits is stopped, as in `export.py`. A round makes the same number
of batches, from an empty pipeline to an empty pipeline.

A second table shows what each step of ours costs on one core. Flipping is a
sign in the sampling and costs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from comparison import (
    HERE,
    PEER_PYTHON,
    Against,
    BenchmarkError,
    Engine,
    Run,
    check_peer,
    measure,
    run_to_end,
    serve,
    write_image,
)

SIZE = (375, 500)
QUALITY = 90
BATCH = 16
# semseg's augmentation, as arguments of `train_augmentation`.
SEMSEG = {"rotate": 10.0, "center_padding": True, "blur_probability": 0.5}
# Target: at least this many times the peer's crops per second.
AT_LEAST = 1.0
COSTS = "costs.json"
LINE = "{:>5} {:>16} {:>14} {:>7} {:>9} {:>9} {:>8}"
HEADINGS = ("cores", "opencv images/s", "ours images/s", "ratio", "at least")


def engines_of(cores: int) -> tuple[Engine, Engine]:
    """Returns the row of OpenCV and ours.

    Args:
        cores: Number of cores that both get.
    """
    peer = Engine(f"opencv-{cores}", "float32", "torch", "")
    ours = Engine(
        f"ours-{cores}", "float32", "tensorflow", "", mmseg=Against(peer.name)
    )
    return peer, ours


def write_pairs(folder: Path, count: int) -> None:
    """Writes JPEG files as of a camera, and masks as of PASCAL VOC.

    Args:
        folder: Folder in which to create `images` and `masks`.
        count: Number of pairs.
    """
    from PIL import Image

    from keras_pspnet.data.synthetic.scenes import make_scene
    from keras_pspnet.labels import VOC
    from keras_pspnet.visualization.colors import index_image

    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for index in range(count):
        image, mask = make_scene(0, index, SIZE)
        Image.fromarray(image).save(
            folder / f"images/{index:03}.jpg",
            quality=QUALITY,
            subsampling="4:2:0",
        )
        index_image(mask, VOC).save(folder / f"masks/{index:03}.png")


def use_cores(count: int) -> None:
    """Restricts this process, and those it starts, to some cores.

    Args:
        count: Number of cores.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def load(options: argparse.Namespace) -> Run:
    """Returns a function that makes all batches of a round.

    Args:
        options: As `parse` gives them.

    Returns:
        A function that ignores its argument and returns the shapes of the
        last batch.
    """
    from keras_pspnet.data.augment.augmentation import train_augmentation
    from keras_pspnet.data.dataset import load
    from keras_pspnet.data.pipeline import training_dataset
    from keras_pspnet.labels import VOC

    dataset = training_dataset(
        load(options.folder, labels=VOC),
        train_augmentation((options.size, options.size), **SEMSEG),
        BATCH,
        options.steps,
    )

    def run(_: np.ndarray) -> np.ndarray:
        for batch in dataset:
            images, masks = batch
        return np.array([*images.shape, *masks.shape])

    return run


def costs(folder: Path, size: int) -> dict[str, float]:
    """Measures the steps of our chain one by one.

    Args:
        folder: Folder of the pairs.
        size: Side of the crops.

    Returns:
        Milliseconds per image, by the name of the step.
    """
    import tensorflow as tf

    from keras_pspnet.data.augment.affine import (
        fill,
        flatten,
        place_crop,
        sample_labels,
        sample_pair,
    )
    from keras_pspnet.data.augment.augmentation import train_augmentation
    from keras_pspnet.data.augment.photometric import gaussian_blur
    from keras_pspnet.data.dataset import load
    from keras_pspnet.data.images import read_image
    from keras_pspnet.labels import VOC

    samples = load(folder, labels=VOC).samples
    crop = (size, size)
    image = tf.constant(read_image(samples[0].image))
    mask = tf.constant(samples[0].ground_truth.read(samples[0].mask))
    source = tf.constant(mask.shape)
    # 1.3 times the image, rotated by 6 degrees.
    placement = place_crop(
        source,
        tf.cast(1.3 * tf.cast(source, tf.float32), tf.int32),
        tf.constant(0.1, tf.float64),
        tf.constant((5, 7)),
        tf.constant(True),
    )
    flat = flatten(image), flatten(mask)
    cut, _, inside = sample_pair(*flat, source, placement, crop)
    batch = tf.data.Dataset.from_tensors(cut).repeat().batch(BATCH)
    batches = iter(batch.prefetch(1))
    # Graphs, as in the pipeline.
    small = tf.function(train_augmentation((4, 4), **SEMSEG))
    lay_out = tf.function(lambda *pair: [flatten(each) for each in pair])
    smooth = tf.function(gaussian_blur)
    complete = tf.function(fill)
    little = image[:8, :8], mask[:8, :8]
    seed = tf.constant((0, 1))

    def milliseconds(step: Callable[[Any], Any], count: int = 1) -> float:
        seconds = []
        for sample in [*samples[:2], *samples]:
            start = time.perf_counter()
            step(sample)
            seconds.append(time.perf_counter() - start)
        # The first two trace graphs.
        return 1e3 * statistics.median(seconds[2:]) / count

    return {
        "read and decode the image": milliseconds(
            lambda sample: read_image(sample.image)
        ),
        "read and decode the mask": milliseconds(
            lambda sample: sample.ground_truth.read(sample.mask)
        ),
        "draw and place": milliseconds(lambda _: small(*little, seed)),
        "lay both out flat": milliseconds(lambda _: lay_out(image, mask)),
        "sample the mask alone": milliseconds(
            lambda _: sample_labels(flat[1], source, placement, crop)
        ),
        "sample image and mask": milliseconds(
            lambda _: sample_pair(*flat, source, placement, crop)
        ),
        "blur (half of them)": milliseconds(lambda _: smooth(cut)),
        "fill (where needed)": milliseconds(lambda _: complete(cut, inside)),
        "batch": milliseconds(lambda _: next(batches), BATCH),
    }


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line, also that of the processes it starts."""
    parser = argparse.ArgumentParser(
        description="Training batches beside OpenCV in a DataLoader."
    )
    parser.add_argument(
        "--peer-python",
        type=Path,
        default=PEER_PYTHON,
        help="Python that has PyTorch and OpenCV",
    )
    every = len(os.sched_getaffinity(0))
    parser.add_argument("--size", type=int, default=473)
    parser.add_argument(
        "--cores", type=int, nargs="+", default=sorted({1, every})
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, default=12, help="batches in a round"
    )
    parser.add_argument("--images", type=int, default=48)
    # For the processes that it starts.
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    numbers = (options.rounds, options.steps, options.images, *options.cores)
    if min(numbers) < 1 or options.size < 32:
        parser.error("numbers must be at least 1, --size at least 32")
    if max(options.cores) > every:
        parser.error(f"--cores must be at most {every} here")
    return options


def compare(options: argparse.Namespace) -> None:
    """Measures both with every number of cores, then our steps.

    Args:
        options: As `parse` gives them.

    Raises:
        BenchmarkError: If a process fails, or there is no peer.
    """
    check_peer(options.peer_python)
    print(
        f"{SIZE[1]}x{SIZE[0]} JPEG files to {options.size}x{options.size} "
        f"crops, batches of {BATCH}, medians of {options.rounds}, per core",
        flush=True,
    )
    print(LINE.format(*HEADINGS, "opencv MB", "ours MB"), flush=True)
    with tempfile.TemporaryDirectory(prefix="pspnet-input-") as temporary:
        folder = Path(temporary)
        write_pairs(folder, options.images)
        # `measured.serve` loads it, though these batches do not use it.
        write_image(folder, 32)

        def command(
            role: str, cores: int, python: object, script: str
        ) -> list[str]:
            return [
                *(str(python), str(HERE / script), "--child", role),
                *("--folder", temporary, "--size", str(options.size)),
                *("--steps", str(options.steps), "--cores", str(cores)),
            ]

        theirs = (options.peer_python, "input_peer.py")
        own = (sys.executable, "input.py")
        for cores in options.cores:
            peer, ours = engines_of(cores)
            results = measure(
                {
                    peer.name: command(peer.name, cores, *theirs),
                    ours.name: command(ours.name, cores, *own),
                },
                folder,
                options.rounds,
                (peer, ours),
            )
            them, us = results[peer.name], results[ours.name]
            crops = BATCH * options.steps / cores
            print(
                LINE.format(
                    cores,
                    f"{crops / them.seconds:.0f}",
                    f"{crops / us.seconds:.0f}",
                    f"{them.seconds / us.seconds:.2f}",
                    f"{AT_LEAST:.2f}",
                    f"{them.peak:.0f}",
                    f"{us.peak:.0f}",
                ),
                flush=True,
            )
        run_to_end("measuring steps", command("costs", 1, *own))
        print("milliseconds per image on one core")
        for name, cost in json.loads((folder / COSTS).read_text()).items():
            print(f"{name:<28} {cost:6.2f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares both, or runs as one of the processes."""
    options = parse(arguments)
    if options.child is None:
        try:
            compare(options)
        except BenchmarkError as error:
            sys.exit(str(error))
        return
    (cores,) = options.cores
    use_cores(cores)
    if options.child == "costs":
        measured = costs(options.folder, options.size)
        (options.folder / COSTS).write_text(json.dumps(measured))
        return
    _, ours = engines_of(cores)
    serve(ours, options.folder, cores, lambda *_: load(options))


if __name__ == "__main__":
    main()
