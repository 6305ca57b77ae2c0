"""An exported PSPNet for Triton's Python backend.

Serves one signature of a SavedModel. The parameters `saved_model` and
`signature` of config.pbtxt name the folder and the signature; inputs and
outputs have the names of the signature's.

The server's Python must have TensorFlow, no older than the one that wrote the
export. Nothing else of this project is needed.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import triton_python_backend_utils as triton

Arrays = Mapping[str, np.ndarray]

# Written by the export.
_SUMS_FILE = "assets.extra/SHA256SUMS"


class TritonPythonModel:
    """The class that Triton calls; it looks for this name."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Loads the SavedModel.

        Args:
            args: Triton's description of the model: its configuration as
                JSON, its folder and its version.

        Raises:
            ValueError: If the SavedModel or the signature is missing, or a
                file differs from its checksum. Triton then does not serve the
                model, or keeps serving the version that it has.
        """
        config = json.loads(args["model_config"])
        folder = os.path.normpath(
            os.path.join(
                args["model_repository"],
                args["model_version"],
                _parameter(config, "saved_model"),
            )
        )
        if not tf.saved_model.contains_saved_model(folder):
            raise ValueError(
                "the parameter `saved_model` must be the folder of a "
                f"SavedModel. Received: {folder}"
            )
        _check_files(folder)
        # Keeps the signature's variables alive.
        self._module = tf.saved_model.load(folder)
        name = _parameter(config, "signature")
        if name not in self._module.signatures:
            raise ValueError(
                "the parameter `signature` must be one of "
                f"{', '.join(sorted(self._module.signatures))}. "
                f"Received: {name}"
            )
        self._signature = self._module.signatures[name]
        # If Triton batches, its tensors have another dimension after the batch.
        self._batches = config["max_batch_size"] > 0
        self._inputs = {
            each["name"]: triton.triton_string_to_numpy(each["data_type"])
            for each in config["input"]
        }
        # All this lives until the end: garbage collection can skip it. The last
        # collection would delay the shutdown.
        gc.freeze()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers the requests of a batch.

        Args:
            requests: Triton's requests; more than one only if it batches.

        Returns:
            A response for each, in the same order.
        """
        inputs = [self._read(request) for request in requests]
        answers: Sequence[Arrays | triton.TritonError]
        if len(inputs) == 1:
            answers = [self._answer(inputs[0])]
        else:
            answers = self._answer_together(inputs)
        return [
            _response(request, answer)
            for request, answer in zip(requests, answers, strict=True)
        ]

    def _read(self, request: Any) -> Arrays:
        arrays = {
            name: triton.get_input_tensor_by_name(request, name).as_numpy()
            for name in self._inputs
        }
        if self._batches:
            return {name: array[:, 0] for name, array in arrays.items()}
        return arrays

    def _answer_together(
        self, inputs: Sequence[Arrays]
    ) -> Sequence[Arrays | triton.TritonError]:
        together = self._answer(
            {
                name: np.concatenate([each[name] for each in inputs])
                for name in self._inputs
            }
        )
        if isinstance(together, triton.TritonError):
            # One bad request must not fail the others.
            return [self._answer(each) for each in inputs]
        sizes = [len(next(iter(each.values()))) for each in inputs]
        ends = np.cumsum(sizes)[:-1]
        parts = {name: np.split(each, ends) for name, each in together.items()}
        return [
            {name: part[index] for name, part in parts.items()}
            for index in range(len(inputs))
        ]

    def _answer(self, inputs: Arrays) -> Arrays | triton.TritonError:
        """Calls the signature; returns an error instead of raising it."""
        tensors = {
            # Strings come as arrays of objects.
            name: tf.constant(
                array, tf.string if array.dtype == object else array.dtype
            )
            for name, array in inputs.items()
        }
        try:
            outputs = self._signature(**tensors)
        except tf.errors.InvalidArgumentError as error:
            return _error(error, triton.TritonError.INVALID_ARG)
        except tf.errors.ResourceExhaustedError as error:
            return _error(error, triton.TritonError.UNAVAILABLE)
        except tf.errors.OpError as error:
            return _error(error, triton.TritonError.INTERNAL)
        arrays = {name: value.numpy() for name, value in outputs.items()}
        if self._batches:
            return {name: array[:, None] for name, array in arrays.items()}
        return arrays


def _parameter(config: Mapping[str, Any], name: str) -> str:
    value = config["parameters"].get(name, {}).get("string_value", "")
    if not value:
        raise ValueError(f"config.pbtxt must have the parameter `{name}`")
    return value


def _check_files(folder: str) -> None:
    """Refuses a SavedModel that differs from its checksums.

    It might load with a changed bit in its weights, and give other masks.
    """
    try:
        with open(os.path.join(folder, _SUMS_FILE)) as stream:
            lines = stream.read().splitlines()
        sums = dict(line.split("  ", 1)[::-1] for line in lines)
        for name, expected in sums.items():
            with open(os.path.join(folder, name), "rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != expected:
                raise ValueError(f"{name} differs from its checksum")
        if not sums:
            raise ValueError(f"{_SUMS_FILE} must not be empty")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} must be a complete export: {error}"
        ) from error


def _error(error: tf.errors.OpError, code: int) -> triton.TritonError:
    # The rest of the message says where in the graph it happened.
    cause = error.message.split("\n\t [[")[0].strip().rpartition("\n")[2]
    return triton.TritonError(cause, code)


def _response(request: Any, answer: Arrays | triton.TritonError) -> Any:
    if isinstance(answer, triton.TritonError):
        return triton.InferenceResponse(output_tensors=[], error=answer)
    return triton.InferenceResponse(
        [
            triton.Tensor(name, answer[name])
            for name in request.requested_output_names()
        ]
    )
