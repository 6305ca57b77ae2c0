"""Predictors: from images to logits, whatever computes them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pspnet.data import RGB
from keras_pspnet.inference import model_info
from keras_pspnet.inference.fold import fold, refold
from keras_pspnet.inference.resize import resize
from keras_pspnet.labels import LabelSet
from keras_pspnet.layers.resize import resize as resize_batch
from keras_pspnet.models import PSPNet
from keras_pspnet.utils import check_choice, check_rule

PRECISIONS = ("float32", "bfloat16")

# Model -> precision -> the folded copy that follows it.
_followers: weakref.WeakKeyDictionary[keras.Model, dict[str, _Follower]] = (
    weakref.WeakKeyDictionary()
)


class Predictor:
    """Computes logits from images, for `segment` and `evaluate`.

    For a Keras model it is a snapshot: it copies the network once, without
    the auxiliary head and with batch normalization folded into the
    convolutions, and traces it once for images of all sizes. Unlike
    `segment(model, ...)` it does not follow later training, so no call has to
    compare the weights. Models that cannot be copied run as they are:
    subclassed models, and models other than PSPNet with two outputs.

    `keras_pspnet.inference.load_exported` returns a predictor for an exported
    file.

    Args:
        model: A `PSPNet`, its `inference_model()`, or another Keras model
            from images to logits. Or any function from float32 images
            (B, H, W, bands), RGB in 0..255 for 3, to float32 logits
            (B, H, W, C), both NumPy arrays.
        labels: Names of the C classes; a Keras model has its own.
        size: The (height, width) that it takes; None is that of the model, or
            any.
        fill: Padding color, R, G, B in 0..255, or a value for each band of
            other images; None is that of the model, or black.
        align_corners: How the network resizes, and the `mmseg` protocol with
            it; None is the way of the model, or False.
        precision: `"float32"`, or `"bfloat16"` for the convolutions of a
            Keras model.

    Raises:
        TypeError: If the model is neither a Keras model nor a function.
        ValueError: If the precision is another one, bfloat16 is asked of a
            model that cannot be copied, or a function has no labels.

    Examples:
        >>> predictor = kp.Predictor(model, precision="bfloat16")
        >>> frames = [kp.segment(predictor, "photo.jpg") for _ in range(3)]
        >>> from keras_pspnet.labels import generic_labels
        >>> def run(images):  # any function from images to logits
        ...     light = images.mean(axis=-1) - 128
        ...     return np.stack([-light, light], axis=-1)
        >>> own = kp.Predictor(run, generic_labels(2))  # dark, bright
        >>> kp.segment(own, "photo.jpg").mask.max()
        np.uint8(1)
    """

    def __init__(
        self,
        model: keras.Model | Callable[[np.ndarray], np.ndarray],
        labels: LabelSet | None = None,
        size: tuple[int, int] | None = None,
        fill: tuple[float, ...] | None = None,
        align_corners: bool | None = None,
        *,
        precision: str = "float32",
    ) -> None:
        # The Keras model to follow; a snapshot follows none.
        self.model: keras.Model | None = None
        self._weights_sha256: str | None = None
        if isinstance(model, keras.Model):
            copied = _copied(model, precision)
            self.run = copied.run if copied else _run_of(model)
            if copied:
                self._weights_sha256 = model_info.weights_sha256(model)
            else:
                self.model = model
            labels = labels or model_info.model_labels(model)
            size = size or model_info.network_size(model)
            fill = model_info.fill_color(model) if fill is None else fill
            if align_corners is None:
                align_corners = model_info.align_corners(model)
        else:
            if not callable(model):
                raise TypeError(
                    "`model` must be a Keras model or a function. "
                    f"Received: {type(model).__name__}"
                )
            if labels is None or precision != "float32":
                raise ValueError(
                    "`labels` must be given with a function, and `precision` "
                    f"left out. Received: labels={labels!r}, "
                    f"precision={precision!r}"
                )
            self.run = model
        check_rule(
            "labels",
            labels.name,
            "have at least 2 classes: a model with one output for background "
            "and object needs an output for each",
            labels.num_classes > 1,
        )
        self.labels = labels
        self.size = size
        self.fill = fill or (0.0,) * RGB
        self.align_corners = bool(align_corners)
        # Whether the logits only tell the class with the greatest one.
        self.gives_masks = False

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Computes logits at the network's own resolution.

        Args:
            images: (B, H, W, bands), RGB in 0..255. If the network takes
                another size, they are resized to fit inside it, keeping their
                aspect ratio, and padded with `fill`.

        Returns:
            float32 (B, h, w, C), the logits of the images without padding: h
            and w are H and W, or the size that fits inside the network's.

        Raises:
            ValueError: If the images or the computed logits have another
                shape.
        """
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[-1] != self.bands or 0 in shape:
            kind = "RGB images" if self.bands == RGB else "images"
            raise ValueError(
                f"`images` must be {kind} of shape (B, H, W, {self.bands}). "
                f"Received: images of shape {shape}"
            )
        images = np.asarray(images, dtype="float32")
        height, width = shape[1:3]
        if self.size is not None:
            images, (height, width) = fit_inside(images, self.size, self.fill)
        logits = np.asarray(self.run(images), dtype="float32")
        wanted = (*images.shape[:3], self.labels.num_classes)
        if logits.shape != wanted:
            raise ValueError(
                f"`run` must return logits of shape {wanted} for images of "
                f"shape {images.shape}. Received: shape {logits.shape}"
            )
        return logits[:, :height, :width]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Computes logits at the size of the images.

        Args:
            images: (B, H, W, bands), RGB in 0..255.

        Returns:
            float32 (B, H, W, C).
        """
        logits = self(images)
        size = images.shape[1:3]
        if logits.shape[1:3] == size:
            return logits
        return np.stack([resize(each, size) for each in logits])

    @property
    def bands(self) -> int:
        """Number of bands of the images; 3 are RGB in 0..255."""
        return len(self.fill)

    def weights_sha256(self) -> str | None:
        """Returns the hash of the Keras model's weights, None if none."""
        if self.model is not None:
            return model_info.weights_sha256(self.model)
        return self._weights_sha256

    def traces(self) -> int | None:
        """Returns how often its graph was traced, None without a graph."""
        count = getattr(self.run, "traces", None)
        return None if count is None else int(count())


def as_predictor(
    model: keras.Model | Predictor, precision: str = "float32"
) -> Predictor:
    """Prepares a model for inference, and follows its training.

    The folded copy lives as long as the model. It is traced once. Each call
    updates it if the weights of the model have changed.

    Args:
        model: As in `Predictor`. A predictor is returned unchanged.
        precision: Likewise; a predictor has its own.

    Returns:
        The predictor, with the current weights.

    Raises:
        TypeError: If it is none of these.
        ValueError: As in `Predictor`.

    Examples:
        >>> from keras_pspnet.inference.predictor import as_predictor
        >>> predictor = as_predictor(model, precision="bfloat16")
        >>> result = kp.segment(predictor, "photo.jpg")
    """
    if isinstance(model, Predictor):
        return model
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a Keras model or a `Predictor`. "
            f"Received: {type(model).__name__}"
        )
    followers = _followers.setdefault(model, {})
    if precision not in followers:
        copied = _copied(model, precision)
        if copied is None:
            return _following(model, _run_of(model))
        followers[precision] = copied
    followers[precision].follow(model)
    return _following(model, followers[precision].run)


def predict_logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Computes the main logits of a model as it is, without folding.

    Args:
        model: A `PSPNet`, or another Keras model from images to logits.
        images: (B, H, W, bands), RGB in 0..255.

    Returns:
        float32 (B, h, w, C), see `Predictor`.

    Raises:
        ValueError: If the images have another shape.
    """
    return _following(model, _run_of(model))(images)


def _following(model: keras.Model, run: Any) -> Predictor:
    """Wraps a function that computes the model's current logits."""
    predictor = Predictor(
        run,
        model_info.model_labels(model),
        model_info.network_size(model),
        model_info.fill_color(model),
        model_info.align_corners(model),
    )
    predictor.model = model
    return predictor


def _run_of(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    def run(images: np.ndarray) -> np.ndarray:
        logits = model_info.main_output(model.predict_on_batch(images))
        # A model built for several replicas computes the whole batch on each
        # of them, and Keras concatenates the results.
        return np.asarray(logits, dtype="float32")[: len(images)]

    return run


class _Follower:
    """A folded copy, and the weights of its last update."""

    def __init__(self, model: keras.Model, precision: str) -> None:
        size = model_info.network_size(model) or (None, None)
        self._seen: list[Any] = []
        self._copy = fold(_without_aux(model), size, precision)
        self._remember(model)
        if keras.backend.backend() == "tensorflow":
            self.run = _traced(self._copy, size)
        else:
            self.run = _run_of(self._copy)

    def follow(self, model: keras.Model) -> bool:
        """Updates the weights, and returns whether they have changed."""
        same = [
            ops.all(ops.equal(weight.value, seen))
            for weight, seen in zip(model.weights, self._seen, strict=True)
        ]
        # Only one answer leaves the device, not the weights.
        if not same or bool(ops.all(ops.stack(same))):
            return False
        refold(_without_aux(model), self._copy)
        self._remember(model)
        return True

    def _remember(self, model: keras.Model) -> None:
        # On TensorFlow a copy shares the memory of a weight until that changes.
        self._seen = [ops.copy(weight.value) for weight in model.weights]


def _copied(model: keras.Model, precision: str) -> _Follower | None:
    """Folds a model, or returns None if it must run as it is."""
    check_choice("precision", precision, PRECISIONS)
    # A subclassed model has neither inputs nor outputs.
    outputs = getattr(model, "outputs", None) or ()
    if isinstance(model, PSPNet) or len(outputs) == 1:
        try:
            return _Follower(model, precision)
        except NotImplementedError:
            # A custom layer has no config.
            pass
    rule = "be 'float32' for a model that cannot be folded"
    check_rule("precision", precision, rule, precision == "float32")
    return None


def _traced(copy: keras.Model, size: tuple[int | None, int | None]) -> Any:
    import tensorflow as tf

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, *size, copy.inputs[0].shape[-1]), tf.float32)
        ],
        autograph=False,
    )
    def network(images: Any) -> Any:
        return copy(images, training=False)

    # The function itself would warn about retracing after a few models.
    traced = network.get_concrete_function()

    def run(images: np.ndarray) -> np.ndarray:
        return traced(tf.convert_to_tensor(images, tf.float32)).numpy()

    run.traces = network.experimental_get_tracing_count  # type: ignore[attr-defined]
    return run


def _without_aux(model: keras.Model) -> keras.Model:
    return model.inference_model() if isinstance(model, PSPNet) else model


def fit_inside(
    images: np.ndarray, size: tuple[int, int], fill: tuple[float, ...]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Resizes images to fit into a size, and pads them.

    Their aspect ratio stays the same.

    Args:
        images: float32 (B, H, W, bands).
        size: (height, width) of the result.
        fill: Color of the padding, at the bottom and on the right.

    Returns:
        float32 (B, height, width, bands), and the (height, width) without
        the padding.
    """
    height, width = images.shape[1:3]
    if (height, width) == tuple(size):
        return images, (height, width)
    factor = min(size[0] / height, size[1] / width)
    height = min(max(1, round(height * factor)), size[0])
    width = min(max(1, round(width * factor)), size[1])
    fitted = np.empty((len(images), *size, images.shape[-1]), "float32")
    fitted[:] = fill
    fitted[:, :height, :width] = ops.convert_to_numpy(
        resize_batch(ops.convert_to_tensor(images), (height, width))
    )
    return fitted, (height, width)
