"""Examples of TensorFlow Datasets as pairs of pictures and class masks.

The functions take an example as `tfds.as_numpy` or `tfds.data_source` give
them, and need nothing installed:

    examples = tfds.as_numpy(tfds.load("oxford_iiit_pet", split="test"))
    keras_pspnet.evaluate(model, map(oxford_iiit_pet, examples))
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_pspnet.data.encodings import Encoding
from keras_pspnet.data.trees import (
    CITYSCAPES_ENCODING,
    PETS,
    PETS_ENCODING,
)
from keras_pspnet.labels import ADE20K, CITYSCAPES, LabelSet
from keras_pspnet.losses import IGNORE_LABEL

# The classes of ADE20K whose objects nobody has counted, so that the masks of
# instances leave them out. The 100 others are numbered 1..100 there, in the
# order they have among the 150.
_NOT_COUNTED = """
    wall, building, sky, floor, tree, ceiling, road, grass, sidewalk, earth,
    mountain, plant, water, house, sea, rug, field, rock, base, sand,
    skyscraper, grandstand, path, runway, stairway, river, bridge, blind,
    hill, bar, hovel, tower, dirt track, land, escalator, buffet, poster,
    stage, conveyer belt, canopy, swimming pool, waterfall, tent, cradle,
    tank, lake, blanket, pier, crt screen, shower"""
_STUFF = {" ".join(name.split()) for name in _NOT_COUNTED.split(",")}
_COUNTED = [
    index for index, name in enumerate(ADE20K.names) if name not in _STUFF
]
_INSTANCES = Encoding(
    {0: IGNORE_LABEL} | dict(enumerate(_COUNTED, start=1)),
    (),
    "scene_parse150",
)


def oxford_iiit_pet(
    example: Mapping[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Maps an example of `oxford_iiit_pet`.

    Args:
        example: Has `image` and `segmentation_mask`, 1..3.

    Returns:
        Image, uint8 `(H, W, 3)`, and mask, uint8 `(H, W)`: 0 pet, 1
        background, 2 outline.

    Raises:
        KeyError: If it is an example of another set.
        ValueError: If the mask holds another value or the sizes differ.
    """
    mask = np.asarray(example["segmentation_mask"])
    return _pair(example["image"], mask, PETS_ENCODING)


def cityscapes(example: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Maps an example of `cityscapes/semantic_segmentation`.

    Args:
        example: Has `image_left` and `segmentation_label`, ids 0..33.

    Returns:
        Image, uint8 `(H, W, 3)`, and mask, uint8 `(H, W)` of the 19 classes
        of the benchmark and 255.

    Raises:
        KeyError: If it is an example of another set.
        ValueError: If the mask holds another value or the sizes differ.
    """
    mask = np.asarray(example["segmentation_label"])
    return _pair(example["image_left"], mask, CITYSCAPES_ENCODING)


def scene_parse150(
    example: Mapping[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Maps an example of `scene_parse150`, which is ADE20K's instances.

    TensorFlow Datasets takes the annotations of ADE20K's instance task: they
    know the 100 classes with countable objects, numbered on their own. Here
    they get their numbers among the 150; everything else (wall, sky, road,
    ...) comes out as 255. Scores on it are therefore not those of the scene
    parsing benchmark, for which there is `load("ade20k", ...)`.

    Args:
        example: Has `image` and `annotation`, whose first channel is the
            class, 0..100.

    Returns:
        Image, uint8 `(H, W, 3)`, and mask, uint8 `(H, W)` of ADE20K's 150
        classes and 255.

    Raises:
        KeyError: If it is an example of another set.
        ValueError: If the mask holds another value or the sizes differ.
    """
    mask = np.asarray(example["annotation"])[..., :1]
    return _pair(example["image"], mask, _INSTANCES)


@dataclasses.dataclass(frozen=True)
class _Known:
    builder: str
    labels: LabelSet
    pair: Callable[[Mapping[str, Any]], tuple[np.ndarray, np.ndarray]]


_SETS = {
    "oxford_iiit_pet": _Known("oxford_iiit_pet", PETS, oxford_iiit_pet),
    "cityscapes": _Known(
        "cityscapes/semantic_segmentation", CITYSCAPES, cityscapes
    ),
    "scene_parse150": _Known("scene_parse150", ADE20K, scene_parse150),
}


class TfdsData:
    """Reads the pairs of a prepared TensorFlow data set by index.

    Args:
        examples: The examples, as of `tfds.data_source`.
        labels: The classes.
        pair: Maps an example to image and mask.
    """

    def __init__(
        self,
        examples: Sequence[Mapping[str, Any]],
        labels: LabelSet,
        pair: Callable[[Mapping[str, Any]], tuple[np.ndarray, np.ndarray]],
    ) -> None:
        self.labels = labels
        self.num_classes = labels.num_classes
        self.ignore_label = IGNORE_LABEL
        self._examples = examples
        self._pair = pair

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._pair(self._examples[index])

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[index] for index in range(len(self)))


def load_tfds(
    name: str, split: str, data_dir: str | os.PathLike[str] | None = None
) -> TfdsData:
    """Opens a data set that TensorFlow Datasets has prepared; never downloads.

    Args:
        name: `"oxford_iiit_pet"`, `"cityscapes"` or `"scene_parse150"`; of
            each, see the function of that name.
        split: As TensorFlow Datasets calls it, `"train[:10%]"` for instance.
        data_dir: Where it is; None is TensorFlow Datasets' own default.

    Returns:
        The pairs: `len(data)`, `data[i]`, iteration, `data.labels`.

    Raises:
        ImportError: If TensorFlow Datasets is not installed.
        ValueError: If `name` or `split` is another, or the set is not
            prepared, or as TFRecord files, which cannot be read by index.
    """
    if name not in _SETS:
        raise ValueError(
            f"`name` must be one of {', '.join(_SETS)}. Received: name={name!r}"
        )
    known = _SETS[name]
    try:
        tfds = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise ImportError(
            "tensorflow-datasets must be installed to read its data sets: "
            "pip install keras-pspnet[tfds]"
        ) from error
    try:
        examples = tfds.data_source(
            known.builder, split=split, data_dir=data_dir, download=False
        )
    except NotImplementedError as error:
        # TensorFlow Datasets' own word for "not there" as well.
        raise ValueError(
            "`data_dir` must hold the set as ARRAY_RECORD files: "
            f"tfds.data_source({known.builder!r}, data_dir=...) prepares them "
            "in a folder of its own. What tfds.load has prepared can only be "
            f"read in order. Received: data_dir={data_dir!r}, name={name!r}"
        ) from error
    return TfdsData(examples, known.labels, known.pair)


def _pair(
    image: Any, mask: np.ndarray, encoding: Encoding
) -> tuple[np.ndarray, np.ndarray]:
    image = np.asarray(image)
    if image.shape[:2] != mask.shape[:2]:
        raise ValueError(
            "`example` must have a picture and a mask of one size. Received: "
            f"a picture of shape {image.shape}, a mask of shape {mask.shape}"
        )
    return image, encoding.from_values(mask[..., 0], "example")
