"""Tests of what serving/ has for TF Serving: configurations, health check."""

import os
import re
import subprocess

import pytest
import yaml
from google.protobuf import text_format
from ports import free_port
from tensorflow_serving.config import model_server_config_pb2
from threshold_model import SERVING, load_client

(SERVICE,) = yaml.safe_load((SERVING / "compose.yaml").read_text("utf-8"))[
    "services"
].values()
FLAGS = dict(each.removeprefix("--").split("=") for each in SERVICE["command"])


def read(name):
    """A configuration without comments."""
    text = (SERVING / name).read_text("utf-8")
    return re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE)


def model_config():
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(read("models.config"), config)
    (model,) = config.model_config_list.config
    return model


def mounted(inside):
    """Where a folder of the container is outside; nothing is written to it."""
    mounts = [each.rsplit(":", 2) for each in SERVICE["volumes"]]
    ((outside, mode),) = (
        (outside, mode) for outside, each, mode in mounts if each == inside
    )
    assert mode == "ro"
    return outside


def test_models_config_is_a_config():
    model = model_config()
    assert model.name == "pspnet"
    assert list(model.model_version_policy.specific.versions) == [1, 2]
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}
    outside = mounted(os.path.dirname(model.base_path))
    assert outside == "${PSPNET_MODELS:-../models}"


def test_batching_config_is_a_config():
    # The API's wheel does not have the proto of BatchingParameters. The server
    # does not start with a field that it does not know.
    lines = [line for line in read("batching.config").split("\n") if line]
    assert lines[-3:] == [f"allowed_batch_sizes: {size}" for size in (1, 2, 4)]
    found = [re.fullmatch(r"(\w+) \{ value: (\d+) \}", x) for x in lines[:-3]]
    fields = dict(match.groups() for match in found)
    assert fields["max_batch_size"] == "4"
    assert set(fields) == {
        *("max_batch_size", "batch_timeout_micros"),
        *("max_enqueued_batches", "num_batch_threads"),
    }


def test_every_file_of_a_flag_is_mounted_and_exists():
    files = {name: value for name, value in FLAGS.items() if "/" in value}
    assert len(files) == 3
    for value in files.values():
        folder = SERVING / mounted(os.path.dirname(value))
        assert (folder / os.path.basename(value)).is_file()


def test_switches_are_on():
    assert {name for name, value in FLAGS.items() if value == "true"} == {
        "enable_batching",
        "enable_grpc_healthcheck_service",
        "allow_version_labels_for_unavailable_models",
    }


def test_ports_are_open_to_this_machine_only():
    ports = [f"127.0.0.1:{port}:{port}" for port in (8500, 8501)]
    assert SERVICE["ports"] == ports
    assert load_client().REST_ADDRESS == "http://127.0.0.1:8501"
    assert SERVICE["mem_limit"]


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
    port = server.rest.rpartition(":")[2] if states else free_port()
    _, *command, script = SERVICE["healthcheck"]["test"]
    assert script.count("/8501") == 1
    done = subprocess.run(
        [*command, script.replace("/8501", f"/{port}")],
        capture_output=True,
        timeout=10,
    )
    assert (done.returncode == 0) == healthy, done.stderr
