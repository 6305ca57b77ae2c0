"""Builds the distributions twice, and checks what is in them.

    make wheel-check

The source distribution is made from a checkout and the wheel from that, so
that it is known to be complete. Neither depends on when, where and by whom it
is built; what two builds give must be equal to the byte.
"""

import argparse
import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
# What a source distribution has beside the package.
_BESIDE = (
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "SECURITY.md",
    "pyproject.toml",
    "setup.cfg",
)
_COMMAND = "keras_pspnet_command.py"


def main() -> None:
    """Builds into the folder that the command line names.

    Ends with an error, and with no distribution, where something is missing,
    is too much, or differs from one build to the next.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    epoch = _git("log", "-1", "--format=%ct").strip()
    with tempfile.TemporaryDirectory() as scratch:
        first, second = (_build(Path(scratch, x), epoch) for x in "ab")
        for one, other in zip(first, second, strict=True):
            if one.read_bytes() != other.read_bytes():
                raise SystemExit(f"{one.name}: two builds differ.")
        sdist, wheel = first
        _compare(sdist.name, _of_sdist(sdist), _expected_sdist())
        _compare(wheel.name, _of_wheel(wheel), _expected_wheel())
        _tool("twine", "check", "--strict", str(sdist), str(wheel))
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("keras_pspnet-*"):
            old.unlink()
        for path in first:
            (folder / path.name).write_bytes(path.read_bytes())
            print(f"{folder / path.name}: {path.stat().st_size:,} bytes")


def _build(folder: Path, epoch: str) -> tuple[Path, Path]:
    """Builds a source distribution of what git knows, and a wheel of that."""
    source = folder / "source"
    for name in _tracked():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    built = folder / "dist"
    _tool("build", "--no-isolation", "--sdist", "-o", str(built), str(source))
    (sdist,) = built.iterdir()
    _normalize(sdist, int(epoch))
    unpacked = folder / "unpacked"
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (inside,) = unpacked.iterdir()
    wheel = ("build", "--no-isolation", "--wheel", "-o", str(built))
    _tool(*wheel, str(inside), epoch=epoch)
    (made,) = built.glob("*.whl")
    return sdist, made


def _tool(*arguments: str, epoch: str | None = None) -> None:
    environment = dict(os.environ)
    if epoch is not None:
        environment["SOURCE_DATE_EPOCH"] = epoch
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout)


def _normalize(path: Path, epoch: int) -> None:
    """Takes times, owners and the umask out of a source distribution."""
    packed = io.BytesIO()
    with (
        tarfile.open(path) as source,
        tarfile.open(fileobj=packed, mode="w") as target,
    ):
        for member in sorted(source, key=lambda each: each.name):
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.size = member.type, member.size
            plain.mtime = epoch
            plain.mode = 0o755 if member.isdir() else 0o644
            content = source.extractfile(member) if member.isfile() else None
            target.addfile(plain, content)
    path.write_bytes(gzip.compress(packed.getvalue(), mtime=epoch))


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def _tracked() -> list[str]:
    """Lists what is committed or would be, links and deletions apart."""
    names = _git("ls-files", "--cached", "--others", "--exclude-standard")
    return [
        name
        for name in names.splitlines()
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink()
    ]


def _packaged() -> set[str]:
    """Lists the sources of what is installed."""
    return {
        name
        for name in _tracked()
        if name.startswith("keras_pspnet/")
        or (name.startswith("training/") and name.endswith(".py"))
        or name == _COMMAND
    }


def _expected_sdist() -> set[str]:
    return _packaged() | set(_BESIDE)


def _expected_wheel() -> set[str]:
    return {
        f"keras_pspnet/{name}" if name.startswith("training/") else name
        for name in _packaged()
    }


def _of_sdist(path: Path) -> set[str]:
    """Lists an archive's files, but for what setuptools says of itself."""
    with tarfile.open(path) as archive:
        names = [each.name for each in archive if not each.isdir()]
    inner = {
        str(PurePosixPath(*PurePosixPath(each).parts[1:])) for each in names
    }
    said = {name for name in inner if ".egg-info/" in name}
    return inner - said - {"PKG-INFO"}


def _of_wheel(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    said = {name for name in names if ".dist-info/" in name}
    if not any(name.endswith("/licenses/LICENSE") for name in said):
        raise SystemExit(f"{path.name}: there is no licence.")
    return names - said


def _compare(name: str, found: set[str], wanted: set[str]) -> None:
    if found != wanted:
        raise SystemExit(
            f"{name}: missing {sorted(wanted - found)}, "
            f"too much {sorted(found - wanted)}."
        )


if __name__ == "__main__":
    main()
