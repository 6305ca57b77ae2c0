"""The examples that the builders write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from keras_pspnet.data.dataset import SegmentationData
from keras_pspnet.labels import LabelSet


def describe(labels: LabelSet, image_format: str) -> Any:
    """Describes the examples of a set.

    Args:
        labels: The classes.
        image_format: Format of the image files, `"jpeg"` or `"png"`.

    Returns:
        A `tfds.features.FeaturesDict`: `image`, uint8 `(H, W, 3)`;
        `segmentation_mask`, uint8 `(H, W, 1)`, classes 0..C-1, and 255 where
        there is no ground truth; `file_name`, that of the image.
    """
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(
                shape=(None, None, 3), encoding_format=image_format
            ),
            "segmentation_mask": tfds.features.LabeledImage(
                labels=list(labels.names),
                shape=(None, None, 1),
                encoding_format="png",
            ),
            "file_name": tfds.features.Text(),
        }
    )


def make_examples(
    data: SegmentationData,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Makes the examples of a split.

    Image files are copied byte by byte. Masks are rewritten as gray PNG files
    of class indices.

    Args:
        data: The pairs; each is decoded and checked.

    Yields:
        A name, and the features that `describe` lists.

    Raises:
        OSError: If a file cannot be opened.
        ValueError: If a file cannot be decoded, the sizes differ, or the
            mask holds a value without a class.
    """
    for index, (_, mask) in enumerate(data):
        path = Path(data.files(index)[0])
        yield (
            path.stem,
            {
                "image": path,
                "segmentation_mask": Image.fromarray(mask),
                "file_name": path.name,
            },
        )
