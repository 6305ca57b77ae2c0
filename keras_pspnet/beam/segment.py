"""Segments any number of images on any number of machines."""

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

# What is in the output folder, besides the list of errors.
MASKS_FOLDER = "masks"
TABLE_FILE = "table.parquet"
# Of an image's name in its mask's; file systems take 255 bytes in all.
_STEM_BYTES = 100


class SegmentImages(beam.PTransform):
    """Segments images into masks and a table of what is in them.

    Apply it to a pipeline: the result is two collections, a row of the table
    as a dictionary for each image that has a mask, and for each other image
    `{"path": ..., "error": ...}`. The output folder holds

    - `masks/NAME-HASH.png`, index masks with the classes' colors. The hash
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
        # Workers in this process share what was loaded here.
        self._loaded = self._model.acquire()
        # Wrong arguments would make every image fail.
        blank = np.zeros((32, 32, self._loaded.network.bands), "uint8")
        segment(self._loaded.network, blank, **self._arguments)
        self._output = prepare_output(output)

    def expand(self, pipeline: Any) -> tuple[Any, Any]:
        """Builds the steps.

        Args:
            pipeline: The pipeline, or its beginning.
        """
        step = beam.FlatMap(
            _segment,
            # The workers get names and hashes, not the loaded model.
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
            # It also distributes them over the workers.
            | "Once" >> beam.Distinct()
            | "Segment" >> step.with_outputs(ERRORS, main="rows")
        )
        # One file, as for the errors.
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
    """From a pattern to the paths of its files, without those of the output."""
    for path in matches(pattern):
        if not path.startswith(output):
            # Neither Beam nor Parquet can hold a name that is no text. The
            # file is not found under the other one, and so is listed.
            yield path.encode("utf-8", "backslashreplace").decode()


def _segment(
    path: str,
    model: SharedModel,
    model_sha256: str,
    labels: LabelSet,
    output: str,
    arguments: dict[str, Any],
) -> Iterator[Any]:
    """From the path of an image to its mask and its row."""
    max_pixels = arguments["max_pixels"]
    # File systems, decoders and runtimes have no class of errors in common,
    # and no image may stop the others.
    try:
        data = read_image_file(path, max_pixels)
    except Exception as error:
        yield failure(path, error)
        return
    sha256 = hashlib.sha256(data).hexdigest()
    # The limit decides which images have a mask, but no mask.
    others = {**arguments, "max_pixels": None}
    key = digest(digest(model.identity, others), sha256)
    name = f"{MASKS_FOLDER}/{_short_stem(path)}-{key[:32]}.png"
    file = f"{output}/{name}"
    done = _finished(file, max_pixels)
    if done is None:
        # Loaded here: where every mask exists, no worker needs it.
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
    """Reads a mask and its mean confidence, if there is a whole one."""
    if not FileSystems.exists(file):
        return None
    try:
        return decode_mask(read_image_file(file, max_pixels), max_pixels)
    # After a power cut, a file may have its name but not all its bytes.
    except ValueError:
        return None
