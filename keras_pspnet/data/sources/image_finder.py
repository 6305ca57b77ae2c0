"""Where the images lie that annotations name."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

# Folders of images below the one that is given.
_IMAGE_FOLDERS = ("", "images", "data", "JPEGImages")
_LONGEST_PATH, _DEEPEST = 4096, 64
# What paths begin with that is no name.
_LEADING = re.compile(r"/+|\.\.|[A-Za-z]:")
# How names of the usual splits begin.
_SPLITS = "train", "val", "test"


class ImageFinder:
    """Finds the images that annotations name, in one folder and no other.

    Args:
        folder: The folder.
        *first: Folders to look in first, below it.
        split: The split that is read, "" if it is all one.
        splits: All splits; folders of others than `split` are not looked in.
    """

    def __init__(
        self,
        folder: Path,
        *first: Path,
        split: str = "",
        splits: Collection[str] = (),
    ) -> None:
        self.folder, self.split, self._splits = folder, split, splits
        # Names by what is alike in them, of folders where any was missed.
        self._alike_in: dict[str, dict[str, list[str]]] = {}
        self._inside = os.path.join(os.path.abspath(folder), "")
        known = [folder / name for name in _IMAGE_FOLDERS]
        # Texts, for paths would take most of the time of a long listing.
        self._places = list(dict.fromkeys(map(str, [*first, *known])))
        below = (
            str(entry)
            for entry in folder.iterdir()
            if entry.is_dir()
            and not (split and _is_of_another(entry.name, split, splits))
        )
        self._others = sorted(set(below) - set(self._places))

    def find(self, name: Any) -> Path | None:
        """Finds a file by its name or by the end of its path.

        Tools write paths of other machines: what cannot be found by its whole
        path is looked for without its first folders, but then not in folders
        of any name: camera1/1.png is not camera2/1.png. What is nowhere may
        differ in case, in the form of Unicode, or be quoted (%20).

        Args:
            name: What the annotation says.

        Returns:
            The file; None if there is none, or several have a claim.
        """
        parts = path_parts(name)
        for find in (self._exact, self._alike):
            for first in range(len(parts)):
                tail = os.path.join(*parts[first:])
                for place in self._places:
                    if path := find(place, tail):
                        return path
                others = self._others if first == 0 else []
                paths = [path for each in others if (path := find(each, tail))]
                if paths:
                    return paths[0] if len(paths) == 1 else None
        return None

    def is_whole(self, place: Path) -> bool:
        """Tells whether images of other splits should not lie in a folder."""
        return len(self._splits) < 2 or self.split in place.parts

    def at(self, path: str, is_folder: bool = False) -> Path | None:
        """Finds a file or folder by its whole path in the usual places."""
        found = (self._exact(each, path, is_folder) for each in self._places)
        return next(filter(None, found), None)

    def _exact(
        self, place: str, tail: str, is_folder: bool = False
    ) -> Path | None:
        # Without following links, which people put in their folders.
        path = os.path.normpath(os.path.join(place, tail))
        if not os.path.abspath(path).startswith(self._inside):
            return None
        exists = os.path.isdir if is_folder else os.path.isfile
        return Path(path) if exists(path) else None

    def _alike(self, place: str, tail: str) -> Path | None:
        path = os.path.normpath(os.path.join(place, tail))
        folder, name = os.path.split(path)
        if folder not in self._alike_in:
            names = collections.defaultdict(list)
            if os.path.abspath(path).startswith(self._inside):
                with contextlib.suppress(OSError, ValueError):
                    for each in os.listdir(folder or "."):
                        names[_plain(each)].append(each)
            self._alike_in[folder] = names
        found = self._alike_in[folder].get(_plain(name), [])
        return self._exact(folder, found[0]) if len(found) == 1 else None


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unquote(name)).casefold()


def path_parts(name: Any) -> list[str]:
    """Splits a path of any machine, without drive and leading dots."""
    if not isinstance(name, str) or not 0 < len(name) < _LONGEST_PATH:
        return []
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if len(parts) > _DEEPEST:
        return []
    return list(itertools.dropwhile(_LEADING.fullmatch, parts))


def _is_of_another(name: str, split: str, splits: Collection[str]) -> bool:
    """Tells whether a folder is called after another split."""
    if name == split or name in splits:
        return name != split
    usual = [each for each in _SPLITS if name.lower().startswith(each)]
    ours = split.lower().startswith(_SPLITS)
    return bool(usual) and ours and not split.lower().startswith(usual[0])
