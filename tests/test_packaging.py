"""Tests of what users install: its import, its extras, what it says of it."""

import configparser
import importlib.metadata
import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from PIL import Image
from test_supply_chain import LISTS, pins_of

from keras_pspnet.cli.main import main
from keras_pspnet.labels import ADE20K, CITYSCAPES, VOC
from keras_pspnet.presets import PRESETS
from keras_pspnet.version import __version__

ROOT = Path(__file__).parent.parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")

# Bytecode is written once, as an installation has it; that of others may lie
# where nobody can write.
IMPORT = """
import sys, time
import keras
sys.pycache_prefix, sys.dont_write_bytecode = sys.argv[1], False
before, start = set(sys.modules), time.process_time()
import keras_pspnet
print(time.process_time() - start)
print(*sorted(set(sys.modules) - before))
"""
# What the core requirements bring; anything else is an extra's.
NEEDED = {"PIL", "google.protobuf", "keras", "keras_pspnet", "numpy", "rich"}
NEEDED |= {"safetensors", "tensorflow"}


@pytest.fixture(scope="module")
def imports(tmp_path_factory) -> list[tuple[float, list[str]]]:
    """Two imports beyond Keras: seconds of the processor, and new modules."""
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", IMPORT, tmp_path_factory.getbasetemp()],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        seconds, modules = done.stdout.splitlines()
        found.append((float(seconds), modules.split()))
    return found


def test_an_import_costs_little_beyond_keras(imports) -> None:
    # It takes 0.06 s; what is promised is 0.3 s.
    assert imports[1][0] < 0.3


def test_nothing_optional_is_imported_at_start(imports) -> None:
    for _, modules in imports:
        assert "keras_pspnet" in modules
        found = {
            name
            for name in modules
            if name.split(".")[0] not in sys.stdlib_module_names
            and not any(f"{name}.".startswith(f"{each}.") for each in NEEDED)
        }
        assert found == set()


def test_the_version_is_that_of_the_distribution(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    told = f"keras-pspnet {importlib.metadata.version('keras-pspnet')}\n"
    assert capsys.readouterr().out == told
    assert __version__ == told.split()[1]


# === What is said in several places ===


def test_every_requirement_is_tested_in_a_version_that_it_allows() -> None:
    pinned: dict[str, list[str]] = {}
    for path in LISTS:
        for pin, _ in pins_of(path):
            version = str(pin.specifier).removeprefix("==")
            pinned.setdefault(canonicalize_name(pin.name), []).append(version)
    texts = [SETUP["options"]["install_requires"]]
    texts += SETUP["options.extras_require"].values()
    for line in "\n".join(texts).splitlines():
        if line and not line.startswith("#"):
            need = Requirement(line)
            versions = pinned.get(canonicalize_name(need.name), [])
            assert any(map(need.specifier.contains, versions)), line


def test_the_pythons_are_the_same_everywhere() -> None:
    named = re.findall(
        r"Python :: (3\.\d+)$", SETUP["metadata"]["classifiers"], re.MULTILINE
    )
    allowed = SpecifierSet(SETUP["options"]["python_requires"])
    versions = [f"3.{minor}" for minor in range(30)]
    assert named == [each for each in versions if each in allowed]


def test_the_citation_is_of_this_version_and_of_the_paper() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in text
    assert "title: Pyramid Scene Parsing Network\n" in text
    names = re.findall(r"family-names: (\w+)", text)
    assert names == ["Zhao", "Shi", "Qi", "Wang", "Jia"]
    assert "arXiv:1612.01105" in text


def test_the_model_cards_say_what_the_presets_say() -> None:
    classes = {"voc": VOC, "ade20k": ADE20K, "cityscapes": CITYSCAPES}
    rows = [
        f"| `{each.name}` | {each.backbone} | {each.data} | "
        f"{classes[each.name.split('_')[0]].num_classes} | "
        f"{each.mean_iou:.4f} | {each.mean_iou_multi:.4f} | "
        f"`{PurePosixPath(each.url).name}` |"
        for each in PRESETS
        if not each.is_shipped
    ]
    text = (ROOT / "docs/model_cards.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if ".pth`" in line] == rows
    for shipped in (each for each in PRESETS if each.is_shipped):
        path = f"keras_pspnet/weights/{shipped.name}/MODEL_CARD.md"
        assert f"(../{path})" in text
        assert (ROOT / path).is_file()


# === What make wheel-check builds ===


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def tools(monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT / ".ci")


def test_a_distribution_does_not_tell_who_built_it(
    tools, tmp_path: Path
) -> None:
    import build_dist

    files = {"x-1/a.py": b"a = 1\n", "x-1/setup.cfg": b""}
    packed = []
    for number, names in enumerate((list(files), list(files)[::-1])):
        path = tmp_path / f"{number}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size, member.mtime = len(files[name]), 1000 + number
                member.uid, member.mode = number, 0o600 + number
                member.uname = f"user{number}"
                archive.addfile(member, io.BytesIO(files[name]))
        build_dist._normalize(path, 1_700_000_000)
        packed.append(path.read_bytes())
        with tarfile.open(path) as archive:
            for member in archive:
                assert (member.mtime, member.mode) == (1_700_000_000, 0o644)
                stream = archive.extractfile(member)
                assert stream is not None
                assert stream.read() == files[member.name]
        assert build_dist._of_sdist(path) == {"a.py", "setup.cfg"}
    assert packed[0] == packed[1]


def test_files_that_are_missing_or_too_many_are_named(tools) -> None:
    import build_dist

    wheel = build_dist._expected_wheel()
    assert "keras_pspnet/weights/aerial/model.safetensors" in wheel
    assert "keras_pspnet/training/recipes/scenes.py" in wheel
    assert {"keras_pspnet/py.typed", "keras_pspnet_command.py"} <= wheel
    assert not any(name.startswith(("tests/", "training/")) for name in wheel)
    assert "SECURITY.md" in build_dist._expected_sdist()
    build_dist._compare("x.whl", {"a"}, {"a"})
    told = r"x.whl: missing \['b'\], too much \['c'\]"
    with pytest.raises(SystemExit, match=told):
        build_dist._compare("x.whl", {"a", "c"}, {"a", "b"})


# === How make wheel-check tries it ===


def test_a_python_is_found_wherever_it_starts(
    tools, tmp_path: Path, monkeypatch
) -> None:
    from interpreters import find

    version = "{}.{}".format(*sys.version_info)
    uv = script(tmp_path / "uv", "echo 'no route' >&2; echo why >&2; exit 2")
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    reason = "none on this machine, and uv got none: why"
    assert find(version, uv) == (None, reason)
    # A shim that starts nothing, a Python that is another one.
    script(tmp_path / "shims" / f"python{version}", "exit 127")
    script(tmp_path / "pyenv/versions" / f"{version}.9/bin/python", "echo 3.1")
    assert find(version, uv) == (None, reason)
    real = tmp_path / "pyenv/versions" / f"{version}.1/bin/python"
    script(real, f'exec "{sys.executable}" "$@"')
    assert find(version, uv) == (real, "found")
    loaded = script(tmp_path / "managed", f'exec "{sys.executable}" "$@"')
    script(uv, f"echo {loaded}")
    assert find(version, uv) == (real, "found")
    real.unlink()
    assert find(version, uv) == (loaded, "downloaded by uv")


def test_a_python_that_is_not_there_is_named(
    tools, tmp_path: Path, capsys, monkeypatch
) -> None:
    import wheel_check

    there = {"3.11": Path("a"), "3.12": None, "3.13": Path("b")}
    used = []
    monkeypatch.setattr(
        wheel_check, "find", lambda version, uv: (there[version], "as told")
    )

    def segment(command: Path, place: Path, name: str) -> None:
        Image.frombytes("L", (3, 1), b"abc").save(place / f"{name}.png")

    monkeypatch.setattr(wheel_check, "segment", segment)
    monkeypatch.setattr(wheel_check, "check", lambda *each: used.append(each))
    name = f"keras_pspnet-{__version__}-py3-none-any.whl"
    (tmp_path / name).touch()
    said = "NOT CHECKED: Python 3.12 (as told)\n" + f"{name}: checked on 2 of 3"
    for more, status in (([], 0), (["--require-all"], 1)):
        monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), *more])
        assert wheel_check.main() == status
        assert said in capsys.readouterr().out
    # The first by pip, as users do it.
    assert [(str(each[1]), each[3]) for each in used[:2]] == [
        ("a", True),
        ("b", False),
    ]
    there |= dict.fromkeys(there)
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path)])
    assert wheel_check.main() == 1
