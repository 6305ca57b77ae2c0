"""What the page does when somebody asks: open, segment, compare."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from keras_pspnet.data.decode import MAX_PIXELS, read_image
from keras_pspnet.network import Network
from keras_pspnet.page.examples import SIZE
from keras_pspnet.page.looks import Look
from keras_pspnet.page.runs import PLAIN, Run, Way, run
from keras_pspnet.page.shelf import Entry, Shelf

NO_PICTURE = "Drop a picture first, or try one of the drawn ones."
GIVEN_UP = (
    "This picture was given up for newer ones. Drop it again, and it is back."
)
NO_SIZE = "Choose at least one size."
NOTHING_TO_COMPARE = (
    "Choose several sizes, or mirror images, to compare them with one size."
)


class Desk:
    """The page's work on pictures, for any number of users.

    Methods raise `keras_pspnet.inference.picture_faults()`, of which
    `sentence` makes what a user reads.

    Args:
        network: What segments.
        shelf: Where pictures are kept.
        arguments: `window`, `max_side` and `max_pixels`, where they are not
            the defaults of `keras_pspnet.segment`.
    """

    def __init__(
        self, network: Network, shelf: Shelf, arguments: Mapping[str, Any]
    ):
        self.network = network
        self.shelf = shelf
        self.max_pixels = arguments.get("max_pixels", MAX_PIXELS)
        self._arguments = dict(arguments)
        # One network uses all cores.
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Lets the network run once, which takes longer than later on."""
        self.network(np.zeros((1, *SIZE, 3), "float32"))

    def open(self, name: str, data: bytes, old: str | None = None) -> str:
        """Reads a file, in place of the user's last picture.

        Args:
            name: Its name.
            data: Its bytes.
            old: Token of the last picture.

        Returns:
            Token of the picture.

        Raises:
            ValueError: If it is no picture that can be read, or too large.
        """
        if not data:
            raise ValueError("`image` must not be an empty file.")
        return self.take(name, read_image(data, self.max_pixels), old)

    def take(
        self, name: str, picture: np.ndarray, old: str | None = None
    ) -> str:
        """Keeps a picture, in place of the user's last one.

        Args:
            name: Its name.
            picture: RGB, uint8 (H, W, 3).
            old: Token of the last picture.

        Returns:
            Token of the picture.
        """
        self.shelf.drop(old)
        # The name stands in headers and in the names of files.
        stem = re.sub(r"[^\w.-]+", "_", PurePath(name).stem, flags=re.ASCII)
        return self.shelf.add(Entry(stem.strip("._") or "picture", picture))

    def segment(self, token: str | None, way: Way, look: Look) -> Entry:
        """Segments a picture, unless that was done already.

        Args:
            token: The picture's.
            way: How it is looked at.
            look: How it is drawn; all classes are.

        Returns:
            The entry, with the result as the newest.

        Raises:
            ValueError: If there is no picture of the token.
        """
        entry = self.entry(token)
        entry = entry.with_run(self._run(entry, way))
        entry = dataclasses.replace(
            entry, look=dataclasses.replace(look, classes=None)
        )
        self.shelf.put(str(token), entry)
        return entry

    def compare(self, token: str | None, way: Way) -> tuple[Run, Run]:
        """Segments a picture in two ways.

        Args:
            token: The picture's.
            way: The way that is compared with one size, not mirrored.

        Returns:
            The plain result and the other.

        Raises:
            ValueError: If there is no picture of the token, or the way is the
                plain one.
        """
        entry = self.entry(token)
        if way == PLAIN:
            raise ValueError(NOTHING_TO_COMPARE)
        return self._run(entry, PLAIN), self._run(entry, way)

    def look(self, token: str | None, look: Look) -> Entry:
        """Changes how a picture is drawn; the network has nothing to do.

        Args:
            token: The picture's.
            look: How.

        Raises:
            ValueError: If there is no picture of the token.
        """
        entry = dataclasses.replace(self.entry(token), look=look)
        self.shelf.put(str(token), entry)
        return entry

    def entry(self, token: str | None) -> Entry:
        """Returns a picture and what is known of it.

        Args:
            token: The picture's.

        Raises:
            ValueError: If there is none.
        """
        if token is None:
            raise ValueError(NO_PICTURE)
        try:
            return self.shelf.get(token)
        except KeyError as error:
            raise ValueError(GIVEN_UP) from error

    def _run(self, entry: Entry, way: Way) -> Run:
        if way in entry.runs:
            return entry.runs[way]
        if not way.scales:
            raise ValueError(NO_SIZE)
        with self._lock:
            return run(self.network, entry.picture, way, self._arguments)


def sentence(error: Exception) -> str:
    """Says to a user what was wrong.

    Args:
        error: One of `keras_pspnet.inference.picture_faults()`.

    Returns:
        A sentence without what only a programmer knows.
    """
    if not isinstance(error, ValueError | OSError) or not str(error):
        return "There is not enough memory for this picture at these sizes."
    told, _, received = str(error).partition(" Received: ")
    told = told.replace("`image`", "the picture").replace("`", "")
    told = re.sub(r"\d{5,}", lambda number: f"{int(number[0]):,}", told)
    size = re.search(r" of (\d+)x(\d+)$", received)
    if size:
        told = f"{told.rstrip('.')}; it has {size[1]} x {size[2]}."
    return told[:1].upper() + told[1:]
