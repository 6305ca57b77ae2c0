"""Ground truth drawn from the shapes of an annotation."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
from PIL import Image

from keras_pspnet.data.images import MAX_PIXELS, image_size
from keras_pspnet.data.sources.shapes import Shape

# Limit for the pixels of all bitmaps of an image: a multiple of the image's
# pixels, and a constant.
_MOST_TIMES, _MOST_MORE = 64, 2**24


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """The mask of an image, drawn when it is read.

    Args:
        image: Path of the image.
        size: Width and height; None if only the image file has them.
        shapes: Shapes, each with its class or 255; later ones are on top.
        outside: The class of pixels outside of all shapes, or 255.
    """

    image: str
    size: tuple[int, int] | None
    shapes: tuple[tuple[Shape, int], ...]
    outside: int

    def read(
        self,
        source: str | os.PathLike[str] | bytes,
        max_pixels: int = MAX_PIXELS,
    ) -> np.ndarray:
        """Draws the mask.

        Args:
            source: The annotation, for errors; it was read before.
            max_pixels: Larger masks are refused.

        Returns:
            Classes and 255, uint8 `(H, W)`.

        Raises:
            OSError: If a file of the annotation cannot be opened.
            ValueError: If a shape cannot be drawn, or the image is too large.
        """
        size = self.size or image_size(self.image)
        where = f"mask={source!r} of image={self.image!r}"
        if min(size) < 1 or size[0] * size[1] > max_pixels:
            raise ValueError(
                f"`mask` must have 1 to {max_pixels} pixels. Received: "
                f"{size[0]}x{size[1]} in {where}"
            )
        canvas = Image.new("L", size, self.outside)
        # A few bytes can encode a whole bitmap, many times over.
        left = _MOST_TIMES * size[0] * size[1] + _MOST_MORE
        for number, (shape, value) in enumerate(self.shapes, start=1):
            try:
                left -= shape.draw(canvas, value)
                if left < 0:
                    raise ValueError(
                        f"bitmaps must have at most {_MOST_TIMES} times the "
                        f"pixels of their image, and {_MOST_MORE} more, in all"
                    )
            except (OverflowError, ValueError) as error:
                raise ValueError(
                    f"`mask` must have shapes that can be drawn, but {error}. "
                    f"Received: shape {number} of {where}"
                ) from error
        return np.array(canvas)
