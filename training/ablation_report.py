"""What the ablation found, in words, tables and a picture."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from keras_pspnet.labels import Color
from keras_pspnet.visualization.legend import font_of, stack
from keras_pspnet.visualization.plots import Scale, ticks

from .ablation_tables import (
    COMPARISONS,
    MEASURES,
    NETWORKS,
    TABLES,
    Estimate,
    Results,
    Scored,
    difference,
    spread,
    verdict,
)
from .recipe import Recipe

_PAPER, _TEXT, _GRID = (255, 255, 255), (32, 33, 36), (224, 226, 229)
_OURS, _SEED, _THEIRS = (0, 114, 178), (140, 190, 222), (213, 94, 0)
# Drawn larger, then shrunk: Pillow's lines have hard edges.
_FINE = 3
_WIDTH, _LINE, _SIZE = 960, 30, 17
# Left and right end of the axes of ours and of the paper's.
_AXES = ((230, 590), (640, 920))


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


def _axis(values: Sequence[float], start: int, end: int) -> Scale:
    """Makes an axis with some room around the values."""
    low, high = min(values, default=0.0), max(values, default=100.0)
    room = 0.06 * (high - low) or 1.0
    return Scale(low - room, high + room, start, end)


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
    axes = [_axis(ours, *_AXES[0]), _axis(paper, *_AXES[1])]
    bottom = (len(rows) + 2) * _LINE
    for axis, words in zip(
        axes, ("mean IoU, scenes", "the paper's, ADE20K"), strict=True
    ):
        for value in ticks(axis.low, axis.high):
            x = axis(value)
            canvas.line((x, 1.5 * _LINE), (x, bottom), _GRID)
            canvas.text(x, bottom, f"{value:g}", "mt")
        canvas.text((axis.start + axis.end) / 2, bottom + _LINE, words, "mm")
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
    canvas: _Canvas, axis: Scale, y: float, runs: dict[int, Scored]
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
