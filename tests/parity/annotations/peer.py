"""Writes annotations, and what their tools' own converters draw of them.

    python peer.py FOLDER

Needs labelme, pycocotools and label-studio-sdk without what they ask for: of
labelme and the SDK one file each is run. `compare.py` reads the folders.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

SIZES = ((40, 60), (333, 500), (7, 200))
SHAPES = 30
CLASSES = 5


def module_of(package: str, file: str) -> types.ModuleType:
    """Runs one file of a package, whose other modules have more needs."""
    # A stand-in that was made for another file would be found.
    sys.modules.pop(package, None)
    found = importlib.util.find_spec(package)
    assert found and found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / file
    # All that labelme's drawing imports of it: a name for annotations.
    stand_in = types.ModuleType("labelme._label_file")
    stand_in.ShapeDict = dict  # type: ignore[attr-defined]
    sys.modules["labelme"] = types.ModuleType("labelme")
    sys.modules["labelme._label_file"] = stand_in
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def star(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Corners of a polygon that may reach out of the image."""
    corners = int(rng.integers(3, 30))
    angles = np.sort(rng.uniform(0, 2 * math.pi, corners))
    radii = rng.uniform(0.02, 0.5) * max(height, width)
    radii = radii * rng.uniform(0.3, 1, corners)
    offsets = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    center = rng.uniform(0, 1, 2) * (width, height)
    return offsets * radii[:, None] + center


def blob(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A ragged region with holes."""
    noise = rng.random((height // 3 + 2, width // 3 + 2)) < 0.5
    return np.kron(noise, np.ones((3, 3), bool))[:height, :width]


def labelme_shape(
    rng: np.random.Generator, kind: str, height: int, width: int
) -> dict[str, Any]:
    """Makes a shape of labelme, the mask as its file has it."""
    points = rng.uniform(0, 1, (2, 2)) * (width, height)
    shape: dict[str, Any] = {"shape_type": kind, "group_id": None, "flags": {}}
    if kind in ("polygon", "linestrip"):
        points = star(rng, height, width)
    if kind == "polygon" and rng.random() < 0.3:
        points = points.round()
    if kind == "oriented_rectangle":
        points = star(rng, height, width)[[0, 1, 2, 2]] + [[0], [0], [0], [1]]
    if kind == "circle":
        points[1] = points[0] + rng.normal(0, 20, 2)
    if kind == "point":
        points = points[:1]
    if kind == "mask":
        points = np.sort(points.astype(int), axis=0).clip(
            0, [width - 1, height - 1]
        )
        columns, rows = points[1] - points[0] + 1
        shape["mask"] = blob(rng, rows, columns)
    shape["points"] = points.tolist()
    shape["label"] = f"class{rng.integers(1, CLASSES + 1)}"
    return shape


def write_labelme(folder: Path) -> None:
    """Writes images with files of labelme and their label arrays."""
    draw = module_of("labelme", "utils/shape.py")
    values = {f"class{k}": k for k in range(1, CLASSES + 1)}
    kinds = ("polygon", "rectangle", "circle", "line", "linestrip", "point")
    kinds = (*kinds, "oriented_rectangle", "mask")
    for index, (height, width) in enumerate(SIZES * 3):
        rng = np.random.default_rng(index)
        # All kinds in all classes, so that classes are the same everywhere.
        chosen = [*kinds, *rng.choice(kinds, SHAPES)]
        shapes = [labelme_shape(rng, kind, height, width) for kind in chosen]
        for shape, name in zip(shapes, values, strict=False):
            shape["label"] = name
        label, _ = draw.shapes_to_label((height, width), shapes, values)
        for shape in shapes:
            if "mask" in shape:
                stream = io.BytesIO()
                pixels = shape["mask"].astype(np.uint8)
                Image.fromarray(pixels).save(stream, "PNG")
                text = base64.b64encode(stream.getvalue()).decode()
                shape["mask"] = text
        content = {
            "shapes": shapes,
            "imagePath": f"{index}.png",
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        save(folder, index, label)
        (folder / f"{index}.json").write_text(json.dumps(content))


def write_coco(folder: Path, kind: str) -> None:
    """Writes COCO JSON of one object an image, and pycocotools' masks."""
    images, annotations = [], []
    for index in range(60):
        height, width = SIZES[index % len(SIZES)]
        rng = np.random.default_rng(index)
        segmentation: Any
        if kind == "polygons":
            polygons = [
                star(rng, height, width).round(2).reshape(-1).tolist()
                for _ in range(1 + index % 3)
            ]
            segmentation = polygons
            runs = coco_mask.merge(
                coco_mask.frPyObjects(polygons, height, width)
            )
        else:
            mask = np.asfortranarray(blob(rng, height, width), np.uint8)
            if index % 10 == 0:
                mask[:] = index % 20 == 0
            runs = coco_mask.encode(mask)
            segmentation = runs | {"counts": runs["counts"].decode()}
        save(folder, index, coco_mask.decode(runs))
        size = {"height": height, "width": width}
        images.append({"id": index, "file_name": f"{index}.png"} | size)
        entry = {"id": index, "image_id": index, "category_id": 1}
        annotations.append(entry | {"segmentation": segmentation})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "blob"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))


def write_brushes(folder: Path) -> None:
    """Writes Label Studio JSON of brushes that its SDK encoded."""
    brush = module_of("label_studio_sdk", "converter/brush.py")
    tasks = []
    for index, (height, width) in enumerate(SIZES):
        mask = blob(np.random.default_rng(index), height, width)
        save(folder, index, mask)
        region = {
            "id": "r",
            "type": "brushlabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "format": "rle",
                "rle": brush.mask2rle(mask.astype(np.uint8) * 255),
                "brushlabels": ["blob"],
            },
        }
        annotation = {"result": [region], "was_cancelled": False}
        data = {"image": f"{index}.png"}
        tasks.append({"id": index, "annotations": [annotation], "data": data})
    (folder / "export.json").write_text(json.dumps(tasks))


def save(folder: Path, index: int, mask: np.ndarray) -> None:
    """Writes a black image, and the mask to find."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", mask.shape[::-1]).save(folder / f"{index}.png")
    np.save(folder / f"{index}.npy", mask.astype(np.uint8))


def main() -> None:
    """Writes all folders."""
    folder = Path(sys.argv[1])
    write_coco(folder / "coco polygons", "polygons")
    write_coco(folder / "coco runs", "runs")
    write_brushes(folder / "label studio brushes")
    write_labelme(folder / "labelme")


if __name__ == "__main__":
    main()
