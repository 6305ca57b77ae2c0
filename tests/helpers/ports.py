"""Free ports for servers of tests."""

import contextlib
import random
import socket


def free_port(count: int = 1) -> int:
    """The first of a few free ports in a row.

    They are below those that systems give to outgoing connections.
    """
    while True:
        # Keras's seed of every test must not give all of them the same.
        first = random.SystemRandom().randrange(20000, 30000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
