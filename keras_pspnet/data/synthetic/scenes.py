"""Procedural scenes whose labels depend on the whole image.

The scenes need no download and no image library. A network that looks only at
an object fails on them in the three ways that the PSPNet paper lists:

- Mismatched relationship: the same hull is a `boat` on water and a `car` on a
  road, and `water` and `road` have the same wet surface. White wave crests at
  the far side of the image indicate water, yellow lane markings a road.
- Confusion: the same tower is a `building` in a town and a `skyscraper` in a
  city. Gabled houses at the far side of the image indicate a town, flat blocks
  a city.
- Inconspicuous classes: a `pillow` has the texture of its bed, with a shade
  along its outline.

Surface and place are independent. Objects are in the near half of the image
and the cues to their class at the far side, so a wider image requires a
larger receptive field. At 128 x 128, a dilated network can learn to see the
cues from the objects; at 96 x 256 it needs the pyramid.
"""

import numpy as np

from keras_pspnet.data.synthetic.drawing import draw_scene
from keras_pspnet.utils import check_rule

MIN_SIDE = 32
INDOOR_SHARE = 0.25


def make_scene(
    seed: int, index: int, size: tuple[int, int] = (128, 128)
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one scene.

    Args:
        seed: Seed of the series of scenes, not negative.
        index: Index of the scene in its series, not negative.
        size: Height and width, at least 32 each.

    Returns:
        The RGB image, uint8 (height, width, 3), and its mask, uint8
        (height, width): class ids 0..10 in the order of the scene labels,
        and 255 on a border 2 pixels wide around objects.

    Examples:
        >>> from keras_pspnet.data.synthetic.scenes import make_scene
        >>> image, mask = make_scene(seed=0, index=3, size=(64, 96))
        >>> image.shape, mask.shape
        ((64, 96, 3), (64, 96))
    """
    rng = np.random.default_rng([seed, index])
    shares = (INDOOR_SHARE, 0.5, 0.5)
    indoors, on_water, in_city = rng.random(3) < shares
    return draw_scene(rng, checked_size(size), indoors, on_water, in_city)


def scene_arrays(
    first_index: int, count: int, size: tuple[int, int], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the scenes `first_index` to `first_index + count - 1`.

    Args:
        first_index: Index of the first scene.
        count: Number of scenes.
        size: Height and width, at least 32 each.
        seed: Seed of the series of scenes.

    Returns:
        Images, uint8 (count, height, width, 3), and masks, uint8
        (count, height, width).

    Examples:
        >>> from keras_pspnet.data.synthetic.scenes import scene_arrays
        >>> images, masks = scene_arrays(0, 5, (32, 48), seed=1)
        >>> images.shape, masks.shape
        ((5, 32, 48, 3), (5, 32, 48))
    """
    size = checked_size(size)
    images = np.empty((count, *size, 3), "uint8")
    masks = np.empty((count, *size), "uint8")
    for k in range(count):
        images[k], masks[k] = make_scene(seed, first_index + k, size)
    return images, masks


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Checks a size (height, width) and returns it.

    Args:
        size: The argument of the caller.

    Raises:
        ValueError: If it is too small, or not a size.
    """
    sides = np.array(size)
    rule = f"be (height, width), two integers of at least {MIN_SIDE}"
    kept = sides.shape == (2,) and sides.dtype.kind == "i"
    check_rule("size", size, rule, kept and min(size) >= MIN_SIDE)
    return size
