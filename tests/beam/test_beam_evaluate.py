"""Tests of sets scored by pipelines: the scores of one process, or none."""

from pathlib import Path
from typing import Any

import apache_beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from PIL import Image
from pipelines import RUNNER, errors, run
from support import picture

from keras_pspnet.beam import EvaluateImages
from keras_pspnet.data.images import read_image, read_mask
from keras_pspnet.evaluation.evaluate import Scores, evaluate

pytestmark = [pytest.mark.long, pytest.mark.beam]
COUNT = 7
PROCESSES = (
    "--direct_running_mode=multi_processing",
    "--direct_num_workers=2",
)


@pytest.fixture
def pairs(tmp_path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and masks of several sizes, in `set/images` and `set/masks`."""
    rng = np.random.default_rng(2)
    for name in ("images", "masks"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for index in range(COUNT):
        image = picture(40 + index, 50)
        mask = rng.integers(0, 3, image.shape[:2], dtype="uint8")
        mask[:, :4] = 255
        form = "jpg" if index == 3 else "png"
        path = tmp_path / f"set/images/{index}.{form}"
        Image.fromarray(image).save(path)
        Image.fromarray(mask).save(tmp_path / f"set/masks/{index}.png")
    return [
        (read_image(path), read_mask(tmp_path / f"set/masks/{path.stem}.png"))
        for path in sorted((tmp_path / "set/images").iterdir())
    ]


def transform(tmp_path: Path, model: Any, **options: Any) -> EvaluateImages:
    return EvaluateImages(tmp_path / "set", model, tmp_path / "out", **options)


def assert_same(scores: Scores, want: Scores) -> None:
    np.testing.assert_array_equal(scores.confusion, want.confusion)
    assert scores.confusion.dtype == want.confusion.dtype == np.int64
    protocol = {**want.protocol, "precision": "float32"}
    assert scores.to_dict() == {**want.to_dict(), "protocol": protocol}


@pytest.mark.parametrize(
    "workers", [(), pytest.param(PROCESSES, marks=pytest.mark.slow)]
)
def test_scores_are_those_of_one_process(
    tmp_path, pairs, model_folder, model, workers: tuple[str, ...]
) -> None:
    assert run(transform(tmp_path, model_folder), *workers) == {"scored": COUNT}
    want = evaluate(model, pairs)
    assert want.images == COUNT and 0 < want.mean_iou < 1
    assert_same(Scores.load(tmp_path / "out/scores.json"), want)
    assert errors(tmp_path / "out") == {}


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": "mmseg", "base": (64, 48)},
        {"protocol": "semseg", "base": 40, "window": 48, "flip": False},
        {"scales": (0.5, 1.0), "flip": True, "ignore_label": 1},
    ],
)
def test_protocols_are_those_of_evaluate(
    tmp_path, pairs, model_folder, model, options: dict[str, Any]
) -> None:
    if "ignore_label" in options:
        # What is not ignored must be a class.
        for index, (_, mask) in enumerate(pairs):
            mask[mask == 255] = 1
            Image.fromarray(mask).save(tmp_path / f"set/masks/{index}.png")
    run(transform(tmp_path, model_folder, **options))
    want = evaluate(model, pairs, **options)
    assert_same(Scores.load(tmp_path / "out/scores.json"), want)


def test_what_follows_gets_the_scores(tmp_path, pairs, model_folder, model):
    want = evaluate(model, pairs).mean_iou
    with apache_beam.Pipeline(options=PipelineOptions([*RUNNER])) as pipeline:
        scores, failed = pipeline | transform(tmp_path, model_folder)
        means = scores | apache_beam.Map(lambda each: each.mean_iou)
        assert_that(means, equal_to([want]))
        assert_that(failed, equal_to([]), label="failed")


def test_another_precision_is_used_and_reported(
    tmp_path, pairs, model_folder
) -> None:
    run(transform(tmp_path, model_folder, precision="bfloat16"))
    scores = Scores.load(tmp_path / "out/scores.json")
    assert scores.protocol["precision"] == "bfloat16"
    assert scores.images == COUNT


def test_no_scores_of_a_part_of_the_set(tmp_path, pairs, model_folder) -> None:
    output = tmp_path / "out"
    assert run(transform(tmp_path, model_folder)) == {"scored": COUNT}
    assert Scores.load(output / "scores.json").images == COUNT
    images, masks = tmp_path / "set/images", tmp_path / "set/masks"
    data = (images / "1.png").read_bytes()
    (images / "1.png").write_bytes(data[: len(data) // 2])
    Image.fromarray(pairs[4][1][:-1]).save(masks / "4.png")
    Image.fromarray(pairs[5][1] + np.uint8(2)).save(masks / "5.png")
    (masks / "6.png").write_text("no mask")
    assert run(transform(tmp_path, model_folder)) == {
        "scored": 3,
        "failed": 4,
    }
    # Nothing of the run before is left either.
    assert (output / "scores.json").read_text() == ""
    found = errors(output)
    for name, text in {
        "1.png": "`image` must be a PNG file that can be decoded",
        "4.png": "`mask` must have the size of its",
        "5.png": "`mask` must hold labels within 0..2, or 255 to ignore",
        "6.png": "`mask` must be an index mask file",
    }.items():
        assert text in found.pop(str(images / name))
    assert found == {}


def test_folders_model_and_output_elsewhere(
    tmp_path, pairs, model_folder, model
) -> None:
    folders = [f"elsewhere://{tmp_path}/{name}" for name in ("set/", "out")]
    evaluation = EvaluateImages(
        folders[0], f"elsewhere://{model_folder}", folders[1]
    )
    assert run(evaluation) == {"scored": COUNT}
    want = evaluate(model, pairs)
    assert_same(Scores.load(tmp_path / "out/scores.json"), want)


def test_pairs_are_found_as_on_disk(tmp_path, pairs, model_folder, model):
    for index in range(COUNT):
        for kind, behind in (("images", ""), ("masks", "_mask")):
            (path,) = (tmp_path / "set" / kind).glob(f"{index}.*")
            inner = path.parent / f"site{index % 2}"
            inner.mkdir(exist_ok=True)
            path.rename(inner / f"{index}{behind}{path.suffix}")
    assert run(transform(tmp_path, model_folder)) == {"scored": COUNT}
    want = evaluate(model, pairs)
    assert_same(Scores.load(tmp_path / "out/scores.json"), want)


# === Refused before anything is done ===


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.png", r"`split` must be complete.*/1\.png has no .* in"),
        ("2.jpg", r"/2\.jpg and .*/2\.png are 2 files of"),
        (".1.png", r"1\.png has no .* in .*set/images .*1 of 1 iss"),
    ],
)
def test_folders_that_do_not_pair_refused(
    tmp_path, pairs, model_folder, name: str, text: str
) -> None:
    path = tmp_path / "set/images/1.png"
    path.rename(path.with_name(name))
    with pytest.raises(ValueError, match=text):
        transform(tmp_path, model_folder)
    assert not (tmp_path / "out").exists()


def test_labels_refused(tmp_path, pairs, model_folder) -> None:
    with pytest.raises(ValueError, match="`ignore_label` must be an integer"):
        transform(tmp_path, model_folder, ignore_label=256)
    assert not (tmp_path / "out").exists()
