"""Starts the command line without TensorFlow's start-up notes on stderr.

TensorFlow writes them while it is imported, before any setting can silence
it, and importing anything of `keras_pspnet` imports it. So this module stands
beside the package, and holds stderr back until the import is over; and it
tells the version at once.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterator


def main() -> int:
    """Runs `keras_pspnet.cli.main` on the process's arguments.

    Returns:
        Exit status.
    """
    if sys.argv[1:] == ["--version"]:
        print(f"keras-pspnet {importlib.metadata.version('keras-pspnet')}")
        return 0
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_back_stderr():
        from keras_pspnet.cli import main as run
    return run()


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Keeps what is written to stderr, and shows it only after a failure."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            notes.seek(0)
            os.write(stderr, notes.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


if __name__ == "__main__":
    sys.exit(main())
