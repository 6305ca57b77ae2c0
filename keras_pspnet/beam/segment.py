"""Segments images on many machines."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems

from keras_pspnet.beam.errors import ERRORS, count, failure, write_errors
from keras_pspnet.beam.masks import (
    CONFIDENCE,
    class_fractions,
    decode_mask,
    encode_mask,
    table_schema,
)
from keras_pspnet.beam.model import SharedModel, digest
from keras_pspnet.beam.storage import (
    find_patterns,
    matches,
    prepare_output,
    read_image_file,
    write_whole,
)
from keras_pspnet.data import MAX_PIXELS
from keras_pspnet.inference import check_scales
from keras_pspnet.inference.segment import segment
from keras_pspnet.labels import LabelSet

# Contents of the output folder, besides the list of errors.
MASKS_FOLDER = "masks"
TABLE_FILE = "table.parquet"
# Length of the image's name within its mask's: file systems allow 255 bytes.
_STEM_BYTES = 100


class SegmentImages(beam.PTransform):
    """Segments images into masks and a table of their contents.

    Apply it to a pipeline. The result is two collections: the first holds a row
    of the table, as a dictionary, for each image that has a mask; the second
    holds `{"path": ..., "error": ...}` for each other image. The output folder
    holds

    - `masks/NAME-HASH.png`, index masks with the classes' colors. The hash
      covers the image's bytes, the model and the arguments. So a mask that
      already exists, for example from an interrupted run, is used as it is.
    - `table.parquet`, a row for each image that has a mask, in any order:
      `path`; `mask`, its path in the output folder; `width` and `height`;
      `confidence`, the mean, if requested; `fraction_CLASS`, the share of
      pixels 0..1, for each class; `image_sha256`, the hash of the file; and
      `model_sha256`, the hash of the weights as `evaluate` reports it, or of
      the files of an exported model.
    - `errors.jsonl`, a line `{"path": ..., "error": ...}` for each image that
      cannot be read or segmented. It has no mask; the next run tries again.

    Each worker process segments one image at a time. It loads the model once,
    and only if a mask is missing.

    Args:
        patterns: Files to segment, or patterns; `*` stays within a folder,
            `**` does not, and a folder stands for the files in it. All file
            systems of Beam work (gs://, s3://, hdfs://, ...) if their extra is
            installed. A file that several patterns match is taken once. Files
            in the output folder are skipped.
        model: Name of a published model, `"hf://owner/name"`, a folder that
            `save_pretrained` wrote, or an exported model. Folders may be on
            any file system; local ones must be on all workers.
        output: The output folder, on any file system; created if missing.
        backbone: Backbone of a published model.
        precision: Precision of the convolutions, `"float32"` or
            `"bfloat16"`; None is float32, or the exported model's own.
        scales: See `keras_pspnet.segment`, also for the rest.
        flip: Whether to average the flipped image as well.
        window: Side of a sliding window; None is the whole image.
        max_side: Longer images are downscaled for the network.
        max_pixels: Larger images are refused before they are decoded.
        confidence: Whether to compute the mean confidence of each image.

    Raises:
        ImportError: If the runtime of an exported model is not installed.
        OSError: If a pattern matches no file, the model cannot be read, or
            the output cannot be written.
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
        self._arguments: dict[str, Any] = {
            "scales": check_scales(scales),
            "flip": flip,
            "window": window,
            "max_side": max_side,
            "max_pixels": max_pixels,
            "confidence": confidence,
        }
        self._model = SharedModel(model, backbone, precision)
        # Workers in this process share this model.
        self._loaded = self._model.acquire()
        # Finds wrong arguments here, where every image would fail.
        blank = np.zeros((32, 32, self._loaded.network.bands), "uint8")
        segment(self._loaded.network, blank, **self._arguments)
        self._output = prepare_output(output)

    def expand(self, pipeline: Any) -> tuple[Any, Any]:
        """Adds the steps to a pipeline.

        Args:
            pipeline: The pipeline, or its beginning.
        """
        step = beam.FlatMap(
            _segment,
            # Pickled as its name and hash, without the loaded model.
            self._model,
            self._loaded.sha256,
            self._loaded.network.labels,
            self._output,
            self._arguments,
        )
        done = (
            pipeline
            | "Patterns" >> beam.Create(self._patterns)
            | "Match" >> beam.FlatMap(_match, f"{self._output}/")
            # Also distributes the paths over the workers.
            | "Once" >> beam.Distinct()
            | "Segment" >> step.with_outputs(ERRORS, main="rows")
        )
        # A single file, as for the errors.
        _ = done.rows | "Table" >> beam.io.WriteToParquet(
            f"{self._output}/{TABLE_FILE}",
            table_schema(
                self._loaded.network.labels, self._arguments["confidence"]
            ),
            codec="snappy",
            shard_name_template="",
        )
        write_errors(done[ERRORS], self._output)
        return done.rows, done[ERRORS]


def _match(pattern: str, output: str) -> Iterator[str]:
    """Yields the files that match a pattern, except those of the output."""
    for path in matches(pattern):
        if not path.startswith(output):
            # Neither Beam nor Parquet can hold a name that is not UTF-8. The
            # escaped name does not exist, so the file is listed as an error.
            yield path.encode("utf-8", "backslashreplace").decode()


def _segment(
    path: str,
    model: SharedModel,
    model_sha256: str,
    labels: LabelSet,
    output: str,
    arguments: dict[str, Any],
) -> Iterator[Any]:
    """Segments an image, unless its mask exists; yields its row."""
    max_pixels = arguments["max_pixels"]
    # Errors of file systems, decoders and runtimes have no common class, and
    # no image may stop the others.
    try:
        data = read_image_file(path, max_pixels)
    except Exception as error:
        yield failure(path, error)
        return
    sha256 = hashlib.sha256(data).hexdigest()
    # The limit decides which images get a mask, not what it looks like.
    others = {**arguments, "max_pixels": None}
    key = digest(digest(model.identity, others), sha256)
    name = f"{MASKS_FOLDER}/{_short_stem(path)}-{key[:32]}.png"
    file = f"{output}/{name}"
    done = _finished(file, max_pixels)
    if done is None:
        # Not loaded earlier: if every mask exists, no worker needs it.
        loaded = model.acquire()
        try:
            with loaded.lock:
                result = segment(loaded.network, data, **arguments)
        except Exception as error:
            yield failure(path, error)
            return
        encoded, confidence = encode_mask(result)
        write_whole(file, encoded)
        done = result.mask, confidence
        count("segmented")
    else:
        count("reused")
    mask, confidence = done
    yield {
        "path": path,
        "mask": name,
        "width": mask.shape[1],
        "height": mask.shape[0],
        **({} if confidence is None else {CONFIDENCE: confidence}),
        **class_fractions(mask, labels),
        "image_sha256": sha256,
        "model_sha256": model_sha256,
    }


def _short_stem(path: str) -> str:
    stem = PurePosixPath(path.replace("\\", "/")).stem
    return stem.encode()[:_STEM_BYTES].decode(errors="ignore")


def _finished(
    file: str, max_pixels: int
) -> tuple[np.ndarray, float | None] | None:
    """Reads a mask and its mean confidence, if it exists and is complete."""
    if not FileSystems.exists(file):
        return None
    try:
        return decode_mask(read_image_file(file, max_pixels), max_pixels)
    # After a power cut, a file may lack some of its bytes.
    except ValueError:
        return None
