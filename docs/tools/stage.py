"""Collects the pages of the site: `python docs/tools/stage.py FOLDER`.

Pages are Markdown files of this repository, each in the place where it belongs
there, with links that are right there. This copies them to where MkDocs looks
and makes the links right for the site:

- a link to another page leads to that page of the site;
- a drawing (SVG) becomes part of its page, so that it has the page's colors;
- images and notebooks are copied beside the pages;
- any other file of the repository becomes a page that shows its text.

Nothing but Python is needed, so that the tests can check every link.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# Pages that have their place elsewhere.
ELSEWHERE = {
    "serving/README.md": "serving.md",
    "training/RESULTS.md": "results.md",
    "training/results/ablation/ablation.md": "ablation.md",
    "keras_pspnet/weights/aerial/MODEL_CARD.md": "aerial.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
# What the site has another page for.
INSTEAD = {"README.md": "docs/index.md"}
# What `mkdocs.yml` names.
ASSETS = ("site.css", "drawings/favicon.svg")
COPIED = (".png", ".jpg", ".css", ".ipynb")
LANGUAGES = {
    ".py": "python",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".cfg": "ini",
    ".conf": "nginx",
    ".toml": "toml",
    ".config": "text",
}
_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^()\s]+)\)")
_CODE = re.compile(r"^(```|~~~).*?^\1\s*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


class BrokenLinkError(Exception):
    """A link or comment names something that is not there."""


def pages() -> dict[str, str]:
    """Returns the pages: file of the repository -> place on the site."""
    own = {
        path.relative_to(ROOT).as_posix(): path.relative_to(DOCS).as_posix()
        for path in sorted(DOCS.rglob("*.md"))
    }
    return own | ELSEWHERE


def stage(folder: Path) -> None:
    """Writes all pages and what they need into a folder.

    Args:
        folder: Emptied if it exists.

    Raises:
        BrokenLinkError: If a page names something that is not there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    site = _Site()
    for source, page in site.pages.items():
        write(folder / page, site.text_of(source, page))
    site.files |= {f"docs/{name}": name for name in ASSETS}
    for source, place in site.files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source, folder / place)
    for source, place in site.shown.items():
        write(folder / place, _shown(source))


def write(path: Path, text: str) -> None:
    """Writes a text, and makes the folder that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


class _Site:
    """What is on the site, and what its pages turned out to need."""

    def __init__(self) -> None:
        self.pages = pages()
        self.files: dict[str, str] = {}
        self.shown: dict[str, str] = {}

    def text_of(self, source: str, page: str) -> str:
        """Returns the text of a file, with links that are right on a page."""

        def replace(match: re.Match[str]) -> str:
            image, label, target = match.groups()
            if re.match(r"[a-z]+:|#", target):
                return match[0]
            path, mark, anchor = target.partition("#")
            name = os.path.normpath(Path(source).parent / path)
            name = Path(name).as_posix()
            if image and name.endswith(".svg"):
                return _drawing(name, label)
            place = self._place(name, source, target)
            start = Path(page).parent
            return f"{image}[{label}]({_relative(place, start)}{mark}{anchor})"

        text = (ROOT / source).read_text(encoding="utf-8")
        return _outside_code(text, lambda part: _LINK.sub(replace, part))

    def _place(self, name: str, source: str, target: str) -> str:
        """Returns where on the site a file of the repository is."""
        name = INSTEAD.get(name, name)
        if name in self.pages:
            return self.pages[name]
        if not (ROOT / name).is_file():
            raise BrokenLinkError(f"{source}: there is no {target}")
        if name.endswith(COPIED):
            return self.files.setdefault(name, f"files/{name}")
        return self.shown.setdefault(name, f"source/{name}.md")


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Changes a text, but no block of code and no code within a line."""
    hidden: list[str] = []

    def hide(match: re.Match[str]) -> str:
        hidden.append(match[0])
        return f"\0{len(hidden) - 1}\0"

    text = change(_CODE.sub(hide, text))
    return re.sub("\0([0-9]+)\0", lambda match: hidden[int(match[1])], text)


def _drawing(name: str, label: str) -> str:
    svg = (ROOT / name).read_text(encoding="utf-8")
    svg = " ".join(svg[svg.index("<svg") :].split())
    start = f'<figure class="drawing" role="img" aria-label="{label}">'
    return f"{start}{svg}</figure>"


def _relative(place: str, start: Path) -> str:
    return Path(os.path.relpath(place, start)).as_posix()


def _shown(source: str) -> str:
    path = ROOT / source
    language = LANGUAGES.get(path.suffix, "text")
    text = path.read_text(encoding="utf-8").strip("\n")
    return f"# `{source}`\n\n````{language}\n{text}\n````\n"


if __name__ == "__main__":
    try:
        stage(Path(sys.argv[1]))
    except BrokenLinkError as error:
        sys.exit(f"docs: {error}")
