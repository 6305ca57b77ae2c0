"""Label files, which name the classes of a user's data."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_pspnet.labels import IGNORE_LABEL, Color, LabelSet, named_labels
from keras_pspnet.utils import as_integer, naming_errors

LABEL_FILE = "labels.txt"
# In order of precedence.
LABEL_FILES = (LABEL_FILE, "classes.txt")
# Used as a class name, marks pixels without ground truth.
IGNORE = "ignore"
# First line of labelme's files; its converters write 255 for it.
LABELME_IGNORE = "__ignore__"
# The largest value of a mask of 16 bits.
MAX_VALUE = 65535
# Far more than 255 lines need.
_MOST_CHARACTERS = 2**20
# A mask value or color.
Mark = int | Color
# The marks of a class in Python; several are merged.
MarkSpec = int | str | Color | Sequence[int | str | Color]
# Values or colors of masks, each with its class or 255; empty for class ids.
Marks = tuple[tuple[Mark, int], ...]

# Lines of other tools' files of the same name, and what such a file is.
_FOREIGN = (
    (r"[^:]+:\d+,\d+,\d+:.*", "CVAT's labelmap.txt"),
    (r".+(,\s*\d{1,5}\s*){1,3}", "a table of comma-separated values"),
    (r"[{\[].*|[\w ]+:(\s*\d+)?", "JSON or YAML"),
)

_COLOR = re.compile(
    r"(?P<name>.*\S)\s+"
    r"(?:#(?P<hex>[0-9a-fA-F]{6})|(?P<numbers>\d{1,3}\s+\d{1,3}\s+\d{1,3}))"
)
_VALUE = re.compile(r"(?P<name>.*\S)\s+(?P<value>\d{1,9})")
_IGNORE_LINE = re.compile(rf"{IGNORE}(\s+\d+)?")


def find_label_file(
    *folders: str | os.PathLike[str], names: Sequence[str] = LABEL_FILES
) -> Path | None:
    """Finds `labels.txt` or `classes.txt`.

    Args:
        *folders: Folders to search in this order, and finally the parent of
            the last one, since a split has the file beside it.
        names: Allowed names; some annotation tools write their own
            `classes.txt`.

    Returns:
        The file; None if there is none.
    """
    places = [Path(folder) for folder in folders]
    files = [
        place / name
        for place in [*places, places[-1].absolute().parent]
        for name in names
    ]
    return next(filter(Path.is_file, files), None)


def read_label_file(
    path: str | os.PathLike[str], name: str
) -> tuple[LabelSet, Marks]:
    """Reads class names, and the mask values or colors if there are any.

    The file is UTF-8 text with one class per line, class 0 first. A line is

    - a name, which may contain spaces; masks hold class ids;
    - a name and the value of the class in the masks, 0..65535; or
    - a name and its color, as three numbers 0..255 or as #rrggbb.

    All lines must be of the same kind. Lines with `ignore` and a value or
    color mark pixels without ground truth. Empty lines and lines that start
    with # are skipped:

        # street scenes                 # membranes
        road 128 64 128                 background 0
        traffic light #faaa1e           membrane 255
        ignore 0 0 0                    ignore 128

    Numbers at the end are values if every line has a different one and the
    names before them differ. Otherwise they belong to the names, as in
    "lane 1" and "lane 2".

    Args:
        path: The file.
        name: Name of the label set.

    Returns:
        The label set, with generic colors if the file has none; and the mask
        values or colors, each with its class or 255, which are empty if the
        file has only names.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it breaks a rule above, or one of `LabelSet`.
    """
    file = Path(path).name
    received = f"{file}={os.fspath(path)!r}"
    try:
        with (
            naming_errors(file, path, "readable"),
            open(path, encoding="utf-8-sig") as stream,
        ):
            text = stream.read(_MOST_CHARACTERS + 1)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"`{file}` must be UTF-8 text ({error}). Received: {received}"
        ) from error
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(
            f"`{file}` must have at most {_MOST_CHARACTERS} characters. "
            f"Received: {received}"
        )
    return parse_label_text(text, name, file, received)


def parse_label_text(
    text: str, name: str, file: str, received: str
) -> tuple[LabelSet, Marks]:
    """Parses the text of a label file.

    Args:
        text: The text.
        name: Name of the label set.
        file: Name of the file, for errors.
        received: Path of the file, for errors.

    Returns:
        As in `read_label_file`.

    Raises:
        ValueError: As in `read_label_file`.
    """
    _refuse_foreign(text, file, received)
    lines = [
        (f"line {number}, {line.strip()!r}, of {received}", line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() not in ("", LABELME_IGNORE)
        and not line.strip().startswith("#")
    ]
    values = _split_values([line for _, line in lines])
    entries: list[tuple[str, Sequence[Mark]]] = []
    for where, line in lines:
        entry, marks = _split_color(line, where)
        if values is not None:
            entry, value = values[len(entries)]
            marks = [_check_value(value, where)]
        entries.append((entry, marks))
        is_bare = not marks and bool(_IGNORE_LINE.fullmatch(line))
        if is_bare or bool(marks) != bool(entries[0][1]):
            raise ValueError(
                f"`{file}` must give all classes and '{IGNORE}' a color, or "
                "each its own value, or have only names. "
                f"Received: {where}"
            )
    names = [entry for entry, _ in entries]
    if values is not None:
        _check_value_names(names, file, received)
    return _label_set(name, entries, received)


def read_label_map(
    classes: Mapping[str, MarkSpec], name: str
) -> tuple[LabelSet, Marks]:
    """Reads a mapping in place of a label file.

    Args:
        classes: The names, class 0 first, and `"ignore"` if needed, each with
            a value 0..65535, a color as `(r, g, b)` or `"#rrggbb"`, or a
            list of these: `{"background": 0, "membrane": 255}`.
        name: Name of the label set.

    Returns:
        As in `read_label_file`.

    Raises:
        TypeError: If a name is not a string.
        ValueError: If anything else is invalid.
    """
    entries: list[tuple[str, Sequence[Mark]]] = []
    for entry, spec in classes.items():
        received = f"labels[{entry!r}]={spec!r}"
        specs = spec if isinstance(spec, list) else [spec]
        entries.append((entry, [_read_mark(each, received) for each in specs]))
    kinds = {type(mark) for _, marks in entries for mark in marks}
    received = f"labels={dict(classes)!r}"
    if len(kinds) != 1 or not all(marks for _, marks in entries):
        raise ValueError(
            "`labels` must map all names to values, or all to colors. "
            f"Received: {received}"
        )
    return _label_set(name, entries, received)


def _label_set(
    name: str, entries: Sequence[tuple[str, Sequence[Mark]]], received: str
) -> tuple[LabelSet, Marks]:
    """Numbers the classes."""
    names = [entry for entry, _ in entries if entry != IGNORE]
    index_of = {entry: index for index, entry in enumerate(names)}
    index_of[IGNORE] = IGNORE_LABEL
    marks = [(mark, index_of[entry]) for entry, own in entries for mark in own]
    values = [mark for mark, _ in marks if isinstance(mark, int)]
    if len(set(values)) < len(values):
        raise ValueError(
            f"`labels` must give every value one class. Received: {received}"
        )
    try:
        colors = named_labels(names).colors
        if marks and not values:
            own_color = {entry: own[0] for entry, own in entries}
            colors = tuple(own_color[entry] for entry in names)  # type: ignore[misc]
        labels = LabelSet(name, tuple(names), colors)
    except ValueError as error:
        raise ValueError(f"{error} in {received}") from error
    return labels, tuple(marks)


def _refuse_foreign(text: str, file: str, received: str) -> None:
    """Refuses other tools' files, whose lines would become class names."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")]
    for pattern, kind in _FOREIGN:
        # The first line of a table may be its header.
        found = [line for line in lines[:2] if re.fullmatch(pattern, line)]
        if found:
            raise ValueError(
                f"`{file}` must have lines of a name, or of a name and its "
                "value or color, such as 'road 7' or 'road 128 64 128', not "
                f"be {kind}. Received: the line {found[0]!r} of {received}"
            )
    matches = [re.match(r"(\d+)[\s:,.)]+\S", line) for line in lines]
    numbers = [int(each[1]) for each in matches if each]
    if len(lines) > 1 and numbers in (
        list(range(len(lines))),
        list(range(1, len(lines) + 1)),
    ):
        raise ValueError(
            f"`{file}` must have names without numbers before them: class 0 "
            "is the first line, and the value of a class comes after its "
            f"name. Received: the line {lines[0]!r} of {received}"
        )


def _split_values(lines: Sequence[str]) -> list[tuple[str, int]] | None:
    """Splits lines into names and values; None if they have none."""
    found = []
    for line in lines:
        match = _VALUE.fullmatch(line)
        if match is None or _COLOR.fullmatch(line):
            return None
        found.append((match["name"], int(match["value"])))
    names = [entry for entry, _ in found if entry != IGNORE]
    belong_to_names = len(names) > 1 and len(set(names)) == 1
    differ = len({value for _, value in found}) == len(found)
    return found if differ and not belong_to_names else None


def _check_value_names(names: Sequence[str], file: str, received: str) -> None:
    """Refuses values if a name occurs twice, which would be ambiguous."""
    for entry, count in Counter(names).items():
        if entry != IGNORE and count > 1:
            raise ValueError(
                f"`{file}` must give every class one value. Numbers that "
                f"belong to names can be written as '{entry}_1'. Received: "
                f"{entry!r} in {count} lines of {received}"
            )


def _split_color(line: str, where: str) -> tuple[str, Sequence[Mark]]:
    """Splits a line into a name and its color, if there is one."""
    match = _COLOR.fullmatch(line)
    if match is None:
        if line.split()[-1].startswith("#"):
            raise ValueError(
                f"`color` must be three numbers or #rrggbb. Received: {where}"
            )
        return line, []
    if match["hex"]:
        red, green, blue = bytes.fromhex(match["hex"])
    else:
        red, green, blue = map(int, match["numbers"].split())
    if max(red, green, blue) > 255:
        raise ValueError(f"`color` must be within 0..255. Received: {where}")
    return match["name"], [(red, green, blue)]


def _check_value(value: int, where: str) -> int:
    if value > MAX_VALUE:
        raise ValueError(
            f"`value` must be within 0..{MAX_VALUE}. Received: {where}"
        )
    return value


def _read_mark(spec: Any, received: str) -> Mark:
    """Converts a value or color from a mapping."""
    value = as_integer(spec, least=0)
    if value is not None and value <= MAX_VALUE:
        return value
    if isinstance(spec, str) and re.fullmatch("#[0-9a-fA-F]{6}", spec):
        spec = tuple(bytes.fromhex(spec[1:]))
    if isinstance(spec, tuple) and len(spec) == 3:
        channels = [as_integer(each, least=0) for each in spec]
        red, green, blue = (256 if each is None else each for each in channels)
        if max(red, green, blue) <= 255:
            return red, green, blue
    raise ValueError(
        f"`labels` must map a name to a value within 0..{MAX_VALUE}, a color "
        "(r, g, b) or '#rrggbb', or a list of these. Received: " + received
    )
