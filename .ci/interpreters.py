"""Finds a Python of each version that the package supports."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

# A shim may be there and start nothing, or a build may lack what pip needs.
_PROBE = "import sys, ssl, venv; print('%d.%d' % sys.version_info[:2])"


def versions(setup: Path) -> list[str]:
    """Lists the versions that a setup.cfg's classifiers name."""
    found = re.findall(
        r"^ +Programming Language :: Python :: (3\.\d+)$",
        setup.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    if not found:
        raise ValueError(
            f"`setup` must have classifiers of Python. Received: setup={setup}"
        )
    return found


def find(version: str, uv: Path) -> tuple[Path | None, str]:
    """Finds an interpreter, on the machine or by uv's download.

    Args:
        version: Such as "3.12".
        uv: The program.

    Returns:
        The interpreter and how it was found, or None and why there is none.
    """
    for path in (*_on_path(version), *_of_pyenv(version)):
        if _answers(path, version):
            return path, "found"
    done = _run(uv, "python", "install", "--no-bin", version)
    if done.returncode == 0:
        only = ("--managed-python", "--no-python-downloads")
        path = Path(_run(uv, "python", "find", *only, version).stdout.strip())
        if _answers(path, version):
            return path, "downloaded by uv"
    last = done.stderr.strip().splitlines()[-1:] or ["uv says nothing"]
    return None, f"none on this machine, and uv got none: {last[0].strip()}"


def _on_path(version: str) -> Iterator[Path]:
    for folder in os.get_exec_path():
        path = Path(folder, f"python{version}")
        if path.exists():
            yield path


def _of_pyenv(version: str) -> Iterator[Path]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for folder in sorted(root.glob(f"versions/{version}.*"), reverse=True):
        yield folder / "bin" / "python"


def _answers(path: Path, version: str) -> bool:
    try:
        return _run(path, "-I", "-c", _PROBE).stdout.strip() == version
    except OSError:
        return False


def _run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, words)), capture_output=True, text=True)
