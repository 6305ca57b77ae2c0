"""The result of segmentation, and its overlays and files."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_pspnet.labels import Color, LabelSet
from keras_pspnet.utils import check_choice, check_rule, write_atomically
from keras_pspnet.utils.georeference import Georeference, encode_geotiff
from keras_pspnet.visualization.checks import (
    check_confidence,
    check_image,
    check_mask,
    check_same_size,
)
from keras_pspnet.visualization.colors import (
    CONTOUR,
    IGNORED,
    class_colors,
    confidence_colors,
    contour,
    index_image,
)
from keras_pspnet.visualization.legend import legend, percent, shorten, stack
from keras_pspnet.visualization.polygons import feature_collection

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_TIFF, _GEOJSON = (".tif", ".tiff"), ".geojson"
# Suffixes of files that only hold masks.
OF_MASKS = (*_TIFF, _GEOJSON)
_WHATS = ("overlay", "mask", "confidence")

# Smaller images are enlarged to this width, which a legend needs.
_LEAST_WIDTH = 320


@dataclasses.dataclass(frozen=True, eq=False)
class Segmentation:
    """An image and the class of each of its pixels.

    A notebook displays it as `with_legend()`.

    Args:
        image: The image, uint8 of shape `(H, W, 3)`. For images of other
            bands, the result of `keras_pspnet.visualization.as_rgb`.
        mask: Classes of `labels`, or its ignore label, uint8 of shape
            `(H, W)`.
        labels: Names and colors of the classes.
        confidence: The probability 0..1 of each pixel's class, float32 of
            shape `(H, W)`, if it was requested.
        georeference: The location of a GeoTIFF.

    Raises:
        TypeError: If an array has another dtype.
        ValueError: If an array has another shape, two differ in size, the
            mask holds a value that `labels` lacks, or the confidence is
            outside 0..1.

    Examples:
        >>> result = kp.segment(model, "photo.jpg", confidence=True)
        >>> sorted(result.areas()) == sorted(
        ...     model.labels.names[index] for index in np.unique(result.mask)
        ... )
        True
        >>> result.overlay(alpha=0.4).shape
        (96, 128, 3)
        >>> result.save("mask.png", what="mask")
        >>> result.save("sure.png", what="confidence")
    """

    image: np.ndarray
    mask: np.ndarray
    labels: LabelSet
    confidence: np.ndarray | None = None
    georeference: Georeference | None = None

    def __post_init__(self) -> None:
        check_image(self.image)
        if self.mask.dtype != np.uint8:
            raise TypeError(
                "`mask` must be uint8. Received: "
                f"mask of dtype {self.mask.dtype}"
            )
        check_mask(self.mask, self.labels)
        check_same_size(self.image, self.mask, "mask")
        if self.confidence is not None:
            check_same_size(self.image, self.confidence, "confidence")
            check_confidence(self.confidence)

    def areas(self) -> dict[str, float]:
        """Returns the share of the image that each class covers.

        Returns:
            Class name -> share 0..1 of all pixels, including ignored ones,
            for the classes in the mask, the largest first.
        """
        names = self.labels.names
        return {names[index]: share for index, share in self._shares()}

    def overlay(
        self,
        alpha: float = 0.55,
        colorblind: bool = False,
        classes: Collection[int] | None = None,
    ) -> np.ndarray:
        """Blends the class colors over the image.

        A thin light line separates regions of different classes, even if
        their colors are similar.

        Args:
            alpha: Share of the colors, from 0 (only the image) to 1.
            colorblind: Whether to use colors for color-blind people, and a
                line that stands out from all of them.
            classes: Ids of the classes to draw; other pixels show the image.
                None draws all classes, and ignored pixels as well.

        Returns:
            A uint8 array of shape `(H, W, 3)`.

        Raises:
            ValueError: If `alpha` is outside 0..1, or an id is not a class.
        """
        rule = "be within 0..1"
        check_rule("alpha", alpha, rule, 0 <= alpha <= 1)
        mask, hidden = self.mask, None
        if classes is not None:
            hidden = self._hidden(classes)
            # Hidden classes become one region, without lines inside.
            mask = np.where(hidden, np.uint8(self.labels.ignore_label), mask)
        colors = alpha * class_colors(self.labels, colorblind)
        # float32 saves memory on large photographs.
        blend = (1 - alpha) * self.image.astype(np.float32)
        blend += colors.astype(np.float32)[mask]
        if hidden is not None:
            blend[hidden] = self.image[hidden]
        line = contour(mask, _line_width(mask))
        share = min(2 * alpha, 1) if colorblind else alpha
        blend[line] = (1 - share) * blend[line] + share * np.array(CONTOUR)
        return np.rint(blend).astype(np.uint8)

    def with_legend(self, colorblind: bool = False) -> Image.Image:
        """Returns the overlay above a legend of the classes and their areas.

        Small images are enlarged, with visible pixels.

        Args:
            colorblind: As in `overlay`.

        Returns:
            An RGB image.
        """
        names = self.labels.names
        colors = class_colors(self.labels, colorblind).tolist()
        entries = [
            (f"{shorten(names[index])}  {percent(share)}", tuple(colors[index]))
            for index, share in self._shares()
        ]
        ignored = np.mean(self.mask == self.labels.ignore_label)
        if ignored:
            entries.append((f"ignored  {percent(ignored)}", IGNORED))
        return _above_legend(self.overlay(colorblind=colorblind), entries)

    def confidence_image(self) -> Image.Image:
        """Returns a map of the confidence above a legend of its colors.

        Dark violet is 0 and yellow is 1. The lightness grows with the
        confidence, so color-blind people can read the map as well. Small
        images are enlarged.

        Returns:
            An RGB image.

        Raises:
            ValueError: If the result has no confidence.
        """
        if self.confidence is None:
            raise ValueError(
                "`confidence` must be part of the result; pass confidence=True "
                "to `segment`. Received: confidence=None"
            )
        mean = float(self.confidence.mean(dtype=np.float64))
        values = {f"{value:.2f}": value for value in np.linspace(0, 1, 5)}
        values[f"mean {mean:.2f}"] = mean
        colors = confidence_colors(np.array([*values.values()])).tolist()
        entries = [
            (text, tuple(color))
            for text, color in zip(values, colors, strict=True)
        ]
        return _above_legend(confidence_colors(self.confidence), entries)

    def polygons(
        self, classes: Collection[int] | None = None
    ) -> dict[str, Any]:
        """Returns the outlines of all regions as GeoJSON.

        The outlines follow the edges of pixels, so filling them gives the
        mask again.

        Args:
            classes: Ids of the classes to outline, None for all.

        Returns:
            A FeatureCollection with a Polygon for every connected region, see
            `keras_pspnet.visualization.polygons.feature_collection`. It has
            the map coordinates of a GeoTIFF, and pixels otherwise.

        Raises:
            ValueError: If the georeference has only control points.

        Examples:
            >>> result = kp.segment(model, "photo.jpg")
            >>> result.polygons()["type"]
            'FeatureCollection'
        """
        return feature_collection(
            self.mask, self.labels, self.georeference, classes
        )

    def save(
        self,
        path: str | os.PathLike[str],
        what: str | None = None,
        colorblind: bool = False,
    ) -> None:
        """Writes the result to a file, in the format of its suffix.

        Args:
            path: File to write or replace: `.png`, `.jpg` or `.jpeg`; for a
                mask `.png`, `.tif`, `.tiff` or `.geojson`.
            what: `"overlay"` for the overlay with its legend; `"mask"` for an
                index mask in a palette PNG or TIFF, which `read_mask` reads;
                or `"confidence"` for the confidence map with its legend. None
                is the mask for `.tif` and `.geojson`, and otherwise the
                overlay. The TIFF mask of a GeoTIFF has its georeference.
                GeoJSON files hold the result of `polygons`.
            colorblind: Whether to use class colors that color-blind people
                can tell apart. The colors of the confidence always are.

        Raises:
            OSError: If the file cannot be written.
            ValueError: If `what` or the suffix is none of these, or the
                result has no confidence.
        """
        suffix = check_suffix(path, what)
        if suffix in OF_MASKS:
            write_atomically(path, self._encode_mask(suffix, colorblind))
            return
        if what in (None, "overlay"):
            image = self.with_legend(colorblind)
        elif what == "confidence":
            image = self.confidence_image()
        else:
            image = index_image(self.mask, self.labels, colorblind)
        write_atomically(path, _encode(image, _FORMATS[suffix]))

    def _encode_mask(self, suffix: str, colorblind: bool) -> bytes:
        if suffix == _GEOJSON:
            return json.dumps(self.polygons()).encode()
        return encode_geotiff(
            self.mask,
            class_colors(self.labels, colorblind),
            self.labels.ignore_label,
            self.georeference,
        )

    def _hidden(self, classes: Collection[int]) -> np.ndarray:
        count = self.labels.num_classes
        rule = f"hold ids within 0..{count - 1}"
        kept = all(0 <= each < count for each in classes)
        check_rule("classes", classes, rule, kept)
        drawn = np.zeros(256, bool)
        drawn[list(classes)] = True
        return ~drawn[self.mask]

    def _shares(self) -> list[tuple[int, float]]:
        """Returns the classes in the mask and their shares, largest first."""
        counts = np.bincount(self.mask.reshape(-1), minlength=256)
        counts = counts[: self.labels.num_classes]
        # A stable sort keeps classes of equal share in their order.
        order = np.argsort(-counts, kind="stable")
        return [
            (int(index), float(counts[index] / self.mask.size))
            for index in order
            if counts[index]
        ]

    def _repr_png_(self) -> bytes:
        return _encode(self.with_legend(), "PNG")


def check_suffix(
    path: str | os.PathLike[str], what: str | None = "overlay"
) -> str:
    """Checks that the suffix of a path fits what will be saved.

    Args:
        path: Path of the file to write.
        what: `"overlay"`, `"mask"` or `"confidence"`. None is the mask if only
            masks have the suffix, and otherwise the overlay.

    Returns:
        The suffix in lower case.

    Raises:
        ValueError: If `what` is unknown, or the suffix does not fit it.
    """
    suffix = Path(path).suffix.lower()
    if what is None:
        what = "mask" if suffix in OF_MASKS else "overlay"
    check_choice("what", what, _WHATS)
    # JPEG would change the indices.
    allowed = (".png", *OF_MASKS) if what == "mask" else tuple(_FORMATS)
    if suffix not in allowed:
        raise ValueError(
            f"`path` must end in {' or '.join(allowed)} for a {what}. "
            f"Received: path={os.fspath(path)!r}"
        )
    return suffix


def _line_width(mask: np.ndarray) -> int:
    # A line of one pixel would vanish if a large image is shown smaller.
    return max(1, round(max(mask.shape) / 900))


def _above_legend(
    pixels: np.ndarray, entries: Sequence[tuple[str, Color]]
) -> Image.Image:
    image = Image.fromarray(pixels)
    factor = max(_LEAST_WIDTH // max(image.size), 1)
    size = image.width * factor, image.height * factor
    image = image.resize(size, Image.Resampling.NEAREST)
    width = max(image.width, _LEAST_WIDTH)
    return stack([image, legend(entries, width)], width)


def _encode(image: Image.Image, form: str) -> bytes:
    stream = BytesIO()
    image.save(stream, form, quality=92)
    return stream.getvalue()
