"""Installs the wheel where nothing else is, on every Python, and uses it.

    make wheel-check [REQUIRE_ALL=1]

A Python that cannot be had is named, and is an error with REQUIRE_ALL=1,
which also installs every extra and exports a model.
"""

import argparse
import configparser
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from hashes import index_url
from interpreters import find, versions
from PIL import Image

ROOT = Path(__file__).parent.parent
_TOOLS = ROOT / ".venv-wheel" / "bin"
_UV = _TOOLS / "uv"
# The last would make every start compile what an installation has compiled.
_NOT_FOR_OTHERS = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")


def main() -> int:
    """Checks the wheel that lies in a folder.

    Returns:
        Exit status: 0, or 1 if all Pythons are required and one is missing.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="what build_dist.py wrote")
    parser.add_argument("--require-all", action="store_true")
    options = parser.parse_args()
    (wheel,) = options.folder.glob("keras_pspnet-*.whl")
    place = options.folder.resolve() / "check"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    draw_photo(place / "photo.jpg")
    segment(Path(sys.executable).with_name("keras-pspnet"), place, "expected")
    with Image.open(place / "expected.png") as mask:
        assert len(mask.getcolors()) > 2, "a mask of one class says little"
    missing, checked = {}, 0
    for version in versions(ROOT / "setup.cfg"):
        python, how = find(version, _UV)
        if python is None:
            missing[version] = how
            continue
        start = time.monotonic()
        print(f"Python {version}, {how}", flush=True)
        # One is installed as users do it, the others the quick way.
        with_pip = not checked
        check(wheel.resolve(), python, place, with_pip, options.require_all)
        print(f"  {time.monotonic() - start:.0f} s", flush=True)
        checked += 1
    shutil.rmtree(place)
    for version, why in missing.items():
        print(f"NOT CHECKED: Python {version} ({why})")
    print(f"{wheel.name}: checked on {checked} of {checked + len(missing)}.")
    return int(not checked or bool(missing and options.require_all))


def check(
    wheel: Path, python: Path, place: Path, with_pip: bool, with_extras: bool
) -> None:
    """Installs and uses a wheel in an environment that is then removed."""
    environment = place / "environment"
    bin_ = environment / "bin"
    try:
        if with_pip:
            run(python, "-m", "venv", environment)
            run(bin_ / "python", "-m", "pip", "install", "-q", wheel)
            run(bin_ / "python", "-m", "pip", "check")
        else:
            run(_UV, "venv", "-q", "--python", python, environment)
            install(bin_ / "python", "-q", wheel)
            run(_UV, "pip", "check", "-q", "--python", bin_ / "python")
        version = wheel.name.split("-")[1]
        said = run(bin_ / "keras-pspnet", "--version", cwd=place)
        assert said == f"keras-pspnet {version}\n", said
        assert "aerial" in run(bin_ / "keras-pspnet", "info", cwd=place)
        files = ("photo.jpg", "expected.png", "written.png")
        segment(bin_ / "keras-pspnet", place, "written")
        use = (ROOT / ".ci" / "use_wheel.py", version, *files)
        print(run(bin_ / "python", "-I", *use, cwd=place), end="", flush=True)
        for extra in extras():
            install(bin_ / "python", "--dry-run", with_extra(wheel, extra))
        print(f"  can be installed: {', '.join(extras())}", flush=True)
        if with_extras:
            every = with_extra(wheel, *extras())
            install(bin_ / "python", "-q", every)
            export(bin_ / "keras-pspnet", place)
    finally:
        shutil.rmtree(environment, ignore_errors=True)


def extras() -> list[str]:
    """Lists the extras of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return list(config["options.extras_require"])


def with_extra(wheel: Path, *names: str) -> str:
    """Says to an installer which extras of a wheel are meant."""
    return f"keras-pspnet[{','.join(names)}] @ {wheel.as_uri()}"


def draw_photo(path: Path) -> None:
    """Draws patches of any colours; the shipped model has a class for each."""
    colors = random.Random(0).randbytes(8 * 6 * 3)
    patches = Image.frombytes("RGB", (8, 6), colors)
    patches.resize((320, 240), Image.Resampling.BICUBIC).save(path, quality=95)


def segment(command: Path, place: Path, name: str) -> None:
    """Writes the mask of the photo."""
    output = place / f"{name}.png"
    run(command, "segment", "photo.jpg", "-o", output, "--mask", cwd=place)


def export(command: Path, place: Path) -> None:
    """Exports what the extras are for; each export is compared with Keras."""
    small = ("--size", "64", "64")
    for name, *rest in (("onnx",), ("litert", *small)):
        output = place / f"exported.{name}"
        output = output.with_suffix({"litert": ".tflite"}.get(name, ".onnx"))
        run(command, "export", name, "-o", output, *rest, cwd=place)
        print(f"  exported: {output.name}", flush=True)


def install(python: Path, *what: str | Path) -> None:
    """Installs by uv, from the index that pip knows."""
    run(_UV, "pip", "install", "--python", python, *what)


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """Runs a program away from the checkout; an error ends all with it."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_FOR_OTHERS
    }
    environment.setdefault("UV_DEFAULT_INDEX", index_url())
    done = subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        told = " ".join(map(str, words))
        raise SystemExit(f"{told}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
