"""Time and memory of every export of one network, beside its competitors.

    python benchmarks/export.py

The competitors are Keras's own `model.export` of the plain network, in which
the pyramid is concatenated, and mmsegmentation in PyTorch, `channels_last`
and in inference mode. Where mmsegmentation's environment is missing
(`make .venv-mmseg/peer` makes it), its rows are left out, and the weights are
Keras's initial ones instead of those that it writes for all to read. OpenVINO
runs our ONNX files; its rows need `make .venv-openvino/peer`.

All do the same: a float32 picture with values 0..255 goes in, the class of
each of its pixels comes out. Where the artefact gives logits, as ONNX files
do, taking the greatest by NumPy is part of the time; to Keras's SavedModel it
is added as an operation of the graph. SavedModels run in a session, as
TensorFlow Serving runs them. Keras exports a network of fixed size, which is
its best; our own exports are made of the network for any size.

Every artefact has a fresh process that loads nothing else. All stay loaded,
and their rounds alternate, so that a machine that grows slower does so for
everybody; the processes that wait are stopped. Seconds are medians: their
ratios travel from machine to machine, seconds do not. Peak memory is that of
the whole process; "import", "loaded" and "first MB" are what is resident after
the engine is imported, after the artefact is loaded, and after its first run.
"same" is the share of pixels that have the class of the first row. A second
table, of `export_start.py`, has the start and the memory of SavedModels in
TensorFlow's C library, as servers load them.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Each process that is measured carries what is imported here: this must stay
# small, and what measures is imported by its file, without the package.
import numpy as np

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "keras_pspnet/inference"))
import export_start  # noqa: E402
import measured  # noqa: E402
from measured import Run  # noqa: E402
from measuring import (  # noqa: E402
    BenchmarkError,
    alternate,
    environment,
    failure,
)

PEER_PYTHON = HERE.parent / ".venv-mmseg/bin/python"
OPENVINO_PYTHON = HERE.parent / ".venv-openvino/bin/python"
BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
NUM_CLASSES = 21
# Pictures from which the 8-bit export learns the ranges of its values. Each
# takes half a minute at 473x473, and more change none of its time.
CALIBRATION = 2
# Engines that compute in float32 agree on at least this share of the pixels.
AGREEMENT = 0.99
PICTURE = "picture.npy"
WEIGHTS = "weights.pth"
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


class Against(NamedTuple):
    """Another engine, and the share of its time that is the target."""

    name: str
    at_most: float | None = None


class Engine(NamedTuple):
    """One row: what runs, and with what it is compared.

    Args:
        name: Name of the row.
        dtype: What it computes in.
        module: What its process imports before it loads the artefact.
        file: Name of the artefact.
        keras: The export of Keras's own that it is compared with.
        mmseg: The row of mmsegmentation that it is compared with.
    """

    name: str
    dtype: str
    module: str
    file: str
    keras: Against | None = None
    mmseg: Against | None = None


OPENVINO = "openvino"
LITERT = "ai_edge_litert.interpreter"
ENGINES = (
    Engine("keras-savedmodel", "float32", "tensorflow", "keras"),
    Engine("keras-onnx", "float32", "onnxruntime", "keras.onnx"),
    Engine("mmseg-float32", "float32", "peer", WEIGHTS),
    Engine("mmseg-bfloat16", "bfloat16", "peer", WEIGHTS),
    Engine(
        "savedmodel-float32",
        "float32",
        "tensorflow",
        "float32",
        Against("keras-savedmodel", 0.64),
        Against("mmseg-float32", 0.95),
    ),
    Engine(
        "savedmodel-frozen",
        "float32",
        "tensorflow",
        "frozen",
        Against("keras-savedmodel", 0.60),
        Against("mmseg-float32", 0.95),
    ),
    Engine(
        "savedmodel-bfloat16",
        "bfloat16",
        "tensorflow",
        "bfloat16",
        Against("keras-savedmodel"),
        Against("mmseg-bfloat16", 0.66),
    ),
    Engine(
        "onnx",
        "float32",
        "onnxruntime",
        "float32.onnx",
        Against("keras-onnx", 0.88),
        Against("mmseg-float32"),
    ),
    Engine(
        "onnx-int8",
        "int8",
        "onnxruntime",
        "int8.onnx",
        Against("keras-onnx", 0.26),
    ),
    Engine(
        "openvino-float32",
        "float32",
        OPENVINO,
        "float32.onnx",
        Against("keras-onnx"),
        Against("mmseg-float32"),
    ),
    Engine(
        "openvino-bfloat16",
        "bfloat16",
        OPENVINO,
        "float32.onnx",
        Against("keras-onnx"),
        Against("mmseg-bfloat16"),
    ),
    Engine(
        "openvino-int8",
        "int8",
        OPENVINO,
        "int8.onnx",
        Against("keras-onnx"),
    ),
    Engine(
        "litert-float32",
        "float32",
        LITERT,
        "float32.tflite",
        Against("keras-savedmodel"),
        Against("mmseg-float32"),
    ),
    Engine(
        "litert-int8",
        "int8",
        LITERT,
        "int8.tflite",
        Against("keras-savedmodel"),
    ),
)
NAMES = tuple(engine.name for engine in ENGINES)
# Of the process that measures an engine's start.
START = "start-{}"


class Result(NamedTuple):
    """What was measured of one engine."""

    seconds: float
    imported: float
    loaded: float
    first: float
    peak: float
    same: float


# === In the process that writes the artefacts ===


def write_picture(folder: Path, size: int) -> list[np.ndarray]:
    """Writes the picture that all engines see.

    Args:
        folder: Where it goes.
        size: Its height and width.

    Returns:
        The picture and others for calibration, uint8 (H, W, 3).
    """
    from PIL import Image

    from keras_pspnet.data.synthetic.scenes import make_scene

    pictures = [
        make_scene(0, index, (size, size))[0]
        for index in range(1 + CALIBRATION)
    ]
    np.save(folder / PICTURE, pictures[0])
    Image.fromarray(pictures[0]).save(folder / export_start.PICTURE_FILE)
    return pictures


def write(folder: Path, names: Sequence[str], backbone: str, size: int) -> None:
    """Writes the picture and the artefacts, all of the same weights.

    Args:
        folder: Where they go; `WEIGHTS` in it is read if it is there.
        names: The engines whose artefacts are wanted.
        backbone: Of a network with random weights, if there is no file.
        size: Height and width of the picture.
    """
    import keras
    from head import plain_form

    import keras_pspnet as kp

    pictures = write_picture(folder, size)
    if (folder / WEIGHTS).exists():
        model = kp.convert_file(folder / WEIGHTS)
    else:
        keras.utils.set_random_seed(0)
        model = kp.PSPNet(NUM_CLASSES, backbone)
    fixed = kp.PSPNet(**{**model.get_config(), "input_shape": (size, size, 3)})
    fixed.set_weights(model.get_weights())
    plain = plain_form(fixed.inference_model())
    # Keras exports no model that has never been called.
    plain(pictures[0][None])

    def keras_export(format: str) -> Callable[[Path], None]:
        return lambda path: plain.export(path, format=format, verbose=False)

    def saved_model(
        precision: str, freeze: bool = False
    ) -> Callable[[Path], None]:
        return lambda path: kp.export_saved_model(
            model, path, precision=precision, freeze=freeze
        )

    def litert(precision: str, **kwargs: Any) -> Callable[[Path], None]:
        return lambda path: kp.export_litert(
            model, path, size=(size, size), precision=precision, **kwargs
        )

    def onnx(path: Path) -> None:
        kp.export_onnx(model, path)

    def onnx_int8(path: Path) -> None:
        kp.export_onnx(model, path, "int8", pictures[1:])

    writers = {
        "keras-savedmodel": keras_export("tf_saved_model"),
        "keras-onnx": keras_export("onnx"),
        "savedmodel-float32": saved_model("float32"),
        "savedmodel-frozen": saved_model("float32", freeze=True),
        "savedmodel-bfloat16": saved_model("bfloat16"),
        "onnx": onnx,
        "onnx-int8": onnx_int8,
        "openvino-float32": onnx,
        "openvino-bfloat16": onnx,
        "openvino-int8": onnx_int8,
        "litert-float32": litert("float32"),
        "litert-int8": litert("int8", calibration=pictures[1:]),
    }
    for engine in ENGINES:
        if engine.name in names and engine.name in writers:
            with warnings.catch_warnings():
                # Too few images for good ranges, which change no times.
                warnings.simplefilter("ignore", kp.DataWarning)
                writers[engine.name](folder / engine.file)


# === In a process that is measured ===


def load(engine: Engine, path: Path, threads: int) -> Run:
    """Loads an artefact of ours or of Keras's.

    Args:
        engine: Its engine.
        path: The artefact.
        threads: How many threads it may compute with.

    Returns:
        A function from a float32 picture (1, H, W, 3) to its mask (1, H, W)
        of integers.
    """
    if engine.module == OPENVINO:
        return _load_openvino(engine, path, threads)
    loaders = {
        "tensorflow": measured.load_saved_model,
        "onnxruntime": measured.load_onnx,
    }
    return loaders.get(engine.module, measured.load_litert)(path, threads)


def _load_openvino(engine: Engine, path: Path, threads: int) -> Run:
    import openvino

    settings = {
        # By itself it takes bfloat16 where the processor has it.
        "INFERENCE_PRECISION_HINT": "bf16"
        if engine.dtype == "bfloat16"
        else "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    network = openvino.Core().compile_model(path, "CPU", settings)
    return lambda images: network(images)[0].argmax(axis=-1)


def serve(
    engine: Engine,
    folder: Path,
    threads: int,
    load: Callable[[Engine, Path, int], Run],
) -> None:
    """Loads one artefact, then runs it whenever it is asked to.

    Args:
        engine: Which one.
        folder: Where the picture and the artefact are, and the mask goes.
        threads: How many threads it may compute with.
        load: Loads the artefact, as `load` of this module.
    """
    measured.serve(
        lambda: importlib.import_module(engine.module),
        lambda: load(engine, folder / engine.file, threads),
        folder / PICTURE,
        folder / f"{engine.name}.npy",
    )


def _start_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.start.json"


# === In the process that compares ===


def run_to_end(name: str, command: Sequence[str]) -> None:
    """Runs a process that prepares something.

    Args:
        name: What it does.
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
    masks: dict[str, np.ndarray], engines: Sequence[Engine] = ENGINES
) -> dict[str, float]:
    """Compares masks with the first of them.

    Args:
        masks: Mask (1, H, W) of each engine.
        engines: All engines.

    Returns:
        Share of equal pixels of each engine.

    Raises:
        BenchmarkError: If engines of the same precision compute another thing.
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
    engines: Sequence[Engine] = ENGINES,
    compare_results: Callable[
        [dict[str, np.ndarray], Sequence[Engine]], dict[str, float]
    ] = agreement,
) -> dict[str, Result]:
    """Measures engines in rounds that alternate between them.

    Args:
        commands: Starts each engine, by its name.
        folder: Where their logs and masks are.
        rounds: How often each runs.
        engines: All engines.
        compare_results: Says how much the results of the first run agree, as
            `agreement` does.

    Returns:
        The result of each engine.

    Raises:
        BenchmarkError: If one fails, or computes another thing.
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


def table(results: dict[str, Result]) -> list[str]:
    """Returns the lines of the table.

    Args:
        results: Of the engines that were measured.
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


def check_peer(python: Path) -> None:
    """Raises BenchmarkError if there is no peer to compare with."""
    if not python.exists():
        raise BenchmarkError(f"{python} must exist: make .venv-mmseg/peer")


def peer_parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """Returns the options of a benchmark beside mmsegmentation.

    Args:
        description: What it measures.
        rounds: How many by default.
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
    # Of the processes that it starts.
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line, also that of the processes it starts."""
    parser = peer_parser(
        "Time and memory of every export, beside competitors.", rounds=5
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


def compare(options: argparse.Namespace) -> None:
    """Has everything written, measures it and prints the table.

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
            f"No mmsegmentation, as there is no {options.peer_python}: "
            "weights are Keras's initial ones",
            flush=True,
        )
        names = [name for name in names if name not in peers]
    elsewhere = {each.name for each in ENGINES if each.module == OPENVINO}
    if elsewhere & {*names} and not OPENVINO_PYTHON.exists():
        print(f"No OpenVINO, as there is no {OPENVINO_PYTHON}", flush=True)
        names = [name for name in names if name not in elsewhere]
    if not names:
        raise BenchmarkError("--only names nothing else")
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
            # Each in a process of its own: what converters leave behind
            # grows to many gigabytes.
            file = folder / ENGINES[NAMES.index(name)].file
            if name not in peers and not file.exists():
                print(f"exporting {name}", flush=True)
                run_to_end(f"exporting {name}", ours("write", "--only", name))
        commands = {
            name: theirs(name) if name in peers else ours(name)
            for name in names
        }
        results = measure(commands, folder, options.rounds)
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
    """Compares, or does the part of one of the processes."""
    options = parse(arguments)
    if options.child == "write":
        write(options.folder, options.only, options.backbone, options.size)
    elif options.child is not None:
        name = options.child.removeprefix(START.format(""))
        engine = ENGINES[NAMES.index(name)]
        if name != options.child:
            found = export_start.start_saved_model(
                options.folder / engine.file, options.folder / PICTURE
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
