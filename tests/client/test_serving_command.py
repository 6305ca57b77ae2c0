"""Tests of the command line of serving/client.py."""

import base64
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from contract_server import Refusal
from PIL import Image
from threshold_model import (
    SERVING,
    decoded,
    encoded,
    integers,
    load_client,
    photo,
    strings,
    threshold,
)

client = load_client()
PROTOCOLS = ("rest", "grpc")
PHOTO = photo(24, 36)


@pytest.fixture
def photo_file(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(PHOTO))
    return path


@pytest.fixture
def labels_file(tmp_path):
    path = tmp_path / "pspnet.json"
    labels = {
        "name": "three",
        "names": ["ground", "tree", "roof"],
        "colors": [[10, 20, 30], [0, 200, 0], [250, 0, 100]],
        "ignore_label": 255,
    }
    path.write_text(json.dumps({"labels": labels, "versions": {}}))
    return path


@pytest.fixture
def run(server, capsys):
    """Runs the command line: status, stdout, stderr."""

    def run(*arguments):
        if not {"--rest", "--grpc"} & set(arguments):
            arguments = (*arguments, "--rest", server.rest)
        try:
            status = client.main([str(each) for each in arguments])
        except SystemExit as exit:
            status = exit.code
        return status, *capsys.readouterr()

    return run


def assert_one_line(result, words):
    status, out, err = result
    assert (status, out) == (2, "")
    assert err.startswith("client.py: error: ")
    assert err.count("\n") == 1 and err.endswith("\n")
    assert re.search(words, err), err


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_overlay_is_the_blend(
    run, server, photo_file, labels_file, tmp_path, protocol
):
    output = tmp_path / "overlay.png"
    address = getattr(server, protocol)
    status, out, err = run(
        *(photo_file, "-o", output, "--labels", labels_file),
        *(f"--{protocol}", address),
    )
    assert (status, err) == (0, "")
    mask = threshold(PHOTO)
    colors = np.array([[10, 20, 30], [0, 200, 0], [250, 0, 100]], float)
    blend = 0.45 * PHOTO + 0.55 * colors[mask]
    assert np.abs(decoded(output.read_bytes()) - blend).max() <= 1
    # The table, the largest share first.
    names = ["ground", "tree", "roof"]
    rows = [line.split() for line in out.splitlines()]
    shares = [float(share.rstrip("%")) for _, share in rows]
    assert shares == sorted(shares, reverse=True)
    for (name, _), share in zip(rows, shares, strict=True):
        exact = 100 * np.mean(mask == names.index(name))
        assert share == pytest.approx(exact, abs=0.005)
    assert len(rows) == 3
    # Nothing temporary is left.
    assert sorted(os.listdir(tmp_path)) == [
        *("overlay.png", "photo.png", "pspnet.json")
    ]


def test_the_mask_is_written_as_it_came(run, photo_file, tmp_path):
    status, out, _ = run(photo_file, "-o", tmp_path / "m.PNG", "--mask")
    assert status == 0
    with Image.open(tmp_path / "m.PNG", formats=("PNG",)) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(image, threshold(PHOTO))
    assert {line.split()[0] for line in out.splitlines()} == {
        *("class_0", "class_1", "class_2")
    }


def test_a_turned_photo_comes_out_upright(run, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    data = encoded(photo(20, 32), "JPEG", exif=exif)
    (tmp_path / "turned.jpg").write_bytes(data)
    status, _, err = run(
        tmp_path / "turned.jpg", "-o", tmp_path / "m.png", "--mask"
    )
    assert (status, err) == (0, "")
    upright = np.rot90(decoded(data), -1)
    assert upright.shape == (32, 20, 3)
    mask = decoded((tmp_path / "m.png").read_bytes())
    np.testing.assert_array_equal(mask, threshold(upright))


def test_an_existing_output_is_replaced_whole_or_not_at_all(
    run, server, photo_file, tmp_path, monkeypatch
):
    output = tmp_path / "m.png"
    output.write_bytes(b"old")
    server.mangle = lambda outputs: {**outputs, "height": integers(9)}
    assert_one_line(run(photo_file, "-o", output), "36x9 L, not 36x24 L")
    server.mangle = dict

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(client.Path, "replace", full)
        assert_one_line(run(photo_file, "-o", output), "No space left")
    assert output.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["m.png", "photo.png"]
    assert run(photo_file, "-o", output)[0] == 0
    assert decoded(output.read_bytes()).shape == (24, 36, 3)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_password_is_taken_from_the_environment(
    run, secured, certificate, photo_file, tmp_path, monkeypatch, protocol
):
    monkeypatch.setenv("PSPNET_PASSWORD", "a pass:word")
    status, _, err = run(
        *(photo_file, "-o", tmp_path / "m.png"),
        *(f"--{protocol}", getattr(secured, protocol)),
        *("--user", "älice", "--ca", certificate[0]),
    )
    assert (status, err) == (0, "")
    pair = base64.b64encode("älice:a pass:word".encode()).decode()
    assert secured.logins == [f"Basic {pair}"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "m.jpg"], "`--output` must be a .png"),
        (["-o", "no/m.png"], "`--output` must be .* in a folder that exists"),
        (["-o", "photo.png"], "`--output` must not be the image"),
        (["-o", "m.png", "--labels", "no"], "No such file.*no"),
        (["-o", "m.png", "--rest", "ftp://x"], "`address` must"),
        (["-o", "m.png", "--user", "a"], "`--user` requires PSPNET_PASSWORD"),
        (["-o", "m.png", "--ca", "no"], "https://.* `login` or `ca`"),
        (["-o", "m.png", "--version", "1", "--label", "a"], "be combined"),
        (["-o", "m.png", "--timeout", "-1"], "timeout"),
    ],
)
def test_errors_are_one_line(
    run, server, photo_file, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PSPNET_PASSWORD", raising=False)
    assert_one_line(run("photo.png", *arguments), words)
    assert server.seen == []
    assert os.listdir(tmp_path) == ["photo.png"]


def test_a_missing_image_is_one_line(run, tmp_path):
    arguments = tmp_path / "no.png", "-o", tmp_path / "m.png"
    assert_one_line(run(*arguments), "No such file.*no.png")


@pytest.mark.parametrize("missing", ["grpc", "tensorflow_serving.apis"])
def test_missing_packages_are_named(
    run, server, photo_file, tmp_path, monkeypatch, missing
):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(
        sys.modules, "tensorflow_serving.apis.predict_pb2", raising=False
    )
    output = tmp_path / "m.png"
    assert_one_line(
        run(photo_file, "-o", output, "--grpc", server.grpc), missing
    )
    # REST does without.
    assert run(photo_file, "-o", output)[0] == 0


def test_what_the_server_says_is_one_line(run, server, tmp_path):
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    arguments = tmp_path / "a.gif", "-o", tmp_path / "m.png"
    assert_one_line(run(*arguments), "cannot be segmented: NOT_JPEG_OR_PNG")
    server.refusals = [Refusal("INVALID_ARGUMENT", "two\nlines")]
    assert_one_line(run(*arguments), "HTTP 400: .*two.*lines")
    assert os.listdir(tmp_path) == ["a.gif"]


@pytest.mark.parametrize("option", [[], ["--mask"]])
def test_a_mask_of_another_image_is_refused(
    run, server, photo_file, tmp_path, option
):
    server.mangle = lambda outputs: {
        **outputs,
        "mask_png_bytes": strings(encoded(np.zeros((8, 8), np.uint8))),
        "height": integers(8),
        "width": integers(8),
    }
    assert_one_line(
        run(photo_file, "-o", tmp_path / "m.png", *option),
        "the mask must have the size of the image",
    )


@pytest.mark.parametrize(
    "labels",
    [
        *(None, 1, [], {}),
        {"names": ["a"], "colors": [[0, 0, 0]] * 2},
        {"names": ["a"], "colors": [[0, 0]]},
        {"names": ["a"], "colors": [[0, 0, 256]]},
        {"names": ["a"], "colors": [[0, 0, 0.5]]},
        {"names": ["a"] * 257, "colors": [[0, 0, 0]] * 257},
    ],
)
def test_labels_are_checked(run, photo_file, tmp_path, labels):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"labels": labels}))
    arguments = photo_file, "-o", tmp_path / "m.png", "--labels", path
    assert_one_line(
        run(*arguments), "labels.json must be the pspnet.json of an export"
    )


def test_ignored_pixels_are_black_and_counted(run, server, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(np.full((1, 4, 3), 200, "uint8")))
    ignored = np.array([[0, 255, 255, 255]], np.uint8)
    server.mangle = lambda outputs: {
        **outputs,
        "mask_png_bytes": strings(encoded(ignored)),
    }
    output = tmp_path / "m.png"
    _, out, _ = run(tmp_path / "a.png", "-o", output)
    assert [line.split() for line in out.splitlines()] == [
        *(["ignored", "75.00%"], ["class_0", "25.00%"])
    ]
    np.testing.assert_array_equal(decoded(output.read_bytes())[0, 1], [90] * 3)


def test_the_script_runs_without_the_package(server, photo_file, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import client; "
        "status = client.main(sys.argv[1:]); "
        "heavy = {'keras_pspnet', 'keras', 'tensorflow', 'grpc'}; "
        "sys.exit(status or len(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-c", code, SERVING, photo_file),
            *("-o", tmp_path / "overlay.png", "--rest", server.rest),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("%") == 3
    assert decoded((tmp_path / "overlay.png").read_bytes()).shape == PHOTO.shape
