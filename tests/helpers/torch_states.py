"""Writes checkpoints as mmsegmentation does."""

from collections import OrderedDict
from pathlib import Path

from source_states import State
from torch_files import pickled, raw, tensor, write_legacy, write_zip


def write_state(path: Path, state: State, legacy: bool = False) -> Path:
    """Writes a checkpoint as mmsegmentation does."""
    tensors = OrderedDict((name, tensor(each)) for name, each in state.items())
    content = {"meta": {"mmseg_version": "0.5.0"}, "state_dict": tensors}
    if legacy:
        return write_legacy(path, *pickled(content, form="legacy"))
    data, storages = pickled(content)
    return write_zip(path, data, raw(storages))
