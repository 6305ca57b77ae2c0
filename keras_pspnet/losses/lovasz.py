"""The Lovasz-softmax loss."""

from __future__ import annotations

import keras
from keras import ops

from keras_pspnet.losses.pixel_loss import PixelLoss, Pixels
from keras_pspnet.utils.types import Tensor


@keras.saving.register_keras_serializable(package="keras_pspnet")
class Lovasz(PixelLoss):
    """Lovasz-softmax: a surrogate of one minus the mean IoU of each image.

    Berman et al. (2018), algorithm 1: the mean over the classes with ground
    truth in an image, then over the images of the GLOBAL batch that have a
    valid pixel. The split into replicas does not matter. Sample weights
    multiply the error of each pixel.

    Args:
        **kwargs: `ignore_label` and `name`, see `PixelLoss`.

    Call arguments: As for `SegmentationLoss`.

    Call returns:
        As for `SegmentationLoss`, in 0..1.

    Examples:
        >>> loss = kp.losses.Lovasz()
        >>> mask = np.array([[[0, 1, 255]]])
        >>> round(float(loss(mask, np.zeros((1, 1, 3, 2)))), 4)
        0.5
    """

    def loss_of(self, pixels: Pixels) -> Tensor:
        weight = pixels.weighted[..., None]
        truth = pixels.one_hot * pixels.valid[..., None]
        errors = ops.abs(truth - ops.softmax(pixels.logits)) * weight
        batch, classes = ops.shape(errors)[0], errors.shape[-1]
        # (B, C, pixels)
        errors, truth = (
            ops.transpose(ops.reshape(each, (batch, -1, classes)), (0, 2, 1))
            for each in (errors, truth)
        )
        # The extension is piecewise linear, so its gradient is constant.
        gradient = ops.map(
            _gradient, (ops.stop_gradient(errors), ops.stop_gradient(truth))
        )
        losses = ops.sum(errors * ops.stop_gradient(gradient), axis=-1)
        present = ops.cast(ops.any(truth > 0, axis=-1), losses.dtype)
        number = ops.sum(present, axis=-1)
        images = ops.sum(losses * present, axis=-1) / ops.maximum(number, 1)
        return ops.sum(images) / pixels.count(number)


def _gradient(errors_and_truth: tuple[Tensor, Tensor]) -> Tensor:
    """Returns the gradient of the Jaccard loss's Lovasz extension.

    Args:
        errors_and_truth: Errors and ground truth of one image, (C, pixels).

    Returns:
        Tensor (C, pixels): the derivative with respect to each error.
    """
    errors, truth = errors_and_truth
    order = ops.argsort(-errors, axis=-1)
    hits = ops.take_along_axis(truth, order, axis=-1)
    total = ops.sum(hits, axis=-1, keepdims=True)
    intersection = total - ops.cumsum(hits, axis=-1)
    union = total + ops.cumsum(1 - hits, axis=-1)
    jaccard = 1 - intersection / union
    steps = ops.concatenate(
        [jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], axis=-1
    )
    # Undo the sorting.
    return ops.take_along_axis(steps, ops.argsort(order, axis=-1), axis=-1)
