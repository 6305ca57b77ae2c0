"""Tests of what serving/ has for TF Serving: configurations, health check."""

import os
import re
import subprocess
from pathlib import Path

import http_server
import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2
from threshold_model import load_client

FOLDER = Path(__file__).parents[2] / "serving"

# Of BatchingParameters, whose proto the API's wheel does not have. The schema
# is strict: the server does not start with a field that it does not know.
NUMBER = r"\w+ \{ value: \d+ \}"
BATCHING = {
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "allowed_batch_sizes",
}


def read(name):
    """A configuration without comments."""
    text = (FOLDER / name).read_text("utf-8")
    return re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE)


def model_config():
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(read("models.config"), config)
    (model,) = config.model_config_list.config
    return model


def test_models_config_is_a_config():
    model = model_config()
    assert model.name == "pspnet"
    assert model.base_path == "/models/pspnet"
    assert model.model_platform == "tensorflow"
    assert list(model.model_version_policy.specific.versions) == [1, 2]
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}


def test_batching_config_is_a_config():
    lines = read("batching.config").split("\n")
    fields = [line for line in lines if line]
    sizes = [line for line in fields if line.startswith("allowed_batch_sizes")]
    assert sizes == [f"allowed_batch_sizes: {size}" for size in (1, 2, 4)]
    assert "max_batch_size { value: 4 }" in fields
    assert {line.split()[0].rstrip(":") for line in fields} == BATCHING
    assert all(re.fullmatch(NUMBER, line) for line in set(fields) - set(sizes))


def test_monitoring_config_is_a_config():
    path = "/monitoring/prometheus/metrics"
    want = f'prometheus_config {{ enable: true path: "{path}" }}'
    assert read("monitoring.config").split() == want.split()


def flags():
    found = re.findall(
        r"^\s+- --(\w+)=(\S+)$", read("compose.yaml"), re.MULTILINE
    )
    assert len(found) == len(dict(found)) == read("compose.yaml").count("- --")
    return dict(found)


def mounts():
    found = re.findall(
        r"^\s+- (\S+):(/\S+):(\w+)$", read("compose.yaml"), re.MULTILINE
    )
    return {inside: (outside, mode) for outside, inside, mode in found}


def test_every_file_of_a_flag_is_mounted_and_exists():
    files = {name: value for name, value in flags().items() if "/" in value}
    assert set(files) == {
        "model_config_file",
        "monitoring_config_file",
        "batching_parameters_file",
    }
    for value in files.values():
        outside, mode = mounts()[os.path.dirname(value)]
        assert mode == "ro"
        assert (FOLDER / outside / os.path.basename(value)).is_file()


def test_the_models_are_mounted_where_the_config_looks():
    outside, mode = mounts()[os.path.dirname(model_config().base_path)]
    assert mode == "ro"
    assert outside == "${PSPNET_MODELS:-../models}"


def test_switches_are_on():
    switches = {name for name, value in flags().items() if value == "true"}
    assert switches == {
        "enable_batching",
        "enable_grpc_healthcheck_service",
        "allow_version_labels_for_unavailable_models",
    }


def test_ports_are_open_to_this_machine_only():
    ports = re.search(r"ports:\n((?:\s+- .*\n)+)", read("compose.yaml"))[1]
    assert re.findall(r'"(.*)"', ports) == [
        "127.0.0.1:8500:8500",
        "127.0.0.1:8501:8501",
    ]
    assert load_client().REST_ADDRESS == "http://127.0.0.1:8501"
    assert re.search(
        r"^    mem_limit: \d+g$", read("compose.yaml"), re.MULTILINE
    )
    assert re.search(
        r"^    image: tensorflow/serving:", read("compose.yaml"), re.MULTILINE
    )


def closed_port():
    with http_server.serving() as other:
        return other.server_address[1]


def health_command():
    """The command of the health check, folded as YAML folds it."""
    lines = re.search(
        r"- CMD\n\s+- bash\n\s+- -c\n\s+- >-\n((?: {10}.*\n)+)",
        read("compose.yaml"),
    )[1]
    return " ".join(line.strip() for line in lines.splitlines())


@pytest.mark.parametrize(
    ("states", "healthy"),
    [
        ({1: "AVAILABLE"}, True),
        ({1: "AVAILABLE", 2: "LOADING"}, True),
        ({1: "LOADING"}, False),
        (None, False),
    ],
)
def test_the_health_check_tells_the_state(server, states, healthy):
    server.states = states or {}
    port = server.rest.rpartition(":")[2] if states else closed_port()
    command = health_command()
    assert command.count("/8501") == 1
    done = subprocess.run(
        ["bash", "-c", command.replace("/8501", f"/{port}")],
        capture_output=True,
        timeout=10,
    )
    assert (done.returncode == 0) == healthy, done.stderr
