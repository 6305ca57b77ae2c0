"""Tests of images segmented by pipelines: once each, whatever happens."""

import hashlib
from pathlib import Path
from typing import Any

import apache_beam
import keras
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from PIL import Image
from pipelines import (
    RUNNER,
    encoded,
    errors,
    run,
    table,
)
from support import picture

import keras_pspnet.beam.segment as beam_segment
from keras_pspnet.beam import SegmentImages
from keras_pspnet.data.images import read_mask
from keras_pspnet.inference.model_info import weights_sha256
from keras_pspnet.inference.segment import segment
from keras_pspnet.pretrained import load_pretrained, save_pretrained

pytestmark = [pytest.mark.long, pytest.mark.beam]

GOOD = ("a/one.png", "b/one.png", "b/two.jpg", "b/gray.tif", "b/copy.png")
BAD = {
    "a/cut.png": "a PNG file that can be decoded",
    "a/words.jpg": "`image` must be a",
    "a/empty.png": "`image` must be a",
    "b/large.png": "must have at most 8000 pixels",
    "b/long.bmp": "must be a file of at most 16841216 bytes",
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory, model_folder) -> tuple[Path, Path, dict[str, int]]:
    """Sound images and others; where they are, what came out, counters."""
    root = tmp_path_factory.mktemp("scored")
    folder, output = root / "photos", root / "out"
    for name in "ab":
        (folder / name).mkdir(parents=True)
    (folder / "a/one.png").write_bytes(encoded(picture(60, 70)))
    (folder / "b/one.png").write_bytes(encoded(picture(50, 81)))
    (folder / "b/two.jpg").write_bytes(encoded(picture(33, 47), "JPEG"))
    gray = picture(40, 40)[..., 0]
    (folder / "b/gray.tif").write_bytes(encoded(gray, "TIFF"))
    (folder / "b/copy.png").write_bytes(encoded(picture(60, 70)))

    (folder / "a/cut.png").write_bytes(encoded(picture(60, 70))[:-999])
    (folder / "a/words.jpg").write_text("no image")
    (folder / "a/empty.png").touch()
    (folder / "b/large.png").write_bytes(encoded(picture(80, 101)))
    with open(folder / "b/long.bmp", "wb") as stream:
        stream.truncate(8 * 8000 + 2**24 + 1)

    keras.utils.set_random_seed(0)
    transform = SegmentImages(
        f"{folder}/**", model_folder, output, max_pixels=8000, confidence=True
    )
    return folder, output, run(transform)


def test_masks_and_table_are_those_of_segment(scored, model) -> None:
    folder, output, counts = scored
    assert counts == {"segmented": len(GOOD), "failed": len(BAD)}
    rows = table(output)
    assert {row["path"] for row in rows} == {
        str(folder / each) for each in GOOD
    }
    for row in rows:
        path = Path(row["path"])
        result = segment(model, path, confidence=True)
        height, width = result.mask.shape
        assert len(np.unique(result.mask)) > 1
        with Image.open(output / row["mask"]) as mask:
            np.testing.assert_array_equal(mask, result.mask)
            assert mask.mode == "P"
            assert mask.getpalette()[:9] == [9, 0, 0, 0, 9, 0, 0, 0, 9]
        want = {
            "path": str(path),
            "mask": row["mask"],
            "width": width,
            "height": height,
            "confidence": result.confidence.mean(dtype="float64"),
            "fraction_park": np.mean(result.mask == 0),
            "fraction_lake": np.mean(result.mask == 1),
            "fraction_path": np.mean(result.mask == 2),
            "image_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "model_sha256": weights_sha256(model),
        }
        assert list(row.items()) == list(want.items())


def test_bad_images_are_listed_with_what_is_wrong(scored) -> None:
    folder, output, _ = scored
    found = errors(output)
    assert found.keys() == {str(folder / name) for name in BAD}
    for name, text in BAD.items():
        error = found[str(folder / name)]
        assert error.startswith("ValueError: `")
        assert text in error


def test_images_of_one_name_have_masks_of_their_own(scored) -> None:
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
    (photos / "bad.png").write_text("no image")
    transform = SegmentImages(str(photos), model_folder, tmp_path / "out")
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
    (photos / "bad.png").write_text("no image")

    def transform() -> SegmentImages:
        return SegmentImages(
            f"{photos}/*.png", model_folder, output, confidence=True
        )

    assert run(transform()) == {"segmented": 3, "failed": 1}
    first, letters = table(output), errors(output)
    times = {file: file.stat().st_mtime_ns for file in output.glob("masks/*")}
    second, seen = transform(), []

    def watched(network: Any, source: bytes, **options: Any) -> Any:
        seen.append(source)
        return segment(network, source, **options)

    monkeypatch.setattr(beam_segment, "segment", watched)
    assert run(second) == {"reused": 3, "failed": 1}
    assert seen == [b"no image"]
    assert table(output) == first
    assert errors(output) == letters
    assert times == {
        file: file.stat().st_mtime_ns for file in output.glob("masks/*")
    }


def test_only_what_is_new_is_done(photos, tmp_path, model_folder) -> None:
    output = tmp_path / "out"
    pattern = f"{photos}/*.png"
    assert run(SegmentImages(pattern, model_folder, output)) == {"segmented": 3}
    (photos / "new.png").write_bytes(encoded(picture(30, 31)))
    # Another image of the same name and size, and one that is gone.
    (photos / "0.png").write_bytes(encoded(picture(40, 50)[::-1]))
    (photos / "1.png").unlink()
    assert run(SegmentImages(pattern, model_folder, output)) == {
        "segmented": 2,
        "reused": 1,
    }
    fresh = tmp_path / "fresh"
    run(SegmentImages(pattern, model_folder, fresh))
    assert table(output) == table(fresh)


@pytest.mark.parametrize(
    "options", [{"scales": (0.5, 1.5), "flip": True}, {"window": 32}]
)
def test_other_arguments_make_other_masks(
    options: dict[str, Any], photos, tmp_path, model_folder, model
) -> None:
    output = tmp_path / "out"
    every = {"segmented": 3}
    assert run(SegmentImages(str(photos), model_folder, output)) == every
    transform = SegmentImages(str(photos), model_folder, output, **options)
    assert run(transform) == every
    for row in table(output):
        want = segment(model, row["path"], **options).mask
        np.testing.assert_array_equal(read_mask(output / row["mask"]), want)
    assert len(list(output.glob("masks/*"))) == 6


@pytest.mark.slow
def test_other_weights_make_other_masks(photos, tmp_path, model_folder) -> None:
    output = tmp_path / "out"
    every = {"segmented": 3}
    assert run(SegmentImages(str(photos), model_folder, output)) == every
    other = load_pretrained(model_folder)
    bias = other.get_layer("head_classifier").bias
    bias.assign(bias + 1e-3)
    save_pretrained(other, tmp_path / "other")
    transform = SegmentImages(str(photos), tmp_path / "other", output)
    assert run(transform) == every
    assert len(list(output.glob("masks/*"))) == 6


def test_masks_that_are_not_whole_are_made_again(
    photos, tmp_path, model_folder
) -> None:
    output = tmp_path / "out"
    run(SegmentImages(str(photos), model_folder, output))
    first = table(output)
    empty, half, _ = (output / row["mask"] for row in first)
    whole = half.read_bytes()
    empty.write_bytes(b"")
    half.write_bytes(whole[: len(whole) // 2])
    assert run(SegmentImages(str(photos), model_folder, output)) == {
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
            SegmentImages(str(photos), model_folder, output, max_pixels=pixels)
        )

    # 40x50, 41x50 and 42x50.
    assert limited(2050) == {"segmented": 2, "failed": 1}
    assert limited(2100) == {"segmented": 1, "reused": 2}
    assert limited(2049) == {"reused": 1, "failed": 2}
    assert [row["height"] for row in table(output)] == [40]
