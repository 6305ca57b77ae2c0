"""Tests of keras_pspnet.utils.download against a server on this machine."""

import errno
import functools
import hashlib
import http.client
import io
import os
import random
import re
import subprocess
import sys
import threading
import types
import urllib.request
from pathlib import Path

import pytest
from http_server import serving

import keras_pspnet
from keras_pspnet.utils import download as module
from keras_pspnet.utils.download import cache_folder, download

BODY = random.Random(3).randbytes(300_000)
DIGEST = hashlib.sha256(BODY).hexdigest()
OTHER = random.Random(4).randbytes(300_000)
NAME = "weights.bin"
PATH = f"/v1/{NAME}"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("KERAS_PSPNET"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # What pytest captures is no terminal, whatever this variable says.
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)


@pytest.fixture(autouse=True)
def slept(monkeypatch):
    """The pauses, in seconds, that the code under test asked for."""
    pauses = []
    stub = types.SimpleNamespace(sleep=pauses.append)
    monkeypatch.setattr(module, "time", stub)
    return pauses


@pytest.fixture
def server():
    with serving() as running:
        running.files[PATH] = BODY
        yield running


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "files"


@pytest.fixture
def get(server, folder):
    return functools.partial(download, server.url(PATH), folder, DIGEST)


@pytest.fixture
def part(folder):
    folder.mkdir(parents=True)
    return folder / f"{NAME}.part"


def fail_to_write(monkeypatch, error, after):
    """Lets parts take `after` writes, then raises `error`."""
    left = [after]

    class Failing(io.FileIO):
        def write(self, data):
            left[0] -= 1
            if left[0] < 0:
                raise error
            return super().write(data)

    def open_failing(path, mode):
        part = mode in ("ab", "wb") and str(path).endswith(".part")
        return (Failing if part else open)(path, mode)

    monkeypatch.setattr(module, "open", open_failing, raising=False)


def test_fetches_once(server, get, folder):
    path = get()
    assert path == folder / NAME
    assert path.read_bytes() == BODY
    assert get() == path
    assert server.sent == [len(BODY)]
    # No .part is left; the lock file is there for the next one.
    assert sorted(os.listdir(folder)) == [NAME, f"{NAME}.lock"]
    headers = server.seen[0].headers
    assert headers["User-Agent"] == f"keras_pspnet/{keras_pspnet.__version__}"
    # A server that compresses could send gigabytes as kilobytes.
    assert headers["Accept-Encoding"] == "identity"
    assert "Range" not in headers


@pytest.mark.parametrize("digest", [DIGEST[:8], DIGEST])
def test_takes_whole_digests_and_their_first_digits(
    server, folder, part, digest
):
    (folder / NAME).write_bytes(BODY)
    assert download(server.url(PATH), folder, digest) == folder / NAME
    assert server.seen == []


@pytest.mark.parametrize(
    "path, query, name",
    [
        ("/a%20b.bin", "", "a b.bin"),
        ("/a.bin", "?download=1#top", "a.bin"),
    ],
)
def test_names_the_file_after_the_url(server, folder, path, query, name):
    server.files[path] = BODY
    got = download(server.url(path + query), folder, DIGEST)
    assert got == folder / name
    assert got.read_bytes() == BODY


def test_replaces_a_wrong_file(server, get, folder, part):
    (folder / NAME).write_bytes(OTHER)
    server.statuses = [404]
    with pytest.raises(ConnectionError):
        get()
    assert get().read_bytes() == BODY
    assert server.ranges_asked == [None, None]


# Without a published hash


def test_records_the_hash_of_the_first_download(server, folder, part):
    # Nothing says of what file this is the start.
    part.write_bytes(OTHER[:123_456])
    url = server.url(PATH)
    path = download(url, folder, "", name="mine.bin")
    assert path == folder / "mine.bin"
    assert path.read_bytes() == BODY
    record = folder / "mine.bin.sha256"
    assert record.read_text() == f"{DIGEST}  mine.bin\n"
    assert download(url, folder, "", name="mine.bin") == path
    assert len(server.seen) == 1
    # Later downloads must be of the same file, also where it was deleted.
    path.write_bytes(OTHER)
    assert download(url, folder, "", name="mine.bin").read_bytes() == BODY
    path.unlink()
    server.files[PATH] = OTHER
    with pytest.raises(ValueError, match=f"starts with {DIGEST}.*{record}"):
        download(url, folder, "", name="mine.bin")
    assert not path.exists()
    record.unlink()
    assert download(url, folder, "", name="mine.bin").read_bytes() == OTHER


def test_starts_over_what_it_cannot_check(server, folder, part):
    part.write_bytes(OTHER[:123_456])
    assert download(server.url(PATH), folder, "").read_bytes() == BODY
    assert server.ranges_asked == [None]


def test_resumes_what_a_recorded_hash_can_check(server, folder, part):
    download(server.url(PATH), folder, "").unlink()
    part.write_bytes(BODY[:123_456])
    assert download(server.url(PATH), folder, "").read_bytes() == BODY
    assert server.ranges_asked == [None, "bytes=123456-"]


def test_a_file_without_a_record_is_not_trusted(server, folder, part):
    (folder / NAME).write_bytes(OTHER)
    assert download(server.url(PATH), folder, "").read_bytes() == BODY


@pytest.mark.parametrize("content", [b"", b"0" * 63, b"\xff" * 70])
def test_a_damaged_record_is_refused(server, folder, part, content):
    record = folder / f"{NAME}.sha256"
    record.write_bytes(content)
    with pytest.raises(ValueError, match=f"hash of the first.*{record}"):
        download(server.url(PATH), folder, "")
    assert server.seen == []


# Resuming


def test_resumes_what_a_process_left(server, get, part):
    part.write_bytes(BODY[:123_456])
    assert get().read_bytes() == BODY
    assert server.ranges_asked == ["bytes=123456-"]
    assert server.sent == [len(BODY) - 123_456]
    assert not part.exists()


def test_resumes_a_broken_connection(server, get, slept):
    server.cuts = [100_000, 0, 70_000]
    get()
    assert server.ranges_asked == [
        None,
        "bytes=100000-",
        "bytes=100000-",
        "bytes=170000-",
    ]
    assert server.sent == [100_000, 0, 70_000, 130_000]
    assert slept == [1, 2, 4]


def test_gives_up_after_three_new_tries_and_keeps_the_part(
    server, get, part, slept
):
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(
        ConnectionError,
        match=r"`url` must be within reach \(only 100000 of 300000 bytes "
        rf"arrived\)\. Received: url='http://127.*{PATH}'",
    ):
        get()
    assert len(server.seen) == 4
    assert slept == [1, 2, 4]
    assert part.read_bytes() == BODY[:100_000]
    get()
    assert server.ranges_asked[4:] == ["bytes=100000-"]


def test_resumes_when_nothing_more_comes(server, get, monkeypatch, slept):
    monkeypatch.setattr(module, "_TIMEOUT", 0.5)
    event = threading.Event()
    server.waits = [event]
    try:
        assert get().read_bytes() == BODY
    finally:
        event.set()
    assert len(server.seen) == 2
    assert slept == [1]


def test_starts_over_where_the_server_has_no_ranges(server, get, part):
    server.ranges = False
    part.write_bytes(BODY[:1000])
    assert get().read_bytes() == BODY
    assert server.sent == [len(BODY)]


@pytest.mark.parametrize("left", [OTHER[:1000], OTHER + b"more"])
def test_starts_over_where_the_part_is_of_another_file(server, get, part, left):
    part.write_bytes(left)
    assert get().read_bytes() == BODY
    assert server.ranges_asked == [f"bytes={len(left)}-", None]


def test_a_whole_part_is_enough(server, get, part):
    part.write_bytes(BODY)
    assert get().read_bytes() == BODY
    assert [each.status for each in server.seen] == [416]


def test_an_interrupted_download_is_resumed(server, get, part, monkeypatch):
    with monkeypatch.context() as patch:
        fail_to_write(patch, KeyboardInterrupt(), after=2)
        with pytest.raises(KeyboardInterrupt):
            get()
    assert part.read_bytes() == BODY[: 2 * module._CHUNK]
    assert get().read_bytes() == BODY
    assert server.ranges_asked[1:] == [f"bytes={2 * module._CHUNK}-"]


# Other bytes than those expected


def test_refuses_another_file(server, get, folder):
    server.files[PATH] = OTHER
    got = hashlib.sha256(OTHER).hexdigest()
    with pytest.raises(
        ValueError,
        match=f"starts with {DIGEST}, not {got}. Received: url='http.*{PATH}'",
    ):
        get()
    assert os.listdir(folder) == [f"{NAME}.lock"]
    assert len(server.seen) == 1


@pytest.mark.parametrize("announces", [True, False])
def test_refuses_a_file_that_is_too_large(
    server, get, part, monkeypatch, announces
):
    monkeypatch.setattr(module, "_MAX_BYTES", 200_000)
    server.announces = announces
    with pytest.raises(ValueError, match="at most 200000 bytes.*url='http"):
        get()
    assert not part.exists()


def test_takes_a_file_without_an_announced_size(server, get):
    server.announces = False
    assert get().read_bytes() == BODY


# Servers and networks that fail


def test_refuses_an_absent_file(server, folder, slept):
    with pytest.raises(
        ConnectionError,
        match=r"`url` must be within reach \(HTTP 404 Not Found\)\. "
        r"Received: url='http.*none\.bin'\. The variable "
        r"KERAS_PSPNET_MIRROR may name a base URL or a folder that holds "
        r"'none\.bin'\. The model 'a' needs no network\.$",
    ):
        download(
            server.url("/none.bin"),
            folder,
            DIGEST,
            hint="The model 'a' needs no network.",
        )
    assert len(server.seen) == 1
    assert slept == []


def test_tries_a_server_error_again(server, get, slept):
    server.statuses = [500, 503]
    assert get().read_bytes() == BODY
    assert slept == [1, 2]


def test_says_that_there_is_no_server(folder, slept):
    with serving() as server:
        url = server.url(PATH)
    with pytest.raises(
        ConnectionError,
        match=rf"within reach \(.*refused\)\. Received: url='{url}'.*_MIRROR",
    ):
        download(url, folder, DIGEST)
    assert slept == [1, 2, 4]


def test_honours_proxies(server, folder, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url("/"))
    url = f"http://weights.invalid{PATH}"
    assert download(url, folder, DIGEST).read_bytes() == BODY
    assert [each.target for each in server.seen] == [url]


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_follows_redirects_and_asks_for_the_rest(server, get, part, status):
    part.write_bytes(BODY[:1000])
    server.redirects[PATH] = status, server.url("/other/name")
    server.files["/other/name"] = BODY
    assert get().name == NAME
    assert server.ranges_asked == ["bytes=1000-"] * 2
    assert server.sent == [0, len(BODY) - 1000]


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/weights.bin", "data:,abc"],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_refuses_redirects_elsewhere(server, get, part, status, target):
    server.redirects[PATH] = status, target
    with pytest.raises(
        ConnectionError,
        match=rf"HTTP {status} .*Redirection to url '{re.escape(target)}' is "
        rf"not allowed.*url='http://127.*{PATH}'",
    ):
        get()
    assert len(server.seen) == 1
    assert not part.exists()


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_redirect_stays_with_https(server, folder, monkeypatch, scheme):
    # Spoken without encryption, to need no certificate.
    monkeypatch.setattr(
        urllib.request.HTTPSHandler,
        "https_open",
        lambda self, request: self.do_open(http.client.HTTPConnection, request),
    )
    url = server.url("/start.bin").replace("http:", "https:")
    target = server.url(PATH).replace("http:", f"{scheme}:")
    server.redirects["/start.bin"] = 302, target
    if scheme == "https":
        assert download(url, folder, DIGEST).read_bytes() == BODY
    else:
        with pytest.raises(
            ConnectionError, match="Redirection to url 'http:.* is not allowed"
        ):
            download(url, folder, DIGEST)
        assert len(server.seen) == 1


# Mirrors


@pytest.mark.parametrize("end", ["", "/"])
def test_a_mirror_may_be_a_url(server, folder, monkeypatch, end):
    server.files["/deep/mirror/a b.bin"] = b"unused"
    server.files["/deep/mirror/a%20b.bin"] = BODY
    monkeypatch.setenv("KERAS_PSPNET_MIRROR", server.url("/deep/mirror") + end)
    url = "https://weights.invalid/x/a%20b.bin?download=1"
    path = download(url, folder, DIGEST)
    assert path == folder / "a b.bin"
    assert path.read_bytes() == BODY
    assert len(server.seen) == 1


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    path = tmp_path / "mir ror#"
    path.mkdir()
    monkeypatch.setenv("KERAS_PSPNET_MIRROR", str(path))
    return path


def test_a_mirror_may_be_a_folder(server, get, part, mirror):
    (mirror / NAME).write_bytes(BODY)
    part.write_bytes(OTHER[:1000])
    path = get()
    assert path.read_bytes() == BODY
    assert path.parent != mirror
    assert server.seen == []
    assert not part.exists()


@pytest.mark.parametrize("start", ["~/", ""])
def test_a_mirror_may_be_relative(get, mirror, monkeypatch, start):
    (mirror / NAME).write_bytes(BODY)
    monkeypatch.setenv("HOME", str(mirror.parent))
    monkeypatch.setenv("USERPROFILE", str(mirror.parent))
    monkeypatch.chdir(mirror.parent)
    monkeypatch.setenv("KERAS_PSPNET_MIRROR", f"{start}{mirror.name}")
    assert get().read_bytes() == BODY


def test_the_file_may_be_missing_in_the_mirror(server, get, mirror, slept):
    with pytest.raises(
        ConnectionError,
        match=r"`url` must be within reach \(.*No such file.*url='.*"
        rf"{PATH}', KERAS_PSPNET_MIRROR='.*mir ror#'\. .* Rest\.$",
    ):
        get(hint="Rest.")
    assert server.seen == slept == []


# Disks and folders


def test_a_full_disk_is_reported(server, get, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    fail_to_write(monkeypatch, full, after=2)
    with pytest.raises(
        OSError,
        match=r"`folder` must be writable \(No space left on device\)\. "
        r"Received: folder='.*files'",
    ) as caught:
        get()
    assert not isinstance(caught.value, ConnectionError)
    assert len(server.seen) == 1


@pytest.mark.parametrize("owner, name", [(Path, "mkdir"), (os, "replace")])
def test_a_read_only_folder_is_reported(get, folder, monkeypatch, owner, name):
    # Simulated, because permission bits do not stop root.
    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(owner, name, denied)
    with pytest.raises(
        PermissionError,
        match=r"`folder` must be writable \(Permission denied\).*files'",
    ):
        get()
    assert not (folder / NAME).exists()


def test_a_right_file_is_used_where_nothing_can_be_written(
    server, get, folder, part, monkeypatch
):
    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    (folder / NAME).write_bytes(BODY)
    for name in ("mkdir", "unlink"):
        monkeypatch.setattr(Path, name, denied)
    monkeypatch.setattr(module, "locked", denied)
    assert get() == folder / NAME
    assert os.listdir(folder) == [NAME]


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({"KERAS_PSPNET_HOME": "/a/b", "XDG_CACHE_HOME": "/c"}, "/a/b"),
        ({"KERAS_PSPNET_HOME": "~/b", "XDG_CACHE_HOME": "/c"}, "/home/me/b"),
        ({"KERAS_PSPNET_HOME": "", "XDG_CACHE_HOME": "/c"}, "/c/keras_pspnet"),
        ({"XDG_CACHE_HOME": "c"}, "/home/me/.cache/keras_pspnet"),
        ({}, "/home/me/.cache/keras_pspnet"),
    ],
)
def test_cache_folder(monkeypatch, variables, expected):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


# The module alone, which starts in no time.
DOWNLOADER = f"""
import sys, types
package = types.ModuleType("keras_pspnet")
package.__path__ = [{str(Path(keras_pspnet.__file__).parent)!r}]
sys.modules["keras_pspnet"] = package
from pathlib import Path
from keras_pspnet.utils.download import download
url, folder, digest = sys.argv[1:]
print("ready", flush=True)
print(download(url, Path(folder), digest), flush=True)
heavy = {{"keras", "tensorflow", "numpy"}} & set(sys.modules)
print(sorted(heavy), flush=True)
"""


def test_two_processes_download_once_and_without_keras(server, folder):
    event = threading.Event()
    server.waits = [event]
    command = [sys.executable, "-c", DOWNLOADER]
    command += [server.url(PATH), str(folder), DIGEST]
    start = functools.partial(
        subprocess.Popen, command, stdout=subprocess.PIPE, text=True
    )
    with start() as first, start() as second:
        ready = [each.stdout.readline() for each in (first, second)]
        # Long enough for the second one to ask, if it did not wait.
        event.wait(0.3)
        event.set()
        said = [each.communicate(timeout=30)[0] for each in (first, second)]
    assert ready == ["ready\n"] * 2
    assert said == [f"{folder / NAME}\n[]\n"] * 2
    assert server.sent == [len(BODY)]
    assert (folder / NAME).read_bytes() == BODY


# The progress bar


def test_shows_nothing_where_there_is_no_terminal(get, capfd):
    get()
    assert capfd.readouterr() == ("", "")


def test_shows_progress_on_a_terminal(get, part, capfd, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    part.write_bytes(BODY[:1000])
    get()
    out, err = capfd.readouterr()
    assert out == ""
    shown = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", err)
    last = shown.splitlines()[-1]
    for text in (NAME, "300.0/300.0 kB", "B/s"):
        assert text in last
