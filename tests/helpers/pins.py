"""Reads the pinned lists of requirements."""

import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PEERS = sorted(ROOT.glob("tests/parity/*/requirements.txt"))
LISTS = sorted(ROOT.glob("requirements/*.txt"))
HASH = re.compile("--hash=sha256:([0-9a-f]{64})")


def pins_of(path: Path) -> Iterator[tuple[Requirement, list[str]]]:
    """Returns the requirements of a list and its includes, with hashes."""
    text = path.read_text().replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("-r "):
            yield from pins_of(path.parent / line.removeprefix("-r "))
        elif not line.startswith("#"):
            pin, *hashes = re.split(r"\s+(?=--)", line)
            matches = [HASH.fullmatch(each) for each in hashes]
            assert all(matches), f"{path}: {line[:70]}"
            yield Requirement(pin), [each[1] for each in matches if each]
