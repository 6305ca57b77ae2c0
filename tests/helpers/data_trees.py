"""Writes data sets in their unpacked layout, with drawn images."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from keras_pspnet.data.synthetic.scenes import make_scene
from keras_pspnet.labels import CITYSCAPES_TRAIN_IDS, VOC

Pair = tuple[np.ndarray, np.ndarray]

SIZE = (4, 6)
RNG = np.random.default_rng(0)
# VOC draws the outlines of objects in this color.
_OUTLINE = (224, 224, 192)


# === Masks ===


def full(value: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full(size, value, np.uint8)


def row(*values: int) -> np.ndarray:
    """Returns a row of values, repeated to the pixels of a mask."""
    return np.resize(np.array(values, np.uint8), SIZE)


# === Files ===


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes rank 2 as a grayscale file, rank 3 as an RGB or RGBA file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path)


def write_noise(path: Path, size: tuple[int, int] = SIZE) -> None:
    write_array(path, RNG.integers(0, 256, (*size, 3), dtype=np.uint8))


def write_palette(path: Path, mask: np.ndarray) -> None:
    """Writes an index mask in VOC's colors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.frombytes("P", mask.shape[::-1], mask.tobytes())
    colors = [*VOC.colors, *[(0, 0, 0)] * (255 - len(VOC.colors)), _OUTLINE]
    picture.putpalette([value for color in colors for value in color])
    picture.save(path)


def write_mat(path: Path, mask: np.ndarray) -> None:
    """Writes a mask in the format of SBD's `cls`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    boundaries = np.empty((20, 1), object)
    boundaries[:] = [[np.zeros(mask.shape, bool)]] * 20
    content = {"Boundaries": boundaries, "Segmentation": mask}
    content["CategoriesPresent"] = np.unique(mask)
    scipy.io.savemat(path, {"GTcls": content})


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_own(folder: Path, **masks: np.ndarray) -> Path:
    """Writes a user's own folder."""
    for name, mask in masks.items():
        write_noise(folder / "images" / f"{name}.jpg")
        write_array(folder / "masks" / f"{name}.png", mask)
    return folder


# === Readers ===


def names(data) -> list[str]:
    """Returns the names of the images, in order."""
    return [Path(data.files(index)[0]).stem for index in range(len(data))]


def first_label(data) -> dict[str, int]:
    """Returns the class of each mask's first pixel."""
    return {
        name: int(mask[0, 0])
        for name, (_, mask) in zip(names(data), data, strict=True)
    }


# === Whole sets ===


def scenes(
    train: int, val: int, size: tuple[int, int] = (75, 100)
) -> Iterator[Pair]:
    """Returns scenes with classes 0..10, and 255 at borders of objects."""
    for index in range(train + val):
        # Some are upright, as in sets of photographs. Those to validate on
        # are not: networks are traced once for every size.
        upright = index % 3 == 0 and index < train
        yield make_scene(0, index, size[::-1] if upright else size)


def draw_voc(folder: Path, train: int, val: int) -> None:
    """Writes VOC 2012, and SBD with half of the training images."""
    voc = folder / "VOCdevkit" / "VOC2012"
    sbd = folder / "benchmark_RELEASE" / "dataset"
    names: dict[str, list[str]] = {"train": [], "val": [], "sbd": []}
    for k, (image, mask) in enumerate(scenes(train, val)):
        split = "val" if k >= train else "sbd" if k % 2 else "train"
        name = f"2007_{k:06}"
        names[split].append(name)
        # VOC's archive holds the pictures of all its tasks.
        write_array(voc / "JPEGImages" / f"{name}.jpg", image)
        if split == "sbd":
            write_array(sbd / "img" / f"{name}.jpg", image)
            # SBD has no outlines.
            write_mat(sbd / "cls" / f"{name}.mat", mask * (mask != 255))
        else:
            write_palette(voc / "SegmentationClass" / f"{name}.png", mask)
    for split in ("train", "val"):
        path = voc / "ImageSets" / "Segmentation" / f"{split}.txt"
        write_text(path, "\n".join(names[split]) + "\n")
    write_text(sbd / "train.txt", "\n".join(names["sbd"]) + "\n")
    write_text(sbd / "val.txt", "")


def draw_cityscapes(folder: Path, train: int, val: int) -> None:
    """Writes Cityscapes: labelIds, and the files beside them."""
    size = (64, 128)
    ids = np.zeros(256, np.uint8)
    for label_id, train_id in CITYSCAPES_TRAIN_IDS.items():
        if train_id != 255:
            ids[train_id] = label_id
    for k in range(train + val):
        split, city = ("train", "ulm") if k < train else ("val", "lindau")
        # All pictures have one size.
        image, mask = make_scene(0, k, size)
        name = f"{city}_{k:06}_000019"
        place = folder / "leftImg8bit" / split / city
        write_array(place / f"{name}_leftImg8bit.png", image)
        fine = folder / "gtFine" / split / city / f"{name}_gtFine"
        labels = ids[mask]
        write_array(Path(f"{fine}_labelIds.png"), labels)
        instances = labels.astype("uint16") * 1000
        write_array(Path(f"{fine}_instanceIds.png"), instances)
        colors = np.dstack([image, np.full_like(mask, 255)])
        write_array(Path(f"{fine}_color.png"), colors)
        polygons = {"imgHeight": size[0], "imgWidth": size[1], "objects": []}
        write_text(Path(f"{fine}_polygons.json"), json.dumps(polygons))


def draw_ade20k(folder: Path, train: int, val: int) -> None:
    """Writes ADE20K of the scene parsing challenge, where 0 is ignored."""
    inner = folder / "ADEChallengeData2016"
    for k, (image, mask) in enumerate(scenes(train, val)):
        split = "training" if k < train else "validation"
        name = f"ADE_{'train' if k < train else 'val'}_{k:08}"
        write_array(inner / "images" / split / f"{name}.jpg", image)
        # 255 becomes 0.
        mask += 1
        write_array(inner / "annotations" / split / f"{name}.png", mask)


def draw_camvid(folder: Path, train: int, val: int) -> None:
    """Writes CamVid as SegNet's authors distribute it."""
    for k in range(train + val):
        split = "train" if k < train else "val"
        image, mask = make_scene(0, k, (90, 120))
        mask[mask == 255] = 11
        write_array(folder / split / f"{k:04}.png", image)
        write_array(folder / f"{split}annot" / f"{k:04}.png", mask)


def draw_own(folder: Path, train: int, val: int) -> None:
    """Writes a user's own folder, with five classes and scenes."""
    for k, (image, mask) in enumerate(scenes(train, val)):
        place = folder / ("train" if k < train else "val")
        mask = np.where(mask == 255, 255, np.minimum(mask, 4))
        write_array(place / "images" / f"{k}.jpg", image)
        write_array(place / "masks" / f"{k}.png", mask)


# By the `data` of a recipe.
DRAWINGS: dict[str | None, Callable[[Path, int, int], None]] = {
    "voc": draw_voc,
    "cityscapes": draw_cityscapes,
    "ade20k": draw_ade20k,
    "camvid": draw_camvid,
    None: draw_own,
}
