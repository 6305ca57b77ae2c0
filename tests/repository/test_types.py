"""Tests of the public signatures: `Any` stands where no type can be said."""

import inspect
import re
from collections.abc import Callable, Iterator
from types import FunctionType

import pytest

import keras_pspnet as kp
from keras_pspnet import layers

# Modules whose names are public, as those of the package itself are.
PUBLIC = (kp, kp.callbacks, kp.data, kp.losses, kp.metrics, layers)
# Names with values of every type: JSON, configs of Keras.
UNTYPED = r"\b(dict|Mapping)\[str, (typing\.)?Any\]"
# What Keras passes and takes depends on its backend and version.
OF_KERAS = {
    "PSPNet.load_own_variables",
    "PSPNet.save_own_variables",
    "PSPNet.train_step",
}


def functions_of(item: object) -> Iterator[tuple[str, FunctionType]]:
    """A function itself; of a class its public methods and properties."""
    if isinstance(item, FunctionType):
        yield item.__name__, item
    elif inspect.isclass(item):
        for name in dir(item):
            if name.startswith("_") and name not in ("__init__", "__call__"):
                continue
            member = inspect.getattr_static(item, name)
            if isinstance(member, property):
                member = member.fget
            # Of class methods, and of what Keras wraps.
            member = inspect.unwrap(getattr(member, "__func__", member))
            if isinstance(member, FunctionType):
                yield f"{item.__name__}.{name}", member


def public_functions() -> dict[str, Callable]:
    return {
        name: function
        for module in PUBLIC
        for public, item in vars(module).items()
        if not public.startswith("_")
        # A module that is no room holds what it imports, too.
        if hasattr(module, "__path__")
        or getattr(item, "__module__", "") == module.__name__
        for name, function in functions_of(item)
        if function.__module__.startswith("keras_pspnet.")
    }


FUNCTIONS = public_functions()


def test_functions_methods_and_properties_are_found() -> None:
    assert {"evaluate", "PSPNet.fit", "PyramidConv.call"} < set(FUNCTIONS)
    assert {"PSPNet.from_config", "Scores.mean_iou"} < set(FUNCTIONS)
    assert set(FUNCTIONS) > OF_KERAS


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - OF_KERAS))
def test_public_signatures_say_their_types(name: str) -> None:
    signature = inspect.signature(FUNCTIONS[name])
    annotations = {
        each.name: each.annotation
        for each in signature.parameters.values()
        # Passed on, as documented.
        if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }
    annotations["return"] = signature.return_annotation
    untyped = [
        argument
        for argument, annotation in annotations.items()
        if re.search(r"\bAny\b", re.sub(UNTYPED, "", str(annotation)))
    ]
    assert not untyped
