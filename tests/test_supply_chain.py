"""Tests of where the package's code comes from, and of what it never does."""

import ast
import hashlib
import importlib.metadata
import io
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from http_server import Server, serving
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / ".ci"
PEERS = sorted(ROOT.glob("tests/parity/*/requirements.txt"))
LISTS = sorted(
    {*ROOT.glob("requirements*.txt"), *ROOT.glob("tests/*/requirements*.txt")}
)
HASH = re.compile("--hash=sha256:([0-9a-f]{64})")


def pins_of(path: Path) -> Iterator[tuple[Requirement, list[str]]]:
    """The requirements of a list and of those it names, and their hashes."""
    text = path.read_text().replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("-r "):
            yield from pins_of(path.parent / line.removeprefix("-r "))
        elif not line.startswith("#"):
            pin, *hashes = re.split(r"\s+(?=--)", line)
            matches = [HASH.fullmatch(each) for each in hashes]
            assert all(matches), f"{path}: {line[:70]}"
            yield Requirement(pin), [each[1] for each in matches if each]


def commands(*targets: str) -> list[list[str]]:
    """The words of every command that make would run, were nothing there."""
    # What a make around this one has said is not for this one.
    environment = {k: v for k, v in os.environ.items() if "MAKE" not in k}
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *targets],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [shlex.split(line) for line in done.stdout.splitlines()]


def after(option: str, words: list[str]) -> list[Path]:
    """What stands behind an option, each time it is there."""
    pairs = zip(words, words[1:], strict=False)
    return [ROOT / value for name, value in pairs if name == option]


def run(*args: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, args)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
    )


# === Pins and hashes ===


@pytest.mark.promise("R19")
def test_everything_is_pinned_and_installed_by_its_hashes() -> None:
    assert len(LISTS) >= 7
    assert len(PEERS) >= 2
    for path in [*LISTS, *PEERS]:
        pins = list(pins_of(path))
        assert pins
        for pin, hashes in pins:
            (specifier,) = pin.specifier
            assert specifier.operator == "==", pin
            assert "*" not in specifier.version, pin
            assert not (pin.url or pin.extras), pin
            # Not by platform: hashes are of the files for all of them.
            assert re.fullmatch("(python_version.*|None)", f"{pin.marker}"), pin
            # Peers come from wherever they still are.
            assert bool(hashes) == (path not in PEERS), pin
            assert len(set(hashes)) == len(hashes)
        names = [canonicalize_name(pin.name) for pin, _ in pins]
        assert len(set(names)) == len(names), path
    stamps = re.findall(r"^(\.venv\S*):", (ROOT / "Makefile").read_text(), re.M)
    assert len(stamps) >= 7
    installed = set()
    for words in commands(*stamps):
        if "install" not in words:
            continue
        lists = after("-r", words)
        installed |= set(lists)
        if lists:
            hashed = not set(lists) & set(PEERS)
            assert ("--require-hashes" in words) == hashed
        else:
            # The package itself, which needs nothing that is not there.
            assert {"--editable", "--no-deps"} <= set(words)
            hashed = True
        # pip asks for no hashes of what an isolated build needs.
        assert ("--no-build-isolation" in words) == hashed
    assert installed == {*LISTS, *PEERS}


def test_what_builds_the_package_is_pinned() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    (needed,) = re.findall(r'^requires = \["(.*)"\]$', text, re.MULTILINE)
    ((pin, _),) = pins_of(ROOT / "requirements-build.txt")
    (specifier,) = pin.specifier
    assert pin.name == Requirement(needed).name
    assert specifier.version in Requirement(needed).specifier


def wheel(content: str, version: str = "1.0") -> bytes:
    """The smallest wheel that pip installs: one module, `tiny`."""
    folder = f"tiny-{version}.dist-info"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("tiny.py", content)
        archive.writestr(
            f"{folder}/METADATA",
            f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        )
        archive.writestr(
            f"{folder}/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{folder}/RECORD", "")
    return stream.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def publish(server: Server, files: Mapping[str, str]) -> None:
    """Makes an index of one package, of file name -> sha256."""
    entries = [
        {"filename": name, "url": f"/files/{name}", "hashes": {"sha256": sha}}
        for name, sha in files.items()
    ]
    page = {"meta": {"api-version": "1.0"}, "name": "tiny", "files": entries}
    server.files["/simple/tiny/"] = json.dumps(page).encode()
    server.headers = {"Content-Type": "application/vnd.pypi.simple.v1+json"}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def index(server: Server, monkeypatch) -> Server:
    """The server as the one index that pip knows."""
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", server.url("/simple"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return server


def test_hashes_are_those_of_all_files_of_the_release(
    index: Server, tmp_path: Path
) -> None:
    ours = {
        "tiny-1.0-cp311-cp311-win_amd64.whl": "b" * 64,
        "tiny-1.0-py3-none-any.whl": "a" * 64,
        "Tiny-1.0.tar.gz": "c" * 64,
        "tiny-1.0.zip": "d" * 64,
    }
    others = ["tiny-1.0.1.tar.gz", "tiny-1.0.post1-py3-none-any.whl"]
    others += ["tiny-1.0-py2.7.egg", "tiny-1.0.win32.exe", "tiny.zip"]
    publish(index, ours | dict.fromkeys(others, "e" * 64))
    path = tmp_path / "list.txt"
    path.write_text(
        "# Why.\n-r other.txt\n\nTiny==1.0 \\\n    --hash=sha256:0\n"
    )
    before = path.read_text()
    done = run(TOOLS / "hashes.py", path)
    assert "NAME==VERSION" in done.stderr
    assert path.read_text() == before
    path.write_text(before.replace("sha256:0", f"sha256:{'0' * 64}"))
    done = run(TOOLS / "hashes.py", path)
    assert done.returncode == 0, done.stderr
    lines = [f"    --hash=sha256:{each * 64}" for each in "abcd"]
    wanted = " \\\n".join(["Tiny==1.0", *lines])
    assert path.read_text() == f"# Why.\n-r other.txt\n\n{wanted}\n"
    marked = 'Tiny==1.0 ; python_version >= "3.13"'
    path.write_text(f"{marked}\n")
    for _ in range(2):
        done = run(TOOLS / "hashes.py", path)
        assert done.returncode == 0, done.stderr
        assert path.read_text() == " \\\n".join([marked, *lines]) + "\n"
    path.write_text("tiny==2.0\n")
    done = run(TOOLS / "hashes.py", path)
    assert "must pin releases that the index has" in done.stderr
    assert path.read_text() == "tiny==2.0\n"


def test_a_file_that_has_changed_is_not_installed(
    index: Server, tmp_path: Path
) -> None:
    name = "tiny-1.0-py3-none-any.whl"
    good, bad = wheel("x = 1"), wheel("x = 2")
    path = tmp_path / "list.txt"
    path.write_text(f"tiny==1.0 --hash=sha256:{sha256(good)}\n")
    # As `make` installs, but into a folder.
    (words,) = [
        words
        for words in commands(".venv-supply/tools")
        if "--require-hashes" in words
    ]
    start, end = words.index("-m"), words.index("-r")
    target = tmp_path / "installed"
    arguments = [*words[start:end], "--target", str(target), "-r", str(path)]
    index.files[f"/files/{name}"] = bad
    publish(index, {name: sha256(bad)})
    done = run(*arguments)
    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert not target.exists()
    index.files[f"/files/{name}"] = good
    publish(index, {name: sha256(good)})
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert (target / "tiny.py").read_text() == "x = 1"


# === The bill of materials ===


def installed_as(path: Path) -> bool:
    return all(
        f"=={importlib.metadata.version(pin.name)}" == str(pin.specifier)
        for pin, _ in pins_of(path)
    )


def is_licensed(name: str) -> bool:
    said = importlib.metadata.metadata(name)
    classifiers = said.get_all("Classifier") or []
    return (
        any(each.startswith("License ::") for each in classifiers)
        or bool(said.get_all("License-Expression"))
        or bool(said.get_all("License"))
    )


@pytest.mark.promise("R19")
def test_the_bill_of_materials_has_what_is_pinned(tmp_path: Path) -> None:
    path = ROOT / "requirements.txt"
    if not installed_as(path):
        pytest.skip("other versions are installed: `make test` has these")
    texts = []
    for name in ("a.json", "b.json"):
        done = run(TOOLS / "sbom.py", path, tmp_path / name)
        assert done.returncode == 0, done.stderr
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]
    bill = json.loads(texts[0])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    wanted = {
        f"pkg:pypi/{canonicalize_name(pin.name)}@"
        f"{str(pin.specifier).removeprefix('==')}": set(hashes)
        for pin, hashes in pins_of(path)
    }
    found = {
        each["purl"]: {
            file["content"]
            for reference in each["externalReferences"]
            for file in reference["hashes"]
        }
        for each in bill["components"]
    }
    assert found == wanted
    licenses = {
        each["name"]: each.get("licenses") for each in bill["components"]
    }
    for name, said in licenses.items():
        assert (said is not None) == is_licensed(name), name
    assert licenses["six"] == [{"license": {"name": "MIT License"}}]
    assert licenses["pillow"] == [{"expression": "MIT-CMU"}]
    assert licenses["keras"] == [{"license": {"name": "Apache License 2.0"}}]
    # Nothing is listed that nobody needs.
    needs = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    reached: set[str] = set()
    ahead = {bill["metadata"]["component"]["bom-ref"]}
    while ahead:
        reached |= ahead
        ahead = {need for ref in ahead for need in needs[ref]} - reached
    assert reached == {*wanted, bill["metadata"]["component"]["bom-ref"]}


def test_a_bill_of_something_else_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("pytest==0.1\n")
    done = run(TOOLS / "sbom.py", path, tmp_path / "bill.json")
    assert "Received: pytest==0.1, not " in done.stderr
    assert not (tmp_path / "bill.json").exists()


# === Known vulnerabilities ===

# Answers as pip-audit gives them, from a file of its own folder that is named
# after the list; without one it ends as pip-audit does where nobody answers. It
# takes no marker, since pip-audit leaves out what is for another Python.
PIP_AUDIT = """
import pathlib, re, sys
path = pathlib.Path(sys.argv[-1])
assert re.fullmatch("([A-Za-z_]+==[0-9.]+\\n)+", path.read_text())
print(pathlib.Path(__file__).with_name(path.name + ".json").read_text())
"""
ASKED = "Every pin was asked about, nothing else is known."
FAULT = {"id": "X-1", "fix_versions": ["1.1"], "aliases": []}


def answer(path: Path, *dependencies: dict[str, Any]) -> None:
    text = json.dumps({"dependencies": dependencies, "fixes": []})
    path.with_name(f"{path.name}.json").write_text(text)


@pytest.mark.promise("R19")
def test_an_audit_asks_about_every_pin_or_says_that_it_did_not(
    tmp_path: Path,
) -> None:
    (words,) = [each for each in commands("audit") if ".ci/audit.py" in each]
    asked = {ROOT / each for each in words if each.endswith(".txt")}
    assert asked == {*LISTS, *PEERS}
    peers = {ROOT / each for each in words[words.index("--peers") + 1 :]}
    assert peers == set(PEERS)

    (tmp_path / "pip_audit.py").write_text(PIP_AUDIT)
    own, peer = tmp_path / "own.txt", tmp_path / "peer.txt"
    own.write_text('One_a==1.0\ntwo==2.0 ; python_version < "3.0"\n')
    peer.write_text("three==3.0\n")

    def audit() -> tuple[int, str]:
        done = run(
            *(TOOLS / "audit.py", own, "--peers", peer),
            PYTHONPATH=str(tmp_path),
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    one = {"name": "one-a", "version": "1.0", "vulns": []}
    two = {"name": "two", "version": "2.0", "vulns": []}
    three = {"name": "three", "version": "3.0", "vulns": []}
    skipped = {"name": "two", "skip_reason": "two is unknown"}
    answer(own, one, two)
    answer(peer, three)
    assert audit() == (0, f"{ASKED}\n")
    answer(peer, {**three, "vulns": [FAULT]})
    line = f"{peer}: three==3.0 has X-1, fixed in 1.1"
    assert audit() == (0, f"{line}\n{ASKED}\n")
    # pip-audit itself ends well with each of these.
    for left in ([one, skipped], [one], []):
        answer(own, *left)
        status, said = audit()
        assert status == 75
        assert f"{own}: NOT AUDITED, {2 - len(left[:1])} of 2 pins" in said
        assert "service must be within reach" in said
        assert ASKED not in said
    answer(own, {**one, "vulns": [FAULT]}, skipped)
    status, said = audit()
    assert status == 1
    assert f"{own}: One_a==1.0 has X-1, fixed in 1.1" in said
    assert f"{own}: NOT AUDITED, 1 of 2 pins: two is unknown" in said
    answer(own, one, two)
    peer.with_name("peer.txt.json").unlink()
    status, said = audit()
    assert status == 75
    assert f"{peer}: NOT AUDITED, 1 of 1 pins: FileNotFoundError" in said


# === What no module does ===

# These run what a file says, or unpack it wherever it says.
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib"}
MODULES |= {"marshal", "shelve", "runpy", "tarfile"}
NAMES = {
    *("eval", "exec", "compile", "__import__"),
    *("importlib.import_module", "importlib.util.spec_from_file_location"),
    *("os.system", "os.popen"),
    *("subprocess.getoutput", "subprocess.getstatusoutput"),
    *("torch.load", "yaml.load", "shutil.unpack_archive"),
    # A name that somebody else may take before it is opened.
    "tempfile.mktemp",
    # No proof of anything any more.
    *("hashlib.md5", "hashlib.sha1", "hashlib.new"),
    # These open file:// too, and follow redirects to it.
    *("urllib.request.urlopen", "urllib.request.urlretrieve"),
    "urllib.request.build_opener",
    *("ssl._create_unverified_context", "ssl.CERT_NONE"),
}
# Whatever object they belong to.
ATTRIBUTES = {"enable_unsafe_deserialization", "extractall", "exec_module"}
# The one value that these arguments may have.
ARGUMENTS = {
    "shell": False,
    "allow_pickle": False,
    "safe_mode": True,
    "verify": True,
    "check_hostname": True,
}

EXCEPTIONS = {
    "serving/client.py": {
        "verify": "a file of certificates of the user's, or the system's",
    },
    "training/train.py": {
        "importlib.import_module": "a recipe of its own, by name",
        "importlib.util.spec_from_file_location": "a recipe is a program",
        "exec_module": "that the user names, as for python itself",
    },
}

# Code -> what must be found in it.
SAMPLES = {
    "import pickle": "pickle",
    "import _pickle as p": "_pickle",
    "def f():\n    import cPickle": "cPickle",
    "from dill import loads": "dill",
    "import cloudpickle.compat": "cloudpickle",
    "try:\n    import joblib\nexcept ImportError:\n    pass": "joblib",
    "import os, marshal": "marshal",
    "with x:\n    from shelve import open": "shelve",
    "importlib.import_module('runpy')": "runpy",
    "import tarfile": "tarfile",
    "eval(text)": "eval",
    "f = exec": "exec",
    "code = compile(text, 'x', 'exec')": "compile",
    "__import__(name)": "__import__",
    "importlib.import_module(name)": "importlib.import_module",
    "from importlib import util\nutil.spec_from_file_location(x, y)": (
        "importlib.util.spec_from_file_location"
    ),
    "spec.loader.exec_module(module)": "exec_module",
    "import os\nos.system('ls')": "os.system",
    "from os import popen as p\np('ls')": "os.popen",
    "import subprocess as s\ns.getoutput(x)": "subprocess.getoutput",
    "import subprocess\nsubprocess.getstatusoutput(x)": (
        "subprocess.getstatusoutput"
    ),
    "subprocess.run(line, shell=True)": "shell",
    "subprocess.run(line, shell=bool(x))": "shell",
    "import torch as t\nt.load(path)": "torch.load",
    "import yaml\nyaml.load(stream)": "yaml.load",
    "from shutil import unpack_archive\nunpack_archive(x)": (
        "shutil.unpack_archive"
    ),
    "archive.extractall(folder)": "extractall",
    "import tempfile\ntempfile.mktemp()": "tempfile.mktemp",
    "import hashlib\nhashlib.md5(x)": "hashlib.md5",
    "from hashlib import sha1\nsha1(x)": "hashlib.sha1",
    "import hashlib\nhashlib.new(name)": "hashlib.new",
    "import urllib.request\nurllib.request.urlopen(x)": (
        "urllib.request.urlopen"
    ),
    "from urllib import request\nrequest.urlretrieve(x)": (
        "urllib.request.urlretrieve"
    ),
    "from urllib.request import build_opener as b\nb()": (
        "urllib.request.build_opener"
    ),
    "import ssl\nssl._create_unverified_context()": (
        "ssl._create_unverified_context"
    ),
    "import ssl\nx.verify_mode = ssl.CERT_NONE": "ssl.CERT_NONE",
    "get(url, verify=False)": "verify",
    "context(check_hostname=False)": "check_hostname",
    "np.load(path, allow_pickle=True)": "allow_pickle",
    "keras.saving.load_model(path, safe_mode=False)": "safe_mode",
    "keras.config.enable_unsafe_deserialization()": (
        "enable_unsafe_deserialization"
    ),
}
HARMLESS = """
import hashlib, importlib, os, pickletools, re, subprocess, tempfile
from keras import layers
re.compile("x")
model.compile()
model.evaluate()
hashlib.sha256(b"")
np.load(path, allow_pickle=False)
load_model(path, safe_mode=True)
subprocess.run(["ls"], shell=False)
importlib.import_module("scipy.io")
tempfile.mkdtemp()
self.system()
os.path.exists(path).compile()
load.torch(path)
"""


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Local name -> what it is, of all that is imported anywhere."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                names[alias.asname or root] = (
                    alias.name if alias.asname else root
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names[alias.asname or alias.name] = full
    return names


def dotted(node: ast.AST) -> list[str]:
    """`a.b.c` as three names; what is no name, as a call is, has none."""
    if isinstance(node, ast.Attribute):
        return [*dotted(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else [""]


def literal_imports(tree: ast.AST) -> dict[ast.expr, str]:
    """The function of each import_module("name") -> the name."""
    return {
        node.func: str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and dotted(node.func)[-1] == "import_module"
        and isinstance(node.args[0], ast.Constant)
    }


def faults(text: str) -> set[str]:
    """What a module does of all that none should."""
    tree = ast.parse(text)
    names = imported_names(tree)
    literal = literal_imports(tree)
    modules = {*names.values(), *literal.values()}
    found = {each.split(".")[0] for each in modules} & MODULES
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and node not in literal:
            root, *rest = dotted(node)
            full = ".".join([names.get(root, root), *rest])
            found |= {full} & NAMES
            found |= {full.split(".")[-1]} & ATTRIBUTES
        elif isinstance(node, ast.keyword) and node.arg in ARGUMENTS:
            value = getattr(node.value, "value", None)
            found |= set() if value is ARGUMENTS[node.arg] else {node.arg}
    return found


@pytest.mark.promise("R19")
def test_no_module_runs_or_trusts_what_it_is_given() -> None:
    folders = ("keras_pspnet", "training", "serving")
    paths = [path for each in folders for path in (ROOT / each).rglob("*.py")]
    paths.append(ROOT / "keras_pspnet_command.py")
    assert len(paths) > 100
    found = {
        str(path.relative_to(ROOT)): each
        for path in paths
        if (each := faults(path.read_text(encoding="utf-8")))
    }
    assert found == {name: set(each) for name, each in EXCEPTIONS.items()}


@pytest.mark.parametrize("code", SAMPLES)
def test_a_fault_is_found(code: str) -> None:
    assert faults(code) == {SAMPLES[code]}


def test_every_fault_has_a_sample_and_nothing_else_is_one() -> None:
    rules = MODULES | NAMES | ATTRIBUTES | set(ARGUMENTS)
    assert set(SAMPLES.values()) == rules
    assert faults(HARMLESS) == set()
