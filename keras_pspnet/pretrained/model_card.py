"""The page beside a saved model, as sites that publish models show it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from keras_pspnet.version import __version__

_TEXT = """\
---
library_name: keras-pspnet
pipeline_tag: image-segmentation
tags:
- pspnet
- semantic-segmentation
---

# {title}

A [PSPNet](https://arxiv.org/abs/1612.01105) for {num_classes} classes, saved by
keras_pspnet {version}. This folder is what it loads, wherever it lies:

```python
import keras_pspnet as kp

model = kp.load_pretrained("hf://owner/name")  # or the folder
kp.segment(model, "photo.jpg").save("out.png")
```

| | |
|---|---|
| network | {network} |
| weights | {parameters:,}, {dtype} |
| input | RGB, 0..255, {size}; normalisation is inside |
| classes | {classes} |

## What the files cannot tell

- Which images it was trained on, and under which terms:
- The recipe, or the checkpoint that it was converted from:
- Scores, on which images, measured how:
- Licence of the weights:
- What it is not good for:
"""


def model_card(config: Mapping[str, Any], parameters: int, dtype: str) -> str:
    """Describes a model in Markdown with the metadata of model hubs.

    What only its maker knows is left open, with a line for each.

    Args:
        config: `PSPNet.get_config()`.
        parameters: How many numbers its weights are.
        dtype: What they are kept as.

    Returns:
        The text of a `README.md`.
    """
    labels = config["labels"]
    height, width, _ = config["input_shape"]
    return _TEXT.format(
        title=config["name"],
        num_classes=config["num_classes"],
        version=__version__,
        network=_network(config),
        parameters=parameters,
        dtype=dtype,
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


def _plain(text: str) -> str:
    """Keeps Markdown and HTML from seeing more than text in a name."""
    return re.sub(r"([\\`*_\[\]<>|&])", r"\\\1", text)
