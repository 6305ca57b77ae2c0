"""Tests of what serving/ has for TF Serving: configurations, health check."""

import os
import re
import subprocess
from pathlib import Path

import http_server
import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2
from threshold_model import load_client

FOLDER = Path(__file__).parents[2] / "serving"

INT64 = "google.protobuf.Int64Value"
BATCHING = {
    "max_batch_size": (1, INT64),
    "batch_timeout_micros": (2, INT64),
    "max_enqueued_batches": (3, INT64),
    "num_batch_threads": (4, INT64),
    "thread_pool_name": (5, "google.protobuf.StringValue"),
    "allowed_batch_sizes": (6, "repeated int64"),
    "pad_variable_length_inputs": (7, "bool"),
    "enable_large_batch_splitting": (8, "google.protobuf.BoolValue"),
    "max_execution_batch_size": (9, INT64),
}
MONITORING = {"prometheus_config": (1, "contract.PrometheusConfig")}
PROMETHEUS = {"enable": (1, "bool"), "path": (2, "string")}


def message_class(name, messages):
    """Builds a message that the API's wheel does not have, by its fields."""
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {
        "int64": field.TYPE_INT64,
        "bool": field.TYPE_BOOL,
        "string": field.TYPE_STRING,
    }
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto",
        package="contract",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for message, fields in messages.items():
        described = file.message_type.add(name=message)
        for key, (number, kind) in fields.items():
            label = field.LABEL_OPTIONAL
            if kind.startswith("repeated "):
                label, kind = field.LABEL_REPEATED, kind.split()[1]
            added = described.field.add(name=key, number=number, label=label)
            added.type = scalars.get(kind, field.TYPE_MESSAGE)
            if kind not in scalars:
                added.type_name = f".{kind}"
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"contract.{name}")
    )


def parsed(name, message):
    return text_format.Parse((FOLDER / name).read_text("utf-8"), message)


def test_models_config_is_a_config():
    config = parsed(
        "models.config", model_server_config_pb2.ModelServerConfig()
    )
    (model,) = config.model_config_list.config
    assert model.name == "pspnet"
    assert model.base_path == "/models/pspnet"
    assert model.model_platform == "tensorflow"
    assert list(model.model_version_policy.specific.versions) == [1, 2]
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}


def test_batching_config_is_a_config():
    make = message_class("BatchingParameters", {"BatchingParameters": BATCHING})
    config = parsed("batching.config", make())
    sizes = list(config.allowed_batch_sizes)
    assert sizes == [1, 2, 4]
    assert config.max_batch_size.value == sizes[-1]
    assert 0 <= config.batch_timeout_micros.value <= 10_000
    assert config.max_enqueued_batches.value >= 1
    assert config.num_batch_threads.value >= 1
    assert not config.pad_variable_length_inputs
    # The schema is strict: a field that the server does not know is an error.
    with pytest.raises(text_format.ParseError, match="batch_timeout"):
        text_format.Parse("batch_timeout { value: 1 }", make())


def test_monitoring_config_is_a_config():
    make = message_class(
        "MonitoringConfig",
        {"MonitoringConfig": MONITORING, "PrometheusConfig": PROMETHEUS},
    )
    config = parsed("monitoring.config", make())
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == "/monitoring/prometheus/metrics"


def compose():
    """compose.yaml without comments."""
    text = (FOLDER / "compose.yaml").read_text("utf-8")
    return re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE)


def flags():
    found = re.findall(r"^\s+- --(\w+)=(\S+)$", compose(), re.MULTILINE)
    assert len(found) == len(dict(found)) == compose().count("- --")
    return dict(found)


def mounts():
    found = re.findall(r"^\s+- (\S+):(/\S+):(\w+)$", compose(), re.MULTILINE)
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
    config = parsed(
        "models.config", model_server_config_pb2.ModelServerConfig()
    )
    (model,) = config.model_config_list.config
    outside, mode = mounts()[os.path.dirname(model.base_path)]
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
    ports = re.search(r"ports:\n((?:\s+- .*\n)+)", compose())[1]
    assert re.findall(r'"(.*)"', ports) == [
        "127.0.0.1:8500:8500",
        "127.0.0.1:8501:8501",
    ]
    assert load_client().REST_ADDRESS == "http://127.0.0.1:8501"
    assert re.search(r"^    mem_limit: \d+g$", compose(), re.MULTILINE)
    assert re.search(
        r"^    image: tensorflow/serving:", compose(), re.MULTILINE
    )
    assert "\t" not in (FOLDER / "compose.yaml").read_text("utf-8")


def closed_port():
    with http_server.serving() as other:
        return other.server_address[1]


def health_command():
    """The command of the health check, folded as YAML folds it."""
    lines = re.search(
        r"- CMD\n\s+- bash\n\s+- -c\n\s+- >-\n((?: {10}.*\n)+)", compose()
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
