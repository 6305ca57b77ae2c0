"""SavedModels, for tensorflow_model_server and Triton."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_pspnet.export.logs import quiet_tensorflow
from keras_pspnet.export.serving_graph import ServingModule, ServingOptions
from keras_pspnet.export.verify import (
    ExportError,
    Parity,
    compare,
    default_images,
    sample_images,
)
from keras_pspnet.export.warmup import write_warmup
from keras_pspnet.inference import (
    SIDE_FILE,
    SUMS_FILE,
    description,
    network_size,
    weights_sha256,
)
from keras_pspnet.utils import check_absent, write_json
from keras_pspnet.version import __version__

# Runs in a fresh process without this package: from images to logits.
_LOADER = """
import sys
import numpy as np
import tensorflow as tf

folder, requests, answers = sys.argv[1:]
served = tf.saved_model.load(folder).signatures
with np.load(requests) as images:
    found = {
        name: served["logits"](images=tf.constant(image))["logits"].numpy()
        for name, image in images.items()
    }
    first = tf.cast(next(iter(images.values()))[0], tf.uint8)
array = served["predict_uint8"](images=first[None])["mask"]
if "scores" in served:
    file = tf.io.encode_png(first)
    answer = served["serving_default"](image_bytes=file[None])
    assert answer["status"].numpy()[0] == b"OK", answer
    mask = tf.io.decode_png(answer["mask_png_bytes"][0])[None, ..., 0]
    assert (mask.numpy() == array.numpy()).all(), "files and arrays differ"
assert "keras_pspnet" not in sys.modules
np.savez(answers, **found)
"""
_WARMUP_SIZE = (64, 96)


def write_saved_model(
    model: keras.Model,
    folder: str | os.PathLike[str],
    precision: str,
    options: ServingOptions,
    batch_sizes: Sequence[int],
    freeze: bool,
) -> Parity:
    """Implements `keras_pspnet.export_saved_model`.

    Args:
        model: A model with one output.
        folder: Folder to create.
        precision: `"float32"` or `"bfloat16"`.
        options: How the served model processes images.
        batch_sizes: Batch sizes of the warm-up requests.
        freeze: Whether to store the weights as constants of the graph.

    Returns:
        The difference between export and model.
    """
    folder = Path(folder)
    check_absent(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Not a number: servers would take it for a version.
    parent = tempfile.mkdtemp(prefix=".export-", dir=folder.parent)
    try:
        written = os.path.join(parent, "model")
        module = ServingModule(model, options, precision, freeze)
        side = math.isqrt(options.max_pixels)
        with quiet_tensorflow():
            tf.saved_model.save(module, written, signatures=module.signatures)
        parity = compare(
            model,
            lambda images: _run_in_child(written, images, parent),
            "SavedModel",
            precision,
            [image[:, :side, :side] for image in default_images(model)],
        )
        size = network_size(model) or _WARMUP_SIZE
        image = sample_images(size, 0, model)[0]
        if module.takes_files:
            file = tf.io.encode_jpeg(image.astype("uint8")).numpy()
            write_warmup(written, "image_bytes", file, batch_sizes)
        else:
            write_warmup(written, "images", image, batch_sizes)
        _write_side_file(model, written, parity)
        _write_sums(Path(written))
        os.rename(written, folder)
    finally:
        shutil.rmtree(parent, ignore_errors=True)
    return parity


def _run_in_child(
    folder: str, images: list[np.ndarray], scratch: str
) -> list[np.ndarray]:
    requests = os.path.join(scratch, "requests.npz")
    answers = os.path.join(scratch, "answers.npz")
    np.savez(requests, *images)
    # -I ignores the current folder and the environment.
    done = subprocess.run(
        [sys.executable, "-I", "-c", _LOADER, folder, requests, answers],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ExportError(
            "the exported model must run in a process without this package. "
            "Received: "
            f"exit status {done.returncode}\n{done.stderr[-2000:]}"
        )
    with np.load(answers) as found:
        return [found[f"arr_{index}"] for index in range(len(images))]


def _write_side_file(model: keras.Model, folder: str, parity: Parity) -> None:
    content = {
        **description(model),
        "weights_sha256": weights_sha256(model),
        "versions": {
            "keras_pspnet": __version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        },
        "parity": {
            "precision": parity.precision,
            "difference": max(row.difference or 0.0 for row in parity.rows),
            "agreement": min(row.agreement for row in parity.rows),
        },
    }
    write_json(os.path.join(folder, SIDE_FILE), content)


def _write_sums(folder: Path) -> None:
    """Writes checksums, so that `sha256sum --check` can verify an export."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = []
    for path in files:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    (folder / SUMS_FILE).write_text("".join(lines))
