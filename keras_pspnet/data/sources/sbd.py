"""Reads masks of the Semantic Boundaries Dataset from MATLAB files."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np

SBD_FILES = "img/*.jpg, cls/*.mat, train.txt, val.txt"
SBD_SOURCE = (
    "benchmark.tgz of SBD is at "
    "http://home.bharathh.info/pubs/codes/SBD/download.html."
)


def scipy_io() -> Any:
    """Imports the reader of MATLAB files; also a check before long work.

    Raises:
        ImportError: If SciPy is not installed.
    """
    try:
        return importlib.import_module("scipy.io")
    except ImportError as error:
        raise ImportError(
            "scipy must be installed for the .mat masks of SBD: "
            "pip install keras-pspnet[sbd]"
        ) from error


def read_mat_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads the class mask of one `cls/*.mat` file.

    Args:
        path: The file: a structure `GTcls` whose `Segmentation` is the mask.

    Returns:
        A uint8 array of shape `(H, W)`; 0 is background.

    Raises:
        ImportError: If SciPy is not installed.
        OSError: If the file cannot be opened.
        ValueError: If it is not such a file.
    """
    io = scipy_io()
    with Path(path).open("rb") as stream:
        try:
            content = io.loadmat(stream, variable_names=["GTcls"])
            mask = content["GTcls"][0, 0]["Segmentation"]
            if mask.ndim != 2 or mask.dtype != np.uint8 or mask.size == 0:
                raise ValueError(f"{mask.dtype} of shape {mask.shape}")
        except MemoryError:
            raise
        # On broken files SciPy may raise anything.
        except Exception as error:
            raise ValueError(
                "`mask` must be a MATLAB file of SBD, with GTcls.Segmentation "
                f"of uint8 and rank 2 ({error}). "
                f"Received: mask={os.fspath(path)!r}"
            ) from error
    return mask
