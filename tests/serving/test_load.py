"""Many requests at once, too many, and such as are not waited for."""

import concurrent.futures
import signal
import time

import numpy as np
import psutil
import pytest
import triton_server
from contract_server import Refusal
from image_files import encoded
from picture_files import image
from triton_server import Tensor, predict_grpc, segment

MIB = 2**20
CLIENTS = 8
QUICK, SLOW = 800, 100_000
# Parts of a load, between which memory is read.
PARTS = 10


@pytest.mark.promise("R17")
def test_eight_clients(triton, files, masks, pytestconfig, record_property):
    """Pictures of mixed sizes: no error, and memory stays."""
    count = SLOW if pytestconfig.getoption("slow") else QUICK
    record_property("engine", "Triton HTTP")
    record_property("cases", count)
    processes = [
        psutil.Process(triton.process.pid),
        triton.model_process("pspnet"),
    ]

    def client(number):
        rng = np.random.default_rng(number)
        for _ in range(count // PARTS // CLIENTS):
            chosen = rng.integers(len(files), size=rng.integers(1, 5))
            answer = segment(triton, *(files[n] for n in chosen))
            want = [masks[n] for n in chosen]
            assert answer["mask_png_bytes"].strings == want

    memory = []
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        for part in range(PARTS):
            numbers = range(part * CLIENTS, (part + 1) * CLIENTS)
            list(pool.map(client, numbers))
            memory.append([each.memory_info().rss / MIB for each in processes])
    # Buffers grow to what the load takes, once: the first half is for that.
    late = np.array(memory)[PARTS // 2 :]
    growth = late[-1] - late[0]
    assert growth.max() < 16
    if count == SLOW:
        # MiB in 10,000 requests; of fewer it would be noise.
        slopes = np.polyfit(range(len(late)), late, 1)[0] / (count / PARTS)
        assert slopes.max() * 10_000 < 1


@pytest.mark.promise("R18")
def test_full_queue_refuses_at_once(triton, files, masks, record_property):
    record_property("engine", "Triton HTTP")
    large = encoded(image(size=(300, 300)), "PNG")

    def client(_):
        try:
            answer = segment(triton, large)
        except Refusal as refusal:
            return refusal.code, str(refusal)
        return answer["status"].strings[0], ""

    with concurrent.futures.ThreadPoolExecutor(128) as pool:
        results = list(pool.map(client, range(128)))
    refused = [each for each in results if each != (b"OK", "")]
    # As many as wait in the queue have their answers.
    assert 0 < len(refused) <= 128 - 64
    for code, message in refused:
        assert code == 503
        assert "maximum queue size" in message
    assert segment(triton, files[0])["mask_png_bytes"].strings == [masks[0]]


@pytest.mark.promise("R18")
@pytest.mark.parametrize("engine", ["Triton gRPC"], indirect=True)
def test_deadline_is_kept(engine, triton):
    large = encoded(image(size=(900, 900)), "JPEG")
    began = time.monotonic()
    with pytest.raises(Refusal) as caught:
        predict_grpc(
            triton, "pspnet", {"image_bytes": Tensor.of([large])}, seconds=0.001
        )
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert time.monotonic() - began < 2


@pytest.mark.promise("R18")
@pytest.mark.parametrize("engine", ["Triton gRPC"], indirect=True)
def test_client_takes_its_request_back(engine, triton):
    large = encoded(image(size=(900, 900)), "JPEG")
    for _ in range(8):
        with pytest.raises(Refusal) as caught:
            predict_grpc(
                triton,
                "pspnet",
                {"image_bytes": Tensor.of([large])},
                cancel=True,
            )
        assert caught.value.code == "CANCELLED"


@pytest.mark.promise("R18")
def test_ends_with_its_models_after_the_last_answer(
    only_pspnet, tmp_path, record_property
):
    """SIGTERM while it works: what was asked is answered, nothing is left."""
    record_property("engine", "Triton HTTP")
    run = tmp_path / "run"
    run.mkdir()
    large = encoded(image(size=(1000, 1000)), "PNG")
    count = 32
    with (
        concurrent.futures.ThreadPoolExecutor(count) as pool,
        triton_server.serving(only_pspnet, run) as triton,
    ):
        model = triton.model_process("pspnet")
        answers = [pool.submit(segment, triton, large) for _ in range(count)]
        while not triton.count("nv_inference_pending_request_count"):
            assert not all(each.done() for each in answers)
        # They are in the server: sent, and in the queue or beyond it.
        time.sleep(0.3)
        assert not all(each.done() for each in answers)
        assert triton.shared_files()
        triton.process.send_signal(signal.SIGTERM)
        for answer in answers:
            assert answer.result()["status"].strings == [b"OK"]
        triton.end()
        assert not model.is_running()
        assert not triton.shared_files()
