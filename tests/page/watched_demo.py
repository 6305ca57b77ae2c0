"""Runs `keras-pspnet demo`, and writes down every other host it asks for.

python watched_demo.py LOG OPTION ...
"""

import signal
import sys

import keras_pspnet_command

LOCAL = ("127.", "localhost", "::1", "0.0.0.0")


def main() -> int:
    """Runs the command with a hook on everything that goes to a network."""
    log = open(sys.argv[1], "a", buffering=1)  # noqa: SIM115

    def watch(event: str, arguments: tuple) -> None:
        if event == "socket.getaddrinfo":
            host = arguments[0]
        elif event in ("socket.connect", "socket.sendto"):
            address = arguments[1]
            host = address[0] if isinstance(address, tuple) else None
        else:
            return
        if host is not None and not str(host).startswith(LOCAL):
            print(event, host, file=log)

    # What a terminal gives it; a shell's background jobs ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.addaudithook(watch)
    sys.argv[1:] = ["demo", *sys.argv[2:]]
    return keras_pspnet_command.main()


if __name__ == "__main__":
    sys.exit(main())
