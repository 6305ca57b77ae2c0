"""VOC 2012 segmentation, with and without SBD, for TensorFlow Datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from keras_pspnet.data.builders.examples import describe, make_examples
from keras_pspnet.data.dataset import (
    SegmentationData,
    check_listing,
    load,
)
from keras_pspnet.data.sources.published import VOC_ENCODING, find_dataset
from keras_pspnet.data.sources.sbd import scipy_io
from keras_pspnet.data.sources.voc_trainaug import list_trainaug
from keras_pspnet.labels import VOC

_VOC_URL = (
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
)
_SBD_URL = (
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
    "semantic_contours/benchmark.tgz"
)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Config `voc`: VOC's own masks. Config `sbd`: also the masks of SBD.

    There are two configs because `trainaug` contains all of `train`, and
    because VOC alone needs neither SBD's archive nor SciPy. The splits of
    `voc` are `train` (1,464) and `validation` (1,449). Those of `sbd` are
    `trainaug` (10,582) and the same `validation`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Masks as class indices."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="voc", description="VOC's own masks."),
        tfds.core.BuilderConfig(
            name="sbd", description="With the masks of SBD for training."
        ),
    ]

    def _info(self) -> Any:
        return self.dataset_info_from_configs(
            features=describe(VOC, "jpeg"),
            supervised_keys=("image", "segmentation_mask"),
            homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        train, sbd = "train", None
        if self.builder_config.name == "sbd":
            # Check this before downloading gigabytes.
            scipy_io()
            train, sbd = "trainaug", dl_manager.download_and_extract(_SBD_URL)
        voc = Path(dl_manager.download_and_extract(_VOC_URL))
        return {
            train: self._generate_examples(voc, train, sbd),
            "validation": self._generate_examples(voc, "val"),
        }

    def _generate_examples(
        self, voc: Path, split: str, sbd: Any = None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        if sbd is None:
            return make_examples(load("voc", split, root=voc))
        # Each archive is unpacked into its own folder.
        folder = find_dataset("voc", "train", voc)
        listing = list_trainaug(VOC_ENCODING, folder, split, Path(sbd))
        check_listing(listing, split, "voc")
        return make_examples(SegmentationData(listing))
