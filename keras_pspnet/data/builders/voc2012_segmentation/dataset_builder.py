"""VOC 2012 segmentation, with and without SBD, for TensorFlow Datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from keras_pspnet.data.builders.examples import (
    describe,
    find_manual,
    make_examples,
)
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
    """Config `voc`: VOC's own masks. Config `sbd`: those of SBD as well.

    They are two because `trainaug` holds all of `train` again, and because
    whoever wants VOC alone shall not need SBD's archive and SciPy. Splits of
    `voc`: `train` (1,464) and `validation` (1,449); those of `sbd`:
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
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Only where it cannot be downloaded: VOCtrainval_11-May-2012.tar of "
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ or, unpacked, "
        "VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,"
        "ImageSets/Segmentation}. For the config sbd also benchmark.tgz of "
        "http://home.bharathh.info/pubs/codes/SBD/download.html or, unpacked, "
        "benchmark_RELEASE/dataset/{img,cls,train.txt,val.txt}; or VOC2012/"
        "SegmentationClassAug, SBD's masks as PNG files."
    )

    def _info(self) -> Any:
        return self.dataset_info_from_configs(
            features=describe(VOC, "jpeg"),
            supervised_keys=("image", "segmentation_mask"),
            homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        def find(name: str, url: str) -> Path:
            return find_manual(dl_manager, name, "train") or Path(
                dl_manager.download_and_extract(url)
            )

        augmented = self.builder_config.name == "sbd"
        train = "trainaug" if augmented else "train"
        root = find_manual(dl_manager, "voc", train)
        if root is not None:
            roots = [root]
        elif augmented:
            # Before gigabytes are downloaded in vain.
            scipy_io()
            roots = [find("voc", _VOC_URL), find("sbd", _SBD_URL)]
        else:
            roots = [Path(dl_manager.download_and_extract(_VOC_URL))]
        return {
            train: self._generate_examples(roots, train),
            "validation": self._generate_examples(roots, "val"),
        }

    def _generate_examples(
        self, roots: Sequence[Path], split: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        if len(roots) == 1 or split == "val":
            return make_examples(load("voc", split, root=roots[0]))
        # Archives are unpacked apart.
        voc, sbd = (
            find_dataset(name, "train", root)
            for name, root in zip(("voc", "sbd"), roots, strict=True)
        )
        listing = list_trainaug(VOC_ENCODING, voc, split, sbd)
        check_listing(listing, split, "voc")
        return make_examples(SegmentationData(listing))
