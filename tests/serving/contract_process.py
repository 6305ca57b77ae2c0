"""Serves a SavedModel behind TF Serving's wire contract; see engines.py.

The model runs in the C++ session that TF Serving loads it in; what is around
it is `contract_server`, in Python.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import contract_server
import tensorflow as tf
from c_session import Arrays, CSession, SessionError
from contract_server import CODES, Contract, Refusal, Signature


def signature(session: CSession, name: str) -> Signature:
    def run(inputs: Arrays) -> Arrays:
        try:
            return session.run(name, inputs)
        except SessionError as error:
            raise Refusal(CODES[error.code], error.message) from error

    inputs = session.signatures[name].inputs
    return Signature(
        run, {key: tf.as_dtype(each.dtype).name for key, each in inputs.items()}
    )


@contextlib.contextmanager
def serving(folder: str | Path, rest_port: int = 0) -> Iterator[Contract]:
    with CSession(folder) as session:
        signatures = {
            name: signature(session, name) for name in session.signatures
        }
        with contract_server.serving(
            signatures, rest_port=rest_port
        ) as contract:
            yield contract


if __name__ == "__main__":
    with serving(sys.argv[1]) as contract:
        print(contract.rest, contract.grpc, flush=True)
        # Until the tests close it.
        sys.stdin.read()
