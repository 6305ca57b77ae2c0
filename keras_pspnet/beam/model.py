"""One model for all threads of a worker process."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from apache_beam.utils.shared import Shared

from keras_pspnet.beam.storage import absolute, copy_folder, is_local
from keras_pspnet.inference import (
    Network,
    as_network,
    is_exported,
    load_exported,
    weights_sha256,
)
from keras_pspnet.presets import PRESET_NAMES
from keras_pspnet.pretrained import HUB_PREFIX, load_pretrained
from keras_pspnet.version import __version__


@dataclasses.dataclass(eq=False)
class LoadedModel:
    """A model that is ready to run.

    Args:
        network: Computes the logits.
        sha256: Hash of the weights, or of an exported model's files.
        identity: Hash of everything that decides the network's outputs.
        is_exported: Whether it is an exported model.
        lock: Held while an image is segmented: one at a time is in memory.
    """

    network: Network
    sha256: str
    identity: str
    is_exported: bool
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


class SharedModel:
    """A model that all threads of a process share; pickled by its name.

    Args:
        source: Name of a published model, `"hf://owner/name"`, a folder, or
            an exported model.
        backbone: Backbone of a published model.
        precision: Of the convolutions, `"float32"` or `"bfloat16"`; None is
            float32, or the exported model's own.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        backbone: str | None = None,
        precision: str | None = None,
    ) -> None:
        source = os.fspath(source)
        if source not in PRESET_NAMES and os.path.exists(source):
            # Workers may run in another folder.
            source = absolute(source)
        self._arguments = source, backbone, precision
        self._shared = Shared()

    def acquire(self) -> LoadedModel:
        """Returns the model; the first caller loads it.

        Raises:
            ImportError: If the runtime of an exported model is not installed.
            OSError: If the model cannot be read.
            ValueError: If there is no such model, or an argument does not
                apply.
        """
        return self._shared.acquire(functools.partial(_load, *self._arguments))

    def acquire_same(self, identity: str) -> LoadedModel:
        """Returns the model if it is the one that a pipeline was built with.

        Args:
            identity: That one's identity.

        Raises:
            ValueError: If it is another one.
        """
        loaded = self.acquire()
        if loaded.identity != identity:
            raise ValueError(
                "`model` must be the same on all machines, and of the "
                f"same version. Received: hash {loaded.identity} here, "
                f"{identity} where the pipeline was started"
            )
        return loaded


def digest(*parts: Any) -> str:
    """Hashes values that JSON can hold, and this package's version."""
    text = json.dumps([__version__, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _load(
    source: str, backbone: str | None, precision: str | None
) -> LoadedModel:
    if not is_local(source) and not source.startswith(HUB_PREFIX):
        with tempfile.TemporaryDirectory() as folder:
            copy_folder(source.rstrip("/"), folder)
            return _load(folder, backbone, precision)
    if source in PRESET_NAMES or not is_exported(source):
        model = load_pretrained(source, backbone=backbone)
        sha256 = weights_sha256(model)
        precision = precision or "float32"
        return LoadedModel(
            as_network(model, precision),
            sha256,
            digest(sha256, model.get_config(), precision),
            is_exported=False,
        )
    for name, value in (("backbone", backbone), ("precision", precision)):
        if value is not None:
            raise ValueError(
                f"`{name}` must be left out for an exported model. "
                f"Received: {name}={value!r}"
            )
    sha256 = _files_sha256(Path(source))
    return LoadedModel(
        load_exported(source), sha256, digest(sha256), is_exported=True
    )


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
