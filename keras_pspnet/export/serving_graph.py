"""The serving graph, from images to masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_pspnet.data import MAX_PIXELS
from keras_pspnet.export import decode_graph
from keras_pspnet.export.graph_ops import argmax_at, rounded, shrink, slide
from keras_pspnet.inference import (
    check_scales,
    fill_color,
    network_size,
    num_bands,
)
from keras_pspnet.inference.fold import as_constants, as_variables, fold
from keras_pspnet.layers import resize, spatial_size
from keras_pspnet.utils import as_integer, check_rule

# Functions that take arrays, and the dtype of the arrays.
_OF_ARRAYS = {
    "predict_array": tf.float32,
    "predict_uint8": tf.uint8,
    "probabilities": tf.float32,
    "logits": tf.float32,
}


@dataclasses.dataclass(frozen=True)
class ServingOptions:
    """How a served model processes an image.

    Args:
        max_side: Longer images are downscaled to this side for the network;
            None keeps their size. Masks always have the image's own size.
        scales: Image scales whose probabilities are averaged.
        flip: Whether to average the flipped image as well.
        window: Side of a square sliding window; neighbors overlap by a third.
            None is the whole image at once.
        max_pixels: Larger images are refused; files, before they are decoded.
    """

    max_side: int | None = 1024
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: int | None = None
    max_pixels: int = MAX_PIXELS

    @property
    def is_one_view(self) -> bool:
        """Whether there is a single view: one scale, not flipped."""
        return self.scales == (1.0,) and not self.flip

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", check_scales(self.scales))
        for name, least, other in (
            ("max_side", 1, " or None"),
            ("window", 16, " or None"),
            ("max_pixels", 1, ""),
        ):
            value = getattr(self, name)
            number = as_integer(value, least)
            kept = number is not None or (value is None and other != "")
            rule = f"be an integer of at least {least}{other}"
            check_rule(name, value, rule, kept)
            object.__setattr__(self, name, number)


class ServingModule(tf.Module):
    """A model wrapped for serving.

    Args:
        model: A model with one output, as `PSPNet.inference_model()` gives.
        options: How it processes images.
        precision: `"float32"` or `"bfloat16"`.
        freeze: Whether the weights are constants of the graph, not variables.
    """

    def __init__(
        self,
        model: keras.Model,
        options: ServingOptions,
        precision: str = "float32",
        freeze: bool = False,
    ) -> None:
        super().__init__(name="pspnet_serving")
        self._options = options
        self._size = network_size(model)
        self._fill = fill_color(model)
        self._classes = int(model.outputs[0].shape[-1])
        self._bands = num_bands(model)
        folded = fold(model, self._size or (None, None), precision)
        if freeze:
            network = as_constants(folded)
        else:
            # TensorFlow saves only variables that are attributes.
            network, self._weights = as_variables(folded)
        # A single concrete function, so that constants are stored once.
        self._network = tf.function(
            network, autograph=False
        ).get_concrete_function(
            tf.TensorSpec((None, *(self._size or (None, None)), self._bands))
        )
        for name, dtype in _OF_ARRAYS.items():
            images = tf.TensorSpec(self._shape, dtype, "images")
            function = tf.function(
                getattr(self, name), [images], autograph=False
            )
            setattr(self, name, function)

    @property
    def takes_files(self) -> bool:
        """Whether the model takes the bands of JPEG and PNG files."""
        return self._bands in (1, 3)

    @property
    def signatures(self) -> dict[str, Any]:
        """The functions that servers offer, by name."""
        found = {name: getattr(self, name) for name in _OF_ARRAYS}
        if not self.takes_files:
            return found | {"serving_default": self.predict_array}
        found["serving_default"] = self.predict_bytes
        return found | {"scores": self.scores}

    @property
    def _shape(self) -> tuple[int | None, ...]:
        return None, None, None, self._bands

    def predict_array(self, images: Any) -> dict[str, Any]:
        """Segments images of one size.

        Args:
            images: float32 (B, H, W, 3), RGB in 0..255, or other bands.

        Returns:
            `mask`: uint8 (B, H, W) class ids.
        """
        images = self._checked(images)
        return {"mask": self._masks(images)}

    def predict_uint8(self, images: Any) -> dict[str, Any]:
        """Does the same as `predict_array` with a quarter of the bytes.

        Args:
            images: uint8 (B, H, W, 3), RGB, or other bands.

        Returns:
            `mask`: uint8 (B, H, W) class ids.
        """
        images = tf.cast(self._checked(images), tf.float32)
        return {"mask": self._masks(images)}

    # A signature of its own, since this output is large and servers compute
    # every output of a signature, whichever ones a client asks for.
    def probabilities(self, images: Any) -> dict[str, Any]:
        """Returns the probability of every class at every pixel.

        Args:
            images: float32 (B, H, W, 3), RGB in 0..255, or other bands.

        Returns:
            `probabilities`: float32 (B, H, W, C).
        """
        images = self._checked(images)
        scores = self._network_scores(images)
        scores = resize(scores, spatial_size(images))
        if self._options.is_one_view:
            return {"probabilities": tf.nn.softmax(scores)}
        total = tf.reduce_sum(scores, axis=-1, keepdims=True)
        return {"probabilities": scores / total}

    def logits(self, images: Any) -> dict[str, Any]:
        """Returns the output of the network alone, to compare or to score.

        Args:
            images: float32 (B, H, W, 3), RGB in 0..255, or other bands.

        Returns:
            `logits`: float32 (B, h, w, C), with h and w as `predict_logits`.
        """
        return {"logits": self._logits(self._checked(images))}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")],
        autograph=False,
    )
    def predict_bytes(self, image_bytes: Any) -> dict[str, Any]:
        """Segments encoded images of any sizes.

        Args:
            image_bytes: Strings (B,), each a JPEG or PNG file.

        Returns:
            `mask_png_bytes`: strings (B,), each an 8-bit grayscale PNG of
            class ids; `height` and `width`: int32 (B,); `status`: strings
            (B,), "OK", or the reason why the mask is empty and height and
            width are 0.
        """

        def one(mask: Any, status: Any) -> dict[str, Any]:
            file = tf.cond(
                status == decode_graph.OK,
                lambda: tf.io.encode_png(mask[..., None]),
                lambda: tf.constant(b""),
            )
            height, width = tf.unstack(tf.shape(mask))
            return {"mask_png_bytes": file, "height": height, "width": width}

        return self._of_files(
            one,
            image_bytes,
            {
                "mask_png_bytes": tf.string,
                "height": tf.int32,
                "width": tf.int32,
            },
        )

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")],
        autograph=False,
    )
    def scores(self, image_bytes: Any) -> dict[str, Any]:
        """Returns the share of each image that every class covers.

        Args:
            image_bytes: Strings (B,), each a JPEG or PNG file.

        Returns:
            `scores`: float32 (B, C); rows sum to 1, or to 0 without a mask.
            `status`: strings (B,), as in `predict_bytes`.
        """

        def one(mask: Any, _: Any) -> dict[str, Any]:
            counts = tf.math.bincount(
                tf.cast(tf.reshape(mask, [-1]), tf.int32),
                minlength=self._classes,
                maxlength=self._classes,
            )
            total = tf.maximum(tf.size(mask), 1)
            shares = tf.cast(counts, tf.float64) / tf.cast(total, tf.float64)
            return {"scores": tf.cast(shares, tf.float32)}

        shares = tf.TensorSpec([self._classes], tf.float32)
        return self._of_files(one, image_bytes, {"scores": shares})

    def _of_files(
        self,
        function: Callable[[Any, Any], dict[str, Any]],
        image_bytes: Any,
        signature: dict[str, Any],
    ) -> dict[str, Any]:
        """Calls a function with the mask and status of each encoded image.

        Args:
            function: Takes the mask, uint8 (H, W), or (0, 0) if there is
                none, and the status. Its results are stacked by name.
            image_bytes: Strings (B,).
            signature: Specs of the function's results.

        Returns:
            The stacked results, and `status`: strings (B,).
        """
        image_bytes = tf.ensure_shape(image_bytes, [None])

        def one(data: Any) -> dict[str, Any]:
            image, status = decode_graph.decode(
                data, self._options.max_pixels, self._bands
            )
            mask = tf.cond(
                status == decode_graph.OK,
                lambda: self._masks(image[None])[0],
                lambda: tf.zeros([0, 0], tf.uint8),
            )
            return {**function(mask, status), "status": status}

        check = _not_empty(tf.shape(image_bytes), "image_bytes")
        with tf.control_dependencies([check]):
            image_bytes = tf.identity(image_bytes)
        return tf.map_fn(
            one,
            image_bytes,
            fn_output_signature={**signature, "status": tf.string},
        )

    def _checked(self, images: Any) -> Any:
        """Refuses arrays that the network cannot process."""
        # Servers check names, not shapes, and a tensor of another rank would
        # abort the process in a convolution.
        images = tf.ensure_shape(images, self._shape)
        sizes = tf.shape(images, tf.int64)[:3]
        most = self._options.max_pixels
        checks = [
            _not_empty(sizes, "images"),
            tf.debugging.Assert(
                sizes[1] * sizes[2] <= most,
                [f"images must have at most {most} pixels. Shape:", sizes],
            ),
        ]
        if images.dtype.is_floating:
            # One such value would spread and give every pixel the first class.
            checks.append(
                tf.debugging.Assert(
                    tf.reduce_all(tf.math.is_finite(images)),
                    ["images must be finite. Shape:", sizes],
                )
            )
        with tf.control_dependencies(checks):
            return tf.identity(images)

    def _masks(self, images: Any) -> Any:
        """Computes uint8 masks (B, H, W) of float32 images."""
        return argmax_at(self._network_scores(images), tf.shape(images)[1:3])

    def _network_scores(self, images: Any) -> Any:
        """Returns logits of one view, or summed probabilities of several."""
        scales, flip = self._options.scales, self._options.flip
        images = shrink(images, self._options.max_side)
        if self._options.is_one_view:
            return self._view_logits(images)
        size = spatial_size(images)
        total = 0.0
        for scale in scales:
            sides = rounded(tf.cast(size, tf.float64) * scale)
            view = resize(images, tf.unstack(sides))
            for flipped in (False, True) if flip else (False,):
                seen = view[:, :, ::-1] if flipped else view
                logits = resize(self._view_logits(seen), size)
                scores = tf.nn.softmax(logits)
                total += scores[:, :, ::-1] if flipped else scores
        return total

    def _view_logits(self, images: Any) -> Any:
        if self._options.window is None:
            return self._logits(images)
        return slide(self._logits, images, self._options.window, self._classes)

    def _logits(self, images: Any) -> Any:
        """Runs the network; for one of fixed size, fits and pads images."""
        if self._size is None:
            return self._network(images)
        size = tf.constant(self._size)
        sides = tf.cast(tf.shape(images)[1:3], tf.float64)
        factor = tf.reduce_min(tf.cast(size, tf.float64) / sides)
        fitted = tf.minimum(rounded(sides * factor), size)
        x = resize(images, tf.unstack(fitted)) - self._fill
        missing = size - fitted
        x = tf.pad(x, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]])
        logits = self._network(
            tf.ensure_shape(x + self._fill, (None, *self._size, self._bands))
        )
        return logits[:, : fitted[0], : fitted[1]]


def _not_empty(sizes: Any, name: str) -> Any:
    return tf.debugging.Assert(
        tf.reduce_all(sizes > 0), [f"{name} must not be empty. Shape:", sizes]
    )
