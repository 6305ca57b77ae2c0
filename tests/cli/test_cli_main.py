"""Tests of the program as a whole."""

import argparse
import inspect
import os
import subprocess
import sys
from typing import Any

import pytest
from command_line import usage_error
from PIL import Image
from support import picture

import keras_pspnet as kp
import keras_pspnet.export
import keras_pspnet.training.run as training
from keras_pspnet.cli.main import make_parser, parse
from keras_pspnet.data.images import MAX_PIXELS
from keras_pspnet.evaluation import protocols
from keras_pspnet.inference import PRECISIONS
from keras_pspnet.inference.benchmark import benchmark
from keras_pspnet.pretrained import push_pretrained

COMMANDS = (
    "",
    "segment",
    "evaluate",
    "demo",
    "train",
    "export",
    "export savedmodel",
    "export litert",
    "export onnx",
    "benchmark",
    "convert",
    "beam",
    "beam segment",
    "beam evaluate",
    "masks",
    "push",
    "info",
)
VIEWS = {"scales", "flip", "window"}
LIMITS = {"max_side", "max_pixels"}
# The shortest of each command, and which options its function takes.
SIGNATURES = [
    ("segment a -o b", kp.segment, VIEWS | LIMITS | {"show_bands"}),
    ("demo", kp.segment, VIEWS | LIMITS),
    (
        "beam segment --input a -o b",
        kp.segment,
        VIEWS | LIMITS | {"confidence"},
    ),
    ("evaluate --data a", kp.evaluate, VIEWS | {"protocol", "base"}),
    ("beam evaluate --data a -o b", kp.evaluate, VIEWS | {"protocol", "base"}),
    (
        "export savedmodel -o b",
        kp.export_saved_model,
        VIEWS | LIMITS | {"precision", "batch_sizes", "freeze"},
    ),
    (
        "export litert -o b",
        kp.export_litert,
        {"size", "precision", "calibration", "input_dtype"},
    ),
    ("export onnx -o b", kp.export_onnx, {"precision", "calibration"}),
    ("benchmark a", benchmark, {"threads", "rounds"}),
    ("train scenes", training.train, {"worker_timeout"}),
    (
        "push a b",
        push_pretrained,
        {"license", "datasets", "private", "overwrite", "dry_run"},
    ),
]


@pytest.mark.parametrize(("command", "function", "names"), SIGNATURES)
def test_defaults_are_those_of_the_functions(
    command: str, function: Any, names: set[str]
) -> None:
    options = vars(parse(command.split()))
    parameters = inspect.signature(function).parameters
    # What is loaded or written by name; the ignore label is the model's.
    others = {"model", "data", "output", "recipe", "ignore_label", "image"}
    others |= {"paths", "folder", "target"}
    assert names == (set(options) & set(parameters)) - others
    for name in names:
        value = options[name]
        if isinstance(value, list):
            value = tuple(value)
        assert value == parameters[name].default, name


def test_choices_are_those_of_the_functions() -> None:
    for command, choices in (
        ("segment a -o b", PRECISIONS),
        ("export savedmodel -o b", PRECISIONS),
        ("export litert -o b", keras_pspnet.export.LITERT_PRECISIONS),
        ("export onnx -o b", keras_pspnet.export.ONNX_PRECISIONS),
    ):
        assert choices_of(command, "--precision") == choices
    for command, option, choices in (
        ("export onnx -o b", "--outputs", keras_pspnet.export.OUTPUTS),
        ("export litert -o b", "--outputs", keras_pspnet.export.OUTPUTS),
        (
            "export litert -o b",
            "--input-dtype",
            keras_pspnet.export.INPUT_DTYPES,
        ),
    ):
        assert choices_of(command, option) == choices
    assert choices_of("evaluate", "--protocol") == protocols.NAMES
    assert parse(["demo"]).max_pixels == MAX_PIXELS


def choices_of(command: str, option: str) -> tuple[str, ...]:
    """What an option says that it takes."""
    parser = make_parser()
    for word in command.split():
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parser = action.choices.get(word, parser)
    (action,) = (
        each for each in parser._actions if option in each.option_strings
    )
    return tuple(action.choices)


@pytest.mark.parametrize(
    ("arguments", "told", "where"),
    [
        ("", "the following arguments are required: COMMAND", ""),
        ("dance", "argument COMMAND: invalid choice: 'dance'", ""),
        ("segment", "required: PATH, -o/--output", "segment"),
        ("segment photo.png", "required: -o/--output", "segment"),
        (
            "segment a.png -o x.png --mask --confidence",
            "argument --confidence: not allowed with argument --mask",
            "segment",
        ),
        ("evaluate", "required: --data", "evaluate"),
        ("evaluate --protocol mine", "invalid choice: 'mine'", "evaluate"),
        ("info --color", "unrecognized arguments: --color", ""),
        ("beam", "the following arguments are required: JOB", "beam"),
        ("beam segment", "required: --input, -o/--output", "beam segment"),
    ],
)
def test_usage_errors_are_one_line(
    arguments: str, told: str, where: str, capsys
) -> None:
    line = usage_error(capsys, *arguments.split())
    assert told in line
    assert line.endswith(
        f"; see keras-pspnet {where} --help".replace("  ", " ")
    )


# What answers a question or refuses one needs neither of them.
AT_ONCE = """
import sys
import keras_pspnet_command as command
try:
    status = command.main()
except SystemExit as ended:
    status = ended.code
heavy = {"keras", "tensorflow", "numpy", "PIL", "rich", "apache_beam"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        *((f"{each} --help", 0, f"keras-pspnet {each}") for each in COMMANDS),
        ("--version", 0, f"keras-pspnet {kp.__version__}"),
        ("info", 0, "voc"),
        ("segment", 2, ""),
        ("export savedmodel -o x --max-side all", 2, ""),
        ("evaluate --data a --color", 2, ""),
    ],
)
def test_what_needs_no_keras_does_not_import_it(
    arguments: str, status: int, told: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE, *arguments.split()],
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    assert told in done.stdout
    assert len(done.stderr.splitlines()) == (1 if status else 0)


def test_a_command_runs_with_the_whole_package(tmp_path) -> None:
    """Saved models load after `import keras_pspnet`, however it comes."""
    code = (
        "import sys, keras_pspnet_command as command\n"
        "status = command.main()\n"
        "import keras_pspnet as kp\n"
        "assert kp is sys.modules['keras_pspnet']\n"
        "assert kp.segment.__module__ in sys.modules\n"
        "assert kp.cli.main.run\n"
        "sys.exit(status)\n"
    )
    Image.fromarray(picture(33, 47)).save(tmp_path / "photo.png")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "segment",
            "photo.png",
            "-o",
            "x.png",
            "--model",
            "aerial",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["photo.png", "x.png"]


def test_a_process_says_one_line_and_nothing_of_tensorflow(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("some notes")
    quiet = {"TF_CPP_MIN_LOG_LEVEL", "CUDA_VISIBLE_DEVICES"}
    command = ["keras_pspnet_command", "segment", "notes.txt", "-o", "x.png"]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        # As a user starts it, without the settings of the tests.
        env={k: v for k, v in os.environ.items() if k not in quiet},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "error: `image` must be a" in done.stderr
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize("command", ["info", "--help", "train --help"])
def test_a_reader_may_stop_reading(command: str) -> None:
    """As `keras-pspnet info | head -1` does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_pspnet_command", *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141
    process.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no sh")
def test_there_may_be_no_standard_output() -> None:
    script = 'exec "$0" -m keras_pspnet_command info >&-'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
