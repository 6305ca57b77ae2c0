"""Scores a model on many machines, with one confusion matrix."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import apache_beam as beam

from keras_pspnet.beam.errors import ERRORS, count, failure, write_errors
from keras_pspnet.beam.model import SharedModel
from keras_pspnet.beam.storage import (
    absolute,
    is_local,
    matches,
    prepare_output,
    read_image_file,
)
from keras_pspnet.data import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    MAX_PIXELS,
    Issue,
    Listing,
    Sample,
    check_complete,
    check_label_file,
    ignore,
    label_set_encoding,
    load,
    pair_files,
    read_pair,
)
from keras_pspnet.evaluation import (
    Confusion,
    Protocol,
    Scores,
    make_protocol,
    predict_mask,
)
from keras_pspnet.labels import LabelSet
from keras_pspnet.utils import check_data_folder

SCORES_FILE = "scores.json"


class EvaluateImages(beam.PTransform):
    """Scores a model on images with masks, as `keras_pspnet.evaluate` does.

    Apply it to a pipeline. The result is two collections: the first holds one
    `Scores` of the whole set, or nothing if a pair failed; the second holds
    `{"path": ..., "error": ...}` for each pair that failed. Workers count
    confusion matrices of their images. Their sum is exact in any order, so the
    scores equal those of one process. The output folder holds

    - `scores.json`, the report, as `Scores.save` writes it. It is empty if a
      pair failed, since partial scores would be mistaken for those of the
      whole set.
    - `errors.jsonl`, a line `{"path": ..., "error": ...}` for each image that
      cannot be scored: it is unreadable, differs in size from its mask, or has
      labels out of range.

    Each worker process loads the model once and scores one image at a time.

    Args:
        data: Folder in any format that `keras_pspnet.data.load` reads, at the
            same path on all workers; or, on another file system of Beam, a
            folder of `images` and `masks`: see `keras_pspnet.data.pair_files`.
        model: See `SegmentImages`, also for the next three.
        output: The output folder, on any file system; created if missing.
        backbone: Backbone of a published model.
        precision: Precision of the convolutions.
        protocol: See `keras_pspnet.evaluate`, also for the next four.
        scales: Image scales whose probabilities are averaged.
        flip: Whether to average the flipped image as well.
        window: Side of a sliding window.
        base: Size that images are resized to.
        ignore_label: Label that is never counted; None is the model's.
        split: See `keras_pspnet.data.load`, also for the next.
        ignore_unknown: Whether to ignore values and colors without a class.

    Raises:
        ImportError: If the runtime of an exported model is not installed.
        OSError: If the folders or the model cannot be read, or the output
            cannot be written.
        ValueError: If an image has no mask, a mask has no image, or an
            argument is out of range.

    Examples:
        >>> import apache_beam
        >>> from keras_pspnet.beam import EvaluateImages
        >>> evaluated = EvaluateImages("data/val", "aerial", "out")
        >>> scores, errors = apache_beam.Pipeline() | evaluated
    """

    def __init__(
        self,
        data: str | os.PathLike[str],
        model: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        backbone: str | None = None,
        precision: str | None = None,
        protocol: str = "plain",
        scales: Sequence[float] = (1.0,),
        flip: bool | None = None,
        window: int | None = None,
        base: int | Sequence[int] | None = None,
        ignore_label: int | None = None,
        split: str | None = None,
        ignore_unknown: bool = False,
    ) -> None:
        super().__init__()
        self._protocol = make_protocol(protocol, scales, flip, window, base)
        folder = absolute(os.fspath(data))
        if is_local(folder):
            check_data_folder(data)
        self._model = SharedModel(model, backbone, precision)
        # Workers in this process share this model.
        self._loaded = self._model.acquire()
        labels = self._loaded.network.labels
        if ignore_label is None:
            ignore_label = labels.ignore_label
        # Refuses an invalid label.
        Confusion(labels.num_classes, ignore_label)
        # Pixels with the ignore label are read as 255.
        self._zero = Confusion(labels.num_classes)
        self._samples = _find_samples(
            folder,
            split,
            labels=labels,
            ignore_label=ignore_label,
            ignore_unknown=ignore_unknown,
            bands=self._loaded.network.bands,
        )
        self._settings = {
            **self._protocol.to_dict(),
            "ignore_label": ignore_label,
        }
        if self._loaded.network.model is not None:
            self._settings["precision"] = precision or "float32"
        self._output = prepare_output(output)

    def expand(self, pipeline: Any) -> tuple[Any, Any]:
        """Adds the steps to a pipeline.

        Args:
            pipeline: The pipeline, or its beginning.
        """
        step = beam.FlatMap(_count, self._model, self._protocol, self._zero)
        counted = (
            pipeline
            | "Pairs" >> beam.Create(self._samples)
            | "Distribute" >> beam.Reshuffle()
            | "Count" >> step.with_outputs(ERRORS, main="matrices")
        )
        errors = counted[ERRORS]
        failed = errors | "Failed" >> beam.combiners.Count.Globally()
        scores = (
            counted.matrices
            | "Sum" >> beam.CombineGlobally(sum, self._zero)
            | "Scores"
            >> beam.FlatMap(
                _scores,
                beam.pvalue.AsSingleton(failed),
                self._loaded.network.labels,
                self._settings,
                self._loaded.sha256,
            )
        )
        _ = (
            scores
            | "Report" >> beam.Map(_report)
            | "ReportFile"
            >> beam.io.WriteToText(
                f"{self._output}/{SCORES_FILE}", shard_name_template=""
            )
        )
        write_errors(errors, self._output)
        return scores, errors


def _count(
    sample: Sample,
    model: SharedModel,
    protocol: Protocol,
    zero: Confusion,
) -> Iterator[Any]:
    """Yields the confusion matrix of a pair, or its error."""
    loaded = model.acquire()
    confusion = Confusion(zero.num_classes)
    # As in `SegmentImages`, errors have no common class. A run lists all of
    # them, so that corrupt files need not be found one run at a time.
    try:
        files: list[str | bytes] = [sample.image, sample.mask]
        if not is_local(sample.image):
            files = [
                read_image_file(path, MAX_PIXELS)
                for path in (sample.image, sample.mask)
            ]
        bands = loaded.network.bands
        with loaded.lock:
            image, mask = read_pair(
                files[0], files[1], sample.ground_truth, bands=bands
            )
            confusion.add(mask, predict_mask(loaded.network, image, protocol))
    except Exception as error:
        yield failure(sample.image, error)
    else:
        count("scored")
        yield confusion


def _scores(
    confusion: Confusion,
    failed: int,
    labels: LabelSet,
    settings: dict[str, Any],
    sha256: str,
) -> Iterator[Scores]:
    """Yields the scores of the summed matrix if no pair failed."""
    if not failed:
        yield Scores(
            confusion.counts,
            labels,
            protocol=settings,
            weights_sha256=sha256,
            images=confusion.images,
        )


def _report(scores: Scores) -> str:
    return json.dumps(scores.to_dict(), indent=2, allow_nan=False)


def _find_samples(
    folder: str, split: str | None, **options: Any
) -> list[Sample]:
    """Lists the pairs of a folder on any file system.

    Raises:
        OSError: If a folder cannot be listed.
        ValueError: If a pair is incomplete, or its format requires a local
            disk.
    """
    if is_local(folder):
        check_label_file(options["labels"], folder, split)
        data = load(folder, split, **options)
        data.check_binary()
        return data.samples
    base = f"{folder}/{split}" if split else folder
    places = f"{base}/images", f"{base}/masks"
    issues: list[Issue] = []
    pairs, _ = pair_files(
        _names(places[0], IMAGE_SUFFIXES),
        _names(places[1], MASK_SUFFIXES),
        places,
        issues,
    )
    check_complete(issues)
    labels = options["labels"]
    encoding = label_set_encoding(labels)
    listing = Listing(labels, [Sample(*p, encoding) for p in pairs], [])
    ignored = options["ignore_label"], options["ignore_unknown"]
    return ignore(listing, *ignored).samples


def _names(folder: str, suffixes: Sequence[str]) -> list[PurePosixPath]:
    """Lists files below a folder, relative to it, without hidden ones."""
    found = sorted(matches(f"{folder}/**"))
    names = [PurePosixPath(path.removeprefix(f"{folder}/")) for path in found]
    return [
        name
        for name in names
        if name.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in name.parts)
    ]
