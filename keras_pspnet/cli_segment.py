"""`keras-pspnet segment`: every picture to a picture, a mask or a map."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_pspnet.cli_shared import (
    add_inference_options,
    add_model_options,
    inference_arguments,
    load_network,
    print_error,
    progress,
)
from keras_pspnet.data.decode import (
    IMAGE_SUFFIXES,
    Source,
    find_pictures,
    read_image,
)
from keras_pspnet.files import check_writable
from keras_pspnet.inference import picture_faults, segment
from keras_pspnet.network import Network
from keras_pspnet.visualization.segmentation import check_suffix

# Options that are arguments of `read_image` as well as of `segment`.
_LIMITS = {"max_pixels"}


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    """Adds the command to the programme's.

    Args:
        commands: The programme's commands.
    """
    # What is left out stays out of the call: the functions have the defaults.
    parser = commands.add_parser(
        "segment",
        help="segment pictures",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="picture (JPEG, PNG, WebP, BMP, GIF or TIFF), folder of pictures, "
        "or pattern of them",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="picture to write, .png or .jpg, or the folder to write to, "
        "which is made if it is missing: a.png for a.jpg",
    )
    add_model_options(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--mask",
        dest="what",
        action="store_const",
        const="mask",
        help="write the mask of class ids (palette PNG) instead",
    )
    what.add_argument(
        "--confidence",
        dest="what",
        action="store_const",
        const="confidence",
        help="write a map of how sure the model is instead",
    )
    parser.add_argument(
        "--colorblind",
        action="store_true",
        help="colours that colour-blind people tell apart",
    )
    add_inference_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command.

    Args:
        options: What was parsed.

    Returns:
        Exit status: 0, or 1 if one of several pictures could not be done.

    Raises:
        ImportError: If what runs the model is not installed.
        OSError: If files cannot be read or written.
        ValueError: If an option is out of range, or the only picture broken.
    """
    # What can be wrong with files and options shows before a model is loaded.
    arguments = inference_arguments(options)
    what = getattr(options, "what", "picture")
    pictures = find_pictures(options.paths)
    is_file = _is_file(options.output, options.paths, pictures)
    if is_file:
        check_suffix(options.output, what)
        check_writable(options.output)
        outputs = [Path(options.output)]
    else:
        _check_folder(options.output, len(pictures))
        outputs = _files_in(options.output, pictures)
    _check_pictures_stay(pictures, outputs)
    image = None
    if len(pictures) == 1:
        limits = {name: arguments[name] for name in _LIMITS & set(arguments)}
        image = read_image(pictures[0], **limits)

    arguments["confidence"] = what == "confidence"
    job = _Job(load_network(options), arguments, what, "colorblind" in options)
    if not is_file:
        os.makedirs(options.output, exist_ok=True)
    if image is None:
        return _segment_all(job, pictures, outputs)
    # A bar of one picture says nothing, one of its windows does.
    arguments["verbose"] = "window" in options and sys.stdout.isatty()
    print(job.segment(image, outputs[0]))
    return 0


@dataclasses.dataclass(frozen=True)
class _Job:
    """What is done with every picture."""

    network: Network
    arguments: Mapping[str, Any]
    what: str
    colorblind: bool

    def segment(self, source: Source, output: Path) -> str:
        """Segments one picture into a file; returns a line about it."""
        result = segment(self.network, source, **self.arguments)
        result.save(output, self.what, self.colorblind)
        shares = ", ".join(
            f"{name} {share:.1%}" for name, share in result.areas().items()
        )
        return f"{output}: {shares}"


def _segment_all(
    job: _Job, pictures: Sequence[Path], outputs: Sequence[Path]
) -> int:
    written = failed = 0
    faults = picture_faults()
    try:
        with progress("segment", len(pictures)) as advance:
            for picture, output in zip(pictures, outputs, strict=True):
                try:
                    line = job.segment(picture, output)
                except faults as error:
                    failed += 1
                    print_error(
                        f"{picture}: {str(error) or type(error).__name__}"
                    )
                else:
                    written += 1
                    print(line, flush=True)
                advance()
    finally:
        # After Ctrl-C as well, which goes on to `main`.
        noun = "picture" if written == 1 else "pictures"
        print(f"{written} {noun} written, {failed} failed")
    return 1 if failed else 0


def _is_file(
    output: str, paths: Sequence[str], pictures: Sequence[Path]
) -> bool:
    """Tells whether the output is a file, not a folder."""
    if (
        len(pictures) > 1
        or os.path.isdir(output)
        or output.endswith(("/", os.sep))
    ):
        return False
    # A folder may happen to hold one picture: its output is no file then,
    # unless it is named like one.
    return Path(paths[0]) == pictures[0] or _looks_like_picture(output)


def _looks_like_picture(path: str) -> bool:
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def _check_folder(folder: str, count: int) -> None:
    """Checks that a folder is one, or can be made.

    Raises:
        OSError: If it is not.
    """
    place = Path(folder)
    if place.is_dir():
        check_writable(place / "a.png")
        return
    # "out.png" for many pictures is a mistake, and no name of a folder.
    if os.path.lexists(place) or (_looks_like_picture(folder) and count > 1):
        raise NotADirectoryError(
            f"`output` must be a folder for {count} pictures. "
            f"Received: output={folder!r}"
        )
    while not place.exists():
        place = place.parent
    check_writable(place / "a.png")


def _files_in(folder: str, pictures: Sequence[Path]) -> list[Path]:
    """Names an output in a folder for each picture.

    Raises:
        ValueError: If two would have the same.
    """
    stems = collections.Counter(
        os.path.normcase(picture.stem) for picture in pictures
    )
    names: dict[str, Path] = {}
    files = []
    for picture in pictures:
        alone = stems[os.path.normcase(picture.stem)] == 1
        name = f"{picture.stem if alone else picture.name}.png"
        other = names.setdefault(os.path.normcase(name), picture)
        if other is not picture:
            raise ValueError(
                "`paths` must be pictures of different names for one folder. "
                f"Received: {str(other)!r} and {str(picture)!r}"
            )
        files.append(Path(folder) / name)
    return files


def _check_pictures_stay(
    pictures: Sequence[Path], outputs: Sequence[Path]
) -> None:
    """Refuses outputs that would replace what is to be segmented.

    Raises:
        ValueError: If there is one.
    """
    inputs = {_identity(picture): picture for picture in pictures}
    # Broken links: reading them tells.
    inputs.pop(None, None)
    for output in outputs:
        picture = inputs.get(_identity(output))
        if picture is not None:
            raise ValueError(
                "`output` must not replace a picture that is segmented. "
                f"Received: output={str(output)!r} for {str(picture)!r}"
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """Returns what is equal for all names of a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
