"""Tests of pictures segmented by pipelines: once each, whatever happens."""

import collections
import hashlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam
import keras
import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from PIL import Image
from support import picture, tiny_pspnet

import keras_pspnet.beam as batch
from keras_pspnet.beam import SegmentPictures
from keras_pspnet.cli_beam import main
from keras_pspnet.data.decode import read_mask
from keras_pspnet.inference import segment
from keras_pspnet.labels import LabelSet
from keras_pspnet.model import PSPNet
from keras_pspnet.network import weights_sha256
from keras_pspnet.pretrained import load_pretrained, save_pretrained

pytestmark = pytest.mark.beam

# A class may be called as a column is.
LABELS = LabelSet(
    "three", ("park", "lake", "path"), ((9, 0, 0), (0, 9, 0), (0, 0, 9))
)
LOADED: dict[tuple[Any, ...], PSPNet] = {}
# Without a place to look for it, Beam would download an engine first.
RUNNER = ("--runner=DirectRunner", "--prism_location=none")


def run(transform: SegmentPictures, *options: str) -> dict[str, int]:
    """Runs a pipeline here; returns the counters that are not 0."""
    pipeline = apache_beam.Pipeline(
        options=PipelineOptions([*RUNNER, *options])
    )
    _ = pipeline | transform
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(
        MetricsFilter().with_namespace("keras_pspnet")
    )
    counts: collections.Counter[str] = collections.Counter()
    for counter in found["counters"]:
        counts[counter.key.metric.name] += counter.result
    return {name: count for name, count in counts.items() if count}


def table(output: Path) -> list[dict[str, Any]]:
    """The rows by path, as their order is not said."""
    rows = pyarrow.parquet.read_table(output / "table.parquet").to_pylist()
    return sorted(rows, key=lambda row: row["path"])


def errors(output: Path) -> dict[str, str]:
    lines = (output / "errors.jsonl").read_text().splitlines()
    letters = [json.loads(line) for line in lines]
    found = {letter["path"]: letter["error"] for letter in letters}
    assert len(found) == len(letters)
    return found


def encoded(image: np.ndarray, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, form)
    return stream.getvalue()


def write_pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{index}.png" for index in range(count)]
    for index, file in enumerate(files):
        file.write_bytes(encoded(picture(40 + index, 50)))
    return files


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    # Before the seed that every test gets.
    keras.utils.set_random_seed(0)
    save_pretrained(tiny_pspnet(labels=LABELS, aux=False), folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(model_folder) -> PSPNet:
    return load_pretrained(model_folder)


@pytest.fixture(autouse=True)
def _load_once(monkeypatch) -> None:
    """Keeps models between tests: most of the time would be building them."""

    def load(source: str, **options: Any) -> PSPNet:
        config = Path(source, "config.json")
        if not config.exists():
            return load_pretrained(source, **options)
        key = (config.read_bytes(), *options.items())
        if key not in LOADED:
            LOADED[key] = load_pretrained(source, **options)
        return LOADED[key]

    monkeypatch.setattr(batch, "load_pretrained", load)


@pytest.fixture
def photos(tmp_path) -> Path:
    write_pictures(tmp_path / "photos", 3)
    return tmp_path / "photos"


# === One run ===

GOOD = ("a/one.png", "b/one.png", "b/two.jpg", "b/grey.tif", "b/copy.png")
BAD = {
    "a/cut.png": "a PNG file that can be decoded",
    "a/words.jpg": "must be a picture file",
    "a/empty.png": "must be a picture file",
    "b/large.png": "must have at most 8000 pixels",
    "b/long.bmp": "must be a file of at most 16841216 bytes",
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory, model_folder) -> tuple[Path, Path, dict[str, int]]:
    """Sound pictures and others; where they are, what came out, counters."""
    root = tmp_path_factory.mktemp("scored")
    folder, output = root / "photos", root / "out"
    for name in "ab":
        (folder / name).mkdir(parents=True)
    (folder / "a/one.png").write_bytes(encoded(picture(60, 70)))
    (folder / "b/one.png").write_bytes(encoded(picture(50, 81)))
    (folder / "b/two.jpg").write_bytes(encoded(picture(33, 47), "JPEG"))
    grey = picture(40, 40)[..., 0]
    (folder / "b/grey.tif").write_bytes(encoded(grey, "TIFF"))
    (folder / "b/copy.png").write_bytes(encoded(picture(60, 70)))

    (folder / "a/cut.png").write_bytes(encoded(picture(60, 70))[:-999])
    (folder / "a/words.jpg").write_text("no picture")
    (folder / "a/empty.png").touch()
    (folder / "b/large.png").write_bytes(encoded(picture(80, 101)))
    with open(folder / "b/long.bmp", "wb") as stream:
        stream.truncate(8 * 8000 + 2**24 + 1)

    keras.utils.set_random_seed(0)
    transform = SegmentPictures(
        f"{folder}/**", model_folder, output, max_pixels=8000, confidence=True
    )
    return folder, output, run(transform)


def test_every_picture_is_counted(scored) -> None:
    _, _, counts = scored
    assert counts == {"segmented": len(GOOD), "failed": len(BAD)}


def test_masks_are_those_of_segment(scored, model) -> None:
    folder, output, _ = scored
    rows = {row["path"]: row for row in table(output)}
    assert rows.keys() == {str(folder / name) for name in GOOD}
    for path, row in rows.items():
        want = segment(model, path).mask
        np.testing.assert_array_equal(read_mask(output / row["mask"]), want)
        assert len(np.unique(want)) > 1
        with Image.open(output / row["mask"]) as mask:
            assert mask.mode == "P"
            assert mask.getpalette()[:9] == [9, 0, 0, 0, 9, 0, 0, 0, 9]


def test_the_table_says_what_is_on_the_pictures(scored, model) -> None:
    _, output, _ = scored
    for row in table(output):
        path = Path(row["path"])
        result = segment(model, path, confidence=True)
        height, width = result.mask.shape
        assert row == {
            "path": str(path),
            "mask": row["mask"],
            "width": width,
            "height": height,
            "confidence": result.confidence.mean(dtype="float64"),
            "fraction_park": np.mean(result.mask == 0),
            "fraction_lake": np.mean(result.mask == 1),
            "fraction_path": np.mean(result.mask == 2),
            "picture_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "model_sha256": weights_sha256(model),
        }
        assert list(row)[:5] == [
            "path",
            "mask",
            "width",
            "height",
            "confidence",
        ]


def test_bad_pictures_are_listed_with_what_is_wrong(scored) -> None:
    folder, output, _ = scored
    found = errors(output)
    assert found.keys() == {str(folder / name) for name in BAD}
    for name, text in BAD.items():
        error = found[str(folder / name)]
        assert error.startswith("ValueError: `")
        assert text in error


def test_pictures_of_one_name_have_masks_of_their_own(scored) -> None:
    folder, output, _ = scored
    masks = {row["path"]: row["mask"] for row in table(output)}
    assert len(set(masks.values())) == len(GOOD)
    for name in GOOD:
        stem = Path(name).stem
        assert masks[str(folder / name)].startswith(f"masks/{stem}-")
    # Nothing else is left, not even half a file.
    left = {f"masks/{file.name}" for file in (output / "masks").iterdir()}
    assert left == set(masks.values())
    assert {file.name for file in output.iterdir()} == {
        "masks",
        "table.parquet",
        "errors.jsonl",
    }


def test_what_follows_gets_rows_and_errors(photos, tmp_path, model_folder):
    (photos / "bad.png").write_text("no picture")
    transform = SegmentPictures(str(photos), model_folder, tmp_path / "out")
    with apache_beam.Pipeline(options=PipelineOptions([*RUNNER])) as pipeline:
        rows, letters = pipeline | transform
        names = rows | apache_beam.Map(lambda row: Path(row["path"]).name)
        assert_that(names, equal_to(["0.png", "1.png", "2.png"]))
        paths = letters | "Path" >> apache_beam.Map(lambda each: each["path"])
        bad = [str(photos / "bad.png")]
        assert_that(paths, equal_to(bad), label="letters")
    assert all("confidence" not in row for row in table(tmp_path / "out"))


# === Another run ===


def test_nothing_is_done_twice(photos, tmp_path, model_folder, monkeypatch):
    output = tmp_path / "out"
    (photos / "bad.png").write_text("no picture")

    def transform() -> SegmentPictures:
        return SegmentPictures(
            f"{photos}/*.png", model_folder, output, confidence=True
        )

    assert run(transform()) == {"segmented": 3, "failed": 1}
    first, letters = table(output), errors(output)
    times = {file: file.stat().st_mtime_ns for file in output.glob("masks/*")}
    second, seen = transform(), []

    def watched(network: Any, source: bytes, **options: Any) -> Any:
        seen.append(source)
        return segment(network, source, **options)

    monkeypatch.setattr(batch, "segment", watched)
    assert run(second) == {"reused": 3, "failed": 1}
    assert seen == [b"no picture"]
    assert table(output) == first
    assert errors(output) == letters
    assert times == {
        file: file.stat().st_mtime_ns for file in output.glob("masks/*")
    }


def test_only_what_is_new_is_done(photos, tmp_path, model_folder) -> None:
    output = tmp_path / "out"
    pattern = f"{photos}/*.png"
    assert run(SegmentPictures(pattern, model_folder, output)) == {
        "segmented": 3
    }
    (photos / "new.png").write_bytes(encoded(picture(30, 31)))
    # Another picture of the same name and size, and one that is gone.
    (photos / "0.png").write_bytes(encoded(picture(40, 50)[::-1]))
    (photos / "1.png").unlink()
    assert run(SegmentPictures(pattern, model_folder, output)) == {
        "segmented": 2,
        "reused": 1,
    }
    fresh = tmp_path / "fresh"
    run(SegmentPictures(pattern, model_folder, fresh))
    assert table(output) == table(fresh)


@pytest.mark.parametrize(
    "options",
    [{"scales": (0.5, 1.5)}, {"flip": True}, {"window": 32}, {"max_side": 45}],
)
def test_other_arguments_make_other_masks(
    options: dict[str, Any], photos, tmp_path, model_folder, model
) -> None:
    output = tmp_path / "out"
    every = {"segmented": 3}
    assert run(SegmentPictures(str(photos), model_folder, output)) == every
    transform = SegmentPictures(str(photos), model_folder, output, **options)
    assert run(transform) == every
    for row in table(output):
        want = segment(model, row["path"], **options).mask
        np.testing.assert_array_equal(read_mask(output / row["mask"]), want)
    assert len(list(output.glob("masks/*"))) == 6


def test_other_weights_make_other_masks(photos, tmp_path, model_folder) -> None:
    output = tmp_path / "out"
    every = {"segmented": 3}
    assert run(SegmentPictures(str(photos), model_folder, output)) == every
    other = load_pretrained(model_folder)
    bias = other.get_layer("head_classifier").bias
    bias.assign(bias + 1e-3)
    save_pretrained(other, tmp_path / "other")
    transform = SegmentPictures(str(photos), tmp_path / "other", output)
    assert run(transform) == every
    assert len(list(output.glob("masks/*"))) == 6


def test_masks_that_are_not_whole_are_made_again(
    photos, tmp_path, model_folder
) -> None:
    output = tmp_path / "out"
    run(SegmentPictures(str(photos), model_folder, output))
    first = table(output)
    empty, half, _ = (output / row["mask"] for row in first)
    whole = half.read_bytes()
    empty.write_bytes(b"")
    half.write_bytes(whole[: len(whole) // 2])
    assert run(SegmentPictures(str(photos), model_folder, output)) == {
        "segmented": 2,
        "reused": 1,
    }
    assert table(output) == first
    assert half.read_bytes() == whole


def test_the_limit_of_pixels_holds_for_what_is_done(
    photos, tmp_path, model_folder
) -> None:
    output = tmp_path / "out"

    def limited(pixels: int) -> dict[str, int]:
        return run(
            SegmentPictures(
                str(photos), model_folder, output, max_pixels=pixels
            )
        )

    # 40x50, 41x50 and 42x50.
    assert limited(2050) == {"segmented": 2, "failed": 1}
    assert limited(2100) == {"segmented": 1, "reused": 2}
    assert limited(2049) == {"reused": 1, "failed": 2}
    assert [row["height"] for row in table(output)] == [40]


# Ends neither by itself nor when it is asked to: after three masks, the next
# is written, but never gets its name.
STUCK = """
import sys, time
from apache_beam.io.filesystems import FileSystems
from keras_pspnet.cli_beam import main
rename, names = FileSystems.rename, []

def stuck(sources, targets):
    names.extend(targets)
    if len(names) > 3:
        time.sleep(600)
    rename(sources, targets)

FileSystems.rename = stuck
main(sys.argv[1:])
"""


def test_a_killed_run_goes_on(tmp_path, model_folder) -> None:
    photos, output = tmp_path / "photos", tmp_path / "out"
    write_pictures(photos, 8)
    arguments = ["--input", f"{photos}/*", "--model", model_folder]
    arguments += ["--output", str(output), *RUNNER]
    started = subprocess.Popen(
        [sys.executable, "-c", STUCK, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: list(output.glob("masks/*.tmp")), started)
        wait_for(lambda: len(list(output.glob("masks/*.png"))) == 3, started)
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
    assert not (output / "table.parquet").exists()

    done = subprocess.run(
        [sys.executable, "-m", "keras_pspnet.beam", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"{output}: 5 pictures segmented, 3 there already, 0 failed\n"
    )
    fresh = tmp_path / "fresh"
    run(SegmentPictures(f"{photos}/*", model_folder, fresh))
    assert len(table(fresh)) == 8
    assert table(output) == table(fresh)
    for row in table(fresh):
        mask = (fresh / row["mask"]).read_bytes()
        assert (output / row["mask"]).read_bytes() == mask


def wait_for(condition: Any, process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)


# === Workers ===


def test_threads_share_a_model_and_take_turns(
    tmp_path, model_folder, monkeypatch
) -> None:
    write_pictures(tmp_path / "photos", 12)
    loads, inside, most, threads = [], [], [], set()

    def load(*arguments: Any, **options: Any) -> PSPNet:
        loads.append(arguments)
        return load_pretrained(*arguments, **options)

    def counting(*arguments: Any, **options: Any) -> Any:
        inside.append(1)
        most.append(len(inside))
        threads.add(threading.get_ident())
        time.sleep(0.05)
        try:
            return segment(*arguments, **options)
        finally:
            inside.pop()

    monkeypatch.setattr(batch, "load_pretrained", load)
    transform = SegmentPictures(
        f"{tmp_path}/photos/*", model_folder, tmp_path / "out"
    )
    monkeypatch.setattr(batch, "segment", counting)
    counts = run(
        transform,
        "--direct_running_mode=multi_threading",
        "--direct_num_workers=3",
    )
    assert counts == {"segmented": 12}
    assert len(loads) == 1
    assert len(threads) > 1
    assert max(most) == 1


def test_processes_of_their_own(photos, tmp_path, model_folder) -> None:
    """As on Flink, Spark or Dataflow: nothing comes over but what is sent."""
    (photos / "bad.png").write_text("no picture")
    counts = run(
        SegmentPictures(str(photos), model_folder, tmp_path / "far"),
        "--direct_running_mode=multi_processing",
        "--direct_num_workers=1",
    )
    assert counts == {"segmented": 3, "failed": 1}
    run(SegmentPictures(str(photos), model_folder, tmp_path / "near"))
    assert table(tmp_path / "far") == table(tmp_path / "near")
    assert errors(tmp_path / "far") == errors(tmp_path / "near")


def test_workers_with_another_model_are_refused(
    photos, tmp_path, model_folder
) -> None:
    copy = tmp_path / "copy"
    save_pretrained(load_pretrained(model_folder), copy)
    other = load_pretrained(model_folder)
    bias = other.get_layer("head_classifier").bias
    bias.assign(bias + 1e-3)

    transform = SegmentPictures(str(photos), copy, tmp_path / "out")
    save_pretrained(other, copy)
    # What a process does that has not loaded it yet.
    transform._model = batch._SharedModel(str(copy), None)
    with pytest.raises(Exception, match="`model` must be the same on all"):
        run(transform)


# === Files ===


class ElsewhereFileSystem(LocalFileSystem):
    """A file system that only Beam can reach: elsewhere:// and a path."""

    @classmethod
    def scheme(cls) -> str:
        return "elsewhere"

    @staticmethod
    def _here(path: str) -> str:
        return path.removeprefix("elsewhere://")

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        super().mkdirs(self._here(path))

    def _list(self, folder: str) -> Iterator[Any]:
        for found in super()._list(self._here(folder)):
            found.path = f"elsewhere://{found.path}"
            yield found

    def exists(self, path: str) -> bool:
        return super().exists(self._here(path))

    def metadata(self, path: str) -> Any:
        found = super().metadata(self._here(path))
        found.path = f"elsewhere://{found.path}"
        return found

    def create(self, path: str, *arguments: Any, **options: Any) -> Any:
        return super().create(self._here(path), *arguments, **options)

    def open(self, path: str, *arguments: Any, **options: Any) -> Any:
        return super().open(self._here(path), *arguments, **options)

    def rename(self, sources: list[str], targets: list[str]) -> None:
        super().rename(
            [self._here(path) for path in sources],
            [self._here(path) for path in targets],
        )

    def delete(self, paths: list[str]) -> None:
        super().delete([self._here(path) for path in paths])


def test_pictures_model_and_output_elsewhere(
    photos, tmp_path, model_folder
) -> None:
    output = tmp_path / "out"
    transform = SegmentPictures(
        f"elsewhere://{photos}/*.png",
        f"elsewhere://{model_folder}/",
        f"elsewhere://{output}/",
    )
    assert run(transform) == {"segmented": 3}
    run(SegmentPictures(str(photos), model_folder, tmp_path / "here"))
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
    assert run(SegmentPictures(str(photos), folder, output)) == {"segmented": 3}
    rows = table(output)
    for row in rows:
        image = np.asarray(Image.open(row["path"]))[None].astype("float32")
        want = np.argmax(served.logits(image)["logits"][0], -1)
        mask = read_mask(output / row["mask"])
        np.testing.assert_array_equal(mask, want)
        assert row["fraction_class_2"] == np.mean(want == 2)
    # Of all its files: another one is another model.
    assert run(SegmentPictures(str(photos), folder, output)) == {"reused": 3}
    (folder / "fingerprint.pb").unlink()
    assert run(SegmentPictures(str(photos), folder, output)) == {"segmented": 3}
    assert table(output)[0]["model_sha256"] != rows[0]["model_sha256"]
    with pytest.raises(ValueError, match="`backbone` must be left out"):
        SegmentPictures(str(photos), folder, output, backbone="resnet50")


def test_each_file_once_and_no_mask_of_a_mask(
    photos, tmp_path, model_folder, monkeypatch
) -> None:
    # Relative paths mean the same wherever a worker was started.
    monkeypatch.chdir(photos)
    patterns = ["*.png", f"{photos}/[01].png", "./**.png", "./"]
    for _ in range(2):
        run(SegmentPictures(patterns, model_folder, "out"))
        assert [row["path"] for row in table(photos / "out")] == [
            str(photos / f"{index}.png") for index in range(3)
        ]
        # The table itself is in the folder, and is not taken for a picture.
        assert errors(photos / "out") == {}


def test_names_that_are_long_or_no_text(photos, tmp_path, model_folder) -> None:
    long = "ä" * 120 + ".png"
    (photos / long).write_bytes(encoded(picture(30, 31)))
    odd = os.fsdecode(b"\xff.png")
    (photos / odd).write_bytes(encoded(picture(30, 31)))
    output = tmp_path / "out"
    assert run(SegmentPictures(str(photos), model_folder, output)) == {
        "segmented": 4,
        "failed": 1,
    }
    (name,) = (
        row["mask"] for row in table(output) if row["path"].endswith(long)
    )
    assert name.startswith("masks/" + "ä" * 50 + "-")
    ((path, error),) = errors(output).items()
    assert path == str(photos / "\\udcff.png")
    assert error.startswith("UnicodeEncodeError: ")


def test_an_output_that_cannot_be_written_stops_the_run(
    photos, tmp_path, model_folder
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "masks").write_text("in the way")
    with pytest.raises(Exception, match="(?s)masks"):
        run(SegmentPictures(str(photos), model_folder, output))
    assert not (output / "table.parquet").exists()


# === Refused before anything is done ===


@pytest.mark.parametrize(
    ("patterns", "error", "text"),
    [
        ("{}/*.jpg", FileNotFoundError, "`patterns` must match files. Rec"),
        (["{}/*", "{}/x.png"], FileNotFoundError, "match files.*x.png'"),
        ("gone://x/*.jpg", ValueError, "gone://x"),
        ([], ValueError, "`patterns` must not be empty. Received: pat"),
        ([3], TypeError, "`patterns` must be a string or a sequence of"),
        (3, TypeError, "`patterns` must be a string or a sequence of"),
    ],
)
def test_patterns_refused(
    photos, tmp_path, model_folder, patterns, error, text
) -> None:
    if isinstance(patterns, str):
        patterns = patterns.format(photos)
    elif patterns == ["{}/*", "{}/x.png"]:
        patterns = [each.format(photos) for each in patterns]
    with pytest.raises(error, match=text):
        SegmentPictures(patterns, model_folder, tmp_path / "out")


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
        SegmentPictures(str(photos), model_folder, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_models_that_are_none_refused(photos, tmp_path) -> None:
    for source in (str(tmp_path / "none"), f"elsewhere://{tmp_path}/none"):
        with pytest.raises(FileNotFoundError, match="must.*none'"):
            SegmentPictures(str(photos), source, tmp_path / "out")


def test_output_that_is_a_file_refused(photos, tmp_path, model_folder) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OSError, match="`output` must be a folder.*out'"):
        SegmentPictures(str(photos), model_folder, tmp_path / "out")


def test_without_apache_beam(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "keras_pspnet.beam")
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ImportError, match=r"pip install keras-pspnet\[beam\]"):
        importlib.import_module("keras_pspnet.beam")


# === The command ===


def test_command(photos, tmp_path, model_folder, model, capsys) -> None:
    (photos / "bad.png").write_text("no picture")
    output = tmp_path / "out"
    arguments = ["--input", f"{photos}/*.png", "--model", model_folder]
    arguments += ["--output", str(output), "--flip", "--scales", "0.5", "1"]
    arguments += ["--max-side", "none", "--confidence", *RUNNER]
    assert main(arguments) == 1
    told = capsys.readouterr()
    assert told.out == (
        f"{output}: 3 pictures segmented, 0 there already, 1 failed\n"
    )
    assert told.err.endswith(f"error: see errors.jsonl in {output}\n")
    for row in table(output):
        want = segment(
            model, row["path"], (0.5, 1), flip=True, max_side=None
        ).mask
        np.testing.assert_array_equal(read_mask(output / row["mask"]), want)
        assert 0 < row["confidence"] <= 1
    (photos / "bad.png").unlink()
    assert main(arguments) == 0
    assert capsys.readouterr().out == (
        f"{output}: 0 pictures segmented, 3 there already, 0 failed\n"
    )
    assert errors(output) == {}


def test_command_with_bad_input(tmp_path, model_folder, capsys) -> None:
    arguments = ["--input", f"{tmp_path}/*.jpg", "--model", model_folder]
    arguments += ["--output", str(tmp_path / "out"), *RUNNER]
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "keras-pspnet: error: `patterns` must match files. "
        f"Received: '{tmp_path}/*.jpg'\n"
    )
