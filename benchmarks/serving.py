"""Gain and cost of server-side batching and of a second process.

    make .venv-triton/server
    python benchmarks/serving.py [--model aerial] [--size 473]

NVIDIA Triton serves `serving/triton` with an export, in each setting of the
table. Each client sends one JPEG file at a time, the next one as soon as it has
its answer.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("helpers", "serving")]

import triton_server  # noqa: E402
from picture_files import encode, image  # noqa: E402

CLIENTS = (1, 8)
MIB = 2**20


def without_batching(config: str) -> str:
    """Makes the server run each request on its own."""
    config, count = re.subn(
        r"\ndynamic_batching \{.*?\n\}", "", config, flags=re.S
    )
    assert count == 1
    return config


def two_processes(config: str) -> str:
    """Makes the server run the model in two processes."""
    assert config.count("\n  count: 1\n}\n\n# Runs") == 1
    return config.replace(
        "\n  count: 1\n}\n\n# Runs", "\n  count: 2\n}\n\n# Runs"
    )


SETTINGS = {
    "as it is": str,
    "no batching": without_batching,
    "two processes": two_processes,
}


def measure(
    triton: triton_server.Triton, data: bytes, clients: int, seconds: float
) -> np.ndarray:
    """Sends a file over and over.

    Args:
        triton: The server.
        data: The file.
        clients: Number of clients that send at the same time.
        seconds: How long they do.

    Returns:
        Seconds of each request.
    """
    end = time.perf_counter() + seconds

    def client(_: int) -> list[float]:
        times = []
        while (began := time.perf_counter()) < end:
            answer = triton_server.segment(triton, data)
            assert answer["status"].strings == [b"OK"]
            times.append(time.perf_counter() - began)
        return times

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        return np.concatenate(list(pool.map(client, range(clients))))


def memory(triton: triton_server.Triton) -> list[float]:
    """Returns the memory in MiB of the server and of each model process."""
    server = psutil.Process(triton.process.pid)
    return [
        process.memory_info().rss / MIB
        for process in (server, *server.children())
    ]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="aerial", help="see load_pretrained")
    parser.add_argument(
        "--size", type=int, default=473, help="side of the image"
    )
    parser.add_argument("--seconds", type=float, default=30)
    return parser.parse_args(arguments)


def main() -> None:
    """Prints the table."""
    options = parse()
    import keras_pspnet as kp

    data = encode(image(size=(options.size, options.size)), "JPEG")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kp.export_saved_model(
            kp.load_pretrained(options.model), folder / "export"
        )
        print(
            f"{'setting':<15} {'clients':>7} {'images/s':>10} {'p50 ms':>7} "
            f"{'p99 ms':>7}  MiB of server and processes",
            flush=True,
        )
        for number, (setting, change) in enumerate(SETTINGS.items()):
            run = folder / f"run{number}"
            run.mkdir()
            models = triton_server.repository(
                folder / f"models{number}", folder / "export"
            )
            # Serve only the model that is measured.
            shutil.rmtree(models / "pspnet_array")
            file = models / "pspnet/config.pbtxt"
            file.write_text(change(file.read_text()))
            with triton_server.serving(models, run) as triton:
                for clients in CLIENTS:
                    measure(triton, data, clients, 5)
                    times = measure(triton, data, clients, options.seconds)
                    half, most = 1000 * np.quantile(times, [0.5, 0.99])
                    held = " ".join(f"{each:.0f}" for each in memory(triton))
                    rate = len(times) / options.seconds
                    print(
                        f"{setting:<15} {clients:>7} {rate:>10.1f} "
                        f"{half:>7.0f} {most:>7.0f}  {held}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
