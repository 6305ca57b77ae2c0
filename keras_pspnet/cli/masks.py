"""`keras-pspnet masks`: writes any data set as folders of images and masks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from keras_pspnet.cli.common import (
    SHEET,
    Commands,
    add_reading_options,
    chosen,
    positive,
    print_error,
    print_warning,
    progress,
    reading_arguments,
    write_sheet,
)

if TYPE_CHECKING:
    from keras_pspnet.data import SegmentationData
    from keras_pspnet.visualization import Segmentation


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "masks",
        help="convert annotations to images, masks and labels.txt",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder of images with masks or with annotations: labelme, "
        "COCO, YOLO, CVAT, Label Studio, VIA, LabelMe or VOC",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="DIR",
        help="new or empty folder for images, masks and labels.txt; several "
        "splits get a folder each",
    )
    add_reading_options(parser)
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="labels.txt that names the classes, instead of the source's own",
    )
    parser.add_argument(
        "--bands",
        type=positive,
        default=3,
        metavar="N",
        help="bands of the images (default: 3, RGB)",
    )
    parser.add_argument(
        "--sheet",
        metavar="PNG",
        help=f"write a sheet of {SHEET} images and mask overlays to this file",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command.

    Args:
        options: The parsed options.

    Returns:
        Exit status: 0, or 1 if some pairs could not be written.

    Raises:
        OSError: If files cannot be read or written.
        ValueError: If the source has no known format, or no pair.
    """
    from keras_pspnet.data import LABEL_FILE, label_file_text
    from keras_pspnet.utils import check_writable, write_atomically
    from keras_pspnet.visualization import check_suffix

    if options.sheet is not None:
        check_suffix(options.sheet, "mask")
        check_writable(options.sheet)
    output = Path(options.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(
            "`output` must be a new or empty folder, so that no other pairs "
            f"get mixed in. Received: output={options.output!r}"
        )
    sets = _load(options)
    labels = next(iter(sets.values())).labels
    for name, data in sets.items():
        if not data.samples:
            raise ValueError(
                "`source` must hold images with ground truth. Received: "
                f"source={options.source!r} ({data.form}), where "
                f"{'; '.join(issue.text for issue in data.issues[:3])}"
            )
        if data.labels.names != labels.names:
            raise ValueError(
                "`source` must have the same classes in all splits; list them "
                f"in labels.txt. Received: {', '.join(labels.names)}, and in "
                f"split {name!r} {', '.join(data.labels.names)}"
            )
    text = label_file_text(labels)
    errors = 0
    shown: list[Segmentation] = []
    for name, data in sets.items():
        folder = output / name
        written, failed, seen = _write(data, folder)
        errors += failed
        shown += seen[: max(SHEET // len(sets), 1)]
        print(f"{data.form}: {written} pairs written to {folder}")
    # Last, so that an interrupted run does not look complete.
    write_atomically(output / LABEL_FILE, text.encode())
    if options.sheet is not None:
        write_sheet(options.sheet, shown)
    return 1 if errors else 0


def _load(options: argparse.Namespace) -> dict[str, SegmentationData]:
    """Opens the requested split under the name "", or all splits by name."""
    from keras_pspnet.data import SplitError, load

    source = options.source
    arguments = {
        **reading_arguments(options),
        **chosen(options, "labels", "bands"),
        "strict": False,
    }
    try:
        return {"": load(source, **arguments)}
    except SplitError as error:
        if options.split is not None or "" in error.splits:
            raise
        return {
            name: load(source, **{**arguments, "split": name})
            for name in error.splits
        }


def _write(
    data: SegmentationData, folder: Path
) -> tuple[int, int, list[Segmentation]]:
    """Writes a split.

    Returns:
        The number of pairs written, the number of errors, and the first
        pairs.
    """
    from keras_pspnet.data import Issue, write_pairs

    issues = list(data.issues)
    seen: list[Segmentation] = []
    written = 0
    with progress() as bar:
        pairs = write_pairs(data, folder)
        for pair in bar.track(pairs, len(data), description="write"):
            if isinstance(pair, Issue):
                issues.append(pair)
                continue
            written += 1
            if len(seen) < SHEET:
                seen.append(pair)
    for issue in issues:
        (print_warning if issue.is_warning else print_error)(issue.text)
    return written, sum(not issue.is_warning for issue in issues), seen
