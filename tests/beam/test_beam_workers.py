"""Tests of pipelines in threads, in processes, and after a kill."""

import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from apache_beam.utils.shared import Shared
from pipelines import (
    RUNNER,
    errors,
    run,
    table,
    write_images,
)

import keras_pspnet.beam.segment as beam_segment
import keras_pspnet.inference.load as load_module
from keras_pspnet.beam import SegmentImages
from keras_pspnet.cli.main import main
from keras_pspnet.inference.segment import segment
from keras_pspnet.models.pspnet import PSPNet
from keras_pspnet.pretrained import load_pretrained, save_pretrained

pytestmark = pytest.mark.beam


def test_threads_share_a_model_and_take_turns(
    tmp_path, model_folder, monkeypatch
) -> None:
    write_images(tmp_path / "photos", 12)
    loads, inside, most, threads = [], [], [], set()

    def load(*arguments: Any, **options: Any) -> PSPNet:
        loads.append(arguments)
        return load_pretrained(*arguments, **options)

    def counting(*arguments: Any, **options: Any) -> Any:
        inside.append(1)
        most.append(len(inside))
        threads.add(threading.get_ident())
        time.sleep(0.05)
        try:
            return segment(*arguments, **options)
        finally:
            inside.pop()

    monkeypatch.setattr(load_module, "load_pretrained", load)
    transform = SegmentImages(
        f"{tmp_path}/photos/*", model_folder, tmp_path / "out"
    )
    monkeypatch.setattr(beam_segment, "segment", counting)
    counts = run(
        transform,
        "--direct_running_mode=multi_threading",
        "--direct_num_workers=3",
    )
    assert counts == {"segmented": 12}
    assert len(loads) == 1
    assert len(threads) > 1
    assert max(most) == 1


@pytest.mark.slow
def test_processes_of_their_own(photos, tmp_path, model_folder) -> None:
    """As on Flink, Spark or Dataflow: nothing comes over but what is sent."""
    (photos / "bad.png").write_text("no image")
    counts = run(
        SegmentImages(str(photos), model_folder, tmp_path / "far"),
        "--direct_running_mode=multi_processing",
        "--direct_num_workers=1",
    )
    assert counts == {"segmented": 3, "failed": 1}
    run(SegmentImages(str(photos), model_folder, tmp_path / "near"))
    assert table(tmp_path / "far") == table(tmp_path / "near")
    assert errors(tmp_path / "far") == errors(tmp_path / "near")


def test_workers_with_another_model_are_refused(
    photos, tmp_path, model_folder
) -> None:
    copy = tmp_path / "copy"
    save_pretrained(load_pretrained(model_folder), copy)
    other = load_pretrained(model_folder)
    bias = other.get_layer("head_classifier").bias
    bias.assign(bias + 1e-3)

    transform = SegmentImages(str(photos), copy, tmp_path / "out")
    save_pretrained(other, copy)
    # As in a process that has not loaded it yet.
    transform._model._shared = Shared()
    with pytest.raises(Exception, match="`model` must be the same on all"):
        run(transform)


# === Killed ===

# Ends neither by itself nor when it is asked to: after three masks, the next
# is written, but never gets its name.
STUCK = """
import sys, time
from apache_beam.io.filesystems import FileSystems
from keras_pspnet.cli.main import main
rename, names = FileSystems.rename, []

def stuck(sources, targets):
    names.extend(targets)
    if len(names) > 3:
        time.sleep(600)
    rename(sources, targets)

FileSystems.rename = stuck
main(["beam", "segment", *sys.argv[1:]])
"""


def test_a_killed_run_goes_on(tmp_path, model_folder, capsys) -> None:
    photos, output = tmp_path / "photos", tmp_path / "out"
    write_images(photos, 8)
    arguments = ["--input", f"{photos}/*", "--model", model_folder]
    arguments += ["--output", str(output), *RUNNER]
    started = subprocess.Popen(
        [sys.executable, "-c", STUCK, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: list(output.glob("masks/*.tmp")), started)
        wait_for(lambda: len(list(output.glob("masks/*.png"))) == 3, started)
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
    assert not (output / "table.parquet").exists()

    assert main(["beam", "segment", *arguments]) == 0
    assert capsys.readouterr().out == (
        f"{output}: 5 images segmented, 3 there already, 0 failed\n"
    )
    fresh = tmp_path / "fresh"
    run(SegmentImages(f"{photos}/*", model_folder, fresh))
    assert len(table(fresh)) == 8
    assert table(output) == table(fresh)
    for row in table(fresh):
        mask = (fresh / row["mask"]).read_bytes()
        assert (output / row["mask"]).read_bytes() == mask


def wait_for(condition: Any, process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
