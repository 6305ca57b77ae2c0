"""Answers that a gRPC client does not take, and what it asks for instead."""

import numpy as np
import pytest
from contract_server import Refusal
from image_files import encoded
from picture_files import image

MIB = 2**20
# Of every engine, by clients that leave gRPC's limit of 4 MiB as it is.
SIDE, COUNT = 1024, 5

contract = pytest.mark.parametrize(
    "engine", ["contract gRPC", "TF Serving gRPC"], indirect=True
)
every_grpc = pytest.mark.parametrize(
    "engine", ["contract gRPC", "TF Serving gRPC", "Triton gRPC"], indirect=True
)


@pytest.mark.promise("R7")
@every_grpc
def test_client_is_told_that_an_answer_is_too_large(engine):
    pixels = np.asarray(image(size=(SIDE, SIDE)))
    images = np.stack([pixels] * COUNT)
    assert COUNT * SIDE**2 > 4 * MIB
    with pytest.raises(Refusal, match=r"larger than max .* vs\. 4194304") as e:
        engine.predict("predict_uint8", {"images": images})
    assert e.value.code == "RESOURCE_EXHAUSTED"


@pytest.mark.promise("R7")
@every_grpc
def test_the_same_masks_fit_as_files(engine):
    data = encoded(image(size=(SIDE, SIDE)), "JPEG")
    answers = [engine.segment(data) for _ in range(COUNT)]
    sizes = [len(answer["mask_png_bytes"][0]) for answer in answers]
    assert 0 < sum(sizes) < MIB
    assert [answer["height"][0] for answer in answers] == [SIDE] * COUNT


@pytest.mark.promise("R7")
@contract
def test_only_what_was_asked_for_is_sent(engine):
    pixels = np.asarray(image(size=(SIDE, SIDE)))[None].astype("float32")
    inputs = {"images": pixels}
    with pytest.raises(Refusal) as caught:
        engine.predict("probabilities", inputs)
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    # A signature of its own: none of the others has such an output.
    answer = engine.predict("predict_array", inputs, ["mask"])
    assert set(answer) == {"mask"}
    with pytest.raises(Refusal) as caught:
        engine.predict("predict_array", inputs, ["probabilities"])
    assert caught.value.code == "INVALID_ARGUMENT"
