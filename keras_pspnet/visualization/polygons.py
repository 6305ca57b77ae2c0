"""Traces the outlines of regions along the edges of their pixels."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from keras_pspnet.labels import LabelSet
from keras_pspnet.utils.georeference import Georeference

# A closed line of corners (column, row), float64 (N, 2), the first repeated.
Ring = np.ndarray

# Directions of edges: right, down, left, up. The region is on their right, so
# an outline runs clockwise as the image is seen.
_DOWN, _UP = 1, 3


def feature_collection(
    mask: np.ndarray,
    labels: LabelSet,
    georeference: Georeference | None = None,
    classes: Collection[int] | None = None,
) -> dict[str, Any]:
    """Describes the regions of a mask in GeoJSON.

    Args:
        mask: Classes of `labels`, uint8 (H, W).
        labels: The classes.
        georeference: Location of the image. Coordinates are then those of
            its map, with the EPSG code in `crs` (which GDAL and QGIS read);
            otherwise they are columns and rows in pixels.
        classes: Ids of the classes to describe, None for all.

    Returns:
        A FeatureCollection: a Polygon with `class` and `name` for every
        region whose pixels are connected by their sides. In these
        coordinates, outer rings run counterclockwise and holes clockwise.

    Raises:
        ValueError: If the georeference has only control points.
    """
    transform = np.eye(2, 3)
    if georeference is not None:
        if georeference.transform is None:
            raise ValueError(
                "`georeference` must have a scale or a matrix for polygons. "
                "Received: only control points"
            )
        transform = georeference.transform
    # Outlines run clockwise as the image is seen. As rows count downwards, that
    # is counterclockwise in numbers, unless the map has north up, as most have.
    is_flipped = np.linalg.det(transform[:, :2]) < 0
    features = []
    for index in range(labels.num_classes):
        if classes is not None and index not in classes:
            continue
        for part in outlines(mask == index):
            rings = [
                ring @ transform[:, :2].T + transform[:, 2] for ring in part
            ]
            if is_flipped:
                rings = [ring[::-1] for ring in rings]
            features.append(
                {
                    "type": "Feature",
                    "properties": {"class": index, "name": labels.names[index]},
                    "geometry": {
                        "type": "Polygon",
                        "coordinates": [ring.tolist() for ring in rings],
                    },
                }
            )
    found: dict[str, Any] = {"type": "FeatureCollection"}
    if georeference is not None and georeference.epsg is not None:
        name = f"urn:ogc:def:crs:EPSG::{georeference.epsg}"
        found["crs"] = {"type": "name", "properties": {"name": name}}
    return found | {"features": features}


def outlines(region: np.ndarray) -> list[list[Ring]]:
    """Traces the parts of a region that are connected by sides of pixels.

    Args:
        region: bool (H, W).

    Returns:
        For each part its outer ring, clockwise as the image is seen, and then
        the rings of its holes, counterclockwise. (0, 0) is the upper left
        corner of the first pixel.

    Examples:
        >>> from keras_pspnet.visualization.polygons import outlines
        >>> outlines(np.array([[False, True, True]]))[0][0].tolist()
        [[1.0, 0.0], [3.0, 0.0], [3.0, 1.0], [1.0, 1.0], [1.0, 0.0]]
    """
    vertex, direction, following = _edges(region)
    width = region.shape[1] + 1
    after, ring_of = following.tolist(), [-1] * len(following)
    # Edges on the left of a pixel, by the vertex at their lower end.
    ups = np.flatnonzero(direction == _UP)
    below = vertex[ups]
    parts: list[list[Ring]] = []
    part_of: list[int] = []
    for first in range(len(after)):
        if ring_of[first] >= 0:
            continue
        path = []
        edge = first
        while ring_of[edge] < 0:
            ring_of[edge] = len(part_of)
            path.append(edge)
            edge = after[edge]
        turns = direction[path] != np.roll(direction[path], 1)
        corners = vertex[path][turns]
        row, column = np.divmod(np.append(corners, corners[0]), width)
        ring = np.stack([column, row], axis=1).astype(np.float64)
        # A ring starts at its uppermost vertex; holes start with a step down.
        if direction[first] == _DOWN:
            # The pixel above belongs to the part around the hole. The next
            # edge to the left of that pixel was traced before.
            left = np.searchsorted(below, vertex[first], "right") - 1
            part = part_of[ring_of[ups[left]]]
            parts[part].append(ring)
        else:
            part = len(parts)
            parts.append([ring])
        part_of.append(part)
    return parts


def _edges(region: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the edges between a region and the pixels outside it.

    Returns:
        The start vertex of each edge, counted along the rows, its direction,
        and the index of the edge that follows it; sorted by vertex.
    """
    padded = np.pad(region, 1)
    # Pixels around each vertex: below right, below left, above left, above
    # right.
    about = (
        padded[1:, 1:],
        padded[1:, :-1],
        padded[:-1, :-1],
        padded[:-1, 1:],
    )
    leaves = np.stack(
        [about[each] & ~about[each - 1] for each in range(4)], axis=-1
    ).reshape(-1, 4)
    edges = np.flatnonzero(leaves)
    vertex, direction = np.divmod(edges, 4)
    width = padded.shape[1] - 1
    end = vertex + np.array([1, width, -1, -width])[direction]
    # The sharpest turn separates parts that touch at a corner.
    sharp, wide = (direction + 1) % 4, (direction + 3) % 4
    turn = np.where(leaves[end, direction], direction, wide)
    turn = np.where(leaves[end, sharp], sharp, turn)
    return vertex, direction, np.searchsorted(edges, 4 * end + turn)
