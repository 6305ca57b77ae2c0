"""Saves a model as a folder that `load_pretrained` reads."""

from __future__ import annotations

import math
import os

from keras_pspnet.models import PSPNet
from keras_pspnet.pretrained.model_card import model_card
from keras_pspnet.pretrained.model_folder import ModelFolder
from keras_pspnet.pretrained.weights_file import DTYPE_CODES
from keras_pspnet.utils import check_choice


def save_pretrained(
    model: PSPNet,
    folder: str | os.PathLike[str],
    dtype: str = "float32",
) -> None:
    """Writes a model as a folder of a config, its weights and a model card.

    Args:
        model: The model; optimiser state is left out.
        folder: Made if it does not exist; its files are replaced, but not a
            `README.md` that says anything else than what was written here.
        dtype: `"float32"`, or `"float16"` at half the size.

    Raises:
        OSError: If the folder cannot be written.
        TypeError: If the model is not a `PSPNet`.
        ValueError: If `dtype` is neither, or a weight is not finite.

    Examples:
        >>> kp.save_pretrained(model, "my_model", dtype="float16")
        >>> kp.load_pretrained("my_model").num_classes
        5
    """
    if not isinstance(model, PSPNet):
        raise TypeError(
            "`model` must be a PSPNet. "
            f"Received: model of type {type(model).__name__}"
        )
    check_choice("dtype", dtype, tuple(DTYPE_CODES))
    config = model.get_config()
    parameters = sum(math.prod(each.shape) for each in model.weights)
    saved = ModelFolder(folder)
    saved.path.mkdir(parents=True, exist_ok=True)
    saved.write(
        config,
        {variable.path: variable for variable in model.weights},
        dtype,
        model_card(config, parameters, dtype),
    )
