"""Lets PaddleSeg predict and score images by its protocol.

    python protocol_peer.py FOLDER

`protocol_compare.py` in `../mmseg` reads what is written here. Data set,
transforms, views, windows and scores are PaddleSeg's own `evaluate`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import paddle
from paddleseg.core import val
from paddleseg.datasets import Dataset
from paddleseg.transforms import Normalize, Padding
from peer import Case, build, image_of, randomize
from PIL import Image

NETWORK = Case("paddleseg-r50", 50, 21, ())
# Small: the protocol does the same at all sizes, and a network takes its time.
SIZES = ((73, 97), (90, 65))


@dataclasses.dataclass(frozen=True)
class Row:
    """The network under one protocol.

    Args:
        base: To which images are padded; None is without padding.
        window: Side of the windows, None for whole images.
        ratios: Sizes relative to the padded image's.
        flip: Whether images are flipped as well.
    """

    base: int | None
    window: int | None = None
    ratios: tuple[float, ...] = (1.0,)
    flip: bool = False


ROWS = (
    Row(97),
    Row(97, ratios=(0.75, 1.25), flip=True),
    Row(97, window=65),
    Row(None, flip=True),
    Row(None, ratios=(0.75, 1.0, 1.25)),
    Row(None, window=65, ratios=(1.25,), flip=True),
)


def write_set(folder: Path, classes: int) -> None:
    """Writes images and masks of all classes, some pixels ignored."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    names = []
    for number, size in enumerate(SIZES):
        name = f"{number}.png"
        Image.fromarray(image_of(size, number)).save(folder / "images" / name)
        labels = rng.permutation(np.arange(100) % classes).astype("uint8")
        labels[rng.integers(0, 100, 5)] = 255
        blocks = Image.fromarray(labels.reshape(10, 10))
        mask = blocks.resize(size[::-1], Image.Resampling.NEAREST)
        mask.save(folder / "masks" / name)
        names.append(f"images/{name} masks/{name}\n")
    (folder / "list.txt").write_text("".join(names))


def predict(
    model: paddle.nn.Layer, images: Path, row: Row, classes: int
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Returns the peer's masks of a set, and its scores."""
    padding = [] if row.base is None else [Padding((row.base, row.base))]
    data = Dataset(
        mode="val",
        dataset_root=str(images),
        val_path=str(images / "list.txt"),
        transforms=[*padding, Normalize()],
        num_classes=classes,
    )
    settings: dict[str, Any] = {}
    if row.flip or row.ratios != (1.0,):
        settings = {
            "aug_eval": True,
            "scales": list(row.ratios),
            "flip_horizontal": row.flip,
        }
    if row.window is not None:
        stride = -(-2 * row.window // 3)
        settings |= {
            "is_slide": True,
            "crop_size": (row.window, row.window),
            "stride": (stride, stride),
        }
    masks = []
    areas = val.metrics.calculate_area

    def record(pred: paddle.Tensor, *args: Any, **kwargs: Any) -> Any:
        masks.append(pred.numpy().squeeze().astype("uint8"))
        # It joins sums, which were arrays of one number before Paddle 2.5.
        with mock.patch.object(paddle, "concat", paddle.stack):
            return areas(pred, *args, **kwargs)

    with mock.patch.object(val.metrics, "calculate_area", record):
        miou, accuracy, iou, *_ = val.evaluate(
            model, data, print_detail=False, **settings
        )
    return masks, {"mIoU": miou, "aAcc": accuracy, "IoU": iou}


def main() -> None:
    """Makes the files of all rows."""
    folder = Path(sys.argv[1])
    paddle.set_device("cpu")
    model = build(NETWORK)
    network = folder / "networks" / NETWORK.name
    network.mkdir(parents=True)
    with paddle.no_grad():
        randomize(model, NETWORK)
    paddle.save(model.state_dict(), str(network / "model.pdparams"))
    images = folder / "sets" / "drawn"
    write_set(images, NETWORK.classes)
    for number, row in enumerate(ROWS):
        masks, scores = predict(model, images, row, NETWORK.classes)
        target = folder / "rows" / f"{number:02}"
        target.mkdir(parents=True)
        arrays = {str(index): mask for index, mask in enumerate(masks)}
        np.savez(target / "masks.npz", **arrays)
        description = dataclasses.asdict(row) | {
            "protocol": "paddleseg",
            "network": NETWORK.name,
            "set": images.name,
            "few_pixels": True,
            # A base of one pixel is exceeded by every image.
            "base": row.base or 1,
            "scores": {
                name: np.asarray(value).tolist()
                for name, value in scores.items()
            },
        }
        (target / "row.json").write_text(json.dumps(description, indent=2))
        print(f"{target.name}: written", flush=True)


if __name__ == "__main__":
    main()
