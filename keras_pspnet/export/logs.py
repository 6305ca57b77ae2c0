"""What TensorFlow tells about itself while it writes an export."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Keeps back what is no warning.

    In a notebook TensorFlow tells, twice, to which folder it has written: one
    that has another name by the time somebody reads it, or is gone.
    """
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)
