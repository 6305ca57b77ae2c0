"""Starts the command line, and Keras only for commands that compute.

`import keras_pspnet` imports Keras and TensorFlow, which takes seconds and most
of a gigabyte: too much for `--help` or a misspelled option. This module stands
outside the package, so it can import the modules of the command line alone. It
parses the arguments, and imports the package only to run a command.

It also hides the notes that TensorFlow writes to stderr during its import,
before any setting can silence them.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator


def main() -> int:
    """Runs the command line on the process's arguments.

    Returns:
        Exit status, as in `keras_pspnet.cli.main.main`.
    """
    import_package = _postponed_import("keras_pspnet")
    # These import only modules of the package that do not use Keras.
    from keras_pspnet.cli.main import parse, run

    options = parse()
    if options.imports_keras:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _held_back_stderr():
            import_package()
    return run(options)


def _postponed_import(name: str) -> Callable[[], object]:
    """Makes the modules of a package importable before the package itself.

    Args:
        name: The package.

    Returns:
        A function that imports the package, which runs its `__init__.py`.
    """
    if name in sys.modules:
        return lambda: None
    spec = importlib.util.find_spec(name)
    assert spec is not None
    package = importlib.util.module_from_spec(spec)
    # `import` takes the package for imported and goes on to its modules.
    sys.modules[name] = package
    return lambda: importlib.reload(package)


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Holds back output to stderr, and shows it only after a failure."""
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
