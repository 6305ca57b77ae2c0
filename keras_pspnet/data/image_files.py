"""Finds image and mask files in folders and by glob patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Sequence
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MASK_SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff")


def find_images(
    paths: Sequence[str | os.PathLike[str]],
) -> list[Path]:
    """Lists the image files of paths, folders and glob patterns.

    Args:
        paths: Files, folders and patterns. A file is taken as it is. A folder
            gives its files that end in `IMAGE_SUFFIXES`, in upper or lower
            case, without hidden files and subfolders. Any other path is a
            pattern as in `glob` ("photos/*.jpg", or "photos/**/*" to include
            subfolders), which gives the image files that it matches.

    Returns:
        The files in the order of `paths`, sorted within a folder or pattern,
        without repetitions.

    Raises:
        FileNotFoundError: If a path is neither a file nor a folder, and no
            image matches it as a pattern.
        OSError: If a folder cannot be listed.
        ValueError: If a folder holds no image.
    """
    found: dict[Path, None] = {}
    for path in paths:
        found |= dict.fromkeys(_images_at(path))
    return list(found)


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Lists the files of a folder with these suffixes, except hidden ones."""
    return [
        entry
        for entry in sorted(folder.iterdir())
        if not entry.name.startswith(".") and _is_file(entry, suffixes)
    ]


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Lists the files of a folder and its subfolders, except hidden ones."""

    def fail(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for name, inner, _ in os.walk(folder, onerror=fail, followlinks=True):
        inner[:] = sorted(each for each in inner if not each.startswith("."))
        place = Path(name)
        if place.is_symlink() and place.parent.resolve().is_relative_to(
            place.resolve()
        ):
            # A link to a parent folder would loop.
            inner.clear()
        else:
            found += files_in(place, suffixes)
    return found


def _is_file(path: Path, suffixes: Collection[str]) -> bool:
    # Keep broken links, so that reading them reports the error.
    return path.suffix.lower() in suffixes and not path.is_dir()


def _images_at(path: str | os.PathLike[str]) -> list[Path]:
    """Lists the files for one of the paths of `find_images`."""
    name = os.fspath(path)
    received = f"Received: paths={name!r}"
    if os.path.isdir(name):
        images = files_in(Path(name), IMAGE_SUFFIXES)
        if not images:
            raise ValueError(
                "`paths` must be images, or folders that hold some "
                f"({', '.join(IMAGE_SUFFIXES)}). {received} without an image"
            )
        return images
    if os.path.exists(name):
        return [Path(name)]
    if not glob.has_magic(name):
        raise FileNotFoundError(
            "`paths` must be files, folders or patterns of files that exist. "
            f"{received}"
        )
    matches = sorted(map(Path, glob.glob(name, recursive=True)))
    images = [match for match in matches if _is_file(match, IMAGE_SUFFIXES)]
    if not images:
        raise FileNotFoundError(
            "`paths` must be patterns that match images "
            f"({', '.join(IMAGE_SUFFIXES)}). {received}, which matches "
            f"{len(matches)} files, none of them an image"
        )
    return images
