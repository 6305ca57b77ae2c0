"""`keras-pspnet info`: lists the published models."""

from __future__ import annotations

import argparse

from keras_pspnet.cli.common import Commands
from keras_pspnet.presets import PRESETS


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser("info", help="list the published models")
    parser.set_defaults(run=run, imports_keras=False)


def run(options: argparse.Namespace) -> int:
    """Prints a table of the models, their protocols and their licenses.

    Args:
        options: The parsed options.

    Returns:
        Exit status 0.
    """
    line = "{:<20} {:<9} {:>3} {:>6} {:>6}  {}"
    print(line.format("name", "backbone", "MB", "mIoU", "multi", "data"))
    for row in PRESETS:
        print(
            line.format(
                row.name,
                row.backbone,
                row.megabytes,
                f"{row.mean_iou:.4f}",
                f"{row.mean_iou_multi:.4f}",
                row.data,
            )
        )
    print("\nValidation mIoU at one scale and at several, by protocol:")
    for protocol in dict.fromkeys(row.protocol for row in PRESETS):
        names = dict.fromkeys(
            row.name for row in PRESETS if row.protocol == protocol
        )
        print(f"  {', '.join(names)}: {protocol}")
    print("\nLicense and source of the weights:")
    for row in PRESETS:
        source = "ships with the package" if row.is_shipped else row.url
        print(f"  {row.name} {row.backbone}: {row.license}\n    {source}")
    unhashed = dict.fromkeys(
        row.name for row in PRESETS if not (row.is_shipped or row.sha256)
    )
    print(
        f"\nNo hash is published for {', '.join(unhashed)}.\n"
        "The first download records its hash, and later ones must match it."
    )
    return 0
