"""Reads the peer's checkpoints with keras_pspnet and compares logits.

    python compare.py FOLDER [CASE ...]

`peer.py`, here or in `../paddle`, made the folder. Prints one row for each
network and image size, and fails if any row misses its bound.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from keras_pspnet import DilatedResNet, PSPNet, convert_file

# At most max |difference| / max |logit|, at least this share of equal argmax.
BOUNDS = {"float32": 1e-4, "float64": 1e-9}
AGREEMENT = 0.9999


def outputs_of(case: dict[str, Any], folder: Path) -> Any:
    """Returns a function from an image to our values by the peer's names."""
    path = folder / case["file"]
    if case["source"] in ("mmcv", "timm"):
        model = PSPNet(
            case["classes"],
            f"resnet{case['depth']}",
            stem=case["stem"],
            shortcut=case["shortcut"],
            contract_dilation=case["stem"] != "deep_wide",
            backbone_weights=path,
        )
        network = keras.Sequential(
            [model.get_layer("normalization"), _Stages(model.backbone)]
        )
        names = ("stage4", "stage5")
        return lambda image: dict(
            zip(names, network.predict(image[None], verbose=0), strict=True)
        )
    model = convert_file(path)
    for name in ("align_corners", "stride_on", "stem", "shortcut"):
        assert model.get_config()[name] == case[name], name
    if not model.aux:
        return lambda image: {"main": model.predict(image[None], verbose=0)}
    return lambda image: model.predict(image[None], verbose=0)


class _Stages(keras.layers.Layer):
    """A backbone as a layer of a Sequential."""

    def __init__(self, backbone: DilatedResNet) -> None:
        super().__init__()
        self.backbone = backbone

    def call(self, inputs: Any) -> Any:
        return self.backbone(inputs, training=False)


def check(case: dict[str, Any], folder: Path) -> bool:
    """Prints the rows of a case; returns whether all keep their bounds."""
    keras.config.set_floatx(case["dtype"])
    keras.config.set_dtype_policy(case["dtype"])
    compute = outputs_of(case, folder)
    good = True
    for height, width in case["sizes"]:
        size = f"{height}x{width}"
        got = compute(np.load(folder / f"image_{size}.npy"))
        for output, values in got.items():
            want = np.load(folder / f"{output}_{size}.npy")
            have = np.asarray(values)[0]
            difference = np.abs(have - want).max() / np.abs(want).max()
            winners = want.argmax(-1)
            agreement = (have.argmax(-1) == winners).mean()
            # Constant logits would agree with anything.
            deviation = want.std((0, 1)).max() / np.abs(want).max()
            classes = len(np.unique(winners))
            fits = (
                difference <= BOUNDS[case["dtype"]]
                and agreement >= AGREEMENT
                and deviation >= 0.1
                and classes >= 5
                and have.dtype == case["dtype"]
            )
            good &= bool(fits)
            print(
                f"{case['name']:<25} {size:<9} {output:<7} {case['dtype']:<8} "
                f"{case['form']:<8} "
                f"{difference:>9.1e} {agreement:>9.4%} {deviation:>8.0%} "
                f"{classes:>8} {'' if fits else 'FAILS'}",
                flush=True,
            )
    keras.backend.clear_session()
    return good


def main() -> int:
    """Compares all cases, or those that are named.

    Returns:
        Exit status: 1 if a row misses its bound, or there is none.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    if importlib.util.find_spec("torch") is not None:
        print("torch must not be importable here", file=sys.stderr)
        return 1
    print(
        f"{'network':<25} {'size':<9} {'output':<7} {'dtype':<8} {'form':<8} "
        f"{'max diff':>9} {'argmax':>9} {'alive':>8} {'classes':>8}"
    )
    # It warns of one traced function for each network, which is the task.
    tf.get_logger().setLevel("ERROR")
    results = []
    for path in sorted(options.folder.glob("*/case.json")):
        case = json.loads(path.read_text())
        if not options.cases or case["name"] in options.cases:
            results.append(check(case, path.parent))
    print(f"{sum(results)} of {len(results)} networks within their bounds")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
