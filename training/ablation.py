"""The paper's ablations in small: its tables 1, 2 and 4 on procedural scenes.

    python -m training.ablation --output runs/ablation
    python -m training.ablation --output runs/ablation --report

Zhao et al., 2016, https://arxiv.org/abs/1612.01105, ask on ADE20K and with an
ImageNet-trained ResNet-50 what each part of PSPNet brings. Here a ResNet-18 of
quarter width is asked, from scratch. The tables share rows: twelve networks,
each trained once per seed, which sets weights, order and scenes.

The output folder holds

- `results`: a file for every finished run. The same command goes on after an
  interruption; processes with seeds of their own can share a folder;
- `ablation.md`, `ablation.png`: the tables, once all runs are finished, or as
  far as they are with `--report`, which trains nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from PIL import Image, ImageDraw

from keras_pspnet.curves import ticks
from keras_pspnet.files import write_atomically, write_json, writing_atomically
from keras_pspnet.labels import Color
from keras_pspnet.layout import font_of, stack
from keras_pspnet.locks import locked

from .recipe import Recipe
from .recipes.scenes import RECIPE as SCENES
from .train import SCORES_FILE, train

# A setting in which the rows lie apart. It was found with seed 0, which is
# therefore not among those that are reported.
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

MEASURES = ("mean IoU", "pixel accuracy")


class Scored(NamedTuple):
    """Scores of one network, in percent."""

    mean_iou: float
    pixel_accuracy: float


# Network -> seed -> scores of its run.
Results = dict[str, dict[int, Scored]]


@dataclasses.dataclass(frozen=True)
class Network:
    """One network of the tables.

    Args:
        paper: The paper's scores, on ADE20K's validation split at one scale.
        bin_sizes: See `PSPNet`.
        pooling: See `PSPNet`.
        reduce: See `PSPNet`.
        aux_weight: See `Recipe`.
        flip: See `Recipe`. Of the paper's changes of the pictures, scenes
            leave mirroring alone: they are drawn at all sizes.
    """

    paper: Scored
    bin_sizes: tuple[int, ...] = ()
    pooling: str = "average"
    reduce: bool = True
    aux_weight: float = 0.4
    flip: bool = True

    def recipe(self, recipe: Recipe, seed: int) -> Recipe:
        """Returns the run of this network in the setting of a recipe."""
        changes = dataclasses.asdict(self)
        del changes["paper"]
        return dataclasses.replace(recipe, seed=seed, **changes)


_ALL = (1, 2, 3, 6)
NETWORKS = {
    "plain": Network(Scored(34.28, 76.35), aux_weight=0.0, flip=False),
    "aux_0": Network(Scored(35.82, 77.07), aux_weight=0.0),
    "aux_0.3": Network(Scored(37.01, 77.87), aux_weight=0.3),
    "baseline": Network(Scored(37.23, 78.01)),
    "aux_0.6": Network(Scored(37.09, 77.84), aux_weight=0.6),
    "aux_0.9": Network(Scored(36.99, 77.87), aux_weight=0.9),
    "b1_max": Network(Scored(39.94, 79.46), (1,), "max", False),
    "b1_ave": Network(Scored(40.07, 79.52), (1,), "average", False),
    "b1236_max": Network(Scored(40.18, 79.45), _ALL, "max", False),
    "b1236_ave": Network(Scored(41.07, 79.97), _ALL, "average", False),
    "b1236_max_dr": Network(Scored(40.87, 79.61), _ALL, "max", True),
    "b1236_ave_dr": Network(Scored(41.68, 80.04), _ALL, "average", True),
}

# Title -> what the row is called -> network.
TABLES = {
    "Table 1: the pyramid": {
        "baseline": "baseline",
        "B1 + MAX": "b1_max",
        "B1 + AVE": "b1_ave",
        "B1236 + MAX": "b1236_max",
        "B1236 + AVE": "b1236_ave",
        "B1236 + MAX + DR": "b1236_max_dr",
        "B1236 + AVE + DR": "b1236_ave_dr",
    },
    "Table 2: weight of the auxiliary loss": {
        "without": "aux_0",
        "0.3": "aux_0.3",
        "0.4": "baseline",
        "0.6": "aux_0.6",
        "0.9": "aux_0.9",
    },
    "Table 4: one part after the other": {
        "baseline": "plain",
        "+ DA": "aux_0",
        "+ DA + AL": "baseline",
        "+ DA + AL + PSP": "b1236_ave_dr",
    },
}

# Pairs of rows that differ in one respect: what changes -> from, to.
COMPARISONS = {
    "B1 + MAX, to the baseline": ("baseline", "b1_max"),
    "B1 + AVE, to the baseline": ("baseline", "b1_ave"),
    "B1 to B1236, MAX": ("b1_max", "b1236_max"),
    "B1 to B1236, AVE": ("b1_ave", "b1236_ave"),
    "MAX to AVE, B1": ("b1_max", "b1_ave"),
    "MAX to AVE, B1236": ("b1236_max", "b1236_ave"),
    "MAX to AVE, B1236 + DR": ("b1236_max_dr", "b1236_ave_dr"),
    "DR, B1236 + MAX": ("b1236_max", "b1236_max_dr"),
    "DR, B1236 + AVE": ("b1236_ave", "b1236_ave_dr"),
    "auxiliary loss, 0 to 0.3": ("aux_0", "aux_0.3"),
    "auxiliary loss, 0.3 to 0.4": ("aux_0.3", "baseline"),
    "auxiliary loss, 0.4 to 0.6": ("baseline", "aux_0.6"),
    "auxiliary loss, 0.6 to 0.9": ("aux_0.6", "aux_0.9"),
    "DA": ("plain", "aux_0"),
    "AL, 0 to 0.4": ("aux_0", "baseline"),
    "PSP": ("baseline", "b1236_ave_dr"),
}

# What a result has to share with a run to stand for it.
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
    """Runs the ablation, or the part of it that is missing.

    Args:
        arguments: Of the command; None for those of the process.

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
    recipe = RECIPE.shrunk() if options.smoke else RECIPE
    if not options.report:
        run_missing(recipe, NETWORKS, options.seeds, options.output)
    results = read_results(recipe, options.seeds, options.output)
    text = report(recipe, results)
    write_atomically(options.output / REPORT_FILE, text.encode())
    with writing_atomically(options.output / CHART_FILE) as stream:
        chart(results).save(stream, "PNG")
    print(text)
    return 0


# === Runs ===


def run_missing(
    recipe: Recipe, networks: Iterable[str], seeds: Iterable[int], output: Path
) -> None:
    """Trains each network with each seed, where there is no result yet.

    Args:
        recipe: Setting of all runs.
        networks: Keys of `NETWORKS`.
        seeds: Seeds, which come one after the other.
        output: Folder of the ablation; made if it does not exist.

    Raises:
        ValueError: If a result comes from another setting.
    """
    folder = output / RESULTS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    runs = [(network, seed) for seed in seeds for network in networks]
    for number, (network, seed) in enumerate(runs, start=1):
        run = NETWORKS[network].recipe(recipe, seed)
        path = _result_path(output, network, seed)
        told = "found"
        # Another process may be at the same run.
        with locked(path):
            scores = _read_result(path, run)
            if scores is None:
                started = time.monotonic()
                scores = _run(run, path)
                told = f"{time.monotonic() - started:.0f} s"
        print(
            f"{number}/{len(runs)} {network}, seed {seed}: mean IoU "
            f"{scores.mean_iou:.2f}, pixel accuracy "
            f"{scores.pixel_accuracy:.2f} ({told})",
            flush=True,
        )


def read_results(recipe: Recipe, seeds: Iterable[int], output: Path) -> Results:
    """Reads what is there of the results of all networks.

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
    """What a result says of its run, as it is read from JSON again."""
    return json.loads(
        json.dumps({name: getattr(run, name) for name in _SETTING})
    )


def _run(run: Recipe, path: Path) -> Scored:
    """Trains, and keeps the scores alone."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".run_") as folder:
        train(run, folder, verbose=0)
        told = json.loads((Path(folder) / SCORES_FILE).read_text())
    # Keras holds on to every graph otherwise.
    keras.backend.clear_session()
    content = _setting(run) | {
        name: told[name] for name in ("mean_iou", "pixel_accuracy", "iou")
    }
    write_json(path, content)
    return _scored(content)


def _scored(content: dict[str, Any]) -> Scored:
    return Scored(100 * content["mean_iou"], 100 * content["pixel_accuracy"])


def _read_result(path: Path, run: Recipe) -> Scored | None:
    """Reads a result; None where there is none, or but a part of one."""
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


# === Arithmetic ===


class Estimate(NamedTuple):
    """A mean over seeds, how far it can be trusted, and how many they are.

    `error` is NaN for a single seed.
    """

    value: float
    error: float
    seeds: int


def spread(runs: dict[int, Scored], measure: int) -> Estimate | None:
    """Returns a network's mean and the standard deviation over its seeds.

    Args:
        runs: Seed -> scores.
        measure: Index in `MEASURES`.

    Returns:
        The deviation is that of a sample: sum of squares / (n - 1). None
        without runs.
    """
    values = np.array([scores[measure] for scores in runs.values()])
    if not values.size:
        return None
    deviation = values.std(ddof=1) if values.size > 1 else math.nan
    return Estimate(float(values.mean()), float(deviation), values.size)


def difference(
    before: dict[int, Scored], after: dict[int, Scored], measure: int
) -> Estimate | None:
    """Returns how much better a network is, and the standard error of that.

    The same seed means the same scenes, so that networks are compared seed
    by seed: the scenes' share in the spread drops out.

    Args:
        before: Seed -> scores.
        after: Seed -> scores of the other network.
        measure: Index in `MEASURES`.

    Returns:
        Mean of the differences of the seeds that both have, and their
        deviation / sqrt(n); None if they have none.
    """
    found = spread(
        {
            seed: Scored(*np.subtract(after[seed], before[seed]))
            for seed in before
            if seed in after
        },
        measure,
    )
    if found is None:
        return None
    return found._replace(error=found.error / math.sqrt(found.seeds))


def verdict(ours: Estimate, paper: float) -> str:
    """Says how a difference of ours compares with the paper's.

    Args:
        ours: See `difference`.
        paper: The paper's difference.

    Returns:
        "agrees" if the signs do, else "differs"; with a remark where ours is
        not beyond twice its standard error.
    """
    word = "agrees" if ours.value * paper > 0 else "differs"
    if ours.seeds == 1:
        return f"{word}, one seed"
    if not abs(ours.value) > 2 * ours.error:
        return f"{word}, within 2 SE"
    return word


# === Report ===


def report(recipe: Recipe, results: Results) -> str:
    """Returns the tables, and where they agree with the paper's, Markdown."""
    seeds = sorted({seed for runs in results.values() for seed in runs})
    assert recipe.scenes is not None
    lines = [
        "# The paper's ablations on procedural scenes",
        "",
        f"Ours: {recipe.backbone} of width {recipe.width:g} from scratch, "
        f"{recipe.steps} steps of {recipe.batch_size} crops of "
        f"{recipe.crop[0]}x{recipe.crop[1]}, {recipe.scenes[0]} scenes to "
        f"train on and {recipe.scenes[1]} to score, seeds "
        f"{', '.join(map(str, seeds))}. Mean ± standard deviation over the "
        "seeds (that of a sample, n - 1), in percent. The paper's: ResNet-50 "
        "on ADE20K, one scale. B1, B1236: bins of the pyramid; DR: its 1x1 "
        "convolutions; AL: auxiliary loss; DA: changes of the pictures, here "
        "mirroring alone, as scenes are drawn at all sizes.",
    ]
    for title, rows in TABLES.items():
        lines += ["", f"## {title}", "", *_heading("")]
        for label, name in rows.items():
            cells = [label]
            for measure in range(len(MEASURES)):
                cells += [
                    _cell(spread(results[name], measure), len(seeds)),
                    f"{NETWORKS[name].paper[measure]:.2f}",
                ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_comparisons(results, len(seeds))]) + "\n"


def _comparisons(results: Results, seeds: int) -> list[str]:
    """The table of differences, and its count in words."""
    lines = _heading("change", "agreement")
    verdicts: list[dict[str, str]] = [{} for _ in MEASURES]
    for change, (before, after) in COMPARISONS.items():
        cells = [change]
        for measure in range(len(MEASURES)):
            paper = (
                NETWORKS[after].paper[measure] - NETWORKS[before].paper[measure]
            )
            ours = difference(results[before], results[after], measure)
            if ours is not None:
                verdicts[measure][change] = verdict(ours, paper)
            cells += [
                _cell(ours, seeds, "+"),
                f"{paper:+.2f}",
                verdicts[measure].get(change, "–"),
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return [
        "## Where they agree and where not",
        "",
        "Differences between rows: mean ± standard error (SE) over the seeds, "
        "each with the same scenes for both rows. Of three seeds, two networks "
        "that are alike differ by more than 2 SE in 18 % of the cases.",
        "",
        *lines,
        *(
            line
            for measure, told in zip(MEASURES, verdicts, strict=True)
            for line in ("", _sentence(measure, told))
        ),
    ]


def _sentence(measure: str, verdicts: dict[str, str]) -> str:
    def having(word: str) -> list[str]:
        return [change for change, told in verdicts.items() if told == word]

    agreeing = [told for told in verdicts.values() if "agrees" in told]
    agree, differ = having("agrees"), having("differs")
    return (
        f"In {measure}, {len(agreeing)} of {len(verdicts)} differences have "
        f"the paper's sign. Beyond 2 SE, {len(agree)} agree"
        f"{_listed(agree)} and {len(differ)} differ{_listed(differ)}."
    )


def _listed(names: Sequence[str]) -> str:
    return f" ({'; '.join(names)})" if names else ""


def _heading(first: str, *more: str) -> list[str]:
    cells = [first]
    for measure in MEASURES:
        cells += [f"{measure}, ours", "the paper's", *more]
    return [f"| {' | '.join(cells)} |", "|---" * len(cells) + "|"]


def _cell(estimate: Estimate | None, seeds: int, sign: str = "") -> str:
    if estimate is None:
        return "–"
    text = f"{estimate.value:{sign}.2f}"
    if estimate.seeds > 1:
        text += f" ± {estimate.error:.2f}"
    if estimate.seeds < seeds:
        text += f" ({estimate.seeds} of {seeds} seeds)"
    return text


# === Chart ===

_PAPER, _TEXT, _GRID = (255, 255, 255), (32, 33, 36), (224, 226, 229)
_OURS, _SEED, _THEIRS = (0, 114, 178), (140, 190, 222), (213, 94, 0)
# Drawn larger, then shrunk: Pillow's lines have hard edges.
_FINE = 3
_WIDTH, _LINE, _SIZE = 960, 30, 17
# Left and right end of the axes of ours and of the paper's.
_AXES = ((230, 590), (640, 920))


def chart(results: Results) -> Image.Image:
    """Draws the mean IoU of all rows beside the paper's.

    Args:
        results: See `read_results`.

    Returns:
        An RGB picture: on the left each seed as a pale dot, their mean as a
        dark one on a line as long as the deviation to both sides; on the
        right the paper's, on an axis of its own.
    """
    panels = [
        _panel(title, rows, results).picture for title, rows in TABLES.items()
    ]
    picture = stack(panels, _FINE * _WIDTH)
    size = _WIDTH, picture.height // _FINE
    return picture.resize(size, Image.Resampling.BOX)


class _Axis:
    """From values to pixels, with some room around the values."""

    def __init__(self, values: Sequence[float], ends: tuple[int, int]) -> None:
        low, high = min(values, default=0.0), max(values, default=100.0)
        room = 0.06 * (high - low) or 1.0
        self.values = low - room, high + room
        self.ends = ends

    def __call__(self, value: float) -> float:
        return float(np.interp(value, self.values, self.ends))


class _Canvas:
    """Draws in the pixels of the final size."""

    def __init__(self, height: int) -> None:
        size = _FINE * _WIDTH, _FINE * height
        self.picture = Image.new("RGB", size, _PAPER)
        self._draw = ImageDraw.Draw(self.picture)

    def text(self, x: float, y: float, words: str, anchor: str) -> None:
        font = font_of(_FINE * _SIZE)
        self._draw.text((_FINE * x, _FINE * y), words, _TEXT, font, anchor)

    def dot(self, x: float, y: float, radius: float, color: Color) -> None:
        place = _FINE * x, _FINE * y
        self._draw.circle(place, _FINE * radius, color)

    def line(
        self, start: tuple[float, float], end: tuple[float, float], color: Color
    ) -> None:
        ends = [_FINE * pixel for pixel in (*start, *end)]
        self._draw.line(ends, color, 2 * _FINE)


def _panel(title: str, rows: dict[str, str], results: Results) -> _Canvas:
    """Draws one table: title, two axes, a line a row."""
    canvas = _Canvas((len(rows) + 4) * _LINE)
    canvas.text(_SIZE, _LINE, title, "lm")
    ours = [x for name in rows.values() for x in _extent(results[name])]
    paper = [NETWORKS[name].paper.mean_iou for name in rows.values()]
    axes = [_Axis(*pair) for pair in zip((ours, paper), _AXES, strict=True)]
    bottom = (len(rows) + 2) * _LINE
    for axis, words in zip(
        axes, ("mean IoU, scenes", "the paper's, ADE20K"), strict=True
    ):
        for value in ticks(*axis.values):
            x = axis(value)
            canvas.line((x, 1.5 * _LINE), (x, bottom), _GRID)
            canvas.text(x, bottom, f"{value:g}", "mt")
        canvas.text(sum(axis.ends) / 2, bottom + _LINE, words, "mm")
    for number, (label, name) in enumerate(rows.items(), start=2):
        y = number * _LINE
        canvas.text(_AXES[0][0] - _SIZE, y, label, "rm")
        _draw_runs(canvas, axes[0], y, results[name])
        canvas.dot(axes[1](NETWORKS[name].paper.mean_iou), y, 5, _THEIRS)
    return canvas


def _extent(runs: dict[int, Scored]) -> list[float]:
    """Returns the mean IoU of the runs, and both ends of their deviation."""
    values = [scores.mean_iou for scores in runs.values()]
    found = spread(runs, 0)
    if found is not None and found.seeds > 1:
        values += [found.value - found.error, found.value + found.error]
    return values


def _draw_runs(
    canvas: _Canvas, axis: _Axis, y: float, runs: dict[int, Scored]
) -> None:
    found = spread(runs, 0)
    if found is None:
        return
    for scores in runs.values():
        canvas.dot(axis(scores.mean_iou), y, 4, _SEED)
    if found.seeds > 1:
        low, high = found.value - found.error, found.value + found.error
        canvas.line((axis(low), y), (axis(high), y), _OURS)
    canvas.dot(axis(found.value), y, 5, _OURS)


if __name__ == "__main__":
    sys.exit(main())
