"""Peak memory of segmenting a very large image, measured from outside.

    python benchmarks/megapixels.py

Draws an image of 10,000 x 10,000 pixels, then runs `keras-pspnet segment
--window` on it in a process of its own. A second run, on an image of one
window, shows what model and libraries need. The operating system reports the
peak memory of each process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def draw(path: Path, side: int) -> None:
    """Draws a square image of many scenes.

    Args:
        path: File to write.
        side: Side of the image in pixels.
    """
    from PIL import Image

    from keras_pspnet.data.synthetic.scenes import make_scene

    tiles = [make_scene(0, index, (250, 250))[0] for index in range(64)]
    rng = np.random.default_rng(0)
    image = Image.new("RGB", (side, side))
    for top in range(0, side, 250):
        for left in range(0, side, 250):
            tile = Image.fromarray(tiles[rng.integers(len(tiles))])
            image.paste(tile, (left, top))
    image.save(path)


def run(
    options: argparse.Namespace, image: Path, side: int
) -> tuple[float, float]:
    """Segments an image in a process of its own.

    Args:
        options: As `parse` gives them.
        image: The file; the mask is written beside it.
        side: Its side in pixels.

    Returns:
        Seconds, and peak memory in MB.
    """
    command = [sys.executable, "-m", "keras_pspnet_command", "segment"]
    command += [str(image), "-o", str(image.with_suffix(".mask.png"))]
    command += ["--mask", "--window", str(options.window)]
    command += ["--max-pixels", str(side * side), "--model", options.model]
    start = time.perf_counter()
    with open(image.with_suffix(".log"), "w+") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        )
        _, status, usage = os.wait4(process.pid, 0)
        log.seek(0)
        if status:
            sys.exit(log.read())
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return time.perf_counter() - start, usage.ru_maxrss / unit


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Peak memory of segmenting a very large image."
    )
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--window", type=int, default=473)
    parser.add_argument("--model", default="aerial")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="pspnet-large-") as folder:
        peaks = []
        for side in (options.window, options.side):
            image = Path(folder, f"{side}.png")
            draw(image, side)
            seconds, peak = run(options, image, side)
            peaks.append(peak)
            print(
                f"{side}x{side}: {seconds:.1f} s, peak {peak:,.0f} MB",
                flush=True,
            )
    print(f"beyond one window: {peaks[1] - peaks[0]:,.0f} MB")


if __name__ == "__main__":
    main()
