"""Serves a SavedModel behind TF Serving's wire contract; see engines.py.

The model runs in the C++ session that TF Serving loads it in; what is around
it is `contract_server`, in Python.
"""

import sys

import contract_server
import numpy as np
from c_session import Arrays, CSession, SessionError
from contract_server import Refusal, Signature

# google.rpc.Code, as far as a session answers with them.
CODES = {
    3: "INVALID_ARGUMENT",
    5: "NOT_FOUND",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
}


def signature(session: CSession, name: str) -> Signature:
    def run(inputs: Arrays) -> Arrays:
        try:
            return session.run(name, inputs)
        except SessionError as error:
            code = CODES.get(error.code, "INTERNAL")
            raise Refusal(code, error.message) from error

    inputs = session.signatures[name].inputs
    return Signature(
        run, {key: dtype_name(info.dtype) for key, info in inputs.items()}
    )


def dtype_name(dtype: np.dtype) -> str:
    return "string" if dtype.kind == "O" else dtype.name


def main() -> None:
    with CSession(sys.argv[1]) as session:
        signatures = {
            name: signature(session, name) for name in session.signatures
        }
        with contract_server.serving(signatures) as contract:
            print(contract.rest, contract.grpc, flush=True)
            # Until the tests close it.
            sys.stdin.read()


if __name__ == "__main__":
    main()
