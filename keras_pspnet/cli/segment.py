"""`keras-pspnet segment`: writes overlays, masks or confidence maps."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keras_pspnet.cli.common import (
    DEFAULT_MODEL_NOTE,
    Commands,
    add_inference_options,
    add_model_options,
    inference_arguments,
    is_unsure,
    positive,
    print_error,
    print_note,
    progress,
)

if TYPE_CHECKING:
    from keras_pspnet.data import Source

_TIFF = (".tif", ".tiff")


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser("segment", help="segment images")
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="image (JPEG, PNG, WebP, BMP, GIF, TIFF), folder of images, or "
        "glob pattern",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="file for one image: .png or .jpg, or for its mask .tif or "
        ".geojson. Otherwise a folder, created if missing: a.jpg becomes "
        "a.png, and a GeoTIFF a mask a.tif with the same georeference",
    )
    add_model_options(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--mask",
        dest="what",
        action="store_const",
        const="mask",
        help="write the mask of class ids (palette PNG) instead of the overlay",
    )
    what.add_argument(
        "--confidence",
        dest="what",
        action="store_const",
        const="confidence",
        help="write a map of the model's confidence instead of the overlay",
    )
    parser.add_argument(
        "--colorblind",
        action="store_true",
        help="use a palette for color-blind viewers, and number the classes",
    )
    add_inference_options(parser)
    parser.add_argument(
        "--show-bands",
        type=positive,
        nargs="+",
        metavar="BAND",
        help="three bands, or one, to show in overlays of images that are not "
        "RGB, counted from 1 (default: the first three)",
    )
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
    from keras_pspnet.data import RGB, find_images, read_image
    from keras_pspnet.inference import load_predictor

    # Check files and options before loading a model.
    arguments = inference_arguments(options)
    images = find_images(options.paths)
    outputs = _outputs(options, images)
    only = None
    if len(images) == 1:
        if images[0].suffix.lower() not in _TIFF:
            # How a TIFF is read depends on the bands of the model.
            only = read_image(images[0], options.max_pixels)
        # A single image needs a progress bar only for its windows.
        arguments["verbose"] = bool(options.window) and sys.stdout.isatty()
    arguments["show_bands"] = options.show_bands
    is_default = not options.model_is_chosen
    # With windows, images may be too large for a map of the confidence.
    arguments["confidence"] = options.what == "confidence" or (
        is_default and options.window is None
    )
    network = load_predictor(options.model, options.backbone, options.precision)
    if is_default:
        print_note(DEFAULT_MODEL_NOTE)

    def segment_file(source: Source, output: Path) -> None:
        from keras_pspnet.inference.segment import segment

        result = segment(network, source, **arguments)
        result.save(output, options.what, options.colorblind)
        areas = result.areas().items()
        shares = ", ".join(f"{name} {share:.1%}" for name, share in areas)
        print(f"{output}: {shares}", flush=True)
        confidence = result.confidence
        if is_default and confidence is not None and is_unsure(confidence):
            print_note(
                f"{output}: the model is unsure nearly everywhere; the image "
                "may show other things than its classes"
            )

    if len(images) > 1:
        return _segment_all(segment_file, images, outputs)
    if only is None or network.bands != RGB:
        segment_file(images[0], outputs[0])
    else:
        segment_file(only, outputs[0])
    return 0


def _segment_all(
    segment_file: Callable[[Source, Path], None],
    images: Sequence[Path],
    outputs: Sequence[Path],
) -> int:
    from keras_pspnet.inference import image_errors

    written = failed = 0
    errors = image_errors()
    try:
        with progress() as bar:
            pairs = list(zip(images, outputs, strict=True))
            for image, output in bar.track(pairs, description="segment"):
                try:
                    segment_file(image, output)
                    written += 1
                except errors as error:
                    failed += 1
                    what = str(error) or type(error).__name__
                    print_error(f"{image}: {what}")
    finally:
        # Printed after Ctrl-C, too, which `main` handles.
        noun = "image" if written == 1 else "images"
        print(f"{written} {noun} written, {failed} failed")
    return 1 if failed else 0


def _outputs(
    options: argparse.Namespace, images: Sequence[Path]
) -> Sequence[Path]:
    """Names an output for each image, and makes their folder.

    Raises:
        OSError: If the output cannot be written.
        ValueError: If two outputs would have the same name, or one would
            replace an image.
    """
    from keras_pspnet.data import IMAGE_SUFFIXES
    from keras_pspnet.utils import check_writable, naming_errors
    from keras_pspnet.visualization.segmentation import OF_MASKS, check_suffix

    output = Path(options.output)
    is_folder = output.is_dir() or options.output.endswith(("/", os.sep))
    suffixes = (*IMAGE_SUFFIXES, *OF_MASKS)
    if not is_folder and output.suffix.lower() in suffixes:
        if len(images) > 1:
            raise NotADirectoryError(
                f"`output` must be a folder for {len(images)} images. "
                f"Received: output={options.output!r}"
            )
        check_suffix(output, options.what)
        check_writable(output)
        _check_inputs_stay(images, [output])
        return [output]
    names: dict[str, Path] = {}
    for image in images:
        other = names.setdefault(os.path.normcase(image.stem), image)
        if other is not image:
            raise ValueError(
                "`paths` must be images with different names for one folder. "
                f"Received: {str(other)!r} and {str(image)!r}"
            )
    outputs = [
        output / f"{image.stem}{_suffix(image, options.what)}"
        for image in images
    ]
    _check_inputs_stay(images, outputs)
    with naming_errors("output", output, "a folder that can be written"):
        output.mkdir(parents=True, exist_ok=True)
    check_writable(output / "a.png")
    return outputs


def _suffix(image: Path, what: str | None) -> str:
    """Returns the suffix of an image's output: a GeoTIFF's mask is a .tif."""
    from keras_pspnet.data import image_georeference

    if image.suffix.lower() not in _TIFF or what in ("overlay", "confidence"):
        return ".png"
    # An unreadable file is reported when its turn comes.
    with contextlib.suppress(OSError):
        if image_georeference(image) is not None:
            return ".tif"
    return ".png"


def _check_inputs_stay(images: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Refuses outputs that would replace an input, even through a link.

    Raises:
        ValueError: If an output is one of the images.
    """
    inputs = {image.resolve(): image for image in images}
    for output in outputs:
        if output.resolve() in inputs:
            raise ValueError(
                "`output` must not replace an image that is segmented. "
                f"Received: output={str(output)!r} for "
                f"{str(inputs[output.resolve()])!r}"
            )
