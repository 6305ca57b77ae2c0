"""`keras-pspnet evaluate`: a set's scores, whole or in shards that add up."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from keras_pspnet.cli_shared import (
    add_model_options,
    is_exported,
    load_network,
    progress,
)
from keras_pspnet.data.decode import find_pairs, read_pair
from keras_pspnet.evaluation import evaluate
from keras_pspnet.files import check_writable, write_atomically
from keras_pspnet.protocols import NAMES, make_protocol
from keras_pspnet.scores import Confusion, Scores
from keras_pspnet.visualization.segmentation import check_suffix

# Options that go with --merge, as attributes of what is parsed.
_MERGE = ("run", "merge", "output", "confusion_plot")
_FOLDERS = ("images", "masks")
_PROTOCOL = ("protocol", "scales", "flip", "window", "base")


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    """Adds the command to the programme's.

    Args:
        commands: The programme's commands.
    """
    # What is left out stays out of the call: the functions have the defaults.
    parser = commands.add_parser(
        "evaluate",
        help="score a model on pictures with masks",
        argument_default=argparse.SUPPRESS,
    )
    data = parser.add_argument_group(
        "data", "index masks (palette or grey PNG) named as their pictures"
    )
    data.add_argument("--data", metavar="DIR", help="DIR/images, DIR/masks")
    data.add_argument("--images", metavar="DIR", help="or folder of pictures")
    data.add_argument("--masks", metavar="DIR", help="and folder of masks")
    data.add_argument(
        "--ignore-label",
        type=int,
        metavar="N",
        help="label that is never counted (default: the model's, mostly 255)",
    )
    data.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="only every N-th picture, from the I-th, 0 to N-1",
    )
    add_model_options(parser)
    _add_protocol_options(parser)
    parser.add_argument(
        "-o", "--output", metavar="JSON", help="report to write"
    )
    parser.add_argument(
        "--confusion-plot",
        metavar="PNG",
        help="image of the confusion matrix to write",
    )
    parser.add_argument(
        "--merge",
        nargs="+",
        metavar="JSON",
        help="instead of a model, sum the reports of all shards of a set",
    )
    parser.set_defaults(run=run)


def _add_protocol_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("protocol")
    group.add_argument(
        "--protocol",
        choices=NAMES,
        help="how pictures are looked at: as they are (plain), or as "
        "mmsegmentation, semseg or the authors' Caffe code evaluates "
        "(default: plain)",
    )
    group.add_argument(
        "--scales",
        type=float,
        nargs="+",
        metavar="S",
        help="sizes whose probabilities are averaged (default: 1)",
    )
    group.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="average mirrored pictures in (default: as the protocol's source)",
    )
    group.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="side of sliding windows (default: as the protocol's source)",
    )
    group.add_argument(
        "--base",
        type=int,
        nargs="+",
        metavar="N",
        help="longest side of pictures before scaling; mmseg: longest and "
        "shortest (default: as the protocol's source)",
    )


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    try:
        shard = int(index), int(count)
    except ValueError:
        shard = 0, 0
    if not 0 <= shard[0] < shard[1]:
        raise argparse.ArgumentTypeError(
            f"must be I/N with I from 0 to N-1: {text!r}"
        )
    return shard


def run(options: argparse.Namespace) -> int:
    """Runs the command.

    Args:
        options: What was parsed.

    Returns:
        Exit status 0.

    Raises:
        ImportError: If what runs the model is not installed.
        OSError: If files cannot be read or written.
        ValueError: If an option is out of range, or files do not fit.
    """
    # What can be wrong with files and options shows before the long work.
    output = getattr(options, "output", None)
    plot = getattr(options, "confusion_plot", None)
    if output is not None:
        check_writable(output)
    if plot is not None:
        check_suffix(plot)
        check_writable(plot)
    scores = _merged(options) if "merge" in options else _evaluated(options)
    # Before a full disk can take the result of long work.
    print(scores.table())
    print()
    print(_measured(scores))
    if output is not None:
        scores.save(output)
    if plot is not None:
        _save_confusion(scores, plot)
    written = [path for path in (output, plot) if path is not None]
    if written:
        print(f"Written to {', '.join(written)}")
    return 0


def _evaluated(options: argparse.Namespace) -> Scores:
    """Scores the model that the options name on their data."""
    how = {
        name: getattr(options, name) for name in _PROTOCOL if name in options
    }
    if len(how.get("base", ())) == 1:
        (how["base"],) = how["base"]
    arguments = dict(how)
    if "protocol" in arguments:
        arguments["name"] = arguments.pop("protocol")
    make_protocol(**arguments)
    if "ignore_label" in options:
        # Refuses what is no label.
        Confusion(1, options.ignore_label)
    pairs = find_pairs(*_folders(options))
    index, count = getattr(options, "shard", (0, 1))
    if count > len(pairs):
        raise ValueError(
            "`shard` must be of at most as many as there are pictures. "
            f"Received: shard={index}/{count} of {len(pairs)} pictures"
        )
    # Here and not in `evaluate`, which would read the others' pictures too.
    pairs = pairs[index::count]

    network = load_network(options)
    labels = network.labels
    ignored = getattr(options, "ignore_label", labels.ignore_label)

    def read(done: Callable[[], None]) -> Iterator[tuple[Any, Any]]:
        for pair in pairs:
            yield read_pair(*pair, labels.num_classes, ignored)
            done()

    # A damaged file among the last would waste the work before it.
    with progress("check", len(pairs)) as done:
        for _ in read(done):
            pass
    with progress("evaluate", len(pairs)) as done:
        scores = evaluate(network, read(done), ignore_label=ignored, **how)

    protocol = dict(scores.protocol or {})
    digest = scores.weights_sha256
    if is_exported(options):
        digest = _file_sha256(options.model)
    else:
        protocol["precision"] = getattr(options, "precision", "float32")
    if "shard" in options:
        protocol["shard"] = [index, count]
    return dataclasses.replace(scores, protocol=protocol, weights_sha256=digest)


def _folders(options: argparse.Namespace) -> tuple[str, str]:
    """Returns the folders of pictures and of masks."""
    given = [name for name in ("data", "images", "masks") if name in options]
    if given == ["data"]:
        folders = [os.path.join(options.data, name) for name in _FOLDERS]
        return folders[0], folders[1]
    if given == ["images", "masks"]:
        return options.images, options.masks
    raise ValueError(
        "`data` must be given, or `images` and `masks`. "
        f"Received: {', '.join(given) or 'neither'}"
    )


def _file_sha256(path: str) -> str:
    """Returns the digest of the file that holds an export's weights."""
    file = Path(path)
    if file.is_dir():
        file /= "saved_model.pb"
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _merged(options: argparse.Namespace) -> Scores:
    """Adds the reports of all shards of one evaluation.

    Raises:
        OSError: If a report cannot be read.
        ValueError: If they are not those, each once.
    """
    for name in vars(options):
        if name not in _MERGE:
            raise ValueError(
                f"`{name}` must be left out where reports are merged. "
                f"Received: {name}={getattr(options, name)!r}"
            )
    paths: list[str] = options.merge
    output = getattr(options, "output", None)
    if output is not None and os.path.exists(output):
        for path in paths:
            if os.path.exists(path) and os.path.samefile(path, output):
                raise ValueError(
                    "`output` must not replace a report that is merged. "
                    f"Received: output={output!r}"
                )
    shards: dict[int, tuple[str, Scores]] = {}
    count = 0
    for path in paths:
        scores = Scores.load(path)
        index, of = _shard_of(path, scores)
        if shards and of != count:
            raise ValueError(
                "`merge` must be shards of one set. Received: "
                f"{paths[0]!r} of {count} and {path!r} of {of}"
            )
        count = of
        if index in shards:
            raise ValueError(
                "`merge` must be each shard once. Received: shard "
                f"{index}/{count} in {shards[index][0]!r} and {path!r}"
            )
        protocol = dict(scores.protocol or {})
        del protocol["shard"]
        shards[index] = path, dataclasses.replace(scores, protocol=protocol)
    missing = [
        f"{index}/{count}" for index in range(count) if index not in shards
    ]
    if missing:
        raise ValueError(
            "`merge` must be all shards of a set. "
            f"Received: reports without {', '.join(missing)}"
        )
    return _sum([shards[index] for index in range(count)])


def _shard_of(path: str, scores: Scores) -> tuple[int, int]:
    """Returns (index, count) of a report.

    Raises:
        ValueError: If it has none.
    """
    shard = (scores.protocol or {}).get("shard")
    match shard:
        case [int(index), int(count)] if 0 <= index < count:
            return index, count
    raise ValueError(
        "`merge` must be reports of evaluate with --shard. "
        f"Received: {path!r} with shard={shard!r}"
    )


def _sum(shards: Sequence[tuple[str, Scores]]) -> Scores:
    """Adds scores that were made in the same way, of parts of one set."""
    _, total = shards[0]
    for path, scores in shards[1:]:
        try:
            total += scores
        except ValueError as error:
            raise ValueError(
                f"`merge` must be reports of one evaluation ({error}), "
                f"Received: {path!r} beside {shards[0][0]!r}"
            ) from error
    # Sets of other pictures mostly have another number of them.
    for index, (path, scores) in enumerate(shards):
        part = len(range(index, total.pictures, len(shards)))
        if scores.pictures != part:
            raise ValueError(
                f"`merge` must be shards of one set: of {total.pictures} "
                f"pictures, shard {index}/{len(shards)} has {part}. "
                f"Received: {path!r} with {scores.pictures}"
            )
    return total


def _save_confusion(scores: Scores, path: str) -> None:
    stream = BytesIO()
    form = "PNG" if check_suffix(path) == ".png" else "JPEG"
    scores.confusion_plot().save(stream, form, quality=92)
    write_atomically(path, stream.getvalue())


def _measured(scores: Scores) -> str:
    """Returns how scores were measured, as lines of text."""
    rows = dict(scores.protocol or {})
    if "name" in rows:
        rows = {"protocol": rows.pop("name"), **rows}
    if "shard" in rows:
        rows["shard"] = "/".join(map(str, rows["shard"]))
    rows["weights_sha256"] = scores.weights_sha256
    rows["versions"] = ", ".join(map(" ".join, scores.versions.items()))
    width = max(map(len, rows))
    return "\n".join(
        f"{name.replace('_', ' '):{width}}  {_text(value)}"
        for name, value in rows.items()
    )


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
