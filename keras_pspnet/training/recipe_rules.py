"""Checks of the fields of a recipe."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keras_pspnet.data import DATASETS, RGB
from keras_pspnet.labels import LabelSet
from keras_pspnet.losses import PixelLoss, named_losses
from keras_pspnet.models import PSPNet
from keras_pspnet.models.named_backbone import BACKBONES
from keras_pspnet.utils import (
    as_integer,
    check_rule,
    did_you_mean,
    is_number,
)
from keras_pspnet.utils.arguments import finite_numbers

# Field -> its name up to version 0.1.0.
RENAMED = {
    "head_lr_multiplier": "head_rate_factor",
    "rotate90": "turns",
    "val_images": "val_pictures",
}
OPTIMIZERS = ("sgd", "adam", "adamw")
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16", "bfloat16", "float64")


def _integer(least: int) -> Callable[[Any], bool]:
    return lambda value: as_integer(value, least) is not None


def _number(
    least: float = 0.0, above: bool = False, most: float = math.inf
) -> Callable[[Any], bool]:
    return lambda value: is_number(value, least, above) and value <= most


def _several(
    kept: Callable[[Any], bool], count: int | None
) -> Callable[[Any], bool]:
    def all_kept(value: Any) -> bool:
        if not isinstance(value, tuple | list):
            return False
        return (count is None or len(value) == count) and all(map(kept, value))

    return all_kept


def _none_or(kept: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or kept(value)


def _of(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


_POSITIVE = _integer(1)
_SIZE = _several(_POSITIVE, 2)
# Names of arguments, as errors show them.
_QUOTED = "`{}`"
# The stride of the network: smaller crops are a single cell of its features.
_LEAST_CROP = 8
# The factor that leaves one of the stem's 32 channels.
_LEAST_WIDTH = 1 / 32
_LEAST_SCALE = 0.05
_FLAG = (_of(bool), "be True or False")
_COUNT = (_POSITIVE, "be an integer of at least 1")
_TEXT = (_of(str), "be a string")
_SIDES = "be two integers of at least 1"

# Field -> check of a value, and the rule that errors state.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": _TEXT,
    "labels": (_of(LabelSet), "be a LabelSet"),
    "backbone": (
        tuple(BACKBONES).__contains__,
        f"be one of {', '.join(BACKBONES)}",
    ),
    "width": (
        _number(_LEAST_WIDTH, most=8),
        "be a number from 1/32, which leaves the stem one channel, to 8",
    ),
    "crop": (
        _several(_integer(_LEAST_CROP), 2),
        f"be two integers of at least {_LEAST_CROP} (height, width)",
    ),
    "batch_size": _COUNT,
    "steps": _COUNT,
    "steps_per_epoch": _COUNT,
    "learning_rate": (_number(above=True), "be a number above 0"),
    "head_lr_multiplier": (_number(above=True), "be a number above 0"),
    "backbone_weights": (_none_or(_of(str)), "be None, 'imagenet' or a path"),
    "data": (
        lambda value: value is None or value in tuple(DATASETS),
        f"be None or one of {', '.join(DATASETS)}",
    ),
    "train_split": (_none_or(_of(str)), "be a string, or None without splits"),
    "val_split": (_none_or(_of(str)), "be a string, or None with `val_share`"),
    "val_share": (
        _none_or(lambda value: is_number(value, 0, True) and value < 1),
        "be None or a number between 0 and 1",
    ),
    "val_images": (_none_or(_POSITIVE), "be None or an integer of at least 1"),
    "bin_sizes": (
        _several(_POSITIVE, None),
        "be a tuple of integers of at least 1",
    ),
    "pooling": (("average", "max").__contains__, "be 'average' or 'max'"),
    "reduce": _FLAG,
    "aux_weight": (_number(), "be a finite number, at least 0"),
    "fixed_size": _FLAG,
    "scales": (
        _none_or(_several(_number(_LEAST_SCALE), 2)),
        f"be None or a least and a greatest number, at least {_LEAST_SCALE}",
    ),
    "flip": _FLAG,
    "rotate90": _FLAG,
    "base_size": (_none_or(_SIZE), f"be None or {_SIDES[3:]}"),
    "rotate": (_number(), "be a number of degrees, at least 0"),
    "cat_max_ratio": (_number(above=True), "be a number above 0, at most 1"),
    "center_padding": _FLAG,
    "blur_probability": (_number(), "be a number from 0 to 1"),
    "photometric": _FLAG,
    "scenes": (_none_or(_SIZE), f"be None or {_SIDES[3:]}"),
    "evaluations": _COUNT,
    "checkpoint_steps": _COUNT,
    "deterministic": _FLAG,
    "dtype_policy": (
        lambda value: value in POLICIES,
        f"be one of {', '.join(POLICIES)}",
    ),
    "seed": (_integer(0), "be an integer of at least 0"),
    "network": (_of(Mapping), "be a dictionary of arguments of PSPNet"),
    "class_weight": (
        _none_or(_of(Mapping, list, tuple)),
        "be None, a dictionary, or a factor for each class ('balanced' is for "
        "arrays of masks in `fit` alone)",
    ),
    "bands": _COUNT,
    "loss": (
        _none_or(_of(Mapping, PixelLoss)),
        "be None, a loss of keras_pspnet, or names of losses with factors, "
        "such as {'cross_entropy': 1.0, 'dice': 0.5}",
    ),
    "optimizer": (
        OPTIMIZERS.__contains__,
        f"be one of {', '.join(OPTIMIZERS)}",
    ),
    "weight_decay": (_number(), "be a finite number, at least 0"),
    "ema": (
        _none_or(lambda value: is_number(value, 0, True) and value < 1),
        "be None or a number between 0 and 1",
    ),
    "start_from": (
        _none_or(_of(str)),
        "be None, the name of a published model, or the path of a folder",
    ),
}


def _bands_rule(recipe: Any) -> str:
    """Returns the rule that mean or standard deviation breaks, or ""."""
    for name in ("mean", "std"):
        values = recipe.network.get(name)
        if values is not None and len(finite_numbers(values)) != recipe.bands:
            return f"have {recipe.bands} numbers as {name!r}, one for each band"
    return ""


def check_names(given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuses arguments that are not fields of a recipe.

    Args:
        given: Arguments of `Recipe` by name.
        known: Names of its fields.

    Raises:
        ValueError: If there is such a name; the error suggests a field.
    """
    names = list(known)
    former = {old: new for new, old in RENAMED.items()}
    for name, value in given.items():
        if name in names:
            continue
        rule = f"must be a field of Recipe{did_you_mean(name, names, _QUOTED)}"
        if name in former:
            rule = f"is now called `{former[name]}`"
        raise ValueError(f"`{name}` {rule}. Received: {name}={value!r}")


def check_values(recipe: Any) -> None:
    """Checks all fields of a recipe.

    Args:
        recipe: A `Recipe`.

    Raises:
        ValueError: If a value has the wrong type or is out of range, or two
            fields exclude each other.
    """
    for name, (kept, rule) in _RULES.items():
        value = getattr(recipe, name)
        check_rule(name, value, rule, kept(value))
    _check_network(recipe.network)
    rule = (
        "be at least 2 while batch normalization is live, since the 1x1 bin "
        "of a single crop is normalized to its bias; "
        "network={'freeze': 'batch_norm'} freezes it"
    )
    fits = recipe.batch_size > 1 or not _needs_two(recipe)
    check_rule("batch_size", recipe.batch_size, rule, fits)
    if isinstance(recipe.loss, Mapping):
        named_losses(recipe.loss)
    rule = "be 1 unless `optimizer` is 'sgd'"
    fits = recipe.optimizer == "sgd" or recipe.head_lr_multiplier == 1
    check_rule("head_lr_multiplier", recipe.head_lr_multiplier, rule, fits)
    rule = "be left out if `start_from` is given, which has all weights"
    fits = recipe.start_from is None or recipe.backbone_weights is None
    check_rule("backbone_weights", recipe.backbone_weights, rule, fits)
    rule = "be named unless `val_share` is given"
    fits = recipe.val_split is not None or recipe.val_share is not None
    check_rule("val_split", recipe.val_split, rule, fits or bool(recipe.scenes))
    rule = _bands_rule(recipe)
    check_rule("network", dict(recipe.network), rule, not rule)
    rule = "be 3 if the recipe generates its own scenes"
    fits = recipe.scenes is None or recipe.bands == RGB
    check_rule("bands", recipe.bands, rule, fits)


def _needs_two(recipe: Any) -> bool:
    """Does what `fit_checks.needs_two_images` does, without a network."""
    is_frozen = recipe.network.get("freeze") == "batch_norm"
    return recipe.reduce and 1 in recipe.bin_sizes and not is_frozen


def _check_network(network: Mapping[str, Any]) -> None:
    # Arguments that are fields of a recipe, or follow from them.
    left_out = {*_RULES, "num_classes", "input_shape", "aux", "trainable"}
    parameters = inspect.signature(PSPNet).parameters
    names = [name for name in parameters if name not in left_out]
    for name in network:
        rule = f"name arguments of PSPNet among {', '.join(names)}"
        rule += did_you_mean(name, names, _QUOTED)
        check_rule("network", name, rule, name in names)
