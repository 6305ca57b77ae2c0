"""Loads a model by name, from a folder, or from the Hugging Face Hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import safetensors

from keras_pspnet.convert import fill, with_bands
from keras_pspnet.models import PSPNet
from keras_pspnet.pretrained.find import find_folder
from keras_pspnet.pretrained.model_folder import WEIGHTS_FILE
from keras_pspnet.pretrained.weights_file import StoredWeights
from keras_pspnet.utils.arguments import finite_numbers


def load_pretrained(
    source: str | os.PathLike[str],
    *,
    backbone: str | None = None,
    num_classes: int | None = None,
    aux: bool = False,
    input_shape: tuple[int | None, int | None, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> PSPNet:
    """Loads a trained model.

    Published weights are downloaded once, checked against their hash and
    converted. `KERAS_PSPNET_HOME` names the folder to keep them in, and
    `KERAS_PSPNET_MIRROR` another place to get them from. PaddleSeg publishes
    no hashes: the first download records its hash, and later downloads must
    match it.

    Args:
        source: Name of a published model: `"aerial"`, which needs no
            download, `"voc"`, `"ade20k"`, `"cityscapes"`, `"cityscapes_769"`,
            or PaddleSeg's `"voc_paddleseg"` and `"cityscapes_paddleseg"`. Or
            a folder that `save_pretrained` wrote, or `"hf://owner/name"` for
            such a folder on the Hugging Face Hub.
        backbone: Backbone of a published model; None is `"resnet50"`, or the
            only one.
        num_classes: Number of classes. If it differs from that of the saved
            model, the classifiers start from random weights and everything
            else is kept.
        aux: Whether to add the auxiliary head, for further training.
        input_shape: (height, width, bands), if other than that of the saved
            model. For other than 3 bands, the first kernel is adapted with
            `keras_pspnet.convert.adapt_first_kernel`.
        mean: Mean of each band, as in `PSPNet`, if `input_shape` changes the
            bands; for a single band, None averages the saved mean.
        std: Standard deviation of each band, likewise.

    Returns:
        The model, with float32 weights.

    Raises:
        ImportError: If `"hf://"` needs huggingface_hub.
        OSError: If there is no such model or folder, or the weights cannot be
            downloaded or kept.
        ValueError: If files are damaged or do not belong together, or other
            bands have no mean and standard deviation.

    Examples:
        >>> model = kp.load_pretrained("aerial")
        >>> model.labels.names
        ('building', 'land', 'road', 'vegetation', 'water')
        >>> model = kp.load_pretrained("aerial", num_classes=3, aux=True)
        >>> model.num_classes
        3
    """
    folder = find_folder(source, backbone)
    config = folder.read_config()
    fresh: tuple[str, ...] = ()
    if num_classes is not None and num_classes != config.get("num_classes"):
        config |= {"num_classes": num_classes, "labels": None}
        fresh = ("head_classifier/", "aux_classifier/")
    if aux and not config.get("aux"):
        fresh += ("aux_",)
    config["aux"] = aux
    if input_shape is not None:
        config["input_shape"] = input_shape
    for name, given in (("mean", mean), ("std", std)):
        if given is not None:
            config[name] = given
        elif _is_grey(input_shape):
            config[name] = _mean_of(config.get(name))
    try:
        model = PSPNet.from_config(config)
    except (AttributeError, OverflowError, TypeError) as error:
        raise folder.refuse() from error
    unused = () if aux else ("aux_",)
    try:
        stored = StoredWeights(folder.weights_path)
        arrays = with_bands(stored, model.input_shape[-1])
        fill(model.weights, arrays, fresh, unused)
    # Types that NumPy lacks raise an AttributeError.
    except (safetensors.SafetensorError, AttributeError) as error:
        raise ValueError(
            f"`source` must hold a whole {WEIGHTS_FILE}: {error}. "
            f"Received: {os.fspath(folder.weights_path)!r}"
        ) from error
    return model


def _is_grey(input_shape: Any) -> bool:
    has_sides = hasattr(input_shape, "__iter__")
    return has_sides and tuple(input_shape)[-1:] == (1,)


def _mean_of(values: Any) -> Any:
    """Averages R, G and B; `PSPNet` checks any other value."""
    numbers = finite_numbers(values)
    return (sum(numbers) / len(numbers),) if numbers else values
