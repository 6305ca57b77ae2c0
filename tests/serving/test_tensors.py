"""Tensors that a signature does not take, sent to every engine."""

import numpy as np
import pytest
from contract_server import Refusal
from engines import is_clients_fault, memory_within

PREDICT = "predict_array"


def zeros(*shape, dtype="float32"):
    return {"images": np.zeros(shape, dtype)}


def filled(value):
    return {"images": np.full((1, 16, 16, 3), value, "float32")}


CASES = {
    "rank 0": (PREDICT, zeros()),
    "rank 1": (PREDICT, zeros(3)),
    "rank 2": (PREDICT, zeros(5, 3)),
    "rank 3": (PREDICT, zeros(16, 16, 3)),
    "rank 5": (PREDICT, zeros(1, 1, 16, 16, 3)),
    "1 channel": (PREDICT, zeros(1, 16, 16, 1)),
    "4 channels": (PREDICT, zeros(1, 16, 16, 4)),
    "no rows": (PREDICT, zeros(1, 0, 16, 3)),
    "no images": (PREDICT, zeros(0, 16, 16, 3)),
    "NaN": (PREDICT, filled(np.nan)),
    "infinity": (PREDICT, filled(np.inf)),
    "dtype": ("predict_uint8", zeros(1, 16, 16, 3)),
    "missing input": (PREDICT, {}),
    "another input": (PREDICT, zeros(1, 16, 16, 3) | {"x": np.zeros(1, "f")}),
    "unknown signature": ("segment", zeros(1, 16, 16, 3)),
    "too many pixels": (
        "predict_uint8",
        zeros(1, 1024, 1025, 3, dtype="uint8"),
    ),
}


@pytest.mark.promise("R5")
@pytest.mark.parametrize("name", CASES)
def test_bad_tensor_is_refused(engine, name):
    signature, inputs = CASES[name]
    is_rest = engine.name.endswith("REST")
    # Nine million digits are many more values while they are read.
    limit = 512 if is_rest else 64
    with memory_within(engine, limit):
        if is_rest and name == "another input":
            # By columns, TF Serving looks for the names that it knows.
            (mask,) = engine.predict(signature, inputs).values()
            assert mask.shape == (1, 16, 16)
            return
        with pytest.raises(Refusal) as caught:
            engine.predict(signature, inputs)
    assert is_clients_fault(caught.value), caught.value
