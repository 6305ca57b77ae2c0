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
    import contract_server
    from c_session import CSession
    from contract_process import signature

    newest = max(options.model_base_path.iterdir(), key=lambda path: path.name)
    with CSession(str(newest)) as session:
        signatures = {
            name: signature(session, name) for name in session.signatures
        }
        port = options.rest_api_port
        with contract_server.serving(signatures, rest_port=port):
            # Until it is terminated.
            threading.Event().wait()


if __name__ == "__main__":
    main()
