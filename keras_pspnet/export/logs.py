"""What TensorFlow logs while it writes an export."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Keeps back what is no warning.

    TensorFlow reports, twice, the folder that it has written to, which has
    another name once the export is verified.
    """
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)
