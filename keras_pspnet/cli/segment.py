"""`keras-pspnet segment`: images to overlays, masks or confidence maps."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_pspnet.cli.common import (
    Commands,
    add_inference_options,
    add_model_options,
    inference_arguments,
    load_network,
    print_error,
    progress,
)

if TYPE_CHECKING:
    from keras_pspnet.data import Source
    from keras_pspnet.inference import Network


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser("segment", help="segment images")
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="image (JPEG, PNG, WebP, BMP, GIF or TIFF), folder of images, or "
        "glob pattern",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="file to write, .png or .jpg, or folder, created if it is "
        "missing: a.jpg becomes a.png",
    )
    add_model_options(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--mask",
        dest="what",
        action="store_const",
        const="mask",
        default="overlay",
        help="write the mask of class indices (palette PNG) instead of the "
        "overlay",
    )
    what.add_argument(
        "--confidence",
        dest="what",
        action="store_const",
        const="confidence",
        help="write a map of the model's confidence instead",
    )
    parser.add_argument(
        "--colorblind",
        action="store_true",
        help="use a palette for colour-blind viewers, and number the classes",
    )
    add_inference_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command.

    Args:
        options: The parsed options.

    Returns:
        Exit status: 0, or 1 if some of several images failed.

    Raises:
        ImportError: If the runtime of an exported model is not installed.
        OSError: If files cannot be read or written.
        ValueError: If an option is out of range, or the only image is
            corrupt.
    """
    from keras_pspnet.data import find_images, read_image
    from keras_pspnet.utils import check_writable
    from keras_pspnet.visualization import check_suffix

    # Files and options are checked before a model is loaded.
    arguments = inference_arguments(options)
    images = find_images(options.paths)
    is_file = _is_file(options.output, options.paths, images)
    if is_file:
        check_suffix(options.output, options.what)
        check_writable(options.output)
        outputs = [Path(options.output)]
    else:
        _check_folder(options.output, len(images))
        outputs = _files_in(options.output, images)
    _check_inputs_stay(images, outputs)
    only = None
    if len(images) == 1:
        only = read_image(images[0], options.max_pixels)

    arguments["confidence"] = options.what == "confidence"
    job = _Job(
        load_network(options), arguments, options.what, options.colorblind
    )
    if not is_file:
        os.makedirs(options.output, exist_ok=True)
    if only is None:
        return _segment_all(job, images, outputs)
    # One image needs no progress bar, its windows do.
    arguments["verbose"] = options.window is not None and sys.stdout.isatty()
    print(job.segment(only, outputs[0]))
    return 0


@dataclasses.dataclass(frozen=True)
class _Job:
    """What to do with every image."""

    network: Network
    arguments: Mapping[str, Any]
    what: str
    colorblind: bool

    def segment(self, source: Source, output: Path) -> str:
        """Segments one image into a file; returns a line about it."""
        from keras_pspnet.inference.segment import segment

        result = segment(self.network, source, **self.arguments)
        result.save(output, self.what, self.colorblind)
        shares = ", ".join(
            f"{name} {share:.1%}" for name, share in result.areas().items()
        )
        return f"{output}: {shares}"


def _segment_all(
    job: _Job, images: Sequence[Path], outputs: Sequence[Path]
) -> int:
    from keras_pspnet.inference import image_errors

    written = failed = 0
    errors = image_errors()
    try:
        with progress("segment", len(images)) as advance:
            for image, output in zip(images, outputs, strict=True):
                try:
                    line = job.segment(image, output)
                except errors as error:
                    failed += 1
                    print_error(
                        f"{image}: {str(error) or type(error).__name__}"
                    )
                else:
                    written += 1
                    print(line, flush=True)
                advance()
    finally:
        # Also after Ctrl-C, which `main` handles.
        noun = "image" if written == 1 else "images"
        print(f"{written} {noun} written, {failed} failed")
    return 1 if failed else 0


def _is_file(output: str, paths: Sequence[str], images: Sequence[Path]) -> bool:
    """Tells whether the output is a file, not a folder."""
    if (
        len(images) > 1
        or os.path.isdir(output)
        or output.endswith(("/", os.sep))
    ):
        return False
    # The output of a folder that happens to hold one image is a folder too,
    # unless it has the name of an image.
    return Path(paths[0]) == images[0] or _looks_like_image(output)


def _looks_like_image(path: str) -> bool:
    from keras_pspnet.data import IMAGE_SUFFIXES

    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def _check_folder(folder: str, count: int) -> None:
    """Checks that a folder exists or can be created.

    Raises:
        OSError: If it does not and cannot.
    """
    from keras_pspnet.utils import check_writable

    place = Path(folder)
    if place.is_dir():
        check_writable(place / "a.png")
        return
    # "out.png" for many images is a mistake, not the name of a folder.
    if os.path.lexists(place) or (_looks_like_image(folder) and count > 1):
        raise NotADirectoryError(
            f"`output` must be a folder for {count} images. "
            f"Received: output={folder!r}"
        )
    while not place.exists():
        place = place.parent
    check_writable(place / "a.png")


def _files_in(folder: str, images: Sequence[Path]) -> list[Path]:
    """Names an output in a folder for each image.

    Raises:
        ValueError: If two would have the same name.
    """
    stems = collections.Counter(
        os.path.normcase(image.stem) for image in images
    )
    names: dict[str, Path] = {}
    files = []
    for image in images:
        is_unique = stems[os.path.normcase(image.stem)] == 1
        name = f"{image.stem if is_unique else image.name}.png"
        other = names.setdefault(os.path.normcase(name), image)
        if other is not image:
            raise ValueError(
                "`paths` must be images of different names for one folder. "
                f"Received: {str(other)!r} and {str(image)!r}"
            )
        files.append(Path(folder) / name)
    return files


def _check_inputs_stay(images: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Refuses outputs that would replace an input.

    Raises:
        ValueError: If there is one.
    """
    inputs = {_identity(image): image for image in images}
    # Broken links are reported when they are read.
    inputs.pop(None, None)
    for output in outputs:
        image = inputs.get(_identity(output))
        if image is not None:
            raise ValueError(
                "`output` must not replace an image that is segmented. "
                f"Received: output={str(output)!r} for {str(image)!r}"
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """Returns what all names of a file have in common."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
