"""Lists of pins: what pip installs, and which files of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+]+)"
    r"(?P<marker>( *; python_version [<>]=? \"3\.\d+\")?)"
    r"(?P<hashes>( +--hash=sha256:[0-9a-f]{64})*)"
)
_INCLUDE = "-r "


class Pin(NamedTuple):
    """One release, and the SHA-256 of every file of it that may be used.

    Attributes:
        name: As the list spells it.
        version: The release.
        hashes: Of its files; none where any may be used.
        marker: From the semicolon on: which Pythons it is for. Empty is all.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: str = ""


def logical_lines(path: Path) -> list[str]:
    """Reads a list's lines, those that a backslash continues as one."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r" *\\\n *", " ", text).splitlines()


def parse(line: str) -> Pin | None:
    """Reads a line; None is a comment, an empty line or another list's name.

    Raises:
        ValueError: If it is anything but a pin.
    """
    if not line or line.startswith(("#", _INCLUDE)):
        return None
    match = _PIN.fullmatch(line)
    if match is None:
        raise ValueError(
            "`line` must be NAME==VERSION, with hashes or without, or "
            'NAME==VERSION ; python_version >= "3.13" and the like. '
            f"Received: line={line!r}"
        )
    hashes = re.findall("[0-9a-f]{64}", match["hashes"])
    return Pin(
        match["name"], match["version"], tuple(hashes), match["marker"].strip()
    )


def read_pins(path: Path) -> Iterator[Pin]:
    """Reads the pins of a list and of the lists that it names."""
    for line in logical_lines(path):
        if line.startswith(_INCLUDE):
            yield from read_pins(path.parent / line.removeprefix(_INCLUDE))
        elif pin := parse(line):
            yield pin


def normal(name: str) -> str:
    """Spells a package's name as the index does."""
    return re.sub(r"[-_.]+", "-", name).lower()
