"""VOC 2012 segmentation, with and without SBD, for TensorFlow Datasets."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from keras_pspnet.data.builders.examples import (
    describe,
    find_manual,
    make_examples,
)
from keras_pspnet.data.dataset import load
from keras_pspnet.data.sources.sbd import scipy_io
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
        with _side_by_side(roots) as root:
            yield from make_examples(load("voc", split, root=root))


@contextlib.contextmanager
def _side_by_side(roots: Sequence[Path]) -> Iterator[Path]:
    """Gives VOC and SBD one root, where archives were unpacked apart."""
    if len(roots) == 1:
        yield roots[0]
        return
    voc, sbd = roots
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _link(root / "VOC2012", "voc", voc)
        _link(root / "benchmark_RELEASE" / "dataset", "sbd", sbd)
        yield root


def _link(link: Path, name: str, root: Path) -> None:
    """Links to the own folder of a set, wherever below its root that is."""
    image = Path(load(name, "train", root=root).files(0)[0])
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(image.parents[1].resolve(), target_is_directory=True)
