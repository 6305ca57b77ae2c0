"""The paper's ablations, small: its tables 1, 2 and 4 on procedural scenes.

    python -m training.ablation --output runs/ablation
    python -m training.ablation --output runs/ablation --report

Zhao et al., 2016, https://arxiv.org/abs/1612.01105, measure the contribution
of each part of PSPNet on ADE20K, with an ImageNet-trained ResNet-50. This
study trains a ResNet-18 of quarter width from scratch. The tables share rows,
so there are twelve networks. Each is trained once per seed, which sets
weights, order and scenes.

The output folder holds

- `results`: a file for every finished run, from which the same command
  resumes. Processes with different seeds can share a folder;
- `ablation.md`, `ablation.png`: the tables, written after the last run.
  `--report` trains nothing and writes those of the runs finished so far.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_pspnet.recipes.scenes import RECIPE as SCENES
from keras_pspnet.training.recipe import Recipe
from keras_pspnet.training.run import SCORES_FILE, train
from keras_pspnet.utils.files import (
    locked,
    write_atomically,
    write_json,
    writing_atomically,
)
from training.ablation.report import chart, report
from training.ablation.tables import NETWORKS, Results, Scored

# A setting that separates the rows. It was chosen with seed 0, which is
# therefore not reported.
RECIPE = dataclasses.replace(
    SCENES,
    crop=(48, 192),
    batch_size=8,
    steps=600,
    steps_per_epoch=600,
    scenes=(200, 200),
    evaluations=1,
)
SEEDS = (3, 4, 5)
RESULTS_FOLDER = "results"
REPORT_FILE = "ablation.md"
CHART_FILE = "ablation.png"

# Fields of a recipe that a result must share with a run to count for it.
_SETTING = (
    "backbone",
    "width",
    "crop",
    "batch_size",
    "steps",
    "learning_rate",
    "scenes",
    "bin_sizes",
    "pooling",
    "reduce",
    "aux_weight",
    "flip",
    "seed",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the missing part of the ablation, and writes the report.

    Args:
        arguments: Command-line arguments; None for those of the process.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If there is nothing to report.
        ValueError: If the folder holds results of another setting.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument(
        "--report", action="store_true", help="train nothing, write the tables"
    )
    options = parser.parse_args(arguments)
    recipe = RECIPE.smoke_test() if options.smoke else RECIPE
    if not options.report:
        run_missing(recipe, NETWORKS, options.seeds, options.output)
    results = read_results(recipe, options.seeds, options.output)
    text = report(recipe, results)
    write_atomically(options.output / REPORT_FILE, text.encode())
    with writing_atomically(options.output / CHART_FILE) as stream:
        chart(results).save(stream, "PNG")
    print(text)
    return 0


def run_missing(
    recipe: Recipe, networks: Iterable[str], seeds: Iterable[int], output: Path
) -> None:
    """Trains each network with each seed, unless its result exists.

    Args:
        recipe: Setting of all runs.
        networks: Keys of `NETWORKS`.
        seeds: Seeds, run one after the other.
        output: Folder of the ablation, created if necessary.

    Raises:
        ValueError: If a result comes from another setting.
    """
    folder = output / RESULTS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    runs = [(network, seed) for seed in seeds for network in networks]
    for number, (network, seed) in enumerate(runs, start=1):
        run = NETWORKS[network].recipe(recipe, seed)
        path = _result_path(output, network, seed)
        how = "found"
        # Another process may be running the same network and seed.
        with locked(path):
            scores = _read_result(path, run)
            if scores is None:
                started = time.monotonic()
                scores = _run(run, path)
                how = f"{time.monotonic() - started:.0f} s"
        print(
            f"{number}/{len(runs)} {network}, seed {seed}: mean IoU "
            f"{scores.mean_iou:.2f}, pixel accuracy "
            f"{scores.pixel_accuracy:.2f} ({how})",
            flush=True,
        )


def read_results(recipe: Recipe, seeds: Iterable[int], output: Path) -> Results:
    """Reads the results of all finished runs.

    Args:
        recipe: Setting of all runs.
        seeds: Seeds to read.
        output: Folder of the ablation.

    Returns:
        The scores of the finished runs, for every network.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If a result comes from another setting.
    """
    results: Results = {network: {} for network in NETWORKS}
    for seed in seeds:
        for name, network in NETWORKS.items():
            scores = _read_result(
                _result_path(output, name, seed), network.recipe(recipe, seed)
            )
            if scores is not None:
                results[name][seed] = scores
    if not any(results.values()):
        raise FileNotFoundError(
            "`output` must hold a result of one of the seeds. "
            f"Received: output={str(output)!r}"
        )
    return results


def _result_path(output: Path, network: str, seed: int) -> Path:
    return output / RESULTS_FOLDER / f"{network}_seed{seed}.json"


def _setting(run: Recipe) -> dict[str, Any]:
    """Returns the fields of a run that its result records, after JSON."""
    return json.loads(
        json.dumps({name: getattr(run, name) for name in _SETTING})
    )


def _run(run: Recipe, path: Path) -> Scored:
    """Trains a run, and keeps only its scores."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".run_") as folder:
        train(run, folder, verbose=0)
        found = json.loads((Path(folder) / SCORES_FILE).read_text())
    # Otherwise Keras keeps every graph.
    keras.backend.clear_session()
    content = _setting(run) | {
        name: found[name] for name in ("mean_iou", "pixel_accuracy", "iou")
    }
    write_json(path, content)
    return _scored(content)


def _scored(content: dict[str, Any]) -> Scored:
    return Scored(100 * content["mean_iou"], 100 * content["pixel_accuracy"])


def _read_result(path: Path, run: Recipe) -> Scored | None:
    """Reads a result; None if it is missing or incomplete."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    setting = _setting(run)
    other = {name: content.get(name) for name in setting}
    if other != setting:
        name = next(name for name in setting if other[name] != setting[name])
        raise ValueError(
            f"`output` must hold results of {name} {setting[name]}, or none. "
            f"Received: {str(path)!r} of {name} {other[name]}"
        )
    return _scored(content)


if __name__ == "__main__":
    sys.exit(main())
