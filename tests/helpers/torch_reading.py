"""Helpers of the tests that read PyTorch's files."""

import re
from pathlib import Path
from typing import Any

import pytest
from torch_files import FORMS, Call, Name, save_pickle

from keras_pspnet.convert.torch_file import read_torch_file

BOTH = pytest.mark.parametrize("form", FORMS)
PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3, 4])


def error_of(path: Path) -> str:
    """Returns the error of reading, which must be a ValueError."""
    try:
        read_torch_file(path)
    except ValueError as error:
        assert type(error) is ValueError
        return str(error)
    raise AssertionError(f"{path} was read")


def refused(path: Path, match: str) -> None:
    """Checks that reading fails with an error that matches."""
    message = error_of(path)
    start = r"`path` must be a PyTorch checkpoint \("
    end = rf"\)\. Received: path='{re.escape(str(path))}'"
    assert re.fullmatch(f"{start}.*({match}).*{end}", message), message
    assert len(message) < 500 + len(str(path))


def read_pickle(folder: Path, content: bytes, form: str = "zip") -> Any:
    return read_torch_file(save_pickle(folder / "x.pth", content, form))


def refused_pickle(folder: Path, content: bytes, match: str) -> None:
    for form in FORMS:
        refused(save_pickle(folder / f"{form}.pth", content, form), match)


def calling(module: str, name: str, *args: Any) -> Call:
    return Call(Name(module, name), args)
