"""Writes files as `paddle.save` does, without Paddle."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np

NOTE = "StructuredToParameterName@@"


def write_paddle(
    path: Path, state: Mapping[str, np.ndarray], protocol: int = 4
) -> Path:
    """Writes a dict of arrays, with Paddle's own names beside it."""
    own = {name: f"parameter_{index}" for index, name in enumerate(state)}
    path.write_bytes(pickle.dumps({**state, NOTE: own}, protocol))
    return path
