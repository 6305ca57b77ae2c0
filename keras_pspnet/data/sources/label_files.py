"""The file `labels.txt` that names the classes of somebody's own data."""

from __future__ import annotations

import os
import re
from pathlib import Path

from keras_pspnet.labels import IGNORE_LABEL, Color, LabelSet, generic_labels
from keras_pspnet.utils import naming_errors

LABEL_FILE = "labels.txt"
# Stands where a class has its name, for pixels without ground truth.
IGNORE = "ignore"
# labelme's own first line; its converters write 255 for it.
LABELME_IGNORE = "__ignore__"
# Files of the same name that other tools write -> what a line should be.
_FOREIGN = (
    (r"[^:]+:\d+,\d+,\d+:.*", "CVAT's labelmap.txt"),
    (r".+(,\s*\d{1,3}\s*){3}", "a table of comma-separated values"),
    (r"[{\[].*|[\w ]+:", "JSON or YAML"),
)

_LINE = re.compile(
    r"(?P<name>.*\S)\s+"
    r"(?:#(?P<hex>[0-9a-fA-F]{6})|(?P<numbers>\d{1,3}\s+\d{1,3}\s+\d{1,3}))"
)


def find_label_file(folder: str | os.PathLike[str]) -> Path | None:
    """Finds the file in a folder of data, or beside it where it is a split.

    Args:
        folder: Holds `images` and `masks`.

    Returns:
        The file; None if there is none.
    """
    places = Path(folder), Path(folder).parent
    files = [place / LABEL_FILE for place in places]
    return next(filter(Path.is_file, files), None)


def read_label_file(
    path: str | os.PathLike[str], name: str
) -> tuple[LabelSet, tuple[tuple[Color, int], ...]]:
    """Reads class names, and the colours of masks if there are any.

    The file is UTF-8 text with one class a line, class 0 first. A line is a
    name, which may have spaces, or a name and its colour, as three numbers
    0..255 or as #rrggbb; either all classes have one or none has. `ignore`
    and a colour, in as many lines as needed, is the colour of pixels without
    truth. Empty lines, and those that start with #, are skipped:

        # street scenes
        road 128 64 128
        traffic light #faaa1e
        ignore 0 0 0

    Args:
        path: The file.
        name: Name of the label set.

    Returns:
        The label set, with generic colours if the file has none, and the
        colours that coloured masks may have, each with its class or 255;
        empty if the file has none.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it breaks a rule above, or one of `LabelSet`.
    """
    received = f"{LABEL_FILE}={os.fspath(path)!r}"
    try:
        with naming_errors(LABEL_FILE, path, "readable"):
            text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"`{LABEL_FILE}` must be UTF-8 text ({error}). Received: {received}"
        ) from error
    _refuse_foreign(text, received)
    names: list[str] = []
    pairs: list[tuple[Color, int]] = []
    lines = 0
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#") or line == LABELME_IGNORE:
            continue
        lines += 1
        where = f"line {number}, {line!r}, of {received}"
        entry, color = _parse(line, where)
        if color is not None:
            is_ignored = entry == IGNORE
            pairs.append((color, IGNORE_LABEL if is_ignored else len(names)))
        if entry != IGNORE:
            names.append(entry)
        if entry == IGNORE and color is None or 0 < len(pairs) < lines:
            raise ValueError(
                f"`{LABEL_FILE}` must give all classes and '{IGNORE}' a "
                f"colour, or have none. Received: {where}"
            )
    colors = tuple(color for color, index in pairs if index != IGNORE_LABEL)
    if not pairs and 1 <= len(names) <= 255:
        colors = generic_labels(len(names)).colors
    try:
        labels = LabelSet(name, tuple(names), colors)
    except ValueError as error:
        raise ValueError(f"{error} in {received}") from error
    return labels, tuple(pairs)


def _refuse_foreign(text: str, received: str) -> None:
    """Refuses label files of other tools, whose lines would become names."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")]
    for pattern, kind in _FOREIGN:
        # Of a table, the first line may be its titles.
        found = [line for line in lines[:2] if re.fullmatch(pattern, line)]
        if found:
            raise ValueError(
                f"`{LABEL_FILE}` must have lines of a name, or of a name and "
                f"its colour, such as 'road 128 64 128', not be {kind}. "
                f"Received: the line {found[0]!r} of {received}"
            )
    matches = [re.match(r"(\d+)[\s:,.)]+\S", line) for line in lines]
    numbers = [int(each[1]) for each in matches if each]
    if len(lines) > 1 and numbers in (
        list(range(len(lines))),
        list(range(1, len(lines) + 1)),
    ):
        raise ValueError(
            f"`{LABEL_FILE}` must have names without numbers before them: "
            "class 0 is the first line. "
            f"Received: the line {lines[0]!r} of {received}"
        )


def _parse(line: str, where: str) -> tuple[str, Color | None]:
    """Splits a line into a name and its colour, if it has one."""
    match = _LINE.fullmatch(line)
    if match is None:
        if line.split()[-1].startswith("#"):
            raise ValueError(
                f"`color` must be three numbers or #rrggbb. Received: {where}"
            )
        return line, None
    if match["hex"]:
        red, green, blue = bytes.fromhex(match["hex"])
    else:
        red, green, blue = map(int, match["numbers"].split())
    if max(red, green, blue) > 255:
        raise ValueError(f"`color` must be within 0..255. Received: {where}")
    return match["name"], (red, green, blue)
