"""Stand-ins of published weights, which no test can fetch."""

import hashlib
from pathlib import Path

from source_states import mmseg_state, random_pspnet
from torch_states import write_state

from keras_pspnet.presets import find_preset

# Makes a kernel take them for the published ones.
_PATCH = """
import dataclasses
import os

from keras_pspnet import presets

os.environ["KERAS_PSPNET_MIRROR"] = {folder!r}
presets.PRESETS = tuple(
    dataclasses.replace(row, sha256={sha256!r})
    if (row.name, row.backbone) == ("voc", "resnet50")
    else row
    for row in presets.PRESETS
)
"""


def mirror_of_voc(folder: Path) -> str:
    """Writes a random and small `voc` in mmsegmentation's form.

    Returns:
        Code for the kernel that is to find it.
    """
    path = folder / find_preset("voc").url.rpartition("/")[2]
    write_state(path, mmseg_state(random_pspnet(18)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return _PATCH.format(folder=str(folder), sha256=digest)
