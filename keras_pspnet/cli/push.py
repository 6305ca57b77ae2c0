"""`keras-pspnet push`: uploads a model folder to the Hugging Face Hub."""

from __future__ import annotations

import argparse

from keras_pspnet.cli.common import Commands, chosen


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "push",
        help="upload a model folder to the Hugging Face Hub",
        epilog="The token comes from `hf auth login` or the variable HF_TOKEN. "
        "All files are uploaded in one commit; the folder is not changed.",
    )
    parser.add_argument(
        "folder",
        help="folder written by save_pretrained, such as RUN/best",
    )
    parser.add_argument("target", help="repository to create: hf://owner/name")
    parser.add_argument(
        "--license",
        metavar="NAME",
        help="license of the weights as the Hub abbreviates it, such as "
        "apache-2.0; required unless the model card names one",
    )
    parser.add_argument(
        "--datasets",
        nargs="+",
        default=(),
        metavar="NAME",
        help="data sets the model was trained on, for the model card",
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="recipe that trained the model, for the model card",
    )
    parser.add_argument(
        "--private",
        action="store_true",
        help="create a repository that only its owner can see",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the files of an existing repository",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show what would be uploaded, without contacting the Hub",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command.

    Args:
        options: The parsed options.

    Returns:
        Exit status 0.

    Raises:
        ImportError: If huggingface_hub is not installed.
        OSError: As in `keras_pspnet.pretrained.push_pretrained`.
        ValueError: Likewise.
    """
    from keras_pspnet.pretrained import push_pretrained

    push = push_pretrained(
        options.folder,
        options.target,
        **chosen(options, "license", "datasets", "recipe"),
        **chosen(options, "private", "overwrite", "dry_run"),
    )
    for name, size in push.sizes.items():
        print(f"{name:<18} {size:>13,} bytes")
    print(f"license: {push.license}")
    if push.scores and "mean_iou" in push.scores:
        print(f"mean IoU in the card: {push.scores['mean_iou']:.4f}")
    if push.card_is_kept:
        print("README.md has been edited; it is uploaded unchanged")
    if push.url is None:
        print(f"Dry run: nothing was uploaded to {push.target}")
    else:
        print(f"Uploaded to {push.url}; load_pretrained({push.target!r})")
    return 0
