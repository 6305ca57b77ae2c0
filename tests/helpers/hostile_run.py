"""Reads files with limited memory and time, and prints each outcome.

Usage: python tests/helpers/hostile_run.py MEMORY SECONDS FILE...

MEMORY: Bytes that this process may allocate in addition.
SECONDS: Processor time for each file; beyond it the process is killed.
"""

import json
import resource
import sys
import time
from pathlib import Path

from keras_pspnet.convert.paddle_file import read_paddle_file
from keras_pspnet.convert.torch_file import read_torch_file


def limit(kind: int, amount: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (amount, hard))


def main(memory: int, seconds: int, paths: list[str]) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)
    for path in paths:
        limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)
        said = {"path": path, "error": "none", "message": ""}
        try:
            if path.endswith(".pdparams"):
                read_paddle_file(path)
            else:
                read_torch_file(path)
        except BaseException as error:
            said |= {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
