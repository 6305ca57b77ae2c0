"""Tests of keras_pspnet.utils.files: all of a file or none of it."""

import errno
import os
import stat
import threading

import pytest
from forked import Forked

from keras_pspnet.utils import files
from keras_pspnet.utils.files import check_writable, locked, write_atomically

CHECKED = (check_writable, lambda path: write_atomically(path, b"new"))


@pytest.mark.parametrize("name", ["a.bin", "n" * 255])
def test_writes_and_replaces(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_atomically(name, b"old")
    write_atomically(tmp_path / name, b"new and longer")
    assert (tmp_path / name).read_bytes() == b"new and longer"
    assert os.listdir(tmp_path) == [name]
    # With the permissions of an ordinary file.
    (tmp_path / "b").write_bytes(b"")
    modes = [
        stat.S_IMODE((tmp_path / each).stat().st_mode) for each in (name, "b")
    ]
    assert modes[0] == modes[1]


def test_follows_a_symbolic_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("error", "match"),
    [
        (
            OSError(28, "No space left on device"),
            r"`path` must be writable \(No space left.*a\.bin'",
        ),
        (KeyboardInterrupt(), None),
    ],
)
def test_failure_keeps_the_old_file(
    tmp_path, monkeypatch, failing, error, match
):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(files.os, failing, fail)
    with pytest.raises(type(error), match=match):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("call", CHECKED)
def test_refuses_paths(tmp_path, call):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IsADirectoryError, match="must be a file, not a fold"):
        call(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"writable \(No such file.*path='.*none/a'"
    ):
        call(tmp_path / "none" / "a")
    with pytest.raises(NotADirectoryError, match="Not a directory.*file/a'"):
        call(tmp_path / "file" / "a")


@pytest.mark.parametrize("call", CHECKED)
def test_refuses_devices(call):
    with pytest.raises(OSError, match="regular file.*path='/dev/null'"):
        call("/dev/null")
    assert not os.path.isfile("/dev/null")


@pytest.mark.parametrize("call", CHECKED)
def test_refuses_a_read_only_folder(tmp_path, monkeypatch, call):
    # Simulated, because permission bits do not stop root.
    def denied(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.tempfile, "TemporaryFile", denied)
    with pytest.raises(
        PermissionError, match=r"writable \(Permission denied\).*a\.bin'"
    ):
        call(tmp_path / "a.bin")
    assert os.listdir(tmp_path) == []


HOLDER = """
import time
from keras_pspnet.utils.files import locked
with locked({!r}):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_holder_releases_the_lock(tmp_path):
    path = tmp_path / "model"
    taken = threading.Event()

    def take():
        with locked(path):
            taken.set()

    waiting = threading.Thread(target=take)
    holder = Forked(exec, HOLDER.format(str(path)))
    try:
        assert holder.readline(60) == "held\n"
        waiting.start()
        assert not taken.wait(0.2)
        holder.kill()
        assert taken.wait(30)
    finally:
        holder.close()
    waiting.join()


def test_an_error_releases_the_lock(tmp_path):
    for _ in range(2):
        with (
            pytest.raises(KeyError, match="inside"),
            locked(tmp_path / "model"),
        ):
            raise KeyError("inside")
    assert os.listdir(tmp_path) == ["model.lock"]


def test_a_lock_that_cannot_be_made_is_reported(tmp_path, monkeypatch):
    # Simulated, because permission bits do not stop root.
    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with (
        pytest.raises(
            PermissionError,
            match=r"`path` must be writable \(Permission denied\).*model'",
        ),
        locked(tmp_path / "model"),
    ):
        pass
