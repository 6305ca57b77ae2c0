"""Writes the hashes of all files of a release beside its pin.

    make hashes

Whatever the platform and the Python, pip then takes only files that were on
the index when the list was written. The index is the one that pip is
configured with. Comments, `-r` lines and the order of pins stay.
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from pins import logical_lines, normal, parse

# What pip installs; old releases have files of other forms too.
_SUFFIXES = (".whl", ".tar.gz", ".zip")
_JSON = "application/vnd.pypi.simple.v1+json"


def main() -> None:
    """Rewrites the lists that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lists", nargs="+", type=Path)
    for path in parser.parse_args().lists:
        # Complete before a byte is written: an error changes nothing.
        text = "".join(f"{line}\n" for line in _hashed(path))
        path.write_text(text, encoding="utf-8")


def _hashed(path: Path) -> Iterator[str]:
    for line in logical_lines(path):
        pin = parse(line)
        if pin is None:
            yield line
            continue
        hashes = _hashes(pin.name, pin.version)
        what = f"{pin.name}=={pin.version} {pin.marker}".rstrip()
        yield " \\\n    --hash=sha256:".join([what, *hashes])


@functools.cache
def index_url() -> str:
    """Asks pip, which alone knows every place that may configure it."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--help"],
        env={**os.environ, "COLUMNS": "999"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    match = re.search(r"--index-url .*\(default (\S+)\)", told.stdout)
    assert match is not None, "pip's help tells the index"
    return match[1].rstrip("/")


@functools.cache
def _hashes(name: str, version: str) -> list[str]:
    request = urllib.request.Request(
        f"{index_url()}/{normal(name)}/", headers={"Accept": _JSON}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        files = json.load(response)["files"]
    found = {
        file["hashes"]["sha256"]
        for file in files
        if _release(file["filename"]) == (normal(name), version)
    }
    if not found:
        raise ValueError(
            "`lists` must pin releases that the index has. "
            f"Received: {name}=={version}"
        )
    return sorted(found)


def _release(filename: str) -> tuple[str, str] | None:
    """Reads name and version off a file's name; None is another form."""
    for suffix in _SUFFIXES:
        if filename.endswith(suffix):
            parts = filename.removesuffix(suffix).split("-")
            # In a wheel's name tags follow; a source's version is the end.
            end = 1 if suffix == ".whl" else len(parts) - 1
            if end < len(parts):
                return normal("-".join(parts[:end])), parts[end]
    return None


if __name__ == "__main__":
    main()
