"""Examples of TensorFlow Datasets as pairs of pictures and class masks.

`load_tfds` reads a set by index, as training does. The other functions take
one example, as `tfds.as_numpy` or `tfds.data_source` give them (or with its
files as they are, for `tfds.decode.SkipDecoding`), and need nothing installed:

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

from keras_pspnet.data.images import read_image, read_mask
from keras_pspnet.data.sources.encodings import Encoding, plain_encoding
from keras_pspnet.data.sources.published import (
    CITYSCAPES_ENCODING,
    PETS,
    PETS_ENCODING,
)
from keras_pspnet.labels import (
    ADE20K,
    CAMVID,
    CITYSCAPES,
    IGNORE_LABEL,
    VOC,
    LabelSet,
)

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


@dataclasses.dataclass(frozen=True)
class _Known:
    """A set: its builder, and what its examples hold.

    Args:
        builder: Name of the builder, with the config.
        labels: The classes.
        encoding: What the values of masks mean.
        image: Name of the picture.
        mask: Name of the mask.
        read_mask: Reads the file of a mask, `(H, W)`.
        is_ours: Whether the builder is one of this package's.
    """

    builder: str
    labels: LabelSet
    encoding: Encoding
    image: str = "image"
    mask: str = "segmentation_mask"
    read_mask: Callable[[bytes], np.ndarray] = read_mask
    is_ours: bool = False

    def pair(self, example: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Maps an example, of arrays or of the bytes of files."""
        image, mask = read_image(example[self.image]), example[self.mask]
        if isinstance(mask, bytes):
            mask = self.read_mask(mask)
        else:
            mask = np.asarray(mask)[..., 0]
        if image.shape[:2] != mask.shape:
            raise ValueError(
                "`example` must have a picture and a mask of one size. "
                f"Received: a picture of shape {image.shape}, a mask of shape "
                f"{mask.shape}"
            )
        return image, self.encoding.from_values(mask, "example")


def _read_first_channel(mask: bytes) -> np.ndarray:
    return read_image(mask)[..., 0]


_PETS = _Known("oxford_iiit_pet", PETS, PETS_ENCODING)
_CITYSCAPES = _Known(
    "cityscapes/semantic_segmentation",
    CITYSCAPES,
    CITYSCAPES_ENCODING,
    "image_left",
    "segmentation_label",
)
_SCENE_PARSE = _Known(
    "scene_parse150",
    ADE20K,
    _INSTANCES,
    mask="annotation",
    read_mask=_read_first_channel,
)
_VOC = _Known(
    "voc2012_segmentation/voc", VOC, plain_encoding(VOC, "VOC"), is_ours=True
)
_CAMVID = _Known(
    "camvid", CAMVID, plain_encoding(CAMVID, "CamVid"), is_ours=True
)
_SETS = {
    "oxford_iiit_pet": _PETS,
    "cityscapes": _CITYSCAPES,
    "scene_parse150": _SCENE_PARSE,
    "voc2012_segmentation": _VOC,
    "voc2012_segmentation/sbd": dataclasses.replace(
        _VOC, builder="voc2012_segmentation/sbd"
    ),
    "camvid": _CAMVID,
}


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

    Examples:
        >>> from keras_pspnet.data.sources.tfds import oxford_iiit_pet
        >>> trimap = np.array([[[1], [2]]], "uint8")
        >>> picture = np.zeros((1, 2, 3), "uint8")
        >>> example = {"image": picture, "segmentation_mask": trimap}
        >>> image, mask = oxford_iiit_pet(example)
        >>> mask
        array([[0, 1]], dtype=uint8)
    """
    return _PETS.pair(example)


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

    Examples:
        >>> from keras_pspnet.data.sources.tfds import cityscapes
        >>> ids = np.array([[[7], [0]]], "uint8")  # road, and unlabelled
        >>> picture = np.zeros((1, 2, 3), "uint8")
        >>> example = {"image_left": picture, "segmentation_label": ids}
        >>> cityscapes(example)[1]
        array([[  0, 255]], dtype=uint8)
    """
    return _CITYSCAPES.pair(example)


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

    Examples:
        >>> from keras_pspnet.data.sources.tfds import scene_parse150
        >>> instances = np.zeros((1, 2, 3), "uint8")
        >>> example = {"image": instances, "annotation": instances}
        >>> scene_parse150(example)[1]
        array([[255, 255]], dtype=uint8)
    """
    return _SCENE_PARSE.pair(example)


def voc2012_segmentation(
    example: Mapping[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Maps an example of this package's `voc2012_segmentation`.

    Args:
        example: Has `image` and `segmentation_mask`, 0..20 and 255.

    Returns:
        Image, uint8 `(H, W, 3)`, and mask, uint8 `(H, W)` of VOC's 21
        classes and 255.

    Raises:
        KeyError: If it is an example of another set.
        ValueError: If the mask holds another value or the sizes differ.

    Examples:
        >>> from keras_pspnet.data.sources.tfds import voc2012_segmentation
        >>> ids = np.array([[[3], [255]]], "uint8")
        >>> picture = np.zeros((1, 2, 3), "uint8")
        >>> example = {"image": picture, "segmentation_mask": ids}
        >>> voc2012_segmentation(example)[1]
        array([[  3, 255]], dtype=uint8)
    """
    return _VOC.pair(example)


def camvid(example: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Maps an example of this package's `camvid`.

    Args:
        example: Has `image` and `segmentation_mask`, 0..10 and 255.

    Returns:
        Image, uint8 `(H, W, 3)`, and mask, uint8 `(H, W)` of CamVid's 11
        classes and 255.

    Raises:
        KeyError: If it is an example of another set.
        ValueError: If the mask holds another value or the sizes differ.

    Examples:
        >>> from keras_pspnet.data.sources.tfds import camvid
        >>> ids = np.array([[[3], [255]]], "uint8")
        >>> picture = np.zeros((1, 2, 3), "uint8")
        >>> example = {"image": picture, "segmentation_mask": ids}
        >>> camvid(example)[1]
        array([[  3, 255]], dtype=uint8)
    """
    return _CAMVID.pair(example)


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
    name: str,
    split: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    download: bool = False,
) -> TfdsData:
    """Opens a data set of TensorFlow Datasets.

    Pictures are decoded as `read_image` does it, not as TensorFlow Datasets
    does: exact to the integer, and upright.

    Args:
        name: `"oxford_iiit_pet"`, `"cityscapes"`, `"scene_parse150"`,
            `"voc2012_segmentation"`, `"voc2012_segmentation/sbd"` or
            `"camvid"`; of each, see the function of that name.
        split: As TensorFlow Datasets calls it, `"train[:10%]"` for instance.
        data_dir: Where it is; None is TensorFlow Datasets' own default.
        download: Whether a set that is not there is downloaded and prepared.
            What needs a login it takes from `downloads/manual` in `data_dir`.

    Returns:
        The pairs: `len(data)`, `data[i]`, iteration, `data.labels`.

    Raises:
        FileNotFoundError: If a file has to be downloaded by hand first; tells
            which, and where to put it.
        ImportError: If TensorFlow Datasets is not installed.
        OSError: If a download fails.
        ValueError: If `name` or `split` is another, or the set is not
            prepared, or as TFRecord files, which cannot be read by index.

    Examples:
        >>> from keras_pspnet.data.sources.tfds import load_tfds
        >>> data = load_tfds(  # doctest: +SKIP
        ...     "camvid", "validation", "data", download=True
        ... )
        >>> image, mask = data[0]  # doctest: +SKIP
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
    if known.is_ours:
        # It needs TensorFlow Datasets, and makes the builders known to it.
        import keras_pspnet.data.builders  # noqa: F401
    builder = tfds.builder(known.builder, data_dir=data_dir)
    received = f"Received: data_dir={data_dir!r}, name={name!r}"
    if download:
        try:
            builder.download_and_prepare(file_format="array_record")
        except AssertionError as error:
            # Says TensorFlow Datasets of an empty folder of manual downloads.
            raise FileNotFoundError(
                "`data_dir` must hold what cannot be downloaded without a "
                f"login. {received}. {error}"
            ) from error
    elif not builder.is_prepared():
        raise ValueError(
            "`data_dir` must hold the prepared set, unless download=True. "
            f"{received}"
        )
    skip = tfds.decode.SkipDecoding()
    decoders = {known.image: skip, known.mask: skip}
    try:
        examples = builder.as_data_source(split=split, decoders=decoders)
    except NotImplementedError as error:
        raise ValueError(
            "`data_dir` must hold the set as ARRAY_RECORD files; TFRecord "
            "files, as tfds.load writes them, can only be read in order: "
            f"download=True writes others in another folder. {received}"
        ) from error
    except ValueError as error:
        splits = ", ".join(builder.info.splits)
        raise ValueError(
            f"`split` must be one of {splits}, or parts of them. Received: "
            f"split={split!r} of {name!r}"
        ) from error
    return TfdsData(examples, known.labels, known.pair)
