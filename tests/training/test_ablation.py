"""Tests of the ablation: its networks, what is run, and its arithmetic."""

import dataclasses
import functools
import json
import math
import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_pspnet.training.recipe import Recipe
from training.ablation import study as ablation
from training.ablation.report import chart, report
from training.ablation.study import RECIPE, main, read_results, run_missing
from training.ablation.tables import (
    NETWORKS,
    TABLES,
    Estimate,
    Results,
    Scored,
    difference,
    spread,
    verdict,
)

pytestmark = pytest.mark.long

TINY = dataclasses.replace(RECIPE.smoke_test(), steps=4, steps_per_epoch=4)


def some_results() -> Results:
    """Three seeds of all networks, at random."""
    rng = np.random.default_rng(0)
    return {
        name: {seed: Scored(*rng.uniform(50, 90, 2)) for seed in (3, 4, 5)}
        for name in NETWORKS
    }


@pytest.fixture
def trained(monkeypatch) -> list[Recipe]:
    """The recipes that were run, without any training.

    Scores are told by the seed: 0.5 and 0.7, and a thousandth a seed more.
    """
    runs: list[Recipe] = []

    def train(recipe: Recipe, output: str, *, verbose: int) -> None:
        assert verbose == 0
        assert os.listdir(output) == []
        runs.append(recipe)
        scores = {
            "mean_iou": 0.5 + recipe.seed / 1000,
            "pixel_accuracy": 0.7 + recipe.seed / 1000,
            "iou": {"sky": 0.5},
            "pixels": 12,
        }
        (Path(output) / "scores.json").write_text(json.dumps(scores))

    monkeypatch.setattr(ablation, "train", train)
    # Nothing was made that a garbage collection would free.
    clear = functools.partial(keras.backend.clear_session, free_memory=False)
    monkeypatch.setattr(keras.backend, "clear_session", clear)
    return runs


# === Networks ===


def test_the_tables_share_rows() -> None:
    rows = [name for table in TABLES.values() for name in table.values()]
    assert set(rows) == set(NETWORKS)
    assert len(rows) == 16
    assert len(NETWORKS) == 12
    recipes = [network.recipe(RECIPE, 3) for network in NETWORKS.values()]
    assert all(recipes.count(recipe) == 1 for recipe in recipes)


# === Arithmetic ===


def test_spread_is_mean_and_sample_deviation() -> None:
    values = np.random.default_rng(0).uniform(0, 100, (5, 2))
    runs = {seed: Scored(*pair) for seed, pair in enumerate(values)}
    for measure in (0, 1):
        found = spread(runs, measure)
        assert found is not None
        assert found.value == pytest.approx(np.mean(values[:, measure]))
        assert found.error == pytest.approx(np.std(values[:, measure], ddof=1))
        assert found.seeds == 5


def test_differences_are_taken_seed_by_seed() -> None:
    rng = np.random.default_rng(1)
    # Scenes differ far more than networks do.
    scenes = 30 * rng.normal(size=(4, 1))
    before, after = scenes + rng.normal(size=(2, 4, 2))
    gains = after - before
    first = {seed: Scored(*pair) for seed, pair in enumerate(before)}
    second = {seed: Scored(*pair) for seed, pair in enumerate(after)}
    # Seeds that one network alone has do not count.
    first[8] = second[9] = Scored(0.0, 0.0)
    for measure in (0, 1):
        found = difference(first, second, measure)
        assert found is not None
        want = gains[:, measure]
        assert found.value == pytest.approx(want.mean())
        assert found.error == pytest.approx(want.std(ddof=1) / np.sqrt(4))
        assert found.seeds == 4
    assert difference({3: Scored(1, 2)}, {4: Scored(1, 2)}, 0) is None


@pytest.mark.parametrize(
    "ours, paper, want",
    [
        ((2.1, 1.0, 3), 0.1, "agrees"),
        ((1.9, 1.0, 3), 0.1, "agrees, within 2 SE"),
        ((-2.1, 1.0, 3), -0.1, "agrees"),
        ((-2.1, 1.0, 3), 0.1, "differs"),
        ((-1.9, 1.0, 3), 0.1, "differs, within 2 SE"),
        ((0.0, 0.0, 3), 0.1, "differs, within 2 SE"),
        ((9.0, math.nan, 1), 0.1, "agrees, one seed"),
        ((9.0, math.nan, 1), -0.1, "differs, one seed"),
    ],
)
def test_verdicts(ours, paper, want) -> None:
    assert verdict(Estimate(*ours), paper) == want


# === Runs ===


def test_each_network_is_run_once_a_seed(trained, tmp_path, capsys) -> None:
    command = ["--output", str(tmp_path), "--smoke"]
    assert main([*command, "--seeds", "3", "4"]) == 0
    want = [
        network.recipe(RECIPE.smoke_test(), seed)
        for seed in (3, 4)
        for network in NETWORKS.values()
    ]
    assert trained == want
    out = capsys.readouterr().out
    assert "24/24 b1236_ave_dr, seed 4: mean IoU 50.40, pixel accuracy" in out
    # What is there is not run again, and a further seed is.
    assert main([*command, "--seeds", "3", "4", "5"]) == 0
    assert [recipe.seed for recipe in trained[24:]] == [5] * 12
    out = capsys.readouterr().out
    assert "24/36 b1236_ave_dr, seed 4: mean IoU 50.40" in out
    assert out.count("(found)") == 24
    # Nothing is left of the runs but their scores.
    names = [f"{name}_seed{k}.json" for name in NETWORKS for k in (3, 4, 5)]
    found = os.listdir(tmp_path / "results")
    assert {name.removesuffix(".lock") for name in found} == set(names)
    told = json.loads((tmp_path / "results" / names[1]).read_text())
    assert told["iou"] == {"sky": 0.5}


@pytest.mark.parametrize("content", ["", '{"backbone": "resnet18", "wid'])
def test_a_truncated_result_is_run_anew(trained, tmp_path, content) -> None:
    run_missing(TINY, ["baseline", "b1_max"], [3], tmp_path)
    path = tmp_path / "results" / "b1_max_seed3.json"
    whole = path.read_text()
    path.write_text(content)
    # Until then, it counts for nothing.
    assert read_results(TINY, [3], tmp_path)["b1_max"] == {}
    run_missing(TINY, ["baseline", "b1_max"], [3], tmp_path)
    assert [recipe.pooling for recipe in trained] == ["average", "max", "max"]
    assert path.read_text() == whole


def test_an_interrupted_run_leaves_nothing(monkeypatch, tmp_path) -> None:
    def train(recipe: Recipe, output: str, *, verbose: int) -> None:
        (Path(output) / "last.keras").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, "train", train)
    with pytest.raises(KeyboardInterrupt):
        run_missing(TINY, ["baseline"], [3], tmp_path)
    assert os.listdir(tmp_path / "results") == ["baseline_seed3.json.lock"]


def test_results_of_another_setting_are_refused(trained, tmp_path) -> None:
    run_missing(TINY, ["baseline"], [3], tmp_path)
    longer = dataclasses.replace(TINY, steps=8)
    match = (
        "`output` must hold results of steps 8, or none. Received: "
        r"'.*baseline_seed3.json' of steps 4"
    )
    with pytest.raises(ValueError, match=match):
        run_missing(longer, ["baseline"], [3], tmp_path)
    with pytest.raises(ValueError, match=match):
        read_results(longer, [3], tmp_path)
    assert len(trained) == 1


def test_a_report_needs_a_result(trained, tmp_path) -> None:
    command = ["--report", "--output", str(tmp_path)]
    match = "`output` must hold a result of one of the seeds. Received: output="
    with pytest.raises(FileNotFoundError, match=match):
        main(command)
    run_missing(RECIPE, ["b1_max"], [4], tmp_path)
    assert main(command) == 0
    assert len(trained) == 1
    text = (tmp_path / "ablation.md").read_text()
    assert "| B1 + MAX | 50.40 | 39.94 | 70.40 | 79.46 |" in text
    assert "| B1 + AVE | – | 40.07 | – | 79.52 |" in text
    assert "In mean IoU, 0 of 0 differences have the paper's sign." in text
    with Image.open(tmp_path / "ablation.png") as picture:
        assert picture.width == 960


@pytest.mark.slow
def test_two_networks_from_end_to_end(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(
        tf.distribute, "MirroredStrategy", tf.distribute.get_strategy
    )
    names = ["plain", "b1236_max"]
    run_missing(TINY, names, [3], tmp_path)
    results = read_results(TINY, [3], tmp_path)
    assert [name for name, runs in results.items() if runs] == names
    lines = capsys.readouterr().out.splitlines()
    for name, line in zip(names, lines, strict=True):
        path = tmp_path / "results" / f"{name}_seed3.json"
        told = json.loads(path.read_text())
        assert 0 <= told["mean_iou"] < 1
        assert results[name][3] == Scored(
            100 * told["mean_iou"], 100 * told["pixel_accuracy"]
        )
        assert f"mean IoU {100 * told['mean_iou']:.2f}" in line
    assert results["plain"] != results["b1236_max"]
    assert "64x64, 8 scenes" in report(TINY, results)


# === Report ===


def rows_of(text: str, title: str) -> dict[str, list[str]]:
    """The cells of the table below a heading, by those of the first column."""
    _, _, rest = text.partition(f"## {title}\n")
    table, _, _ = rest.partition("\n## ")
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [line.strip("| ").split(" | ") for line in lines[2:]]
    return {row[0]: row[1:] for row in cells}


def test_a_table_has_ours_beside_the_paper_s() -> None:
    results = some_results()
    del results["aux_0.9"][5]
    text = report(RECIPE, results)
    for title, rows in TABLES.items():
        found = rows_of(text, title)
        assert list(found) == list(rows)
        for label, name in rows.items():
            values = np.array(list(results[name].values()))
            mean, deviation = values.mean(0), values.std(0, ddof=1)
            few = " (2 of 3 seeds)" if name == "aux_0.9" else ""
            paper = NETWORKS[name].paper
            assert found[label] == [
                f"{mean[0]:.2f} ± {deviation[0]:.2f}{few}",
                f"{paper.mean_iou:.2f}",
                f"{mean[1]:.2f} ± {deviation[1]:.2f}{few}",
                f"{paper.pixel_accuracy:.2f}",
            ]
    assert "seeds 3, 4, 5." in text
    assert "only flips" in text
    assert chart(results).width == 960
