"""Time and memory of every export of one network, beside other engines.

    python benchmarks/export.py

The other engines are Keras's own `model.export` of the plain network, which
concatenates the pyramid, and mmsegmentation in PyTorch, `channels_last` and in
inference mode. mmsegmentation writes random weights for all engines. Its rows
need `make .venv-mmseg/peer`; without it, the weights are Keras's initial ones.
OpenVINO runs our ONNX files; its rows need `make .venv-openvino/peer`.

All engines do the same work: they take a float32 image in 0..255 and return
the class of each pixel. If a file returns logits, as ONNX files do, NumPy's
argmax counts as part of the time; Keras's SavedModel gets an argmax in the
graph. SavedModels run in a session, as in TensorFlow Serving. Keras exports
the network for one fixed size, which suits it best; our exports take any size.

Each file is loaded in a fresh process that loads nothing else. All processes
stay loaded and take turns, so a machine that slows down does so for all of
them; those that wait are stopped. Seconds are medians: ratios carry over to
other machines, seconds do not. "import", "loaded" and "first MB" are the
resident memory after importing the engine, after loading the file and after
its first run; "peak MB" is the peak of the whole process. "same" is the share
of pixels that have the class of the first row. A second table, by
`export_start.py`, shows how long SavedModels take to start in TensorFlow's C
library, as in a server, and how much memory they take.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import export_start
from comparison import (
    HERE,
    IMAGE,
    BenchmarkError,
    Result,
    measure,
    peer_parser,
    run_to_end,
    serve,
)
from export_engines import ENGINES, NAMES, OPENVINO, load
from export_files import write

OPENVINO_PYTHON = HERE.parent / ".venv-openvino/bin/python"
# Role of the process that measures an engine's start.
START = "start-{}"
LINE = "{:<19} {:<9} {:>8} {:>7} {:>7} {:>7} {:>7}" + " {:>9}" * 4 + " {:>7}"
HEADINGS = (
    "engine",
    "dtype",
    "seconds",
    "/keras",
    "at most",
    "/mmseg",
    "at most",
    "import MB",
    "loaded MB",
    "first MB",
    "peak MB",
    "same",
)


def table(results: dict[str, Result]) -> list[str]:
    """Returns the lines of the table.

    Args:
        results: Result of each engine that was measured.
    """
    lines = [LINE.format(*HEADINGS)]
    for engine in ENGINES:
        if engine.name not in results:
            continue
        result = results[engine.name]
        ratios = []
        for other in (engine.keras, engine.mmseg):
            ratio = at_most = ""
            if other is not None and other.name in results:
                share = result.seconds / results[other.name].seconds
                ratio = f"{share:.2f}"
                if other.at_most is not None:
                    at_most = f"{other.at_most:.2f}"
            ratios += [ratio, at_most]
        lines.append(
            LINE.format(
                engine.name,
                engine.dtype,
                f"{result.seconds:.3f}",
                *ratios,
                f"{result.imported:.0f}",
                f"{result.loaded:.0f}",
                f"{result.first:.0f}",
                f"{result.peak:.0f}",
                f"{result.same:.2%}",
            )
        )
    return lines


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line, also that of the processes it starts."""
    parser = peer_parser(
        "Time and memory of every export, beside other engines.", rounds=5
    )
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME"
    )
    parser.add_argument(
        "--child",
        choices=("write", *NAMES, *map(START.format, NAMES)),
        help=argparse.SUPPRESS,
    )
    options = parser.parse_args(arguments)
    if min(options.rounds, options.threads) < 1 or options.size < 32:
        parser.error(
            "--rounds and --threads must be at least 1, --size at least 32"
        )
    return options


def _start_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.start.json"


def compare(options: argparse.Namespace) -> None:
    """Exports and measures every engine, then prints the tables.

    Args:
        options: As `parse` gives them.

    Raises:
        BenchmarkError: If a process fails, or nothing is left to measure.
    """
    names = [engine.name for engine in ENGINES if engine.name in options.only]
    print(
        f"PSPNet, {options.backbone}, {options.size}x{options.size}, "
        f"{options.threads} threads, medians of {options.rounds}",
        flush=True,
    )
    peers = {engine.name for engine in ENGINES if engine.module == "peer"}
    has_peer = options.peer_python.exists()
    if not has_peer:
        print(
            f"{options.peer_python} does not exist: without mmsegmentation, "
            "weights are Keras's initial ones",
            flush=True,
        )
        names = [name for name in names if name not in peers]
    elsewhere = {each.name for each in ENGINES if each.module == OPENVINO}
    if elsewhere & {*names} and not OPENVINO_PYTHON.exists():
        print(f"{OPENVINO_PYTHON} does not exist: without OpenVINO", flush=True)
        names = [name for name in names if name not in elsewhere]
    if not names:
        raise BenchmarkError("--only must name an engine that is installed")
    with tempfile.TemporaryDirectory(prefix="pspnet-export-") as temporary:
        folder = Path(temporary)

        def command(
            role: str, python: str, script: str, *arguments: str
        ) -> list[str]:
            return [
                *(python, str(HERE / script), "--child", role),
                *("--folder", temporary, "--backbone", options.backbone),
                *("--size", str(options.size)),
                *("--threads", str(options.threads), *arguments),
            ]

        def ours(role: str, *arguments: str) -> list[str]:
            python = OPENVINO_PYTHON if role in elsewhere else sys.executable
            return command(role, str(python), "export.py", *arguments)

        def theirs(role: str) -> list[str]:
            return command(role, str(options.peer_python), "export_peer.py")

        if has_peer:
            run_to_end("writing weights", theirs("write"))
        for name in names:
            # Each in a process of its own: converters leave gigabytes behind.
            file = folder / ENGINES[NAMES.index(name)].file
            if name not in peers and not file.exists():
                print(f"exporting {name}", flush=True)
                run_to_end(f"exporting {name}", ours("write", "--only", name))
        commands = {
            name: theirs(name) if name in peers else ours(name)
            for name in names
        }
        results = measure(commands, folder, options.rounds, ENGINES)
        print("\n".join(table(results)), flush=True)
        starts = {}
        for name in names:
            if ENGINES[NAMES.index(name)].module == "tensorflow":
                role = START.format(name)
                run_to_end(role, ours(role))
                starts[name] = export_start.read(_start_file(folder, name))
        if starts:
            print("\n".join(export_start.table(starts, "keras-savedmodel")))


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares all engines, or runs as one of the processes."""
    options = parse(arguments)
    if options.child == "write":
        write(options.folder, options.only, options.backbone, options.size)
    elif options.child is not None:
        name = options.child.removeprefix(START.format(""))
        engine = ENGINES[NAMES.index(name)]
        if name != options.child:
            found = export_start.start_saved_model(
                options.folder / engine.file, options.folder / IMAGE
            )
            export_start.write(found, _start_file(options.folder, name))
            return
        serve(engine, options.folder, options.threads, load)
    else:
        try:
            compare(options)
        except BenchmarkError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
