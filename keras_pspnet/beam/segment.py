"""Segments any number of images on any number of machines."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems

from keras_pspnet.beam.errors import ERRORS, WriteErrors, counter, failure
from keras_pspnet.beam.masks import (
    CONFIDENCE,
    class_fractions,
    encode_mask,
    mean_confidence,
    stored_confidence,
    table_schema,
)
from keras_pspnet.beam.model import LoadedModel, SharedModel, digest
from keras_pspnet.beam.storage import (
    absolute,
    find_patterns,
    matches,
    prepare_folder,
    read_image_file,
    write_whole,
)
from keras_pspnet.data import MAX_PIXELS, read_mask
from keras_pspnet.inference import check_scales
from keras_pspnet.inference.segment import segment

# What is in the output folder, besides the list of errors.
MASKS_FOLDER = "masks"
TABLE_FILE = "table.parquet"
# Every image is counted by one of them.
COUNTERS = ("segmented", "reused", "failed")
# Of an image's name in its mask's; file systems take 255 bytes in all.
_STEM_BYTES = 100


class Segmented(NamedTuple):
    """What `SegmentImages` returns.

    Attributes:
        rows: For each image that has a mask, a row of the table as a
            dictionary.
        errors: For each other image, `{"path": ..., "error": ...}`.
    """

    rows: beam.PCollection
    errors: beam.PCollection


class SegmentImages(beam.PTransform):
    """Segments images into masks and a table of what is in them.

    Apply it to a pipeline: the result is `Segmented`. The output folder holds

    - `masks/NAME-HASH.png`, index masks with the classes' colours. The hash
      is of the image's bytes, the model and the arguments: a mask that
      exists already, from an interrupted run or of other images, is what
      would be computed, and is used.
    - `table.parquet`, a row for each image that has a mask, in any order:
      `path`; `mask`, its path in the output folder; `width` and `height`;
      `confidence`, the mean, if asked for; `fraction_CLASS`, the share 0..1
      of the pixels, for each class; `image_sha256`, of the file; and
      `model_sha256`, of the weights as `evaluate` reports it, or of an
      exported model's files.
    - `errors.jsonl`, a line `{"path": ..., "error": ...}` for each image that
      cannot be read or segmented. It has no mask; the next run tries again.

    Each worker process loads the model once, if it needs it at all, and
    segments one image at a time.

    Args:
        patterns: Files to segment, or patterns of them; `*` stays within a
            folder, `**` does not, and a folder stands for the files in it.
            All file systems of Beam work (gs://, s3://, hdfs://, ... where
            their extra is installed). A file that several patterns match is
            taken once, and none that is in the output folder.
        model: Name of a published model, `"hf://owner/name"`, a folder that
            `save_pretrained` wrote, or an exported model. Folders may be on
            any file system; local ones must be on all workers.
        output: The folder, created if it is missing, on any file system.
        backbone: Backbone of a published model.
        precision: Precision of the convolutions, `"float32"` or
            `"bfloat16"`; None is float32, or the exported model's own.
        scales: See `keras_pspnet.segment`, as for all that follow.
        flip: Whether to average the flipped image as well.
        window: Side of a sliding window; None is the whole image.
        max_side: Longer images are downscaled for the network.
        max_pixels: Larger images are refused before they are decoded.
        confidence: Whether to compute the mean confidence of each image.

    Raises:
        ImportError: If the runtime of an exported model is not installed.
        OSError: If a pattern matches no file, the model cannot be read, or
            the output cannot be written.
        TypeError: If `patterns` holds anything but strings.
        ValueError: If there are no patterns, or an argument is out of range.

    Examples:
        >>> import apache_beam
        >>> from keras_pspnet.beam import SegmentImages
        >>> segmented = SegmentImages("photo.jpg", "aerial", "out", window=96)
        >>> rows, errors = apache_beam.Pipeline() | segmented
    """

    def __init__(
        self,
        patterns: str | Sequence[str],
        model: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        backbone: str | None = None,
        precision: str | None = None,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        window: int | None = None,
        max_side: int | str | None = "auto",
        max_pixels: int = MAX_PIXELS,
        confidence: bool = False,
    ) -> None:
        super().__init__()
        self._patterns = find_patterns(patterns)
        self._output = absolute(os.fspath(output))
        self._arguments: dict[str, Any] = {
            "scales": check_scales(scales),
            "flip": flip,
            "window": window,
            "max_side": max_side,
            "max_pixels": max_pixels,
            "confidence": confidence,
        }
        # Workers in this process share what is loaded here.
        self._model = SharedModel(model, backbone, precision)
        self._loaded = self._model.acquire()
        # Wrong arguments would make every image fail.
        segment(
            self._loaded.network,
            np.zeros((32, 32, 3), "uint8"),
            **self._arguments,
        )
        prepare_folder("output", self._output)

    def expand(self, pipeline: Any) -> Segmented:
        """Builds the steps.

        Args:
            pipeline: The pipeline, or its beginning.
        """
        labels = self._loaded.network.labels
        found = (
            pipeline
            | "Patterns" >> beam.Create(self._patterns)
            | "Match"
            >> beam.ParDo(_Match(self._output)).with_outputs(
                ERRORS, main="paths"
            )
        )
        done = (
            found.paths
            # It also distributes them over the workers.
            | "Once" >> beam.Distinct()
            | "Segment"
            >> beam.ParDo(
                _Segment(
                    self._model, self._loaded, self._output, self._arguments
                )
            ).with_outputs(ERRORS, main="rows")
        )
        errors = (found[ERRORS], done[ERRORS]) | "Errors" >> beam.Flatten()
        # One file, as for the errors.
        _ = done.rows | "Table" >> beam.io.WriteToParquet(
            f"{self._output}/{TABLE_FILE}",
            table_schema(labels, self._arguments["confidence"]),
            codec="snappy",
            shard_name_template="",
        )
        _ = errors | "ErrorsFile" >> WriteErrors(self._output)
        return Segmented(done.rows, errors)


class _Match(beam.DoFn):
    """From a pattern to the paths of its files."""

    def __init__(self, output: str) -> None:
        super().__init__()
        self._output = f"{output}/"
        self._failed = counter("failed")

    def process(self, pattern: str) -> Iterator[Any]:
        for path in matches(pattern):
            if path.startswith(self._output):
                continue
            try:
                path.encode("utf-8")
            except UnicodeEncodeError as error:
                # Neither Beam nor Parquet can hold it.
                self._failed.inc()
                yield failure(path, error)
            else:
                yield path


class _Segment(beam.DoFn):
    """From the path of an image to its mask and its row."""

    def __init__(
        self,
        model: SharedModel,
        loaded: LoadedModel,
        output: str,
        arguments: dict[str, Any],
    ) -> None:
        super().__init__()
        # The workers get names and hashes, not the loaded model.
        self._model = model
        self._identity = loaded.identity
        self._model_sha256 = loaded.sha256
        self._labels = loaded.network.labels
        self._output = output
        self._arguments = arguments
        self._max_pixels = arguments["max_pixels"]
        # The limit decides which images have a mask, but no mask.
        self._key = digest(
            loaded.identity,
            {
                name: value
                for name, value in arguments.items()
                if name != "max_pixels"
            },
        )
        self._counters = {name: counter(name) for name in COUNTERS}

    def process(self, path: str) -> Iterator[Any]:
        # File systems, decoders and runtimes have no class of errors in
        # common, and no image may stop the others.
        try:
            data = read_image_file(path, self._max_pixels)
        except Exception as error:
            self._counters["failed"].inc()
            yield failure(path, error)
            return
        sha256 = hashlib.sha256(data).hexdigest()
        mask_name = f"{MASKS_FOLDER}/{self._mask_name(path, sha256)}"
        file = f"{self._output}/{mask_name}"
        finished = self._finished(file)
        if finished is None:
            # Loaded here: where every mask exists, no worker needs it.
            loaded = self._model.acquire_same(self._identity)
            try:
                with loaded.lock:
                    result = segment(loaded.network, data, **self._arguments)
            except Exception as error:
                self._counters["failed"].inc()
                yield failure(path, error)
                return
            mask, confidence = result.mask, mean_confidence(result)
            write_whole(file, encode_mask(mask, self._labels, confidence))
            self._counters["segmented"].inc()
        else:
            mask, confidence = finished
            self._counters["reused"].inc()
        yield {
            "path": path,
            "mask": mask_name,
            "width": mask.shape[1],
            "height": mask.shape[0],
            **({} if confidence is None else {CONFIDENCE: confidence}),
            **class_fractions(mask, self._labels),
            "image_sha256": sha256,
            "model_sha256": self._model_sha256,
        }

    def _mask_name(self, path: str, sha256: str) -> str:
        stem = PurePosixPath(path.replace("\\", "/")).stem
        short = stem.encode()[:_STEM_BYTES].decode(errors="ignore")
        return f"{short}-{digest(self._key, sha256)[:32]}.png"

    def _finished(self, file: str) -> tuple[np.ndarray, float | None] | None:
        """Reads a mask and its mean confidence, if there is a whole one."""
        if not FileSystems.exists(file):
            return None
        data = read_image_file(file, self._max_pixels)
        try:
            return read_mask(data, self._max_pixels), stored_confidence(data)
        # After a power cut, a file may have its name but not all its bytes.
        except ValueError:
            return None
