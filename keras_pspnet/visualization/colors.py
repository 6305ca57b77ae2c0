"""Colors of classes, also for color-blind people, and of confidence."""

from __future__ import annotations

import numpy as np
from PIL import Image

from keras_pspnet.labels import Color, LabelSet
from keras_pspnet.visualization.checks import check_mask

IGNORED: Color = (0, 0, 0)
CONTOUR: Color = (255, 255, 255)
# Stands out from every gray, for color-blind eyes as well.
WRONG: Color = (255, 80, 0)

# The colors of Okabe and Ito (Color Universal Design, 2008) except black, which
# marks ignored pixels. The others are chosen far from all before them: for
# normal vision, protanopia, deuteranopia and tritanopia, any two are 16 apart
# in CIELAB among the first 21, 11 among 40 and 5 among 150.
_OKABE_ITO = "0072b2 f0e442 56b4e9 cc79a7 e69f00 009e73 d55e00"
_FARTHEST = """
    692d0f 4b00b4 5a3c5a 9669ff 00ff87 e1004b a5d2b4 690f78 b4a54b d2c3e1
    3c693c d200b4 5a4bf0 963c00 8796ff 786978 5a0f96 78e196 c3e15a 874b87
    872dc3 78b478 3c3c3c 5a961e 0fd21e 2d4b2d a5695a a569d2 a5a596 ff69d2
    2d4b96 d2f0d2 1e782d 5af0ff b4c3c3 d2c369 a569a5 ff96ff 87a55a 963c5a
    960096 87ffb4 e1e1e1 a54bd2 780f69 8796c3 1e2dd2 878787 c3a5c3 874be1
    b44b00 b4c378 96ff78 f069ff 961e69 788796 ffb43c ff3c3c 96873c ffd2a5
    f03c69 960f2d e1f05a 873c1e 782dd2 00d2ff f08796 5a3c78 2dc3a5 b48778
    785aff 00875a 87004b 006987 d2b44b 4b78e1 5a1eb4 a54bb4 697869 96b4e1
    a5e1b4 004b0f 5a5a5a ffd2ff 692da5 f09687 c3004b 875a1e 3c5a3c b43c1e
    f04b96 e1d200 69874b a587e1 f0691e b4e169 e1a5b4 1e3c87 4b3c4b ff8769
    0f5a96 e15ab4 7896d2 87000f a5ff69 5a872d 780f3c 965a96 1e5a69 e1e187
    c3874b 876987 b4d2c3 69c369 d2f000 d2b496 4b694b 87002d 783cb4 7887b4
    1ec31e e187b4 c3f0c3 695a78 c3b45a c3d2d2 5a1ec3 a5e178 e1c35a 96d2a5
    c3c3d2 3c784b 5a2d5a a569f0 f00f2d 690f87 f0c396 d2e1d2 d2d2e1 8778c3
    4b4bc3 d23ce1 c3c387 f0e1f0 a57869 d2a5d2 e1c3f0 d2e14b d29600 d2a5a5
    a51e3c 96b43c 5a4ba5 ffe1a5 5a4b78 969687 875a69 4b8778 f087f0 002da5
    c35ac3 c396c3 695aa5 f0b4ff b400a5 69b469 877887 960f00 875ac3 a53c2d
    699696 004b69 a55aa5 5a00a5 a5963c 4b69d2 78a5d2 873ce1 b43cc3 a55a5a
    5a87e1 d2875a 870087 3c3ce1 692db4 3c69f0 d2f096 96a5b4 ff87e1 96004b
    b41e87 ff872d c3d287 b40fd2 c378f0 a578a5 f05a2d 782d1e b45a2d d2d24b
    694bd2 a56978 5ab487 5ae1f0 c3e1c3 1e1ec3 4ba54b 87875a c33c96 96b4ff
    4ba5a5 78c387 d24b0f 87c3b4 3c873c 2de169 d2b4e1 5a3c87 a50f96 c39687
    96f0b4 d278c3 960078 ffc33c ff963c 783c5a b4f069 69d24b 1e3c69 5ad2c3
    a5f078 7896f0 f0782d a578d2 c3695a 78d2d2 d287e1 f096f0 4bc3f0 f05a78
    a58796 9678ff d22d69 3c5aff a50f2d d2e196 5af0c3 5ad278"""
COLORBLIND = tuple(
    tuple(bytes.fromhex(color)) for color in (_OKABE_ITO + _FARTHEST).split()
)


def class_colors(labels: LabelSet, colorblind: bool = False) -> np.ndarray:
    """Returns the color of every value of a mask.

    Args:
        labels: Classes and their own colors.
        colorblind: Whether to use colors that color-blind people can tell
            apart instead. They are well apart for up to 21 classes and get
            closer beyond.

    Returns:
        A uint8 array of shape `(256, 3)`, ignored pixels black.
    """
    palette = np.empty((256, 3), np.uint8)
    palette[:] = IGNORED
    count = labels.num_classes
    palette[:count] = COLORBLIND[:count] if colorblind else labels.colors
    return palette


def colorize(
    mask: np.ndarray, labels: LabelSet, colorblind: bool = False
) -> np.ndarray:
    """Paints each class in its color, and ignored pixels black.

    Args:
        mask: Integers of shape `(H, W)`, each a class of `labels` or its
            ignore label.
        labels: Classes and colors.
        colorblind: As in `class_colors`.

    Returns:
        A uint8 array of shape `(H, W, 3)`.

    Raises:
        TypeError: If `mask` does not hold integers.
        ValueError: If `mask` has another rank or holds another value.
    """
    check_mask(mask, labels)
    return class_colors(labels, colorblind)[mask]


def index_image(
    mask: np.ndarray, labels: LabelSet, colorblind: bool = False
) -> Image.Image:
    """Makes a palette image of class ids in their colors.

    Args:
        mask: Class ids, uint8 `(H, W)`.
        labels: The label set of the ids.
        colorblind: As in `class_colors`.

    Returns:
        A palette image, which is an index mask when saved as PNG.
    """
    height, width = mask.shape
    image = Image.frombytes("P", (width, height), mask.tobytes())
    image.putpalette(class_colors(labels, colorblind).tobytes())
    return image


def confidence_colors(confidence: np.ndarray) -> np.ndarray:
    """Paints confidence from dark violet over green to yellow.

    Args:
        confidence: Floats of any shape, within 0..1.

    Returns:
        A uint8 array of that shape and a last axis of 3.
    """
    from matplotlib import colormaps

    # Its lightness grows evenly, so color-blind people can read it.
    return colormaps["viridis"](confidence, bytes=True)[..., :3].copy()


def contour(mask: np.ndarray, width: int = 1) -> np.ndarray:
    """Marks the right and lower edges of regions.

    Args:
        mask: Integers of shape `(H, W)`.
        width: Width of the line in pixels. Regions that are no wider stay
            unmarked, so that the line does not hide them.

    Returns:
        A bool array of shape `(H, W)`.
    """
    line = np.zeros(mask.shape, bool)
    # Along the columns, and through transposed views along the rows.
    for ends, classes in ((line, mask), (line.T, mask.T)):
        wide = classes[width:] == classes[:-width]
        for step in range(1, 1 + width):
            ends[width:-step] |= wide[:-step] & (
                classes[width:-step] != classes[width + step :]
            )
    return line
