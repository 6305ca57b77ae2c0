"""Tests of archives and downloads that attack: nothing leaves the cache.

The package unpacks nothing itself. It reads members of zip archives that are
checkpoints or LiteRT files, and has TensorFlow Datasets unpack the archives of
data sets, whose hashes it knows.
"""

import dataclasses
import hashlib
import json
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
import types
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_archives import (
    MANUAL,
    SEGNET,
    VOC_DEVKIT,
    VOC_TAR,
    pack,
    register,
    write_camvid,
    write_voc,
)
from http_server import Server, serving
from litert_files import write_litert
from source_states import mmseg_state, random_pspnet
from torch_files import Storage, pickled, write_zip
from torch_states import write_state

from keras_pspnet import convert_file, load_pretrained, presets
from keras_pspnet.data.builders import CamVid, Voc2012Segmentation
from keras_pspnet.data.sources.tfds import load_tfds
from keras_pspnet.utils import download as download_module

pytestmark = pytest.mark.promise("R15")

GIB = 2**30
CANARY = b"Nobody but its owner reads or changes this."


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder with all that an attack could reach, and the cache in it."""

    root: Path

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def canary(self) -> Path:
        return self.root / "canary"

    def outside(self) -> dict[str, tuple[int, bytes | str]]:
        """Everything but the cache: path -> its kind, and what is in it."""
        found: dict[str, tuple[int, bytes | str]] = {}
        for path in sorted(self.root.rglob("*")):
            if self.cache in (path, *path.parents):
                continue
            mode = path.lstat().st_mode
            content: bytes | str = b""
            if stat.S_ISREG(mode):
                content = path.read_bytes()
            elif stat.S_ISLNK(mode):
                content = os.readlink(path)
            found[str(path)] = mode, content
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Place:
    """The place, with everything that is written by default inside."""
    place = Place(tmp_path)
    for name in ("home", "working", "given"):
        (tmp_path / name).mkdir()
    place.canary.write_bytes(CANARY)
    monkeypatch.chdir(tmp_path / "working")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_PSPNET_HOME", str(place.cache))
    # TensorFlow Datasets leaves empty folders of its progress bar there.
    temporary = place.cache / "temporary"
    temporary.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return place


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """What the attacks are made of: a published model's small stand-in."""
    path = tmp_path_factory.mktemp("good") / "model.pth"
    state = mmseg_state(random_pspnet(18, num_classes=19))
    return write_state(path, state)


# === Archives ===


def refuse_archive(
    place: Place, monkeypatch, builder: Any, archive: Path, match: str
) -> None:
    """Has a data set's archive refused by its hash, and then without it."""
    before = place.outside()
    for folder, said in (
        (place.cache, rf"{archive.name}.*wrong checksum"),
        # As if the attacker had published it.
        (place.cache / "second", match),
    ):
        manual = folder / MANUAL
        manual.mkdir(parents=True)
        (manual / archive.name).write_bytes(archive.read_bytes())
        with pytest.raises(Exception, match=said):
            load_tfds(builder.name, "train", folder, download=True)
        assert place.outside() == before
        # No link and no device is anywhere, inside the cache either.
        for path in place.cache.rglob("*"):
            assert path.is_dir() or stat.S_ISREG(path.lstat().st_mode)
            assert path.is_dir() or path.read_bytes() != CANARY
        register(monkeypatch, builder, archive)


def accept_archive(
    place: Place, monkeypatch, builder: Any, archive: Path
) -> None:
    """Has the right archive used after that, in the same cache."""
    (place.cache / MANUAL / archive.name).write_bytes(archive.read_bytes())
    register(monkeypatch, builder, archive)
    data = load_tfds(builder.name, "train", place.cache, download=True)
    assert len(data) >= 2
    assert data[0][0].shape[2] == 3


@pytest.mark.parametrize("way", ["parent", "absolute"])
def test_a_path_that_leads_out(
    place: Place, checkpoint: Path, monkeypatch, way: str
) -> None:
    # From cache/second/downloads/extracted/NAME, where it would be unpacked.
    escape = "/".join([".."] * 5 + ["escaped"])
    if way == "absolute":
        escape = str(place.root / "escaped")
    given = place.root / "given"
    # A tensor whose elements are said to be there, and so they are.
    content, storages = pickled(Storage(np.zeros(3), key=escape))
    path = write_zip(
        given / "model.pth", content, dict.fromkeys(storages, CANARY[:24])
    )
    before = place.outside()
    with pytest.raises(ValueError, match="key of a storage is not a plain one"):
        convert_file(path)
    assert place.outside() == before
    assert convert_file(checkpoint).num_classes == 19

    write_camvid(given / SEGNET)
    right = given / "right" / f"{SEGNET}.zip"
    attack = given / "attack" / right.name
    attack.parent.mkdir()
    inner = f"{SEGNET}/CamVid/train/train_0.png"
    with zipfile.ZipFile(attack, "w") as archive:
        for file in sorted((given / SEGNET).rglob("*.*")):
            name = str(file.relative_to(given))
            # Unlike `write`, this leaves a name as it is.
            name = escape if name == inner else name
            archive.writestr(name, file.read_bytes())
        assert escape in archive.namelist()
    pack(given, Path(SEGNET), "zip", right)
    refuse_archive(
        *(place, monkeypatch, CamVid, attack),
        "`split` must be complete, but .*train_0.png has no image",
    )
    accept_archive(place, monkeypatch, CamVid, right)


KINDS = {
    "symlink": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_is_no_file(
    place: Place, checkpoint: Path, monkeypatch, kind: str
) -> None:
    given = place.root / "given"
    write_voc(given)
    right = given / "right" / VOC_TAR
    attack = given / "attack" / VOC_TAR
    attack.parent.mkdir()
    folder = VOC_DEVKIT / "JPEGImages"
    with tarfile.open(attack, "w") as archive:
        for name, target in (("a.jpg", place.canary), ("sub", place.root)):
            member = tarfile.TarInfo(str(folder / name))
            member.type = KINDS[kind]
            member.linkname = str(target)
            # Of the memory of the machine.
            member.devmajor, member.devminor = 1, 1
            archive.addfile(member)
        # Through the link, if there were one.
        archive.add(given / folder / "b.jpg", str(folder / "sub" / "escaped"))
        (given / folder / "a.jpg").rename(given / "a.jpg")
        archive.add(given / "VOCdevkit", "VOCdevkit")
        (given / "a.jpg").rename(given / folder / "a.jpg")
    pack(given, Path("VOCdevkit"), "tar", right)
    model = given / "model.pth"
    model.write_bytes(attack.read_bytes())
    before = place.outside()
    with pytest.raises(ValueError, match="must be a PyTorch checkpoint .it "):
        convert_file(model)
    with pytest.raises(FileNotFoundError, match="folder that save_pretrained"):
        load_pretrained(model)
    assert place.outside() == before
    assert convert_file(checkpoint).num_classes == 19
    refuse_archive(
        *(place, monkeypatch, Voc2012Segmentation, attack),
        "`split` must be complete, but .*a.png has no image",
    )
    accept_archive(place, monkeypatch, Voc2012Segmentation, right)


# Loads each file with no more memory than it has already, and 256 MiB.
LOADER = """
import json, resource, sys
from keras_pspnet import convert_file
from keras_pspnet.inference.exported import load_exported

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

good, *bombs = map(json.loads, sys.argv[1:])
doors = {"pth": convert_file, "tflite": load_exported}
for path in good:
    doors[path.rpartition(".")[2]](path)
with open("/proc/self/statm") as stream:
    size = int(stream.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**28, size + 2**28))
for paths in bombs:
    said, before = [], peak()
    for path in paths:
        try:
            doors[path.rpartition(".")[2]](path)
        except ValueError as error:
            said.append(str(error))
    grown = peak() - before
    for path in good:
        doors[path.rpartition(".")[2]](path)
    print(json.dumps([said, grown]), flush=True)
"""


def add_bomb(path: Path, name: str, size: int) -> None:
    """Adds a member of 10 GiB to an archive, in 10 MiB, said to have `size`."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # After a full flush the next block needs nothing of this one.
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.flush()
    assert zlib.decompress(block * 2 + end, -zlib.MAX_WBITS) == bytes(2**21)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, block * (10 * GIB // 2**20) + end)
        # The table of contents, which is written last, has the last word.
        info = archive.getinfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.file_size = size


@pytest.fixture(scope="module")
def exploded(checkpoint: Path, tmp_path_factory) -> dict[int, Any]:
    """Size that the bombs are said to have -> what loading them gave."""
    root = tmp_path_factory.mktemp("bombs")
    litert = write_litert(root / "good.tflite")
    bombs = []
    for size in SAID:
        storage = Storage(np.zeros(12, "float32"), key="0", count=size // 4)
        content, _ = pickled(storage)
        folder = root / str(size)
        folder.mkdir()
        model = write_zip(folder / "model.pth", content)
        add_bomb(model, "archive/data/0", size)
        served = folder / "model.tflite"
        served.write_bytes(litert.read_bytes())
        add_bomb(served, "pspnet.json", size)
        bombs.append([str(model), str(served)])
    before = Place(root).outside()
    lists = [[str(checkpoint), str(litert)], *bombs]
    done = subprocess.run(
        [sys.executable, "-c", LOADER, *map(json.dumps, lists)],
        # Readers are the same on every backend; this one starts soonest.
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=root,
    )
    assert Place(root).outside() == before
    results = map(json.loads, done.stdout.splitlines())
    return dict(zip(SAID, results, strict=True))


SAID = {
    10 * GIB: "over 16777216",
    48: "Bad CRC-32",
}


@pytest.mark.parametrize("size", SAID, ids=["told", "not told"])
def test_a_bomb_of_10_gib(exploded: dict[int, Any], size: int) -> None:
    (of_checkpoint, of_litert), grown = exploded[size]
    assert "`path` must be a PyTorch checkpoint" in of_checkpoint
    assert "'archive/data/0' is compressed or encrypted" in of_checkpoint
    assert "`path` must be a model that keras_pspnet has export" in of_litert
    assert SAID[size] in of_litert
    assert grown < 2**27


# === Downloads ===

NAME, BACKBONE = "cityscapes", "resnet18"


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """A mirror of what is published, which is asked without pauses."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    stub = types.SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr(download_module, "time", stub)
    with serving() as running:
        monkeypatch.setenv("KERAS_PSPNET_MIRROR", running.url(""))
        yield running


@pytest.fixture
def address(server: Server, checkpoint: Path, monkeypatch) -> str:
    """Where on the server the model is, whose hash is known."""
    row = presets.find_preset(NAME, BACKBONE)
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    known = dataclasses.replace(row, sha256=digest)
    monkeypatch.setattr(presets, "PRESETS", (known,))
    address = f"/{row.url.rpartition('/')[2]}"
    server.files[address] = checkpoint.read_bytes()
    return address


def refuse_download(place: Place, kind: type[Exception], match: str) -> None:
    before = place.outside()
    with pytest.raises(kind, match=match):
        load_pretrained(NAME, backbone=BACKBONE)
    assert place.outside() == before
    assert not list(place.cache.rglob("*.safetensors"))


def accept_download(place: Place) -> None:
    before = place.outside()
    model = load_pretrained(NAME, backbone=BACKBONE)
    assert model.num_classes == 19
    assert place.outside() == before
    assert len(list(place.cache.rglob("*.safetensors"))) == 1


def test_a_file_of_another_hash(
    place: Place, server: Server, address: str
) -> None:
    right = server.files[address]
    # One bit, of a weight: everything but the hash is right.
    wrong = bytearray(right)
    wrong[len(wrong) // 2] ^= 1
    server.files[address] = bytes(wrong)
    refuse_download(place, ValueError, "a file whose SHA-256 starts with")
    assert not list(place.cache.rglob("*.pth*[!k]"))
    server.files[address] = right
    accept_download(place)


def test_a_download_that_ends_too_soon(
    place: Place, server: Server, address: str
) -> None:
    # Nothing more comes, however often the rest is asked for.
    server.cuts = [100_000, *[0] * 9]
    size = len(server.files[address])
    match = rf"within reach \(only 100000 of {size} bytes arrived\)"
    refuse_download(place, ConnectionError, match)
    server.cuts = []
    accept_download(place)
    assert server.ranges_asked[-1] == "bytes=100000-"


def test_a_redirect_to_a_file(
    place: Place, server: Server, address: str
) -> None:
    server.redirects[address] = 302, place.canary.as_uri()
    match = "Redirection to url 'file:.*canary' is not allowed"
    refuse_download(place, ConnectionError, match)
    for path in place.cache.rglob("*"):
        assert path.is_dir() or CANARY not in path.read_bytes()
    del server.redirects[address]
    accept_download(place)
