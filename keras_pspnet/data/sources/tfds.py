"""Reads TensorFlow Datasets as pairs of images and class masks.

`load_tfds` reads a set by index, as training needs it. `pair_of` maps one
example of `tfds.as_numpy` or `tfds.data_source` (or one with encoded files,
from `tfds.decode.SkipDecoding`), and requires no other package:

    examples = tfds.as_numpy(tfds.load("camvid", split="test"))
    pairs = (pair_of("camvid", example) for example in examples)
    keras_pspnet.evaluate(model, pairs)
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_pspnet.data.images import read_image, read_mask
from keras_pspnet.data.sources.encodings import Encoding, plain_encoding
from keras_pspnet.data.sources.published import (
    CITYSCAPES_ENCODING,
    PETS,
    PETS_ENCODING,
)
from keras_pspnet.labels import CAMVID, CITYSCAPES, IGNORE_LABEL, VOC, LabelSet
from keras_pspnet.utils import check_choice


@dataclasses.dataclass(frozen=True)
class _Known:
    """A set, and the content of its examples.

    Args:
        labels: The classes.
        encoding: Encoding of the masks.
        image: Name of the image in an example.
        mask: Name of the mask in an example.
        config: Config of the builder.
    """

    labels: LabelSet
    encoding: Encoding
    image: str = "image"
    mask: str = "segmentation_mask"
    config: str | None = None


_VOC = _Known(VOC, plain_encoding(VOC, "VOC"), config="voc")
_SETS = {
    "oxford_iiit_pet": _Known(PETS, PETS_ENCODING),
    "cityscapes": _Known(
        CITYSCAPES,
        CITYSCAPES_ENCODING,
        "image_left",
        "segmentation_label",
        "semantic_segmentation",
    ),
    "voc2012_segmentation": _VOC,
    "voc2012_segmentation/sbd": dataclasses.replace(_VOC, config=None),
    "camvid": _Known(CAMVID, plain_encoding(CAMVID, "CamVid")),
}


def pair_of(
    name: str, example: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Maps an example to an image and its mask.

    Args:
        name: The set, as in `load_tfds`.
        example: An example with `image` and `segmentation_mask`, or for
            Cityscapes `image_left` and `segmentation_label`, as arrays or as
            the bytes of files.

    Returns:
        Image, uint8 `(H, W, 3)`, and mask, uint8 `(H, W)`: VOC's 21 classes,
        the 19 of the Cityscapes benchmark, CamVid's 11, or 0 pet, 1
        background, 2 outline; and 255.

    Raises:
        KeyError: If it is an example of another set.
        ValueError: If `name` is unknown, the mask holds a value without a
            class, or the sizes differ.

    Examples:
        >>> from keras_pspnet.data.sources.tfds import pair_of
        >>> trimap = np.array([[[1], [2]]], "uint8")
        >>> image = np.zeros((1, 2, 3), "uint8")
        >>> example = {"image": image, "segmentation_mask": trimap}
        >>> image, mask = pair_of("oxford_iiit_pet", example)
        >>> mask
        array([[0, 1]], dtype=uint8)
    """
    check_choice("name", name, _SETS)
    known = _SETS[name]
    image, mask = read_image(example[known.image]), example[known.mask]
    if isinstance(mask, bytes):
        mask = read_mask(mask)
    else:
        mask = np.asarray(mask)[..., 0]
    if image.shape[:2] != mask.shape:
        raise ValueError(
            "`example` must have an image and a mask of one size. Received: "
            f"an image of shape {image.shape}, a mask of shape {mask.shape}"
        )
    return image, known.encoding.from_values(mask, f"an example of {name}")


class TfdsData:
    """Reads the pairs of a prepared TensorFlow data set by index.

    Args:
        name: Name of the set.
        examples: The examples, from `tfds.data_source`.
    """

    def __init__(
        self, name: str, examples: Sequence[Mapping[str, Any]]
    ) -> None:
        self.labels = _SETS[name].labels
        self.num_classes = self.labels.num_classes
        self.ignore_label = IGNORE_LABEL
        self._name = name
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return pair_of(self._name, self._examples[index])

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

    Images are decoded with `read_image`, not with TensorFlow Datasets, so they
    are upright and exact to the integer.

    Args:
        name: `"oxford_iiit_pet"`, `"cityscapes"`, `"voc2012_segmentation"`,
            `"voc2012_segmentation/sbd"` or `"camvid"`.
        split: Split in the syntax of TensorFlow Datasets, such as
            `"train[:10%]"`.
        data_dir: Folder of the data; None is TensorFlow Datasets' default.
        download: Whether to download and prepare a missing set. Files that
            require a login are read from `downloads/manual` in `data_dir`.

    Returns:
        The pairs: `len(data)`, `data[i]`, iteration, `data.labels`.

    Raises:
        FileNotFoundError: If a file must be downloaded by hand first; says
            which one, and where to put it.
        ImportError: If TensorFlow Datasets is not installed.
        OSError: If a download fails.
        ValueError: If `name` or `split` is unknown, or the set is not
            prepared, or prepared as TFRecord files, which cannot be read by
            index.

    Examples:
        >>> from keras_pspnet.data.sources.tfds import load_tfds
        >>> data = load_tfds(  # doctest: +SKIP
        ...     "camvid", "validation", "data", download=True
        ... )
        >>> image, mask = data[0]  # doctest: +SKIP
    """
    check_choice("name", name, _SETS)
    known = _SETS[name]
    try:
        tfds = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise ImportError(
            "tensorflow-datasets must be installed to read its data sets: "
            "pip install keras-pspnet[tfds]"
        ) from error
    # It requires TensorFlow Datasets, and registers the builders.
    importlib.import_module("keras_pspnet.data.builders")
    builder = tfds.builder(
        "/".join(filter(None, (name, known.config))), data_dir=data_dir
    )
    received = f"Received: data_dir={data_dir!r}, name={name!r}"
    if download:
        try:
            builder.download_and_prepare(file_format="array_record")
        except AssertionError as error:
            # Raised by TensorFlow Datasets if a manual download is missing.
            raise FileNotFoundError(
                "`data_dir` must hold the files that require a login to "
                f"download. {received}. {error}"
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
            "files, as tfds.load writes them, can only be read in order. "
            f"download=True writes those to another folder. {received}"
        ) from error
    except ValueError as error:
        splits = ", ".join(builder.info.splits)
        raise ValueError(
            f"`split` must be one of {splits}, or parts of them. Received: "
            f"split={split!r} of {name!r}"
        ) from error
    return TfdsData(name, examples)
