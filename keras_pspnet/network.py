"""Pictures in, logits out, whatever computes them."""

from __future__ import annotations

import dataclasses
import hashlib
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pspnet.labels import LabelSet, generic_labels
from keras_pspnet.layers import InputNormalization, PyramidConv, check_choice
from keras_pspnet.model import PSPNet
from keras_pspnet.sampling import resize

PRECISIONS = ("float32", "bfloat16")

# Odd: no change of a single word can go unseen.
_FACTORS = (
    2 * np.random.default_rng(0).integers(2**63, size=1024, dtype="uint64") + 1
)

# Folded copies by the model that they were made of, with the checksum of the
# weights that they were made from.
_folded: weakref.WeakKeyDictionary[keras.Model, dict[str, Any]] = (
    weakref.WeakKeyDictionary()
)


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """What segmentation and evaluation run.

    `as_network` makes one of a Keras model,
    `keras_pspnet.artefacts.load_artefact` of an exported file, and any
    function will do.

    Args:
        run: Function of float32 images (B, H, W, 3), RGB in 0..255, to
            float32 logits (B, H, W, C), both NumPy arrays.
        labels: Names of the C classes.
        size: The (height, width) that `run` takes, None for any.
        fill: Colour of padding, R, G, B in 0..255.
        align_corners: How the network resizes, and with it mmsegmentation.
        batch_size: The number of images that `run` takes, None for any. Where
            there are fewer, the last one is repeated.
        model: The Keras model behind it, if there is one.

    Examples:
        >>> from keras_pspnet.labels import generic_labels
        >>> from keras_pspnet.network import Network
        >>> labels = generic_labels(2)  # dark, bright
        >>> def run(pictures):  # any function from pictures to logits
        ...     light = pictures.mean(axis=-1) - 128
        ...     return np.stack([-light, light], axis=-1)
        >>> kp.segment(Network(run, labels), "photo.jpg").mask.max()
        np.uint8(1)
    """

    run: Callable[[np.ndarray], np.ndarray]
    labels: LabelSet
    size: tuple[int, int] | None = None
    fill: tuple[float, ...] = (0.0, 0.0, 0.0)
    align_corners: bool = False
    batch_size: int | None = None
    model: keras.Model | None = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Computes logits at the network's own resolution.

        Args:
            images: RGB (B, H, W, 3) in 0..255. Where the network takes
                another size, they are resized to fit inside, keeping their
                ratio, and padded with `fill`.

        Returns:
            float32 (B, h, w, C), the logits of the images without padding: h
            and w are H and W, or what fits inside the network's size.

        Raises:
            ValueError: If the images, or the logits of them, have another
                shape.
        """
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[-1] != 3 or 0 in shape:
            raise ValueError(
                "`images` must be RGB images of shape (B, H, W, 3). "
                f"Received: images of shape {shape}"
            )
        images = np.asarray(images, dtype="float32")
        height, width = shape[1:3]
        if self.size is not None:
            images, (height, width) = fit_inside(images, self.size, self.fill)
        step = self.batch_size or shape[0]
        missing = -shape[0] % step
        if missing:
            images = np.concatenate([images, images[-1:].repeat(missing, 0)])
        parts = [
            self.run(images[start : start + step])
            for start in range(0, len(images), step)
        ]
        logits = parts[0] if len(parts) == 1 else np.concatenate(parts)
        logits = np.asarray(logits, dtype="float32")
        wanted = (*images.shape[:3], self.labels.num_classes)
        if logits.shape != wanted:
            raise ValueError(
                f"`run` must give logits of shape {wanted} for images of "
                f"shape {images.shape}. Received: shape {logits.shape}"
            )
        return logits[: shape[0], :height, :width]

    def traces(self) -> int | None:
        """Returns how often a graph was traced for it, None if none is."""
        count = getattr(self.run, "traces", None)
        return None if count is None else int(count())


def as_network(
    model: keras.Model | Network, precision: str = "float32"
) -> Network:
    """Prepares a model for inference.

    On TensorFlow, the network is copied without auxiliary branch, with batch
    normalisation folded into the convolutions, and traced once for pictures
    of all sizes. The copy is kept as long as the model lives, and made anew
    when weights have changed. On other backends, and of subclassed models,
    the model itself runs.

    Args:
        model: A `PSPNet`, its `inference_model()`, another Keras model from
            RGB images to logits, or a network, which comes back itself.
        precision: `"float32"`, or `"bfloat16"` for the convolutions.

    Returns:
        The network.

    Raises:
        TypeError: If it is none of these.
        ValueError: If the precision is another one, or bfloat16 is wanted of
            what cannot be copied.

    Examples:
        >>> from keras_pspnet.network import as_network
        >>> network = as_network(model, precision="bfloat16")
        >>> result = kp.segment(network, "photo.jpg")
    """
    check_choice("precision", precision, PRECISIONS)
    if isinstance(model, Network):
        if precision != "float32":
            raise ValueError(
                "`precision` must be left out for a network, which has its "
                f"own. Received: precision={precision!r}"
            )
        return model
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a Keras model or a `Network`. "
            f"Received: {type(model).__name__}"
        )
    can_fold = keras.backend.backend() == "tensorflow" and (
        isinstance(model, PSPNet) or _has_one_output(model)
    )
    if can_fold:
        return _folded_network(model, precision)
    if precision != "float32":
        raise ValueError(
            "`precision` must be 'float32' unless the model is a PSPNet on "
            f"TensorFlow. Received: precision={precision!r}"
        )
    return plain_network(model)


def plain_network(model: keras.Model) -> Network:
    """Wraps a model as it is, to run as `predict_on_batch` runs it.

    Args:
        model: A `PSPNet`, or another Keras model from images to logits.
    """

    def run(images: np.ndarray) -> np.ndarray:
        logits = main_output(model.predict_on_batch(images))
        # A model built for several replicas computes the whole batch on
        # each, and Keras joins their results.
        return np.asarray(logits, dtype="float32")[: len(images)]

    return _network(model, run)


def predict_logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Computes the main logits of a model as it is, without folding.

    Args:
        model: A `PSPNet`, or another Keras model from images to logits.
        images: RGB (B, H, W, 3) in 0..255.

    Returns:
        float32 (B, h, w, C), see `Network`.

    Raises:
        ValueError: If the images have another shape.
    """
    return plain_network(model)(images)


def _network(model: keras.Model, run: Any) -> Network:
    return Network(
        run,
        model_labels(model),
        network_size(model),
        fill_color(model),
        _align_corners(model),
        model=model,
    )


def _folded_network(model: keras.Model, precision: str) -> Network:
    checksum = _checksum(model)
    known = _folded.setdefault(model, {})
    if precision not in known or known[precision][0] != checksum:
        known[precision] = checksum, _fold_and_trace(model, precision)
    return _network(model, known[precision][1])


def _fold_and_trace(model: keras.Model, precision: str) -> Any:
    import tensorflow as tf

    from keras_pspnet.folding import fold

    size = network_size(model) or (None, None)
    folded = fold(float32_inference_model(model), size, precision, embed=False)

    @tf.function(
        input_signature=[tf.TensorSpec((None, *size, 3), tf.float32)],
        autograph=False,
    )
    def network(images: Any) -> Any:
        return folded(images, training=False)

    # Called itself, the function would warn of retracing once a few models
    # were folded, as after every epoch.
    traced = network.get_concrete_function()

    def run(images: np.ndarray) -> np.ndarray:
        return traced(tf.convert_to_tensor(images, tf.float32)).numpy()

    run.traces = network.experimental_get_tracing_count  # type: ignore[attr-defined]
    return run


def _checksum(model: keras.Model) -> bytes:
    """Digests every weight's bytes at the speed of reading them.

    A hash of them all would take longer than a small picture: it is of sums
    of rows, whose words have factors so that their order counts.
    """
    digest = hashlib.sha256()
    for weight in model.weights:
        array = np.ascontiguousarray(ops.convert_to_numpy(weight.value))
        data = array.reshape(-1).view("uint8")
        whole = len(data) - len(data) % _FACTORS.nbytes
        rows = data[:whole].view("uint64").reshape(-1, len(_FACTORS))
        digest.update(np.einsum("ij,j->i", rows, _FACTORS).tobytes())
        digest.update(data[whole:].tobytes())
    return digest.digest()


def _has_one_output(model: keras.Model) -> bool:
    # A subclassed model has neither inputs nor outputs.
    return len(getattr(model, "outputs", None) or ()) == 1


def float32_inference_model(model: keras.Model) -> keras.Model:
    """Returns the network without auxiliary branch, computing in float32.

    Args:
        model: A `PSPNet`; any other model comes back as it is.
    """
    if not isinstance(model, PSPNet):
        return model
    if any(
        layer.compute_dtype != "float32"
        for layer in model._flatten_layers(include_self=False)
    ):
        # What was trained in mixed precision has float32 weights.
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("float32")
        try:
            copy = PSPNet.from_config(model.get_config())
        finally:
            keras.config.set_dtype_policy(policy)
        copy.set_weights(model.get_weights())
        model = copy
    return model.inference_model()


def fit_inside(
    images: np.ndarray, size: tuple[int, int], fill: tuple[float, ...]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Resizes images to fit into a size, keeping their ratio, and pads them.

    Args:
        images: float32 (B, H, W, 3).
        size: (height, width) of the result.
        fill: Colour of the padding, at the bottom and on the right.

    Returns:
        float32 (B, height, width, 3), and the (height, width) of what is not
        padding.
    """
    height, width = images.shape[1:3]
    if (height, width) == tuple(size):
        return images, (height, width)
    factor = min(size[0] / height, size[1] / width)
    height = min(max(1, round(height * factor)), size[0])
    width = min(max(1, round(width * factor)), size[1])
    fitted = np.empty((len(images), *size, 3), "float32")
    fitted[:] = fill
    fitted[:, :height, :width] = ops.convert_to_numpy(
        resize(ops.convert_to_tensor(images), (height, width))
    )
    return fitted, (height, width)


def weights_sha256(model: keras.Model) -> str:
    """Returns the hash of a model's weights, in their order.

    Args:
        model: Any Keras model.
    """
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def model_labels(model: keras.Model) -> LabelSet:
    """Returns the model's class names, or made-up ones where it has none."""
    labels = getattr(model, "labels", None)
    if labels:
        return labels
    if getattr(model, "outputs", None):
        outputs = model.output
    else:
        # A subclassed model has to be traced to know.
        outputs = model.compute_output_spec(
            keras.KerasTensor((None, None, None, 3))
        )
    return generic_labels(main_output(outputs).shape[-1])


def description(model: keras.Model) -> dict[str, Any]:
    """Returns what exports say of a model, for JSON, to be evaluated as it.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
    """
    return {
        "labels": model_labels(model).to_dict(),
        "fill": list(fill_color(model)),
        "align_corners": _align_corners(model),
    }


def main_output(outputs: Any) -> Any:
    """Returns the logits that count: `main` of two outputs, or the only."""
    return outputs["main"] if isinstance(outputs, dict) else outputs


def network_size(model: keras.Model) -> tuple[int, int] | None:
    """Returns the (height, width) a model was built for, None for any."""
    inputs = getattr(model, "inputs", None)
    # A subclassed model has none.
    height, width = inputs[0].shape[1:3] if inputs else (None, None)
    return None if height is None or width is None else (height, width)


def _align_corners(model: keras.Model) -> bool:
    return any(
        layer.pyramid.align_corners
        for layer in model.layers
        if isinstance(layer, PyramidConv)
    )


def fill_color(model: keras.Model) -> tuple[float, ...]:
    """Returns the colour of padding: what normalisation turns into zeros.

    Args:
        model: A `PSPNet`, or its `inference_model()`.

    Returns:
        R, G, B in 0..255; black where the model does not normalise.
    """
    for layer in model.layers:
        if isinstance(layer, InputNormalization):
            return layer.mean
    return (0.0, 0.0, 0.0)
