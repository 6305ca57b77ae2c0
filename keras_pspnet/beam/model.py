"""One model, shared by all threads of a worker process."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import tempfile
import threading
from typing import Any

from apache_beam.utils.shared import Shared

from keras_pspnet.beam.storage import absolute, copy_folder, is_local
from keras_pspnet.inference import Predictor, exported_sha256, load_predictor
from keras_pspnet.presets import PRESET_NAMES
from keras_pspnet.pretrained import HUB_PREFIX
from keras_pspnet.version import __version__


@dataclasses.dataclass(eq=False)
class LoadedModel:
    """A model that is ready to run.

    Args:
        network: Predictor that computes the logits.
        sha256: Hash of the weights, or of the files of an exported model.
        identity: Hash of everything that determines the network's outputs.
        lock: Held while an image is segmented, so that only one is in memory.
    """

    network: Predictor
    sha256: str
    identity: str
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


class SharedModel:
    """A model that all threads of a process share. Pickles hold its name.

    Args:
        source: See `SegmentImages`, also for the next two.
        backbone: Backbone of a published model.
        precision: Precision of the convolutions.

    Raises:
        ImportError: If the runtime of an exported model is not installed.
        OSError: If the model cannot be read.
        ValueError: If there is no such model, or an argument does not apply.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        backbone: str | None = None,
        precision: str | None = None,
    ) -> None:
        source = os.fspath(source)
        if source not in PRESET_NAMES and os.path.exists(source):
            # Workers may run in other folders.
            source = absolute(source)
        self._arguments = source, backbone, precision
        self._shared = Shared()
        self.identity: str | None = None
        self.identity = self.acquire().identity

    def acquire(self) -> LoadedModel:
        """Returns the model; the first caller in a process loads it.

        Raises:
            ValueError: If it differs from the one that started the pipeline.
        """
        load = functools.partial(_load, *self._arguments)
        loaded: LoadedModel = self._shared.acquire(load)
        if self.identity not in (None, loaded.identity):
            raise ValueError(
                "`model` must be the same on all machines, and so must the "
                f"package's version. Received: hash {loaded.identity} here, "
                f"{self.identity} where the pipeline was started"
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
    network = load_predictor(source, backbone, precision)
    if network.model is None:
        sha256 = exported_sha256(source)
        return LoadedModel(network, sha256, digest(sha256))
    sha256 = network.weights_sha256() or ""
    how = network.model.get_config(), precision or "float32"
    return LoadedModel(network, sha256, digest(sha256, *how))
