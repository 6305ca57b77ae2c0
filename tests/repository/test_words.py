"""Tests of the words in the package and the pages: one word for one thing."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What is written for users: the package, the pages, the notebooks.
WRITTEN = ("keras_pspnet", "docs", "serving", "notebooks", "README.md")
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
# Word that is avoided -> the field's word.
WORDS = {
    r"\bpictures?\b": "image",
    r"\bmirrored\b|\bmirror images?\b": "flipped",
    r"\benlarg(e|es|ed|ing)\b": "upsample or resize",
    r"\bcolours?\b|\bcoloured\b": "color",
    r"\blicences?\b": "license",
    r"\b\w+(normal|optim|synchron|initial|serial|recogn)is(e|ed|es|ation)\b": (
        "the spelling with z"
    ),
    r"\bis told\b|\bare told\b": "is reported",
}
# Lines that have a reason: (end of the file's name, what the line holds).
EXCEPTIONS = (
    # Names in files that were written before the first version.
    ("evaluation/scores.py", '"pictures"'),
    ("training/checkpoints.py", "pictures"),
    # MATLAB's word for what it does at borders.
    ("evaluation/reference_resize.py", "mirror"),
    # Variables in examples.
    (".md", "picture = "),
    (".md", "picture["),
    (".md", "picture)"),
    (".md", "(picture"),
    ("visualization/segmentation.py", "enlarged"),
    ("data/decoders.py", "enlarge"),
)


def written() -> Iterator[Path]:
    listed = subprocess.run(
        ["git", "ls-files", *WRITTEN, *PAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = listed.stdout.splitlines()
    if not names:
        # Without git, as in an unpacked archive.
        names = [
            str(path.relative_to(ROOT))
            for place in (*WRITTEN, *PAGES)
            for path in [ROOT / place, *(ROOT / place).rglob("*")]
            if path.is_file()
        ]
    for name in sorted(names):
        if name.endswith((".py", ".md", ".ipynb")):
            yield ROOT / name


def lines_of(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        for cell in json.loads(text)["cells"]:
            yield from "".join(cell["source"]).splitlines()
    else:
        yield from text.splitlines()


@pytest.mark.parametrize("pattern", WORDS)
def test_one_word_for_one_thing(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()[:100]}"
        for path in written()
        for line in lines_of(path)
        if re.search(pattern, line, re.IGNORECASE)
        and not any(
            str(path).endswith(end) and part in line for end, part in EXCEPTIONS
        )
    ]
    assert not found, f"write {WORDS[pattern]}"


def test_every_exception_is_needed() -> None:
    lines = [(str(path), line) for path in written() for line in lines_of(path)]
    for end, part in EXCEPTIONS:
        assert any(
            path.endswith(end)
            and part in line
            and any(re.search(word, line, re.IGNORECASE) for word in WORDS)
            for path, line in lines
        ), (end, part)
