"""Finds image and mask files in folders and by patterns."""

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
    """Lists the image files that paths, folders and patterns stand for.

    Args:
        paths: Each a file, which is taken as it is; a folder, of which the
            files that end in `IMAGE_SUFFIXES` are taken, in upper or lower
            case, but neither hidden ones nor those of folders inside; or,
            where there is neither, a pattern as of `glob` ("photos/*.jpg",
            "photos/**/*" for folders inside as well), of whose matches the
            same files are taken.

    Returns:
        The files in the order of `paths`, sorted within a folder or pattern;
        each once, where it comes up first.

    Raises:
        FileNotFoundError: If there is no such file or folder, and no image
            that a pattern matches.
        OSError: If a folder cannot be listed.
        ValueError: If a folder holds no image.
    """
    found: dict[Path, None] = {}
    for path in paths:
        found |= dict.fromkeys(_images_at(path))
    return list(found)


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Lists the files of a folder that end in `suffixes`, none hidden."""
    return [
        entry
        for entry in sorted(folder.iterdir())
        if not entry.name.startswith(".") and _is_file(entry, suffixes)
    ]


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Lists the files of a folder and of those inside, none hidden."""

    def fail(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for name, inner, _ in os.walk(folder, onerror=fail, followlinks=True):
        inner[:] = sorted(each for each in inner if not each.startswith("."))
        place = Path(name)
        if place.is_symlink() and place.parent.resolve().is_relative_to(
            place.resolve()
        ):
            # A link that leads upwards leads in a circle.
            inner.clear()
        else:
            found += files_in(place, suffixes)
    return found


def _is_file(path: Path, suffixes: Collection[str]) -> bool:
    # Broken links count, so that reading them tells.
    return path.suffix.lower() in suffixes and not path.is_dir()


def _images_at(path: str | os.PathLike[str]) -> list[Path]:
    """Lists what one of the paths of `find_images` stands for."""
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
