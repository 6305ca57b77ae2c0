"""Tests of `keras-pspnet segment`: what is written, and what is refused."""

import inspect
import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import tensorflow as tf
from command_line import (
    load_conv_model,
    printed,
    replace_loading,
    write_images,
)
from PIL import Image
from support import conv_model, picture

import keras_pspnet.inference.load as load_module
from keras_pspnet.cli.main import main
from keras_pspnet.data.images import read_mask
from keras_pspnet.inference import segment as inference
from keras_pspnet.inference.segment import segment


@pytest.mark.parametrize(
    ("options", "arguments", "what", "colorblind"),
    [
        ("", {}, "overlay", False),
        (
            "--mask --scales 1 0.3 --flip",
            {"scales": (1, 0.3), "flip": True},
            "mask",
            False,
        ),
        ("--confidence", {"confidence": True}, "confidence", False),
        ("--colorblind", {}, "overlay", True),
        ("--colorblind --mask", {}, "mask", True),
    ],
)
def test_segment_writes_what_is_asked_for(
    photo, monkeypatch, capsys, options: str, arguments, what, colorblind
) -> None:
    model = conv_model()
    loaded = []

    def load(source: str, backbone: str | None) -> Any:
        loaded.append((source, backbone))
        return model

    replace_loading(monkeypatch, load)
    assert main(["segment", photo, "-o", "out.png", *options.split()]) == 0
    assert loaded == [("aerial", None)]
    result = segment(model, photo, **arguments)
    result.save("want.png", what, colorblind)
    assert Path("out.png").read_bytes() == Path("want.png").read_bytes()
    shares = [f"{name} {share:.1%}" for name, share in result.areas().items()]
    assert len(shares) > 1
    out, err = printed(capsys)
    assert out == f"out.png: {', '.join(shares)}\n"
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        ("", {}),
        ("--scales 0.5 1", {"scales": [0.5, 1.0]}),
        ("--flip", {"flip": True}),
        ("--window 32", {"window": 32}),
        ("--max-side 20", {"max_side": 20}),
        ("--max-side none", {"max_side": None}),
        ("--max-pixels 9000", {"max_pixels": 9000}),
        ("--confidence", {"confidence": True}),
    ],
)
def test_segment_passes_on_what_is_given(
    photo, monkeypatch, arguments: str, passed: dict[str, Any]
) -> None:
    model = load_conv_model(monkeypatch)
    spy = create_autospec(segment, side_effect=segment)
    monkeypatch.setattr(inference, "segment", spy)
    assert (
        main(
            [
                "segment",
                "--model=aerial",
                photo,
                "-o",
                "x.png",
                *arguments.split(),
            ]
        )
        == 0
    )
    ((network, image), given) = spy.call_args
    assert network.model is model
    np.testing.assert_array_equal(image, picture(33, 47))
    signature = inspect.signature(segment).parameters
    defaults = {name: signature[name].default for name in given}
    assert given == {**defaults, **passed}


def test_segment_computes_in_the_precision_asked_for(
    photo, monkeypatch
) -> None:
    model = load_conv_model(monkeypatch)
    real = load_module.as_predictor
    spy = create_autospec(real, side_effect=real)
    monkeypatch.setattr(load_module, "as_predictor", spy)
    command = ["segment", photo, "-o", "x.png"]
    assert main(command) == 0
    assert main([*command, "--precision", "bfloat16"]) == 0
    assert [each.args for each in spy.call_args_list] == [
        (model, "float32"),
        (model, "bfloat16"),
    ]


def test_segment_writes_an_output_for_each_image(
    photo, monkeypatch, capsys
) -> None:
    model = load_conv_model(monkeypatch)
    write_images("b.jpg", "seen/c.PNG", "seen/a.webp", "seen/deeper/x.png")
    Path("seen/notes.txt").write_text("some notes")
    command = ["segment", "seen", "[b].*", photo, "--mask", "-o", "new/out"]
    assert main(command) == 0
    assert sorted(os.listdir("new/out")) == [
        "a.png",
        "b.png",
        "c.png",
        "photo.png",
    ]
    sources = ["seen/a.webp", "seen/c.PNG", "b.jpg", photo]
    lines = []
    for source in sources:
        result = segment(model, source)
        output = os.path.join("new", "out", f"{Path(source).stem}.png")
        np.testing.assert_array_equal(read_mask(output), result.mask)
        shares = result.areas().items()
        lines.append(
            f"{output}: "
            + ", ".join(f"{name} {share:.1%}" for name, share in shares)
        )
    out, err = printed(capsys)
    assert out.splitlines() == [*lines, "4 images written, 0 failed"]
    assert err == ""


@pytest.mark.parametrize(
    ("paths", "output", "written"),
    [
        ("photo.png", "there", "there/photo.png"),
        ("photo.png", "new", "new/photo.png"),
        ("photo.png", "new.png/", "new.png/photo.png"),
        ("seen", "new", "new/one.png"),
        ("seen/*", "new.jpg", "new.jpg"),
        ("seen/one.jpg", "new.JPEG", "new.JPEG"),
    ],
)
def test_segment_writes_one_image_to_a_file_or_folder(
    photo, monkeypatch, capsys, paths: str, output: str, written: str
) -> None:
    load_conv_model(monkeypatch)
    write_images("seen/one.jpg")
    Path("there").mkdir()
    assert main(["segment", paths, "-o", output]) == 0
    with Image.open(written) as found:
        found.load()
    out, _ = capsys.readouterr()
    assert out.startswith(f"{Path(written)}: ")
    assert len(out.splitlines()) == 1


def test_segment_goes_on_after_bad_images(photo, monkeypatch, capsys) -> None:
    load_conv_model(monkeypatch)
    write_images("seen/a.png", "seen/c.png", "seen/d.png")
    Path("seen/b.jpg").write_text("no image")
    data = Path("seen/c.png").read_bytes()
    Path("seen/c.png").write_bytes(data[: len(data) // 2])
    Path("gone.png").symlink_to("nowhere.png")
    Path("out/d.png").mkdir(parents=True)
    assert main(["segment", "seen", "g*", "-o", "out"]) == 1
    out, err = printed(capsys)
    lines = err.splitlines()
    for line, name, told in zip(
        lines,
        ("seen/b.jpg", "seen/c.png", "seen/d.png", "gone.png"),
        ("must be a", "decoded", "not a folder", "`image` must"),
        strict=True,
    ):
        assert line.startswith(f"keras-pspnet: error: {name}: `")
        assert told in line
    assert len(out.splitlines()) == 2
    assert out.startswith("out/a.png: ")
    assert out.endswith("\n1 image written, 4 failed\n")
    assert sorted(os.listdir("out")) == ["a.png", "d.png"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "MemoryError"),
        (
            tf.errors.ResourceExhaustedError(
                None, None, "OOM when\nallocating"
            ),
            "OOM when allocating",
        ),
    ],
)
def test_segment_goes_on_after_images_too_large_for_the_memory(
    photo, monkeypatch, capsys, error: Exception, told: str
) -> None:
    load_conv_model(monkeypatch)
    write_images("seen/a.png", "seen/b.png")

    def run_out(model: Any, image: Any, **arguments: Any) -> Any:
        if image == Path("seen/a.png"):
            raise error
        return segment(model, image, **arguments)

    monkeypatch.setattr(inference, "segment", run_out)
    assert main(["segment", "seen", "-o", "out"]) == 1
    out, err = printed(capsys)
    assert err == f"keras-pspnet: error: seen/a.png: {told}\n"
    assert out.splitlines()[1:] == ["1 image written, 1 failed"]


def test_segment_keeps_what_is_done_when_it_is_interrupted(
    photo, monkeypatch, capsys
) -> None:
    model = load_conv_model(monkeypatch)
    write_images("seen/a.png", "seen/b.png", "seen/c.png")

    def interrupted(model: Any, image: Any, **arguments: Any) -> Any:
        if image == Path("seen/b.png"):
            raise KeyboardInterrupt
        return segment(model, image, **arguments)

    monkeypatch.setattr(inference, "segment", interrupted)
    assert main(["segment", "seen", "--mask", "-o", "out"]) == 130
    assert os.listdir("out") == ["a.png"]
    want = segment(model, "seen/a.png").mask
    np.testing.assert_array_equal(read_mask("out/a.png"), want)
    out, err = printed(capsys)
    assert out.endswith("\n1 image written, 0 failed\n")
    assert err == ""


def test_segment_shows_a_bar_on_a_terminal_only(
    photo, monkeypatch, capsys
) -> None:
    load_conv_model(monkeypatch)
    write_images("seen/a.png", "seen/b.png")
    Path("seen/c.png").write_text("no image")
    command = ["segment", "seen", "-o", "out"]
    assert main(command) == 1
    assert "3/3" not in capsys.readouterr().out
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(command) == 1
    out, err = printed(capsys)
    assert "3/3" in out
    assert "out/a.png: " in out
    assert out.endswith("2 images written, 1 failed\n")
    # A redirected stderr has the errors, not the terminal.
    assert err.startswith("keras-pspnet: error: seen/c.png: ")
    assert len(err.splitlines()) == 1


def test_segment_shows_windows_of_one_image_on_a_terminal(
    photo, monkeypatch, capsys
) -> None:
    load_conv_model(monkeypatch)
    command = ["segment", photo, "-o", "out.png", "--window", "32"]
    assert main(command) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(command) == 0
    # 33x47 in windows of 32, every 22 pixels.
    assert "4/4" in capsys.readouterr().out


def test_segment_takes_names_that_cannot_be_printed(
    photo, monkeypatch, capsys
) -> None:
    load_conv_model(monkeypatch)
    name = os.fsdecode(b"caf\xe9.png")
    os.replace(photo, name)
    assert main(["segment", name, "-o", "out/"]) == 0
    assert capsys.readouterr().out.startswith("out/caf\\udce9.png: ")
    assert os.listdir("out") == [name]
