"""Tests of the files of pipelines: where they are, and which are refused."""

import importlib
import os
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pipelines import (
    encoded,
    errors,
    run,
    table,
)
from support import picture

from keras_pspnet.beam import SegmentImages
from keras_pspnet.data.images import read_mask

pytestmark = pytest.mark.beam


def test_images_model_and_output_elsewhere(
    photos, tmp_path, model_folder
) -> None:
    output = tmp_path / "out"
    transform = SegmentImages(
        f"elsewhere://{photos}/*.png",
        f"elsewhere://{model_folder}/",
        f"elsewhere://{output}/",
    )
    assert run(transform) == {"segmented": 3}
    run(SegmentImages(str(photos), model_folder, tmp_path / "here"))
    here = table(tmp_path / "here")
    for row in here:
        row["path"] = f"elsewhere://{row['path']}"
    assert table(output) == here
    assert all((output / row["mask"]).is_file() for row in here)


def test_exported_models(photos, tmp_path) -> None:
    folder = tmp_path / "served" / "1"
    kernel = np.random.default_rng(5).normal(0, 0.02, (3, 3, 3, 4))
    kernel = (kernel - kernel.mean(axis=2, keepdims=True)).astype("float32")

    class Served(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec((None, None, None, 3), tf.float32, name="images")
            ]
        )
        def logits(self, images: Any) -> dict[str, Any]:
            return {"logits": tf.nn.conv2d(images, kernel, 1, "SAME")}

    served = Served()
    tf.saved_model.save(served, str(folder), {"logits": served.logits})
    output = tmp_path / "out"
    assert run(SegmentImages(str(photos), folder, output)) == {"segmented": 3}
    rows = table(output)
    for row in rows:
        image = np.asarray(Image.open(row["path"]))[None].astype("float32")
        want = np.argmax(served.logits(image)["logits"][0], -1)
        mask = read_mask(output / row["mask"])
        np.testing.assert_array_equal(mask, want)
        assert row["fraction_class_2"] == np.mean(want == 2)
    # Of all its files: another one is another model.
    assert run(SegmentImages(str(photos), folder, output)) == {"reused": 3}
    (folder / "fingerprint.pb").unlink()
    assert run(SegmentImages(str(photos), folder, output)) == {"segmented": 3}
    assert table(output)[0]["model_sha256"] != rows[0]["model_sha256"]
    with pytest.raises(ValueError, match="`backbone` must be left out"):
        SegmentImages(str(photos), folder, output, backbone="resnet50")


def test_each_file_once_and_no_mask_of_a_mask(
    photos, tmp_path, model_folder, monkeypatch
) -> None:
    # Relative paths mean the same wherever a worker was started.
    monkeypatch.chdir(photos)
    patterns = ["*.png", f"{photos}/[01].png", "./**.png", "./"]
    for _ in range(2):
        run(SegmentImages(patterns, model_folder, "out"))
        assert [row["path"] for row in table(photos / "out")] == [
            str(photos / f"{index}.png") for index in range(3)
        ]
        # The table itself is in the folder, and is not taken for an image.
        assert errors(photos / "out") == {}


def test_names_that_are_long_or_no_text(photos, tmp_path, model_folder) -> None:
    long = "ä" * 120 + ".png"
    (photos / long).write_bytes(encoded(picture(30, 31)))
    odd = os.fsdecode(b"\xff.png")
    (photos / odd).write_bytes(encoded(picture(30, 31)))
    output = tmp_path / "out"
    assert run(SegmentImages(str(photos), model_folder, output)) == {
        "segmented": 4,
        "failed": 1,
    }
    (name,) = (
        row["mask"] for row in table(output) if row["path"].endswith(long)
    )
    assert name.startswith("masks/" + "ä" * 50 + "-")
    ((path, error),) = errors(output).items()
    assert path == str(photos / "\\udcff.png")
    assert error.startswith("FileNotFoundError: ")


def test_an_output_that_cannot_be_written_stops_the_run(
    photos, tmp_path, model_folder
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "masks").write_text("in the way")
    with pytest.raises(Exception, match="(?s)masks"):
        run(SegmentImages(str(photos), model_folder, output))
    assert not (output / "table.parquet").exists()


# === Refused before anything is done ===


@pytest.mark.parametrize(
    ("patterns", "error", "text"),
    [
        (["*.png", "x.png"], FileNotFoundError, "must match files.*x.png'"),
        ("gone://x/*.jpg", ValueError, "gone://x"),
        ([], ValueError, "`patterns` must not be empty. Received: pat"),
    ],
)
def test_patterns_refused(
    photos, tmp_path, model_folder, monkeypatch, patterns, error, text
) -> None:
    monkeypatch.chdir(photos)
    with pytest.raises(error, match=text):
        SegmentImages(patterns, model_folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scales": (0,)}, "`scales` must be"),
        ({"window": 3}, "`window` must be"),
        ({"max_side": 0}, "`max_side` must be"),
        ({"max_pixels": 0}, "`max_pixels` must be"),
        ({"backbone": "resnet50"}, "`backbone` must be left out"),
    ],
)
def test_arguments_refused(
    photos, tmp_path, model_folder, options, text
) -> None:
    with pytest.raises(ValueError, match=text):
        SegmentImages(str(photos), model_folder, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_models_that_are_none_refused(photos, tmp_path) -> None:
    for source in (str(tmp_path / "none"), f"elsewhere://{tmp_path}/none"):
        with pytest.raises(FileNotFoundError, match="must.*none'"):
            SegmentImages(str(photos), source, tmp_path / "out")


def test_output_that_is_a_file_refused(photos, tmp_path, model_folder) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(
        OSError, match="`output` must be a writable folder.*out'"
    ):
        SegmentImages(str(photos), model_folder, tmp_path / "out")


def test_without_apache_beam(monkeypatch) -> None:
    for name in ("keras_pspnet.beam", "keras_pspnet.beam.apache"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ImportError, match=r"pip install keras-pspnet\[beam\]"):
        importlib.import_module("keras_pspnet.beam")
