"""An exported PSPNet for Triton's Python backend.

Serves one signature of a SavedModel. Which one, and its folder, are the
parameters `signature` and `saved_model` of config.pbtxt; the names of inputs
and outputs are those of the signature.

Triton calls the class below. It needs TensorFlow, no older than the one that
exported, in the Python of the server, and nothing else of this project.
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
    """Triton looks for this name."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Loads the SavedModel.

        Args:
            args: What Triton tells about the model: its configuration as
                JSON, its folder and version.

        Raises:
            ValueError: If the SavedModel or the signature is missing, or a
                file is not as it was exported. Triton then does not offer the
                model, or goes on with the version that it has.
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
        # Its functions live as long as the module does.
        self._module = tf.saved_model.load(folder)
        name = _parameter(config, "signature")
        if name not in self._module.signatures:
            raise ValueError(
                "the parameter `signature` must be one of "
                f"{', '.join(sorted(self._module.signatures))}. "
                f"Received: {name}"
            )
        self._signature = self._module.signatures[name]
        # Where Triton batches, it wants a dimension beside that of the batch.
        self._batches = config["max_batch_size"] > 0
        self._inputs = {
            each["name"]: triton.triton_string_to_numpy(each["data_type"])
            for each in config["input"]
        }
        # All this stays. Collections need not look through it, least of all
        # the last one, for which a server that is stopped would wait.
        gc.freeze()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers requests that came together.

        Args:
            requests: Triton's requests; more than one where it batches.

        Returns:
            A response for each, in their order.
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
            # What is wrong with one request is nothing to the others.
            return [self._answer(each) for each in inputs]
        sizes = [len(next(iter(each.values()))) for each in inputs]
        ends = np.cumsum(sizes)[:-1]
        parts = {name: np.split(each, ends) for name, each in together.items()}
        return [
            {name: part[index] for name, part in parts.items()}
            for index in range(len(inputs))
        ]

    def _answer(self, inputs: Arrays) -> Arrays | triton.TritonError:
        """Calls the signature; an error is returned, not raised."""
        tensors = {
            # Strings are arrays of objects.
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
    """Refuses a SavedModel that is not whole.

    A changed bit among its weights would load, and give other masks.
    """
    try:
        with open(os.path.join(folder, _SUMS_FILE)) as stream:
            lines = stream.read().splitlines()
        sums = dict(line.split("  ", 1)[::-1] for line in lines)
        for name, expected in sums.items():
            with open(os.path.join(folder, name), "rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != expected:
                raise ValueError(f"{name} is not the file of {_SUMS_FILE}")
        if not sums:
            raise ValueError(f"{_SUMS_FILE} must not be empty")
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} must be a whole export: {error}") from error


def _error(error: tf.errors.OpError, code: int) -> triton.TritonError:
    # What is before and after it tells where in the graph it was.
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
