"""How results are drawn: on the page, and into files."""

from __future__ import annotations

import dataclasses
from io import BytesIO

from PIL import Image

from keras_pspnet.visualization.colors import confidence_colors, index_picture
from keras_pspnet.visualization.segmentation import Segmentation

CLASSES, CONFIDENCE, PICTURE = SHOWS = ("Classes", "Confidence", "Picture")


@dataclasses.dataclass(frozen=True)
class Look:
    """What is drawn of a result.

    Args:
        show: One of `SHOWS`.
        alpha: Share of the colours of classes, 0..1.
        classes: Ids of the classes that are drawn, None for all.
        colorblind: Whether they have colours that everybody tells apart.
    """

    show: str = CLASSES
    alpha: float = 0.55
    classes: tuple[int, ...] | None = None
    colorblind: bool = False


def draw(result: Segmentation, look: Look) -> Image.Image:
    """Draws a result.

    Args:
        result: The result; with confidence, if that is to be shown.
        look: How.

    Returns:
        An RGB picture of the size of the result.
    """
    if look.show == PICTURE:
        return Image.fromarray(result.image)
    if look.show == CONFIDENCE:
        assert result.confidence is not None
        return Image.fromarray(confidence_colors(result.confidence))
    return Image.fromarray(
        result.overlay(look.alpha, look.colorblind, look.classes)
    )


def mask_file(result: Segmentation, colorblind: bool = False) -> bytes:
    """Encodes the mask of class ids as a palette PNG.

    Args:
        result: The result.
        colorblind: As of `Look`.
    """
    return encode(index_picture(result.mask, result.labels, colorblind), "PNG")


def encode(picture: Image.Image, form: str) -> bytes:
    """Encodes a picture.

    Args:
        picture: The picture.
        form: `"PNG"` or `"JPEG"`.
    """
    stream = BytesIO()
    # At full resolution of colour: classes are told apart by it.
    options = {"quality": 90, "subsampling": 0} if form == "JPEG" else {}
    picture.save(stream, form, **options)
    return stream.getvalue()
