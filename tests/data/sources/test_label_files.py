"""Tests of labels.txt: names, values and colors, and the same in Python."""

import pytest
from data_trees import write_text

from keras_pspnet.data.sources.label_files import (
    find_label_file,
    read_label_file,
    read_label_map,
)
from keras_pspnet.labels import LabelSet


def read(tmp_path, text):
    path = tmp_path / "labels.txt"
    write_text(path, text)
    return read_label_file(path, "own")


def test_comments_and_windows_ends(tmp_path) -> None:
    path = tmp_path / "labels.txt"
    text = "# streets\r\n\r\n  class 1 \r\nbus\u00e9\t1  2\t3\r\n"
    path.write_bytes(("\ufeff" + text.replace("1 \r", "1 #0A0b0C\r")).encode())
    labels, marks = read_label_file(path, "own")
    assert labels == LabelSet(
        "own", ("class 1", "bus\u00e9"), ((10, 11, 12), (1, 2, 3))
    )
    assert marks == (((10, 11, 12), 0), ((1, 2, 3), 1))


@pytest.mark.parametrize(
    ("text", "names", "marks"),
    [
        ("sky\nroad\n", ("sky", "road"), ()),
        ("sky 0\nmembrane 255\n", ("sky", "membrane"), ((0, 0), (255, 1))),
        # The order is that of the lines, not of the values.
        ("a 9\nb 65535\nc 2\n", ("a", "b", "c"), ((9, 0), (65535, 1), (2, 2))),
        (
            "ignore 0\na 1\nignore 127\ntraffic light 2\n",
            ("a", "traffic light"),
            ((0, 255), (1, 0), (127, 255), (2, 1)),
        ),
        ("lane 2\n", ("lane",), ((2, 0),)),
        # Numbers that belong to names.
        ("lane 2\nroad\n", ("lane 2", "road"), ()),
        ("lane 1\nlane 2\n", ("lane 1", "lane 2"), ()),
        ("a 1\nb 1\n", ("a 1", "b 1"), ()),
        (
            "lane 1 9 9 9\nlane 2 #000000\nignore 1 2 3\n",
            ("lane 1", "lane 2"),
            (((9, 9, 9), 0), ((0, 0, 0), 1), ((1, 2, 3), 255)),
        ),
    ],
)
def test_kinds_of_lines(tmp_path, text, names, marks) -> None:
    labels, found = read(tmp_path, text)
    assert labels.names == names
    assert found == marks


@pytest.mark.parametrize(
    "text, match",
    [
        ("", "must have 1 to 255 entries.*labels"),
        ("a\nb\na\n", "must be different.*labels"),
        ("\n".join(f"c{k}" for k in range(256)), "must have 1 to 255 entries"),
        ("a 0 0 0\nb\n", r"all classes .* a color, or .*line 2, 'b'"),
        ("a\nb 0 0 0\n", r"all classes .* a color, or .*line 2"),
        ("a 0 0 0\nb 7\n", r"all classes .* a color, or .*line 2"),
        ("a 0 0 256\n", r"within 0\.\.255.*line 1, 'a 0 0 256'"),
        ("a\n\nb #00ff0\n", "numbers or #rrggbb.*line 3, 'b #00ff0'"),
        ("a 0 0 0\nignore\n", "and 'ignore' a color, .*only names.*line 2"),
        ("a\nignore\n", "and 'ignore' a color.*line 2"),
        ("a\nignore 0 0 0\n", "and 'ignore' a color.*line 2"),
        ("a\nignore 0\n", "each its own value.*line 2, 'ignore 0'"),
        ("a 0\nignore 0\n", "each its own value.*line 2, 'ignore 0'"),
        ("a 0\nb 65536\n", r"`value` must be within 0\.\.65535.*line 2"),
        ("ignore 0\n", "must have 1 to 255 entries"),
        (
            "lane 1\nlane 2\nroad 3\n",
            "every class one value.*written as 'lane_1'.*'lane' in 2 lines",
        ),
        ("0 sky\n1 road\n", "value of a class comes after its name"),
        ("sky,0\nmembrane,255\n", "not be a table of comma-separated"),
    ],
)
def test_label_files_are_checked(tmp_path, text, match) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "labels.txt") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_label_files_that_cannot_be_read(tmp_path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"stra\xdfe\n")
    with pytest.raises(ValueError, match="must be UTF-8 text"):
        read_label_file(path, "own")
    path.write_bytes(b"a" * 2**20 + b"\n")
    with pytest.raises(ValueError, match="must have at most 1048576 charact"):
        read_label_file(path, "own")
    with pytest.raises(FileNotFoundError, match=r"`other.txt` must be readab"):
        read_label_file(tmp_path / "other.txt", "own")


def test_where_label_files_are_looked_for(tmp_path, monkeypatch) -> None:
    inner = tmp_path / "set" / "train"
    inner.mkdir(parents=True)
    assert find_label_file(inner, tmp_path / "set") is None
    places = [tmp_path, tmp_path / "set", inner]
    # Each comes before those that were there.
    for place in places:
        for name in ("classes.txt", "labels.txt"):
            write_text(place / name, "a\n")
            found = find_label_file(inner, tmp_path / "set")
            assert found == place / name
    monkeypatch.chdir(inner)
    (inner / "labels.txt").unlink()
    (inner / "classes.txt").unlink()
    assert find_label_file(".") == tmp_path / "set" / "labels.txt"


# === In Python ===


def test_mappings() -> None:
    labels, marks = read_label_map({"sky": 0, "membrane": 255}, "own")
    assert (labels.name, labels.names) == ("own", ("sky", "membrane"))
    assert marks == ((0, 0), (255, 1))
    labels, marks = read_label_map(
        {"road": "#8040FF", "ignore": [(0, 0, 0), "#ffffff"], "car": (1, 2, 3)},
        "own",
    )
    assert labels.names == ("road", "car")
    assert labels.colors == ((128, 64, 255), (1, 2, 3))
    assert marks == (
        ((128, 64, 255), 0),
        ((0, 0, 0), 255),
        ((255, 255, 255), 255),
        ((1, 2, 3), 1),
    )
    _, marks = read_label_map({"all": [7, 8], "ignore": 0}, "own")
    assert marks == ((7, 0), (8, 0), (0, 255))


@pytest.mark.parametrize(
    ("classes", "match"),
    [
        ({}, "must map all names to values, or all to colors"),
        ({"a": 0, "b": "#000000"}, "must map all names to values, or all"),
        ({"a": []}, "must map all names to values, or all to"),
        ({"a": 65536}, r"value within 0\.\.65535.*labels\['a'\]=65536"),
        ({"a": -1}, r"value within 0\.\.65535.*labels\['a'\]=-1"),
        ({"a": True}, r"labels\['a'\]=True"),
        ({"a": "#12345"}, "or '#rrggbb'.*'#12345'"),
        ({"a": (0, 0, 256)}, r"color \(r, g, b\).*256"),
        ({"a": (0, 0)}, r"color \(r, g, b\)"),
        ({"a": [0, 1], "b": 1}, "must give every value one class"),
        ({"": 0}, "must be different, printable and not empty"),
        ({"ignore": 0}, "must have 1 to 255 entries"),
    ],
)
def test_mappings_are_checked(classes, match) -> None:
    with pytest.raises(ValueError, match=match):
        read_label_map(classes, "own")
