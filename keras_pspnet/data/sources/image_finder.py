"""Finds the images that annotations name."""

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

# Usual folders of images below the data folder.
_IMAGE_FOLDERS = ("", "images", "data", "JPEGImages")
_LONGEST_PATH, _DEEPEST = 4096, 64
# Parts at the start of a path that are not names.
_LEADING = re.compile(r"/+|\.\.|[A-Za-z]:")
# Prefixes of the usual splits.
_SPLITS = "train", "val", "test"


class ImageFinder:
    """Finds the images that annotations name, within one folder.

    Args:
        folder: The folder.
        *first: Subfolders to search first.
        split: The split to read, "" if the set is not split.
        splits: All splits; the folders of other splits are not searched.
    """

    def __init__(
        self,
        folder: Path,
        *first: Path,
        split: str = "",
        splits: Collection[str] = (),
    ) -> None:
        self.folder, self.split, self._splits = folder, split, splits
        # Normalized name -> names, for folders where a name was not found.
        self._alike_in: dict[str, dict[str, list[str]]] = {}
        self._inside = os.path.join(os.path.abspath(folder), "")
        known = [folder / name for name in _IMAGE_FOLDERS]
        # Strings, because paths would take most of the time of a long listing.
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

        Tools write paths of other machines. A path that does not exist as a
        whole is searched without its leading folders, but only in the usual
        folders of images: camera1/1.png is never taken for camera2/1.png.
        After that, names may differ in case or Unicode form, or be quoted
        (%20).

        Args:
            name: Name in the annotation.

        Returns:
            The file; None if there is none, or if it is ambiguous.
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
        """Tells whether a folder should hold no images of other splits."""
        return len(self._splits) < 2 or self.split in place.parts

    def at(self, path: str, is_folder: bool = False) -> Path | None:
        """Finds a file or folder by its whole path in the usual places."""
        found = (self._exact(each, path, is_folder) for each in self._places)
        return next(filter(None, found), None)

    def _exact(
        self, place: str, tail: str, is_folder: bool = False
    ) -> Path | None:
        # Do not follow links, which users may have in their folders.
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
    """Splits a path of any system, without drive and leading dots."""
    if not isinstance(name, str) or not 0 < len(name) < _LONGEST_PATH:
        return []
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if len(parts) > _DEEPEST:
        return []
    return list(itertools.dropwhile(_LEADING.fullmatch, parts))


def _is_of_another(name: str, split: str, splits: Collection[str]) -> bool:
    """Tells whether a folder has the name of another split."""
    if name == split or name in splits:
        return name != split
    usual = [each for each in _SPLITS if name.lower().startswith(each)]
    ours = split.lower().startswith(_SPLITS)
    return bool(usual) and ours and not split.lower().startswith(usual[0])
