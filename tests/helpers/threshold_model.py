"""A model in a few lines of Pillow and NumPy.

`contract_server` serves it in tests of the client or a proxy.
"""

import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
from contract_server import Arrays, Signature
from image_files import encoded
from PIL import Image, ImageOps

SERVING = Path(__file__).parents[2] / "serving"
MAX_PIXELS = 100_000


def load_client() -> ModuleType:
    """Imports serving/client.py by its path, as users do."""
    spec = importlib.util.spec_from_file_location(
        "pspnet_client", SERVING / "client.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look annotations up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def decoded(data: bytes) -> np.ndarray:
    """Returns the pixels of an image file."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Draws smooth blobs of color, three classes for `threshold`."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(blocks).resize((width, height)))


def threshold(pixels: np.ndarray) -> np.ndarray:
    """Returns the mask of an image, with three classes."""
    red, green = pixels[..., 0], pixels[..., 1]
    return np.where(red > 140, 2, green > 110).astype(np.uint8)


def strings(*values: bytes) -> np.ndarray:
    """Builds a string tensor of rank 1."""
    return np.array([*values, None], object)[:-1]


def integers(*values: int) -> np.ndarray:
    """Builds an int32 tensor of rank 1."""
    return np.array(values, np.int32)


def serving_default(inputs: Arrays) -> Arrays:
    """The signature of that name."""
    files, heights, widths, statuses = zip(
        *map(_segment, inputs["image_bytes"]), strict=True
    )
    return {
        "mask_png_bytes": strings(*files),
        "height": integers(*heights),
        "width": integers(*widths),
        "status": strings(*statuses),
    }


def _segment(data: bytes) -> tuple[bytes, int, int, bytes]:
    if not data:
        return b"", 0, 0, b"EMPTY"
    if not data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return b"", 0, 0, b"NOT_JPEG_OR_PNG"
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                return b"", 0, 0, b"TOO_LARGE"
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except OSError:
        return b"", 0, 0, b"DAMAGED"
    mask = threshold(np.asarray(upright))
    return encoded(mask), *mask.shape, b"OK"


SIGNATURES = {
    "serving_default": Signature(serving_default, {"image_bytes": "string"}),
}
