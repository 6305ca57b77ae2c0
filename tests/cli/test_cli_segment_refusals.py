"""Tests of `keras-pspnet segment`: bad input shows before a model is loaded."""

import os
from pathlib import Path

import pytest
from command_line import refusal, usage_error, write_images


@pytest.mark.parametrize(
    ("paths", "received"),
    [
        ("one/*.jpg two", "'one/a.jpg' and 'two/a.jpg'"),
        ("one", "'one/a.jpg' and 'one/a.png'"),
    ],
)
def test_segment_refuses_images_of_one_name(
    photo, no_model, capsys, paths: str, received: str
) -> None:
    write_images("one/a.jpg", "one/a.png", "two/a.jpg")
    line = refusal(capsys, "segment", *paths.split(), "-o", "out")
    assert "`paths` must be images with different names for one folder" in line
    assert received in line
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ("photo.png -o photo.png", "'photo.png' for 'photo.png'"),
        ("photo.png -o .", "'photo.png' for 'photo.png'"),
        ("photo.png -o link.png", "'link.png' for 'photo.png'"),
        ("link.png -o photo.png", "'photo.png' for 'link.png'"),
        ("seen -o seen", "'seen/b.png' for 'seen/b.png'"),
        ("seen/[ab].* -o other/../seen", "'other/../seen/b.png' for"),
        # One image's output is a link to another image.
        ("seen/b.png photo.png -o links", "'links/b.png' for 'photo.png'"),
    ],
)
def test_segment_never_replaces_what_it_segments(
    photo, no_model, capsys, arguments: str, received: str
) -> None:
    write_images("seen/a.jpg", "seen/b.png", "other/x.png")
    Path("link.png").symlink_to(photo)
    Path("links").mkdir()
    Path("links/b.png").symlink_to("../photo.png")
    files = {path: path.read_bytes() for path in Path().rglob("*.*g")}
    line = refusal(capsys, "segment", *arguments.split())
    assert "`output` must not replace an image that is segmented" in line
    assert received in line
    for path, content in files.items():
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "told", "received"),
    [
        ("no.jpg -o x.png", "patterns of files that exist", "no.jpg"),
        ("*.gif -o x.png", "must be patterns that match", "*.gif"),
        ("empty -o x.png", "or folders that hold some", "empty"),
        ("notes.txt -o x.png", "`image` must be a", "notes.txt"),
        ("photo.png -o no/x.png", "No such file", "no/x.png"),
        ("photo.png -o notes.txt/x.png", "Not a directory", "notes.txt/x.png"),
        ("photo.png -o x.webp", "`path` must end in .png or .jpg", "x.webp"),
        ("photo.png -o x.jpg --mask", ".geojson for a mask", "x.jpg"),
        ("two -o x.png", "`output` must be a folder for 2 images", "x.png"),
        ("two -o notes.txt", "must be a folder that can be", "notes.txt"),
        ("two -o notes.txt/x", "must be a folder that can be", "notes.txt/x"),
        ("photo.png -o x.png --scales 0", "`scales` must be a sequence", "0.0"),
        ("two -o out --window 8", "`window` must be an integer of", "8"),
        ("photo.png -o x.png --max-pixels 9", "must have at most 9", "photo"),
    ],
)
def test_segment_refuses_bad_input_before_loading_a_model(
    photo, no_model, capsys, arguments: str, told: str, received: str
) -> None:
    Path("notes.txt").write_text("some notes")
    Path("empty").mkdir()
    write_images("two/a.png", "two/b.png")
    before = sorted(os.listdir())
    line = refusal(capsys, "segment", *arguments.split())
    assert told in line
    assert received in line.split("Received")[1]
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--max-side 0", "--max-side: must be an integer of at least 1: '0'"),
        ("--max-side all", "must be an integer of at least 1: 'all'"),
        ("--max-pixels 0", "--max-pixels: must be an integer of at least 1"),
    ],
)
def test_segment_refuses_sizes(photo, capsys, options: str, told: str) -> None:
    command = ("segment", photo, "-o", "x.png")
    assert told in usage_error(capsys, *command, *options.split())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--model", "mars"], "'cityscapes_paddleseg' or a folder"),
        (["--model", "empty"], "must hold the files config.json and"),
        (["--model", "no.onnx"], "`path` must exist"),
    ],
)
def test_segment_refuses_unknown_models(photo, capsys, options, told) -> None:
    Path("empty").mkdir()
    line = refusal(capsys, "segment", photo, "-o", "x.png", *options)
    assert told in line
    assert options[1] in line.split("Received")[1]
    assert sorted(os.listdir()) == ["empty", "photo.png"]
