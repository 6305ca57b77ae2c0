"""The pictures of all who use the page, in memory that has a limit."""

from __future__ import annotations

import collections
import dataclasses
import secrets
import threading
from collections.abc import Mapping

import numpy as np

from keras_pspnet.page.looks import Look
from keras_pspnet.page.runs import Run, Way


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A picture and what is known of it.

    Args:
        name: What files made of it are named after.
        picture: RGB, uint8 (H, W, 3).
        runs: The last results, the newest at the end.
        look: How it is drawn.
    """

    name: str
    picture: np.ndarray
    runs: Mapping[Way, Run] = dataclasses.field(default_factory=dict)
    look: Look = dataclasses.field(default_factory=Look)

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.picture.nbytes + sum(
            each.nbytes for each in self.runs.values()
        )

    @property
    def shown(self) -> Run | None:
        """The newest result."""
        return list(self.runs.values())[-1] if self.runs else None

    def with_run(self, run: Run) -> Entry:
        """Returns the entry with one more result, of which two are kept.

        Args:
            run: A result of this picture.
        """
        runs = {way: each for way, each in self.runs.items() if way != run.way}
        # Two are compared.
        kept = dict(list(runs.items())[-1:])
        return dataclasses.replace(self, runs={**kept, run.way: run})


class Shelf:
    """Entries by tokens that nobody guesses, the longest unused given up first.

    Safe to use from several threads.

    Args:
        max_bytes: What the entries may take together. The newest one stays
            even if it takes more alone.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self._entries: collections.OrderedDict[str, Entry] = (
            collections.OrderedDict()
        )
        self._lock = threading.Lock()

    def add(self, entry: Entry) -> str:
        """Keeps an entry.

        Args:
            entry: The entry.

        Returns:
            Its token.
        """
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._entries[token] = entry
            self._give_up()
        return token

    def get(self, token: str) -> Entry:
        """Returns an entry.

        Args:
            token: Its token.

        Raises:
            KeyError: If there is none of this token, or no more.
        """
        with self._lock:
            self._entries.move_to_end(token)
            return self._entries[token]

    def put(self, token: str, entry: Entry) -> None:
        """Replaces an entry; one that was given up meanwhile stays so.

        Args:
            token: Its token.
            entry: What to keep from now on.
        """
        with self._lock:
            if token in self._entries:
                self._entries[token] = entry
                self._entries.move_to_end(token)
                self._give_up()

    def drop(self, token: str | None) -> None:
        """Forgets an entry.

        Args:
            token: Its token; one that is unknown, or None, is no error.
        """
        with self._lock:
            if token is not None:
                self._entries.pop(token, None)

    def _give_up(self) -> None:
        total = sum(entry.nbytes for entry in self._entries.values())
        while total > self.max_bytes and len(self._entries) > 1:
            _, entry = self._entries.popitem(last=False)
            total -= entry.nbytes
