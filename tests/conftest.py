"""Settings that every test shares."""

import os

# Before TensorFlow is imported: two CPU devices for replicas, quiet logs.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# Several processes test side by side, each with networks too small for two
# threads: sharing the work would take a tenth of the time.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from types import SimpleNamespace

import forked
import keras
import promises
import pytest
import tensorflow as tf
import user_input

from keras_pspnet.export import saved_model

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
# Exports are verified in a process that need not import TensorFlow first.
# `test_saved_model` has one that does.
saved_model.subprocess = SimpleNamespace(run=forked.run_code)
# To make the graphs of tests fast would take longer than to run them.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_addoption(parser):
    parser.addoption(
        "--slow",
        action="store_true",
        help="run what `make slow` runs, too: more networks, fuzzing and load",
    )


def pytest_collection_modifyitems(config, items):
    # The table of what users hand in is printed whole.
    if not config.option.slow and config.option.markexpr != "user_input":
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    # A long file that is begun last is waited for by one worker alone.
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_itemcollected(item):
    promises.note(item)


def pytest_collection_finish(session):
    if session.config.option.markexpr == "user_input":
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        for line in user_input.table(session.items):
            reporter.write_line(line)


def pytest_terminal_summary(terminalreporter):
    lines = promises.table(terminalreporter.stats)
    if lines:
        terminalreporter.section("what is promised of a server")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Gives every test the same seeds and a clean float32 Keras."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")
    # A garbage collection after every test would take longer than the tests.
    keras.backend.clear_session(free_memory=False)


@pytest.fixture(scope="session")
def two_replicas():
    """The one strategy of the process: two replicas on logical CPUs.

    A second instance in the same process would reuse the first one's
    collective keys and fail.
    """
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
