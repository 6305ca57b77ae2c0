"""The serving graph: pictures in, masks out, nothing else to remember."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from keras_pspnet.inference import network_size
from keras_pspnet.losses import IGNORE_LABEL
from keras_pspnet.sampling import resize, spatial_size

MODEL_INPUT = (None, None, None, 3)
_PNG_START = b"\x89PNG\r\n\x1a\n"


class ServingModule(tf.Module):
    """A model wrapped for serving.

    `predict_array` takes pictures of one size as an array, `predict_bytes`
    takes JPEG or PNG files of any sizes.

    Args:
        model: A model with one output, as `PSPNet.inference_model()` gives.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="pspnet_serving")
        # Masks (B, H, W) of images (B, H, W, 3). The model itself is no
        # attribute: its weights would be written twice.
        self._masks = functools.partial(_masks, model)
        # The saved graph captures these; they must be reachable from here.
        self.model_variables = [weight.value for weight in model.weights]

    @tf.function(
        input_signature=[tf.TensorSpec(MODEL_INPUT, tf.float32, "images")]
    )
    def predict_array(self, images: Any) -> dict[str, Any]:
        """Segments pictures of one size.

        Args:
            images: float32 (B, H, W, 3), RGB in 0..255.

        Returns:
            `mask`: uint8 (B, H, W) class ids.
        """
        # A tensor of another rank would abort the process in a convolution:
        # servers check names and not shapes.
        images = tf.ensure_shape(images, MODEL_INPUT)
        with tf.control_dependencies(
            [_assert_not_empty(tf.shape(images)[:3], "images")]
        ):
            return {"mask": self._masks(tf.identity(images))}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")]
    )
    def predict_bytes(self, image_bytes: Any) -> dict[str, Any]:
        """Segments encoded pictures of any sizes.

        Args:
            image_bytes: Strings (B,), each a JPEG or PNG file.

        Returns:
            `mask_png_bytes`: strings (B,), each an 8-bit grey PNG of class
            ids; `mask`: uint8 (B, H, W), smaller masks padded below and to
            the right with the ignore label; `height` and `width`: int32 (B,)
            sizes of the masks without padding.
        """
        image_bytes = tf.ensure_shape(image_bytes, [None])
        with tf.control_dependencies(
            [_assert_not_empty(tf.shape(image_bytes), "image_bytes")]
        ):
            image_bytes = tf.identity(image_bytes)

        def one(data: Any) -> tuple[Any, Any, Any]:
            image = tf.cast(_decode(data), tf.float32)
            mask = self._masks(image[None])[0]
            size = tf.shape(mask)
            return tf.io.encode_png(mask[..., None]), size[0], size[1]

        spec = tf.TensorSpec([], tf.int32)
        files, heights, widths = tf.map_fn(
            one,
            image_bytes,
            fn_output_signature=(tf.TensorSpec([], tf.string), spec, spec),
        )
        highest, widest = tf.reduce_max(heights), tf.reduce_max(widths)

        def padded(file: Any) -> Any:
            mask = tf.io.decode_png(file, channels=1)[..., 0]
            missing = tf.stack([highest, widest]) - tf.shape(mask)
            return tf.pad(
                mask,
                [[0, missing[0]], [0, missing[1]]],
                constant_values=IGNORE_LABEL,
            )

        masks = tf.map_fn(
            padded,
            files,
            fn_output_signature=tf.TensorSpec([None, None], tf.uint8),
        )
        return {
            "mask": masks,
            "mask_png_bytes": files,
            "height": heights,
            "width": widths,
        }


def _masks(model: keras.Model, images: Any) -> Any:
    """Computes uint8 masks (B, H, W) of float32 images (B, H, W, 3)."""
    size = network_size(model)
    x = images if size is None else resize(images, size)
    logits = model(x, training=False)
    if size is not None:
        logits = resize(logits, spatial_size(images))
    return tf.cast(tf.argmax(logits, axis=-1), tf.uint8)


def _decode(data: Any) -> Any:
    """Decodes one JPEG or PNG file as `read_image` does, but for EXIF."""
    is_jpeg = tf.io.is_jpeg(data)
    is_png = tf.strings.substr(data, 0, len(_PNG_START)) == _PNG_START
    # TensorFlow's decoders take each other's formats, among them GIF, whose
    # frames would all be decoded before anything is refused.
    is_either = tf.debugging.Assert(
        is_jpeg | is_png, ["image_bytes must be JPEG or PNG files"]
    )
    with tf.control_dependencies([is_either]):
        data = tf.identity(data)
    return tf.cond(
        is_jpeg,
        # The accurate transform is the one that Pillow uses.
        lambda: tf.io.decode_jpeg(
            data, channels=3, dct_method="INTEGER_ACCURATE"
        ),
        lambda: tf.io.decode_png(data, channels=3),
    )


def _assert_not_empty(sizes: Any, name: str) -> Any:
    return tf.debugging.Assert(
        tf.reduce_all(sizes > 0), [f"{name} must not be empty. Shape:", sizes]
    )
