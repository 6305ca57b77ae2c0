"""Writes small files of annotation tools, by their documentation."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from data_trees import write_noise, write_text
from PIL import Image

# Height and width of all images.
SIZE = (8, 10)
# A square of 4x4 pixels, as corners and as pixels.
SQUARE = [[2, 1], [6, 1], [6, 5], [2, 5]]
INSIDE = np.zeros(SIZE, bool)
INSIDE[1:5, 2:6] = True


def write_image(path: Path, size: tuple[int, int] = SIZE) -> None:
    write_noise(path, size)


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content))


def mask_of(inside: int = 1, outside: int = 0) -> np.ndarray:
    """Returns the mask: one class inside the square."""
    return np.where(INSIDE, inside, outside).astype(np.uint8)


def png_base64(mask: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def labelme_shape(label: str, points: Any, kind: str = "polygon") -> Any:
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "shape_type": kind,
        "flags": {},
    }


def write_labelme(folder: Path, name: str, *shapes: Any, **more: Any) -> None:
    """Writes an image and its labelme 5 file."""
    write_image(folder / f"{name}.png")
    content = {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"{name}.png",
        "imageData": None,
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
    }
    write_json(folder / f"{name}.json", content | more)


def coco(*annotations: Any, names: Any = ("cat", "dog")) -> dict[str, Any]:
    """COCO JSON of the image a.png with id 7 and categories 3, 4, ..."""
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": 10, "height": 8}],
        "annotations": [
            {"id": k, "image_id": 7, "category_id": 3, "iscrowd": 0} | each
            for k, each in enumerate(annotations)
        ],
        "categories": [{"id": 3 + k, "name": n} for k, n in enumerate(names)],
    }


def flat(points: Any) -> list[float]:
    return [value for point in points for value in point]


def cvat(
    *images: str, labels: tuple[str, ...] = ("cat", "dog"), size: str = ""
) -> str:
    """Returns CVAT XML with `<image>` or `<track>` elements."""
    listed = "".join(
        f"<label><name>{name}</name><type>any</type></label>" for name in labels
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n'
        f"<version>1.1</version><meta><task><labels>{listed}</labels>{size}"
        f"</task></meta>\n{''.join(images)}</annotations>\n"
    )


def cvat_image(name: str, *shapes: str, more: str = "") -> str:
    height, width = SIZE
    return (
        f'<image id="0" name="{name}" {more} width="{width}" '
        f'height="{height}">{"".join(shapes)}</image>'
    )


def label_studio_task(image: str, *regions: Any) -> dict[str, Any]:
    size = {"original_width": SIZE[1], "original_height": SIZE[0]}
    result = [
        {"id": f"r{k}", "image_rotation": 0} | size | region
        for k, region in enumerate(regions)
    ]
    return {
        "id": 1,
        "annotations": [{"id": 1, "result": result, "was_cancelled": False}],
        "data": {"image": image},
    }


def via_region(label: str | None, **outline: Any) -> dict[str, Any]:
    attributes = {} if label is None else {"animal": label}
    return {"shape_attributes": outline, "region_attributes": attributes}


def via_square(label: str | None) -> dict[str, Any]:
    xs, ys = zip(*SQUARE, strict=True)
    return via_region(label, name="polygon", all_points_x=xs, all_points_y=ys)


def via_file(**regions: Any) -> dict[str, Any]:
    """Returns VIA 2's export of images and their regions."""
    return {
        f"{name}.png123": {
            "filename": f"{name}.png",
            "size": 123,
            "regions": each,
            "file_attributes": {},
        }
        for name, each in regions.items()
    }
