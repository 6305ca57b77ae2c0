"""Tests of where the package's code comes from, and of what it never does."""

import ast
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pins import LISTS, PEERS, pins_of

ROOT = Path(__file__).parents[2]


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
            # Peers come from wherever they still are.
            assert bool(hashes) == (path not in PEERS), pin
            assert len(set(hashes)) == len(hashes)
        # Some releases are for some Pythons or platforms only.
        names = [(canonicalize_name(p.name), str(p.marker)) for p, _ in pins]
        assert len(set(names)) == len(names), path
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    stamps = re.findall(r"^(\.venv[^:%\n]*):", makefile, re.MULTILINE)
    stamps = [each for line in stamps for each in line.split()]
    assert len(stamps) >= 10
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
    (pin,) = [
        pin
        for pin, _ in pins_of(ROOT / "requirements" / "build.txt")
        if pin.name == "setuptools"
    ]
    (specifier,) = pin.specifier
    assert pin.name == Requirement(needed).name
    assert specifier.version in Requirement(needed).specifier


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
    "keras_pspnet/recipes/find.py": {
        "importlib.import_module": "a recipe of its own, by name",
        "runpy": "a recipe is a program that the user names, as for python",
    },
    "keras_pspnet/utils/download.py": {
        "urllib.request.build_opener": "with a handler that keeps redirects "
        "to https, after the scheme has been checked",
    },
}

# Every way to write it that `faults` has to see through.
WRITTEN = """
import _pickle as p
from os import popen as q
import urllib.request
from urllib import request
import ssl, importlib
importlib.import_module("runpy")
importlib.import_module(name)
f = exec
urllib.request.urlopen(x)
request.urlretrieve(x)
x.verify_mode = ssl.CERT_NONE
archive.extractall(folder)
subprocess.run(line, shell=bool(x))
model.compile(); model.evaluate(); os.path.exists(path).compile(); load.torch(x)
np.load(path, allow_pickle=False); importlib.import_module("scipy.io")
q("ls")
"""
FOUND = {
    *("_pickle", "os.popen", "runpy", "importlib.import_module", "exec"),
    *("urllib.request.urlopen", "urllib.request.urlretrieve"),
    *("ssl.CERT_NONE", "extractall", "shell"),
}


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


def test_faults_are_found_and_nothing_else() -> None:
    assert faults(WRITTEN) == FOUND
