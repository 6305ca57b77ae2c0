"""Lets mmsegmentation predict and score sets of images by its protocol.

    python protocol_peer.py FOLDER

`protocol_images.py` made the folder; `protocol_compare.py` reads what is
written here. Loading, resizing, mirroring, networks, windows, the mean over
several views, and the scores are mmsegmentation's own. So are the sizes of
several scales: both sides of the base times the ratio, as in the versions
that its published scores come from.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from metric import scores_of
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmseg.registry import DATASETS, MODELS
from mmseg.utils import register_all_modules
from peer import IMAGENET_MEAN, IMAGENET_STD, Case, build, randomize, save

RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
TRAINED = Case("trained", "mmseg", 18, 5, (), width=0.5)
NETWORKS = (
    TRAINED,
    dataclasses.replace(TRAINED, name="trained-corners", align_corners=True),
    Case("random-r50", "mmseg", 50, 21, ()),
)
# From and to (height, width), channels and dtype.
RESIZED = tuple(
    (source, target, channels, dtype)
    for source, target in (
        ((200, 333), (307, 512)),
        ((375, 500), (512, 683)),
        ((375, 500), (192, 256)),
        ((512, 683), (375, 500)),
        ((411, 363), (896, 791)),
        ((256, 384), (128, 192)),
        ((101, 150), (101, 77)),
        ((1, 40), (3, 100)),
    )
    for channels, dtype in (
        (3, "uint8"),
        (3, "float32"),
        (5, "float32"),
        (21, "float64"),
    )
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One network under one protocol.

    Args:
        network: Name of the network.
        base: Longest and shortest side.
        window: Side of the windows, None for whole images.
        ratios: Sizes relative to the base.
        flip: Whether flipped images are averaged in as well.
        most: At most so many images of a set.
    """

    network: str
    base: tuple[int, int]
    window: int | None = None
    ratios: tuple[float, ...] = (1.0,)
    flip: bool = False
    most: int = 6


def rows() -> list[Row]:
    """All rows: small bases for all of it, the published ones for some."""
    several: dict[str, Any] = {"ratios": RATIOS, "flip": True}
    small = [
        Row(network, base, window, **views)
        for network, base in (
            ("trained", (512, 128)),
            ("trained-corners", (513, 129)),
        )
        for window in (None, 97)
        for views in ({}, several)
    ]
    return [
        *small,
        Row("trained", (2048, 512)),
        Row("trained", (2048, 512), 473, most=3),
        Row("trained", (2048, 512), most=1, **several),
        Row("trained-corners", (2049, 1025), 769, most=1),
        Row("random-r50", (512, 128)),
        Row("random-r50", (2048, 512), most=1),
    ]


def network(case: Case, folder: Path) -> torch.nn.Module:
    """Builds a network with its weights and writes its checkpoint."""
    model = build(case)
    if case.name.startswith("trained"):
        with np.load(folder / "trained.npz") as arrays:
            state = {
                name: torch.from_numpy(arrays[name]) for name in arrays.files
            }
        model.load_state_dict(state)
    else:
        randomize(model, case)
    model.data_preprocessor = MODELS.build(
        {
            "type": "SegDataPreProcessor",
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
            "bgr_to_rgb": True,
        }
    )
    target = folder / "networks" / case.name
    target.mkdir(parents=True, exist_ok=True)
    save(model, case, target)
    return model.eval()


def dataset(data: Path, row: Row, classes: int) -> Any:
    """Builds the peer's data set with the pipeline of its configurations."""
    load = {"type": "LoadImageFromFile"}
    ends = [{"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]
    resizes = [
        {
            "type": "Resize",
            "scale": tuple(int(side * ratio) for side in row.base),
            "keep_ratio": True,
        }
        for ratio in row.ratios
    ]
    if is_single(row):
        pipeline = [load, *resizes, *ends]
    else:
        flips = [
            {"type": "RandomFlip", "prob": prob, "direction": "horizontal"}
            for prob in ((0.0, 1.0) if row.flip else (0.0,))
        ]
        steps = [resizes, flips, *([each] for each in ends)]
        pipeline = [load, {"type": "TestTimeAug", "transforms": steps}]
    return DATASETS.build(
        {
            "type": "BaseSegDataset",
            "data_root": str(data),
            "data_prefix": {"img_path": "images", "seg_map_path": "masks"},
            "img_suffix": ".png",
            "metainfo": {"classes": [f"class {i}" for i in range(classes)]},
            "pipeline": pipeline,
            "test_mode": True,
        }
    )


def is_single(row: Row) -> bool:
    """Returns whether every image is seen once."""
    return len(row.ratios) == 1 and not row.flip


def predict(model: torch.nn.Module, data: Path, row: Row) -> list[Any]:
    """Returns the peer's results of a set."""
    model.test_cfg = ConfigDict(mode="whole")
    if row.window is not None:
        stride = math.ceil(row.window * 2 / 3)
        model.test_cfg = ConfigDict(
            mode="slide",
            crop_size=(row.window, row.window),
            stride=(stride, stride),
        )
    tested = model
    if not is_single(row):
        tested = MODELS.build({"type": "SegTTAModel", "module": model})
    samples = dataset(data, row, model.num_classes)
    results = []
    with torch.no_grad():
        for index in range(min(len(samples), row.most)):
            results += tested.test_step(pseudo_collate([samples[index]]))
    return results


def write_row(
    model: torch.nn.Module, data: Path, row: Row, folder: Path
) -> None:
    """Writes predictions and scores of one row for one set."""
    folder.mkdir(parents=True)
    results = predict(model, data, row)
    masks = {
        Path(result.img_path).stem: result.pred_sem_seg.data.numpy().squeeze()
        for result in results
    }
    np.savez(folder / "masks.npz", **masks)
    scores = scores_of(
        [result.to_dict() for result in results], model.num_classes
    )
    scores.pop("printed")
    description = dataclasses.asdict(row) | {
        "protocol": "mmseg",
        "set": data.name,
        "scores": {
            name: np.asarray(value).tolist() for name, value in scores.items()
        },
    }
    (folder / "row.json").write_text(json.dumps(description, indent=2))


def write_resized(path: Path) -> None:
    """Writes arrays and what the peer's OpenCV makes of them."""
    arrays = {}
    rng = np.random.default_rng(0)
    for number, (source, target, channels, dtype) in enumerate(RESIZED):
        values = rng.uniform(0, 255, (*source, channels))
        image = np.round(values).astype(dtype)
        arrays[f"{number}_from"] = image
        arrays[f"{number}_to"] = cv2.resize(
            image, target[::-1], interpolation=cv2.INTER_LINEAR
        )
    np.savez(path, **arrays)


def main() -> None:
    """Makes the files of all rows."""
    folder = Path(sys.argv[1])
    register_all_modules()
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    write_resized(folder / "resized.npz")
    sets = sorted((folder / "sets").iterdir())
    models = {case.name: network(case, folder) for case in NETWORKS}
    for number, row in enumerate(rows()):
        for data in sets:
            target = folder / "rows" / f"{number:02}-{data.name}"
            write_row(models[row.network], data, row, target)
            print(f"{target.name}: written", flush=True)


if __name__ == "__main__":
    main()
