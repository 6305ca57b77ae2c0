"""Takes the place of tensorflow_model_server where it is not installed.

It knows three of its options, and speaks its REST protocol by way of
`contract_server`, around the C++ session that the real one loads models in.
"""

import argparse
import sys
import threading
from pathlib import Path

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / "helpers"), str(TESTS / "serving")]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rest_api_port", type=int, required=True)
    parser.add_argument("--model_name", choices=["pspnet"], required=True)
    parser.add_argument("--model_base_path", type=Path, required=True)
    options = parser.parse_args()
    import contract_process

    newest = max(options.model_base_path.iterdir(), key=lambda path: path.name)
    with contract_process.serving(newest, options.rest_api_port):
        # Until it is terminated.
        threading.Event().wait()


if __name__ == "__main__":
    main()
