"""What each precision costs in mean IoU, on images with masks.

    python benchmarks/precision.py --data FOLDER

FOLDER holds {train,val}/{images,masks}: int8 is calibrated on images of train,
and val is scored. Each export is written, loaded from its file and scored as
`keras_pspnet.evaluate` does. SavedModel and ONNX files take images at their
own size. Images are fitted into the fixed size of a LiteRT file, which is
compared with the model at that size.

"mIoU" is the mean IoU, "drop" its difference from the float32 model in points,
"same" the share of pixels that have the model's class.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from keras_pspnet.data import SegmentationData
    from keras_pspnet.labels import LabelSet

LINE = "{:<12} {:<9} {:>8} {:>7} {:>8} {:>7}"


class Row(NamedTuple):
    """One export.

    Args:
        format: Its format.
        precision: Its precision.
        most: Limit of the drop in mean IoU, in points.
        least: Least share of pixels that must have the model's class.
    """

    format: str
    precision: str
    most: float
    least: float


ROWS = (
    Row("savedmodel", "float32", 0.01, 0.9999),
    Row("savedmodel", "bfloat16", 0.5, 0.995),
    Row("onnx", "float32", 0.01, 0.9999),
    Row("onnx", "float16", 0.05, 0.999),
    Row("onnx", "int8", 0.1, 0.99),
    Row("litert", "float32", 0.01, 0.9999),
    Row("litert", "float16", 0.1, 0.995),
    Row("litert", "dynamic", 0.5, 0.95),
    Row("litert", "int8", 0.5, 0.95),
)


def pairs_of(
    folder: Path, labels: LabelSet, count: int | None
) -> SegmentationData:
    """Opens images and masks, or an evenly spaced selection of them.

    Args:
        folder: Holds `images` and `masks`.
        labels: The classes.
        count: Number of images; None is all.
    """
    from keras_pspnet.data import load

    data = load(folder, labels=labels)
    whole = len(data)
    if count is not None and count < whole:
        data.samples = [
            data.samples[index * whole // count] for index in range(count)
        ]
    return data


def exporters(
    model: Any, size: tuple[int, int], calibration: Sequence[str]
) -> dict[str, Callable[[Path, str], Any]]:
    """Returns a function that writes each format, by its name.

    Args:
        model: The model.
        size: (height, width) of LiteRT files.
        calibration: Files of images for int8.
    """
    import keras_pspnet as kp

    def seen(precision: str) -> Sequence[str]:
        return calibration if precision == "int8" else ()

    def litert(path: Path, precision: str) -> Any:
        return kp.export_litert(model, path, size, precision, seen(precision))

    def onnx(path: Path, precision: str) -> Any:
        return kp.export_onnx(model, path, precision, seen(precision))

    return {
        "savedmodel": lambda path, precision: kp.export_saved_model(
            model, path, precision, max_side=None
        ),
        "onnx": onnx,
        "litert": litert,
    }


def measure(options: argparse.Namespace) -> bool:
    """Scores every export and prints a table.

    Args:
        options: As `parse` gives them.

    Returns:
        Whether all rows are within their limits.
    """
    import keras_pspnet as kp
    from keras_pspnet.evaluation import Confusion, Scores
    from keras_pspnet.inference import model_labels
    from keras_pspnet.inference.exported import load_exported
    from keras_pspnet.inference.segment import predict_masks

    model = kp.load_pretrained(options.model)
    labels = model_labels(model)
    size = (options.size, options.size)
    fixed = kp.PSPNet(**{**model.get_config(), "input_shape": (*size, 3)})
    fixed.set_weights(model.get_weights())
    val = pairs_of(options.data / "val", labels, options.images)
    train = pairs_of(options.data / "train", labels, options.calibration)
    calibration = [train.files(index)[0] for index in range(len(train))]
    write = exporters(model, size, calibration)
    suffixes = {"savedmodel": "", "onnx": ".onnx", "litert": ".tflite"}
    print(
        f"{options.model}, {len(val)} images, LiteRT at {size[0]}x{size[1]}, "
        f"{len(train)} calibration images"
    )
    print(LINE.format("", "precision", "mIoU", "drop", "same", "MB"))

    def score(network: Any) -> tuple[float, list[np.ndarray]]:
        masks = [predict_masks(network, image[None])[0] for image, _ in val]
        total = Confusion(labels.num_classes)
        for mask, (_, truth) in zip(masks, val, strict=True):
            total.add(truth, mask)
        return Scores(total.counts, labels).mean_iou, masks

    references = {}
    for name, network in (("model", model), ("at size", fixed)):
        references[name] = score(network)
        mean = references[name][0]
        print(LINE.format(name, "float32", f"{mean:.4f}", "", "", ""))
    passed = True
    for row in ROWS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model" + suffixes[row.format])
            write[row.format](path, row.precision)
            files = [path, *path.rglob("*")]
            mean, masks = score(load_exported(path))
            megabytes = sum(
                file.stat().st_size for file in files if file.is_file()
            )
        wanted, expected = references[
            "at size" if row.format == "litert" else "model"
        ]
        pixels = sum(mask.size for mask in masks)
        same = sum(
            int((got == want).sum())
            for got, want in zip(masks, expected, strict=True)
        )
        drop = 100 * (wanted - mean)
        within = drop <= row.most and same / pixels >= row.least
        passed &= within
        print(
            LINE.format(
                row.format,
                row.precision,
                f"{mean:.4f}",
                f"{drop:.2f}",
                f"{same / pixels:.2%}",
                f"{megabytes / 1e6:.1f}",
            ),
            "" if within else "  outside its limits",
            flush=True,
        )
    return passed


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Mean IoU of every export beside its model's."
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="aerial")
    parser.add_argument("--size", type=int, default=240)
    parser.add_argument(
        "--images", type=int, help="number of val images (default: all)"
    )
    parser.add_argument("--calibration", type=int, default=48)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(0 if measure(parse()) else 1)
