"""Writes TIFF and GeoTIFF files with any bands, by tifffile."""

from io import BytesIO
from pathlib import Path

import keras
import numpy as np
import tifffile
from data_trees import write_array, write_text

from keras_pspnet.layers import InputNormalization
from keras_pspnet.models import PSPNet

# A map whose pixels are 10 m wide and 20 m high, by the tags of GeoTIFF.
SCALE, CORNER, EPSG = (10.0, 20.0), (399960.0, 4300020.0), 32618
PLACED = {
    33550: (12, (*SCALE, 0.0)),
    33922: (12, (0.0, 0.0, 0.0, *CORNER, 0.0)),
    34735: (3, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, EPSG)),
}


def tile(bands=4, dtype="uint16", size=(20, 30), seed=0):
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 4000, (*size, bands))
    return (
        (image / 16).astype(dtype) if dtype == "uint8" else image.astype(dtype)
    )


def band_tiff(image, tags=None, nodata=None, **options):
    """Encodes (H, W, bands); `planarconfig="separate"` separates bands."""
    extra = [
        (code, kind, len(values), values, True)
        for code, (kind, values) in (tags or {}).items()
    ]
    if nodata is not None:
        extra.append((42113, 2, 0, nodata, True))
    if image.shape[-1] == 1:
        image = image[..., 0]
    elif options.setdefault("planarconfig", "contig") == "separate":
        image = np.moveaxis(image, -1, 0)
    stream = BytesIO()
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(stream, image, metadata=None, extratags=extra, **options)
    return stream.getvalue()


def write_tiles(folder: Path, count=3, bands=4, size=(20, 30)) -> Path:
    """Writes a folder of 16-bit tiles whose last band shows the class."""
    (folder / "images").mkdir(parents=True)
    for index in range(count):
        mask = np.zeros(size, np.uint8)
        mask[:, 5 + 7 * index % 20 :] = 1
        image = tile(bands, size=size, seed=index)
        image[..., -1] = np.where(mask, 2500, 500)
        file = band_tiff(image, PLACED)
        (folder / f"images/{index}.tif").write_bytes(file)
        write_array(folder / f"masks/{index}.png", mask)
    write_text(folder / "labels.txt", "land\nwater\n")
    return folder


def band_model(bands=4, classes=2, size=(None, None), **options):
    options = {"mean": (2000,) * bands, "std": (1000,) * bands, **options}
    return PSPNet(classes, "resnet18", (*size, bands), width=1 / 16, **options)


def band_conv(bands=4, size=(None, None), mean=2000.0, std=1000.0):
    """Returns a single convolution, for tests that need any network."""
    image = keras.Input((*size, bands))
    x = InputNormalization((mean,) * bands, (std,) * bands)(image)
    return keras.Model(image, keras.layers.Conv2D(2, 3, padding="same")(x))
