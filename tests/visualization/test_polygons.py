"""Tests of the outlines of regions, and of GeoJSON."""

import json

import numpy as np
import pytest

from keras_pspnet.labels import generic_labels
from keras_pspnet.utils.georeference import Georeference
from keras_pspnet.visualization import Segmentation
from keras_pspnet.visualization.polygons import feature_collection, outlines

# North up, 10 wide and 20 high from (500, 900); then turned by 30 degrees.
NORTH_UP = {33550: (10.0, 20.0, 0.0), 33922: (0.0, 0.0, 0.0, 500.0, 900.0, 0.0)}
TURNED = {34264: (8.66, 5, 0, 500, 5, -8.66, 0, 900, 0, 0, 0, 0, 0, 0, 0, 1)}


def noise(size=(23, 31), classes=3, seed=0):
    return np.random.default_rng(seed).integers(0, classes, size, np.uint8)


def signed_area(ring):
    """Of coordinates; positive where they run counterclockwise."""
    x, y = np.asarray(ring).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def filled(parts, size):
    """Fills rings by the even-odd rule, pixel by pixel."""
    inside = np.zeros(size, bool)
    for part in parts:
        for ring in part:
            for (x, y), (_, end) in zip(ring[:-1], ring[1:], strict=True):
                low, high = sorted((int(y), int(end)))
                # Whatever lies to the right of an upright edge changes sides.
                inside[low:high, int(x) :] ^= True
    return inside


def components(region):
    """Counts what is connected by sides, by flooding."""
    left = {tuple(each) for each in np.argwhere(region)}
    count = 0
    while left:
        todo = [left.pop()]
        count += 1
        while todo:
            row, column = todo.pop()
            for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                near = row + step[0], column + step[1]
                if near in left:
                    left.remove(near)
                    todo.append(near)
    return count


@pytest.mark.parametrize("seed", range(20))
def test_filled_outlines_are_the_region(seed) -> None:
    share = (0.2, 0.5, 0.8)[seed % 3]
    region = np.random.default_rng(seed).random((17, 13)) < share
    parts = outlines(region)
    np.testing.assert_array_equal(filled(parts, region.shape), region)
    assert len(parts) == components(region)
    for outer, *holes in parts:
        alone = filled([[outer, *holes]], region.shape)
        assert components(alone) == 1
        # Rows run down: what is seen clockwise is positive.
        assert signed_area(outer) > 0
        assert all(signed_area(hole) < 0 for hole in holes)
        total = sum(map(signed_area, (outer, *holes)))
        assert total == alone.sum()


def test_rings_are_closed_and_turn_at_every_corner() -> None:
    (ring,) = outlines(np.ones((3, 5), bool))[0]
    assert ring.tolist() == [[0, 0], [5, 0], [5, 3], [0, 3], [0, 0]]
    assert outlines(np.zeros((3, 5), bool)) == []


def test_regions_inside_holes_are_parts_of_their_own() -> None:
    rings = np.zeros((9, 9), bool)
    for edge in range(0, 4, 2):
        rings[edge : 9 - edge, edge : 9 - edge] = True
        rings[edge + 1 : 8 - edge, edge + 1 : 8 - edge] = False
    rings[4, 4] = True
    parts = outlines(rings)
    assert [len(part) for part in parts] == [2, 2, 1]


@pytest.mark.parametrize("tags", [NORTH_UP, TURNED, None])
def test_geojson_runs_as_the_standard_says(tags) -> None:
    mask, labels = noise(), generic_labels(3)
    place = None if tags is None else Georeference(tags)
    found = feature_collection(mask, labels, place)
    area = 0.0
    for feature in found["features"]:
        outer, *holes = feature["geometry"]["coordinates"]
        assert outer[0] == outer[-1]
        assert signed_area(outer) > 0
        assert all(signed_area(hole) < 0 for hole in holes)
        area += sum(map(signed_area, (outer, *holes)))
    pixel = {None: 1, 33550: 200, 34264: 8.66**2 + 25}[
        None if tags is None else min(tags)
    ]
    assert area == pytest.approx(mask.size * pixel)
    assert "crs" not in found


def test_geojson_comes_back_as_the_mask() -> None:
    mask, labels = noise(), generic_labels(3)
    mask[:4] = labels.ignore_label
    found = json.loads(json.dumps(feature_collection(mask, labels)))
    again = np.full_like(mask, labels.ignore_label)
    for feature in found["features"]:
        inside = filled([feature["geometry"]["coordinates"]], mask.shape)
        again[inside] = feature["properties"]["class"]
        index = feature["properties"]["class"]
        assert feature["properties"]["name"] == labels.names[index]
    np.testing.assert_array_equal(again, mask)


def test_polygons_of_a_result(tmp_path) -> None:
    mask, labels = noise(), generic_labels(3)
    keys = (1, 1, 0, 1, 3072, 0, 1, 32633)
    place = Georeference(NORTH_UP | {34735: keys})
    image = np.zeros((*mask.shape, 3), np.uint8)
    result = Segmentation(image, mask, labels, georeference=place)
    result.save(tmp_path / "a.geojson")
    saved = json.loads((tmp_path / "a.geojson").read_text())
    assert saved == json.loads(json.dumps(result.polygons()))
    assert saved["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    only = result.polygons(classes=[1])["features"]
    assert {feature["properties"]["class"] for feature in only} == {1}


def test_control_points_alone_are_refused() -> None:
    points = Georeference({33922: (0.0,) * 12})
    with pytest.raises(ValueError, match="`georeference` must have a scale"):
        feature_collection(noise(), generic_labels(3), points)
