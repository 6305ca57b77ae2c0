"""Writes GeoTIFFs with rasterio, and reads what was made of them.

    python peer.py write FOLDER
    python segment.py FOLDER
    python peer.py check FOLDER [IMAGE ...]

`segment.py` segments every `NAME.tif` of the folder to `NAME.mask.tif` and
`NAME.mask.geojson`. Prints one row for each image, and fails if a mask is
anywhere else than its image, or its outlines do not give it back.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import rasterio
from rasterio.features import rasterize
from rasterio.transform import Affine

SIZE = (40, 60)
NORTH_UP = Affine(10, 0, 399960, 0, -10, 4300020)
TURNED = NORTH_UP @ Affine.rotation(30)
# Name -> bands, dtype, place, and options of GDAL.
IMAGES = {
    "strips": (4, "uint16", NORTH_UP, {}),
    "tiles": (4, "uint16", NORTH_UP, {"tiled": True, "blockxsize": 16,
                                      "blockysize": 16}),
    "apart": (5, "float32", NORTH_UP, {"interleave": "band"}),
    "deflate": (4, "int16", NORTH_UP, {"compress": "deflate", "predictor": 2}),
    "lzw": (4, "float32", NORTH_UP, {"compress": "lzw", "predictor": 3}),
    "big": (4, "uint16", NORTH_UP, {"BIGTIFF": "YES"}),
    "turned": (4, "uint16", TURNED, {}),
    "gray": (1, "uint16", NORTH_UP, {}),
    "rgb": (3, "uint8", NORTH_UP, {"photometric": "RGB"}),
    "degrees": (4, "uint16", Affine(1e-4, 0, 8.5, 0, -1e-4, 50), {}),
}  # fmt: skip


def write(folder: Path) -> None:
    """Writes the images; the first band is high where class 1 is."""
    rng = np.random.default_rng(0)
    for name, (bands, dtype, place, options) in IMAGES.items():
        image = rng.integers(0, 200, (bands, *SIZE)).astype(dtype)
        profile = {
            **{"driver": "GTiff", "count": bands, "dtype": dtype},
            **{"height": SIZE[0], "width": SIZE[1], "transform": place},
            "crs": "EPSG:4326" if name == "degrees" else "EPSG:32618",
        }
        with rasterio.open(
            folder / f"{name}.tif", "w", **profile, **options
        ) as f:
            f.write(image)
        np.save(folder / f"{name}.npy", np.moveaxis(image, 0, -1))


def faults(image: Path) -> list[str]:
    """Returns what differs between an image and its mask."""
    found = []
    path = image.with_suffix(".mask.tif")
    with rasterio.open(image) as source, rasterio.open(path) as mask:
        if mask.crs != source.crs:
            found.append(f"crs {mask.crs}, not {source.crs}")
        corners = [(0, 0), (0, source.width), (source.height, source.width)]
        for row, column in corners:
            wanted = source.transform @ (column, row)
            got = mask.transform @ (column, row)
            if not np.allclose(got, wanted, rtol=1e-12, atol=1e-9):
                found.append(f"corner {got}, not {wanted}")
        if mask.nodata != 255 or mask.compression.name != "deflate":
            found.append(f"nodata {mask.nodata}, {mask.compression}")
        pixels, place = mask.read(1), mask.transform
    outlines = json.loads(image.with_suffix(".mask.geojson").read_text())
    shapes = [
        (feature["geometry"], feature["properties"]["class"])
        for feature in outlines["features"]
    ]
    again = rasterize(
        shapes, pixels.shape, fill=255, transform=place, dtype="uint8"
    )
    if (again != pixels).any():
        found.append(f"{(again != pixels).sum()} pixels of the outlines")
    if len(np.unique(pixels)) < 2:
        found.append("a single class")
    return found


def check(images: list[Path]) -> int:
    """Prints what was found, and returns the exit status."""
    failed = 0
    for image in images:
        found = faults(image)
        failed += bool(found)
        print(f"{image.name:24} {'; '.join(found) or 'same'}")
    return 1 if failed else 0


if __name__ == "__main__":
    target = Path(sys.argv[2])
    if sys.argv[1] == "write":
        target.mkdir(parents=True)
        write(target)
    else:
        sys.exit(check([target / f"{name}.tif" for name in IMAGES]))
