"""Segments an uploaded image, draws the result and writes its files."""

from __future__ import annotations

import dataclasses
import re
import secrets
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_pspnet.data import make_town, read_image, read_mask
from keras_pspnet.inference import Predictor, shrink
from keras_pspnet.inference.segment import segment
from keras_pspnet.labels import LabelSet
from keras_pspnet.utils import writing_atomically
from keras_pspnet.visualization import Segmentation

# Longest side on the page, in pixels. Downloads have the image's own size.
VIEW_SIDE = 1280
# No limit for images that passed it already.
_ANY = sys.maxsize
Ids = Collection[int] | None


@dataclasses.dataclass(frozen=True)
class Result:
    """A segmented image. Its pixels are in files and take no memory.

    Args:
        image: The uploaded file.
        mask: PNG file of class ids, in a folder of its own.
        labels: The classes.
        shares: Share of the image 0..1 by class id, the largest first.
        summary: Size and time, as text.
    """

    image: Path
    mask: Path
    labels: LabelSet
    shares: Mapping[int, float]
    summary: str

    def layers(
        self, alpha: float, classes: Ids = None
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, str]]]:
        """Returns the image and a layer for each class, as the page shows them.

        Args:
            alpha: Opacity of the layers, 0..1.
            classes: Ids of the classes to show; None is all.

        Returns:
            The image, uint8 RGB (h, w, 3) with sides of at most `VIEW_SIDE`;
            and for each class, the largest first, its opacity, float64 (h, w),
            and its name.

        Raises:
            OSError: If the files have been deleted.
        """
        image = shrink(read_image(self.image, _ANY), VIEW_SIDE)
        mask = Image.fromarray(read_mask(self.mask, _ANY))
        nearest = Image.Resampling.NEAREST
        ids = np.asarray(mask.resize(image.shape[1::-1], nearest))
        return image, [
            (np.where(ids == each, alpha, 0.0), self.labels.names[each])
            for each in self.shares
            if classes is None or each in classes
        ]

    def write_overlay(
        self, alpha: float, colorblind: bool, classes: Ids = None
    ) -> Path:
        """Writes the overlay at the image's own size, as PNG beside the mask.

        Args:
            alpha: Opacity of the colors, 0..1.
            colorblind: See `Segmentation.overlay`.
            classes: Ids of the classes to draw; None is all.

        Raises:
            OSError: If the files have been deleted.
        """
        image, mask = read_image(self.image, _ANY), read_mask(self.mask, _ANY)
        found = Segmentation(image, mask, self.labels)
        overlay = found.overlay(alpha, colorblind, classes)
        path = self.mask.with_name(f"{self.image.stem}_overlay.png")
        with writing_atomically(path) as stream:
            # Higher levels take ten seconds for a large photograph.
            Image.fromarray(overlay).save(stream, "PNG", compress_level=1)
        return path


def segment_file(
    network: Predictor, path: Path, folder: Path, **arguments: Any
) -> tuple[Result, Image.Image]:
    """Segments an uploaded image.

    Args:
        network: Predictor that segments the image.
        path: The file.
        folder: Folder in which to create one for the mask.
        **arguments: Arguments of `keras_pspnet.segment`.

    Returns:
        The result, and a map of its confidence above a legend.

    Raises:
        ValueError: If the file is not an image, or an argument is out of range.
        OSError: If the file has been deleted.
    """
    start = time.perf_counter()
    found = segment(network, path, confidence=True, **arguments)
    seconds = time.perf_counter() - start
    assert found.confidence is not None
    # A name that nobody can guess.
    mask = folder / secrets.token_hex(16) / f"{path.stem}_mask.png"
    mask.parent.mkdir()
    found.save(mask, what="mask")
    height, width = found.mask.shape
    summary = f"{width} x {height} pixels, {seconds:.2f} s"
    index = found.labels.names.index
    shares = {index(name): share for name, share in found.areas().items()}
    result = Result(path, mask, found.labels, shares, summary)
    shown = found.confidence_image()
    shown.thumbnail((VIEW_SIDE, VIEW_SIDE))
    return result, shown


def sentence(error: Exception) -> str:
    """Rewrites an error for users, without paths and names of arguments.

    Args:
        error: One of `keras_pspnet.inference.segment.image_errors()`.
    """
    if isinstance(error, FileNotFoundError):
        return "This image is no longer kept. Upload it again."
    if not isinstance(error, ValueError):
        return "There is not enough memory for this image at these scales."
    told, _, received = str(error).partition(" Received: ")
    # Users of the page cannot set these arguments.
    told = re.sub(r", or `(max_pixels|bands)` be [^.]*", "", told)
    told = told.replace("`image`", "the image").replace("`", "")
    told = re.sub(r"\d{5,}", lambda number: f"{int(number[0]):,}", told)
    size = re.search(r" of (\d+)x(\d+)$", received)
    if size:
        told = f"{told.rstrip('.')}; it has {size[1]} x {size[2]}."
    return told[:1].upper() + told[1:]


def write_examples(folder: Path) -> list[str]:
    """Draws example images that the shipped model can segment.

    Args:
        folder: Folder to write them to.
    """
    paths = []
    for name, seed in (("Coast", 5), ("Suburb", 2)):
        path = folder / f"{name}.png"
        Image.fromarray(make_town(seed, (480, 640))[0]).save(path)
        paths.append(str(path))
    return paths
