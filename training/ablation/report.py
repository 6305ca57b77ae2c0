"""What the ablation found, in words, tables and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from keras_pspnet.training.recipe import Recipe
from keras_pspnet.visualization.plots import new_figure, to_image
from training.ablation.tables import (
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS, _SEED, _THEIRS = "#0072b2", "#8cbede", "#d55e00"


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
        "convolutions; AL: auxiliary loss; DA: data augmentation, here flips "
        "alone, since scenes are drawn at all sizes.",
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
    """Plots the mean IoU of all rows beside the paper's.

    Args:
        results: See `read_results`.

    Returns:
        An RGB image: on the left each seed as a pale dot, their mean as a
        dark one on a line as long as the deviation to both sides; on the
        right the paper's, on an axis of its own.
    """
    heights = [len(rows) + 3 for rows in TABLES.values()]
    figure = new_figure(960, 32 * sum(heights))
    figure.set_layout_engine("constrained")
    plots = figure.subplots(
        len(TABLES),
        2,
        height_ratios=heights,
        sharey="row",
        width_ratios=(3, 2),
        squeeze=False,
    )
    for (ours, paper), (title, rows) in zip(plots, TABLES.items(), strict=True):
        ours.set_title(title, loc="left")
        ours.set_xlabel("mean IoU, scenes")
        paper.set_xlabel("the paper's, ADE20K")
        ours.set_yticks(range(len(rows)), rows)
        ours.set_ylim(len(rows) - 0.5, -0.5)
        for place, name in enumerate(rows.values()):
            _plot_runs(ours, place, results[name])
            paper.plot(NETWORKS[name].paper.mean_iou, place, "o", c=_THEIRS)
        for plot in (ours, paper):
            plot.grid(axis="x", alpha=0.5)
            plot.spines[:].set_visible(False)
            plot.tick_params(length=0)
    return to_image(figure)


def _plot_runs(plot: Axes, place: int, runs: dict[int, Scored]) -> None:
    found = spread(runs, 0)
    if found is None:
        return
    seeds = [scores.mean_iou for scores in runs.values()]
    plot.plot(seeds, [place] * len(seeds), "o", c=_SEED)
    error = found.error if found.seeds > 1 else None
    plot.errorbar(found.value, place, xerr=error, fmt="o", c=_OURS, lw=2)
