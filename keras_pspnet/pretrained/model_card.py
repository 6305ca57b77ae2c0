"""The model card of a saved model, as model hubs show it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from keras_pspnet.pretrained.card_facts import METRICS, CardFacts
from keras_pspnet.version import __version__

_TEXT = """\
---
{front}---

# {title}

A [PSPNet](https://arxiv.org/abs/1612.01105) for {num_classes} classes, saved by
keras_pspnet {version}, which loads this folder:

```python
import keras_pspnet as kp

model = kp.load_pretrained("{source}")  # or the folder
kp.segment(model, "photo.jpg").save("out.png")
```

| | |
|---|---|
| network | {network} |
| weights | {parameters:,}, {dtype} |
| input | {bands}, {size}; normalization is inside |
| classes | {classes} |

{known}## What the files cannot tell

{unknown}
"""


def model_card(
    config: Mapping[str, Any],
    parameters: int,
    dtype: str,
    facts: CardFacts | None = None,
    source: str = "hf://owner/name",
) -> str:
    """Describes a model in Markdown, with the metadata of model hubs.

    Facts that only its author knows get a line to fill in.

    Args:
        config: `PSPNet.get_config()`.
        parameters: Number of weights.
        dtype: Type of the stored weights.
        facts: The facts that its author gave.
        source: Argument of `load_pretrained` for this model.

    Returns:
        The text of a `README.md`.
    """
    facts = facts or CardFacts()
    labels = config["labels"]
    height, width, bands = config["input_shape"]
    return _TEXT.format(
        front=facts.front_matter(config["name"]),
        source=source,
        known=_known(facts),
        unknown="\n".join(_unknown(facts)),
        title=config["name"],
        num_classes=config["num_classes"],
        version=__version__,
        network=_network(config),
        parameters=parameters,
        dtype=dtype,
        bands="RGB, 0..255" if bands == 3 else f"{bands} bands",
        size="any size" if None in (height, width) else f"{height} x {width}",
        classes=(
            f"0 to {config['num_classes'] - 1}, without names"
            if labels is None
            else f"{_plain(', '.join(labels['names']))}; "
            f"{labels['ignore_label']} is ignored"
        ),
    )


def _network(config: Mapping[str, Any]) -> str:
    return (
        f"{config['backbone']}, {config['width']:g} of its width, "
        f"stem {config['stem']}, output stride {config['output_stride']}, "
        f"bins {', '.join(map(str, config['bin_sizes']))}, "
        f"{'corner-aligned' if config['align_corners'] else 'half-pixel'} "
        f"resizing, {'with' if config['aux'] else 'no'} auxiliary head"
    )


def _known(facts: CardFacts) -> str:
    """Returns the sections of the facts that the author gave."""
    lines: list[str] = []
    if facts.recipe:
        lines.append(f"- Recipe: {_plain(facts.recipe)} (keras_pspnet)")
    if facts.datasets:
        lines.append(f"- Data: {_plain(', '.join(facts.datasets))}")
    if facts.license:
        lines.append(f"- License of the weights: {facts.license}")
    sections = [["## How it was made", "", *lines, ""]] if lines else []
    if facts.scores:
        sections.append(["## Scores", "", *_score_lines(facts.scores), ""])
    return "".join(f"{line}\n" for section in sections for line in section)


def _score_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    for key, name in METRICS.items():
        if key in scores:
            yield f"| {name} | {scores[key]:.4f} |"
    if "images" in scores:
        yield f"| images | {scores['images']:,} |"
    if "protocol" in scores:
        yield f"| protocol | {scores['protocol']} |"


def _unknown(facts: CardFacts) -> Iterator[str]:
    """Yields a line for each fact that the author has yet to give."""
    if not facts.datasets:
        yield "- Which images it was trained on, and under which terms:"
    if not facts.recipe:
        yield "- The recipe, or the checkpoint that it was converted from:"
    if not facts.scores:
        yield "- Scores, on which images, measured how:"
    if not facts.license:
        yield "- License of the weights:"
    yield "- What it is not good for:"


def _plain(text: str) -> str:
    """Escapes Markdown and HTML in a name."""
    return re.sub(r"([\\`*_\[\]<>|&])", r"\\\1", text)
