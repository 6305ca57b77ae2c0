"""Any number of pictures on any number of machines, with Apache Beam."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL.PngImagePlugin import PngImageFile, PngInfo

try:
    import apache_beam as beam
    import pyarrow
except ImportError as error:
    raise ImportError(
        "apache-beam must be installed for keras_pspnet.beam: "
        "pip install keras-pspnet[beam]"
    ) from error

from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from keras_pspnet.artefacts import is_artefact, load_artefact
from keras_pspnet.beam.storage import (
    absolute,
    copy_folder,
    is_local,
    matches,
    prepare_folder,
    read,
    write_whole,
)
from keras_pspnet.data.decode import MAX_PIXELS, read_mask
from keras_pspnet.inference import check_scales, segment
from keras_pspnet.labels import LabelSet
from keras_pspnet.network import Network, as_network, weights_sha256
from keras_pspnet.presets import PRESET_NAMES
from keras_pspnet.pretrained import HUB_PREFIX, load_pretrained
from keras_pspnet.version import __version__
from keras_pspnet.visualization.colors import index_picture
from keras_pspnet.visualization.segmentation import Segmentation

# What is in the output folder.
MASKS_FOLDER = "masks"
TABLE_FILE = "table.parquet"
ERRORS_FILE = "errors.jsonl"
# Counters of Beam's metrics: every picture is in one of them.
METRICS_NAMESPACE = "keras_pspnet"
COUNTERS = ("segmented", "reused", "failed")
# Before the class names in the table: "path" may be a class as well.
FRACTION_PREFIX = "fraction_"

_CONFIDENCE = "confidence"
_ERRORS = "errors"
# Picture files take 8 bytes for a pixel at most, and something around them.
_PIXEL_BYTES, _OTHER_BYTES = 8, 2**24
# Of a picture's name in its mask's; file systems take 255 bytes in all.
_STEM_BYTES = 100


class Outputs(NamedTuple):
    """What becomes of the pictures.

    Attributes:
        rows: Of every picture that has a mask, a row of the table as a
            dictionary.
        errors: Of every other, `{"path": ..., "error": ...}`.
    """

    rows: beam.PCollection
    errors: beam.PCollection


class SegmentPictures(beam.PTransform):
    """Segments pictures into masks and a table of what is on them.

    Apply it to a pipeline: the result is `Outputs`. In the output folder are

    - `masks/NAME-HASH.png`, index masks with the classes' colours. The hash
      is of the picture's bytes, the model and the arguments: a mask that is
      there already, from a run that was interrupted or of other pictures, is
      the one that would come out, and is not computed again.
    - `table.parquet`, a row for each picture that has a mask, in any order:
      `path`; `mask`, its path in the output folder; `width` and `height`;
      `confidence`, the mean, where asked for; `fraction_CLASS`, the share
      0..1 of the pixels, for each class; `picture_sha256`, of the file; and
      `model_sha256`, of the weights as `evaluate` tells it, or of an exported
      model's files.
    - `errors.jsonl`, a line `{"path": ..., "error": ...}` for each picture
      that cannot be read or segmented. It has no mask, and is tried again in
      the next run.

    Each worker process loads the model once, if it needs it at all, and
    segments one picture at a time.

    Args:
        patterns: Files to segment, or patterns of them; `*` stays within a
            folder, `**` does not, and a folder stands for the files in it.
            All file systems of Beam are known (gs://, s3://, hdfs://, ...
            where what reaches them is installed). A file that several match
            is taken once, and none that is in the output folder.
        model: Name of a published model, `"hf://owner/name"`, a folder that
            `save_pretrained` wrote, or an exported model. Folders may be on
            any file system; local ones must be on all workers.
        output: The folder, made if it is missing, on any file system.
        backbone: Which of a published model's backbones.
        scales: See `keras_pspnet.segment`, as for all that follow.
        flip: Whether mirrored pictures are averaged in as well.
        window: Side of sliding windows; None is the whole picture.
        max_side: Longer pictures are shrunk for the network.
        max_pixels: Larger pictures are refused before they are decoded.
        confidence: Whether to compute the mean confidence of each picture.

    Raises:
        ImportError: If what runs the model is not installed.
        OSError: If a pattern matches no file, the model cannot be read, or
            the output not be written.
        TypeError: If `patterns` holds something else than strings.
        ValueError: If there are no patterns, or an argument is out of range.

    Examples:
        >>> import apache_beam
        >>> from keras_pspnet.beam import SegmentPictures
        >>> segmented = SegmentPictures("photo.jpg", "aerial", "out", window=96)
        >>> rows, errors = apache_beam.Pipeline() | segmented
    """

    def __init__(
        self,
        patterns: str | Sequence[str],
        model: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        backbone: str | None = None,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        window: int | None = None,
        max_side: int | str | None = "auto",
        max_pixels: int = MAX_PIXELS,
        confidence: bool = False,
    ) -> None:
        super().__init__()
        self._patterns = _check_patterns(patterns)
        self._output = absolute(os.fspath(output))
        self._arguments: dict[str, Any] = {
            "scales": check_scales(scales),
            "flip": flip,
            "window": window,
            "max_side": max_side,
            "max_pixels": max_pixels,
            "confidence": confidence,
        }
        # Workers of the same process share it with what is loaded here.
        self._model = _SharedModel(_everywhere(os.fspath(model)), backbone)
        self._loaded = self._model.acquire()
        # What is wrong with the arguments would be with every picture.
        segment(
            self._loaded.network,
            np.zeros((32, 32, 3), "uint8"),
            **self._arguments,
        )
        prepare_folder("output", self._output)

    def expand(self, pipeline: Any) -> Outputs:
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
                _ERRORS, main="paths"
            )
        )
        done = (
            found.paths
            # It spreads them over the workers as well.
            | "Once" >> beam.Distinct()
            | "Segment"
            >> beam.ParDo(
                _Segment(
                    self._model, self._loaded, self._output, self._arguments
                )
            ).with_outputs(_ERRORS, main="rows")
        )
        errors = (found[_ERRORS], done[_ERRORS]) | "Errors" >> beam.Flatten()
        # One file each: a number of files that differs from run to run would
        # leave some of the run before among them.
        _ = done.rows | "Table" >> beam.io.WriteToParquet(
            f"{self._output}/{TABLE_FILE}",
            _schema(labels, self._arguments[_CONFIDENCE]),
            codec="snappy",
            shard_name_template="",
        )
        _ = (
            errors
            | "Lines" >> beam.Map(json.dumps)
            | "ErrorsFile"
            >> beam.io.WriteToText(
                f"{self._output}/{ERRORS_FILE}", shard_name_template=""
            )
        )
        return Outputs(done.rows, errors)


def _check_patterns(patterns: Any) -> list[str]:
    """Returns patterns that mean the same on every worker."""
    if isinstance(patterns, str):
        patterns = [patterns]
    if not isinstance(patterns, Sequence) or not all(
        isinstance(pattern, str) for pattern in patterns
    ):
        raise TypeError(
            "`patterns` must be a string or a sequence of strings. "
            f"Received: patterns={patterns!r}"
        )
    if not patterns:
        raise ValueError(
            f"`patterns` must not be empty. Received: patterns={patterns!r}"
        )
    found = []
    for given in patterns:
        pattern = absolute(given)
        if given.endswith("/") or (is_local(given) and os.path.isdir(given)):
            pattern += "/*"
        if not matches(pattern, limit=1):
            raise FileNotFoundError(
                f"`patterns` must match files. Received: {given!r}"
            )
        found.append(pattern)
    return found


def _everywhere(model: str) -> str:
    """Returns what names a model wherever a worker was started."""
    if model in PRESET_NAMES or not os.path.exists(model):
        return model
    return absolute(model)


@dataclasses.dataclass(eq=False)
class _Loaded:
    """A model that is ready to run.

    Args:
        network: What computes the logits.
        sha256: Hash of the weights, or of the exported files.
        identity: Hash of all that decides what comes out.
        lock: For one picture in memory at a time.
    """

    network: Network
    sha256: str
    identity: str
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


class _SharedModel:
    """A model that all threads of a process have in common."""

    def __init__(self, source: str, backbone: str | None) -> None:
        self._source = source
        self._backbone = backbone
        self._shared = Shared()

    def acquire(self) -> _Loaded:
        """Returns the model, loaded by whoever comes first."""
        return self._shared.acquire(
            functools.partial(_load, self._source, self._backbone)
        )


def _load(source: str, backbone: str | None) -> _Loaded:
    if not is_local(source) and not source.startswith(HUB_PREFIX):
        with tempfile.TemporaryDirectory() as folder:
            copy_folder(source.rstrip("/"), folder)
            return _load(folder, backbone)
    if source in PRESET_NAMES or not is_artefact(source):
        model = load_pretrained(source, backbone=backbone)
        sha256 = weights_sha256(model)
        return _Loaded(
            as_network(model), sha256, _digest(sha256, model.get_config())
        )
    if backbone is not None:
        raise ValueError(
            "`backbone` must be left out for an exported model. "
            f"Received: backbone={backbone!r}"
        )
    sha256 = _files_sha256(Path(source))
    return _Loaded(load_artefact(source), sha256, _digest(sha256))


def _digest(*parts: Any) -> str:
    """Hashes what JSON can say, and the version that computes with it."""
    text = json.dumps([__version__, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _files_sha256(path: Path) -> str:
    """Hashes a file, or the names and contents of those in a folder."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file():
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            name = file.relative_to(path).as_posix()
            digest.update(f"{content} {name}\n".encode())
    return digest.hexdigest()


def _schema(labels: LabelSet, confidence: bool) -> pyarrow.Schema:
    fields = [
        ("path", pyarrow.string()),
        ("mask", pyarrow.string()),
        ("width", pyarrow.int32()),
        ("height", pyarrow.int32()),
    ]
    if confidence:
        fields.append((_CONFIDENCE, pyarrow.float64()))
    fields += [
        (FRACTION_PREFIX + name, pyarrow.float64()) for name in labels.names
    ]
    fields += [
        ("picture_sha256", pyarrow.string()),
        ("model_sha256", pyarrow.string()),
    ]
    return pyarrow.schema(fields)


def _failure(path: str, error: Exception) -> beam.pvalue.TaggedOutput:
    """Makes a dead letter, of characters that can be written."""
    letter = {"path": path, "error": f"{type(error).__name__}: {error}"}
    return beam.pvalue.TaggedOutput(
        _ERRORS,
        {
            name: text.encode("utf-8", "backslashreplace").decode("utf-8")
            for name, text in letter.items()
        },
    )


class _Match(beam.DoFn):
    """From a pattern to the paths of its files."""

    def __init__(self, output: str) -> None:
        super().__init__()
        self._output = f"{output}/"
        self._failed = _counter("failed")

    def process(self, pattern: str) -> Iterator[Any]:
        for path in matches(pattern):
            if path.startswith(self._output):
                continue
            try:
                path.encode("utf-8")
            except UnicodeEncodeError as error:
                # Neither Beam nor Parquet has a form for it.
                self._failed.inc()
                yield _failure(path, error)
            else:
                yield path


class _Segment(beam.DoFn):
    """From the path of a picture to its mask and its row."""

    def __init__(
        self,
        model: _SharedModel,
        loaded: _Loaded,
        output: str,
        arguments: dict[str, Any],
    ) -> None:
        super().__init__()
        # Of what is loaded, only words go to the workers.
        self._model = model
        self._identity = loaded.identity
        self._model_sha256 = loaded.sha256
        self._labels = loaded.network.labels
        self._output = output
        self._arguments = arguments
        self._max_pixels = arguments["max_pixels"]
        # The limit decides which pictures have a mask, but no mask.
        self._key = _digest(
            loaded.identity,
            {
                name: value
                for name, value in arguments.items()
                if name != "max_pixels"
            },
        )
        self._counters = {name: _counter(name) for name in COUNTERS}

    def setup(self) -> None:
        # Loaded when a picture needs it: where all is done, none does.
        self._loaded: _Loaded | None = None

    def process(self, path: str) -> Iterator[Any]:
        # File systems, decoders and what runs a network have no class of
        # errors in common, and no picture may stop the others.
        try:
            data = read(path, _most_bytes(self._max_pixels))
        except Exception as error:
            self._counters["failed"].inc()
            yield _failure(path, error)
            return
        sha256 = hashlib.sha256(data).hexdigest()
        mask_name = f"{MASKS_FOLDER}/{self._mask_name(path, sha256)}"
        file = f"{self._output}/{mask_name}"
        finished = self._finished(file)
        if finished is None:
            loaded = self._ready()
            try:
                with loaded.lock:
                    result = segment(loaded.network, data, **self._arguments)
            except Exception as error:
                self._counters["failed"].inc()
                yield _failure(path, error)
                return
            mask, confidence = result.mask, _mean_confidence(result)
            write_whole(file, _encoded(mask, self._labels, confidence))
            self._counters["segmented"].inc()
        else:
            mask, confidence = finished
            self._counters["reused"].inc()
        yield {
            "path": path,
            "mask": mask_name,
            "width": mask.shape[1],
            "height": mask.shape[0],
            **({} if confidence is None else {_CONFIDENCE: confidence}),
            **_fractions(mask, self._labels),
            "picture_sha256": sha256,
            "model_sha256": self._model_sha256,
        }

    def _ready(self) -> _Loaded:
        """Returns the model, the one that the pipeline was made for."""
        if self._loaded is None:
            loaded = self._model.acquire()
            if loaded.identity != self._identity:
                raise ValueError(
                    "`model` must be the same on all machines, and of the "
                    f"same version. Received: hash {loaded.identity} here, "
                    f"{self._identity} where the pipeline was started"
                )
            self._loaded = loaded
        return self._loaded

    def _mask_name(self, path: str, sha256: str) -> str:
        stem = PurePosixPath(path.replace("\\", "/")).stem
        short = stem.encode()[:_STEM_BYTES].decode(errors="ignore")
        return f"{short}-{_digest(self._key, sha256)[:32]}.png"

    def _finished(self, file: str) -> tuple[np.ndarray, float | None] | None:
        """Reads a mask and its mean confidence, if there is a whole one."""
        if not FileSystems.exists(file):
            return None
        data = read(file, _most_bytes(self._max_pixels))
        try:
            mask = read_mask(data, self._max_pixels)
            return mask, _noted_confidence(data)
        # After a power cut, a file may have its name but not all its bytes.
        except ValueError:
            return None


def _counter(name: str) -> Any:
    return Metrics.counter(METRICS_NAMESPACE, name)


def _most_bytes(pixels: int) -> int:
    return _PIXEL_BYTES * pixels + _OTHER_BYTES


def _mean_confidence(result: Segmentation) -> float | None:
    if result.confidence is None:
        return None
    return float(result.confidence.mean(dtype=np.float64))


def _encoded(
    mask: np.ndarray, labels: LabelSet, confidence: float | None
) -> bytes:
    """Makes an index PNG that keeps what its pixels do not tell."""
    notes = PngInfo()
    if confidence is not None:
        notes.add_text(_CONFIDENCE, repr(confidence))
    stream = BytesIO()
    index_picture(mask, labels).save(stream, "PNG", pnginfo=notes)
    return stream.getvalue()


def _noted_confidence(data: bytes) -> float | None:
    noted = PngImageFile(BytesIO(data)).text.get(_CONFIDENCE)
    return None if noted is None else float(noted)


def _fractions(mask: np.ndarray, labels: LabelSet) -> dict[str, float]:
    counts = np.bincount(mask.reshape(-1), minlength=labels.num_classes)
    return {
        FRACTION_PREFIX + name: float(count / mask.size)
        for name, count in zip(labels.names, counts, strict=True)
    }
