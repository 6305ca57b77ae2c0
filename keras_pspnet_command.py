"""Starts the command line, and Keras only for commands that compute.

`import keras_pspnet` imports Keras and TensorFlow: seconds and most of a
gigabyte, too much for `--help` or a misspelt option. So this module, which
stands beside the package, lets the modules of the command line be imported
without it, parses the arguments, and imports the package to run a command.

It also keeps TensorFlow's start-up notes from stderr, which it writes while it
is imported, before any setting can silence it.
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
        Exit status, as of `keras_pspnet.cli.main.main`.
    """
    import_package = _postponed_import("keras_pspnet")
    # These import nothing of the package but modules without Keras.
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
        A function that imports the package: it runs its `__init__.py`.
    """
    if name in sys.modules:
        return lambda: None
    spec = importlib.util.find_spec(name)
    assert spec is not None
    package = importlib.util.module_from_spec(spec)
    # What `import` takes for imported, so that it goes on to the modules.
    sys.modules[name] = package
    return lambda: importlib.reload(package)


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
