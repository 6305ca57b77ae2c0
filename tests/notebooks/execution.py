"""Runs a notebook as a person does: in a kernel of its own, cell by cell."""

import base64
import copy
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import notebook_files
from nbclient import NotebookClient
from nbformat import NotebookNode
from notebook_files import ROOT
from PIL import Image

# What TensorFlow's C++ tells of itself, whatever it is asked to.
_NEWS = re.compile(
    r"WARNING: All log messages before absl::InitializeLog\(\).*"
    r"|I\d{4} \S+ +\d+ \w+\.(?:cc|h):\d+\] .*"
    r"|W\d{4} \S+ +\d+ tf_tfl_flatbuffer_helpers\.cc:\d+\] Ignored .*"
    r"|INFO: Created TensorFlow Lite XNNPACK delegate for CPU\."
    r"|fully_quantize: .*"
)
# Where nobody listens: as on a machine that has no network.
_NOWHERE = "http://127.0.0.1:9"
_LARGEST_PNG = 40_000  # bytes
_WIDEST = 960  # pixels


class Session:
    """A notebook and the kernel that runs it.

    Args:
        name: Of the notebook, without its suffix.
        folder: Where it runs.

    Attributes:
        notebook: As executed.
        shown: Pictures of the cell that ran last by itself.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        path = notebook_files.path_of(name)
        self.notebook = nbformat.read(path, as_version=4)
        for cell in self.notebook.cells:
            cell.metadata.clear()
        self.shown: list[NotebookNode] = []
        self._client = NotebookClient(
            self.notebook,
            timeout=600,
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        )

    @contextmanager
    def started(self) -> Iterator["Session"]:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "KERAS_PSPNET_HOME": str(self.folder / "home"),
            # What is installed has to do: pip must not mend it unseen.
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "no_proxy": "127.0.0.1,localhost",
            "http_proxy": _NOWHERE,
            "https_proxy": _NOWHERE,
        }
        environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
        with self._client.setup_kernel(env=environment):
            yield self

    def run(self) -> None:
        """Runs all cells; an error in one is an error here."""
        for index, cell in enumerate(self.notebook.cells):
            if cell.cell_type != "code":
                continue
            source = cell.source
            # The installed package stands for that of the address.
            cell.source = source.replace(notebook_files.ADDRESS, "")
            try:
                self._client.execute_cell(cell, index)
            finally:
                cell.source = source

    def ask(self, expression: str) -> Any:
        """What an expression is in the kernel, through JSON."""
        return json.loads(
            self.do(f"import json; print(json.dumps({expression}))")
        )

    def do(self, code: str) -> str:
        """Runs code that is in no cell, and returns what it printed."""
        cell = nbformat.v4.new_code_cell(code)
        return self._printed(cell)

    def again(
        self, cell_id: str, changes: Mapping[str, str] | None = None
    ) -> str:
        """Runs a cell once more, with some of its text changed."""
        code = self.cell(cell_id).source
        for old, new in (changes or {}).items():
            assert code.count(old) == 1, old
            code = code.replace(old, new)
        return self._printed(nbformat.v4.new_code_cell(code))

    def cell(self, cell_id: str) -> NotebookNode:
        (cell,) = [cell for cell in self.notebook.cells if cell.id == cell_id]
        return cell

    def _printed(self, cell: NotebookNode) -> str:
        # It takes the place of the cell of that number, here the title.
        title = self.notebook.cells[0]
        try:
            self._client.execute_cell(cell, 0, store_history=False)
        finally:
            self.notebook.cells[0] = title
        self.shown = [each for each in cell.outputs if "data" in each]
        return "".join(
            output.text
            for output in cell.outputs
            if output.output_type == "stream" and output.name == "stdout"
        )


def unexpected(notebook: NotebookNode) -> list[str]:
    """Lines that a person would take for trouble."""
    return [
        line
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream"
        for line in output.text.splitlines()
        if (
            output.name == "stderr"
            and line.strip()
            and not _NEWS.fullmatch(line)
        )
        or re.match(r"(\x1b\[\d+m)?(ERROR|WARNING): ", line)
        and not _NEWS.fullmatch(line)
    ]


def to_commit(notebook: NotebookNode) -> NotebookNode:
    """The notebook as it can be read on a page: small, and of no machine."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = list(_kept(cell))
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
        "sources_sha256": notebook_files.sources_sha256(notebook),
    }
    return notebook


def written(notebook: NotebookNode) -> str:
    text = nbformat.writes(to_commit(notebook), version=4)
    for place in (ROOT, Path.home(), Path(sys.prefix), Path("/tmp")):
        assert f"{place}/" not in text, place
    return text + "\n"


def _kept(cell: NotebookNode) -> Iterator[NotebookNode]:
    # What pip says depends on the machine, and nothing has to be read there.
    if "%pip" in cell.source:
        return
    printed = ""
    for output in cell.outputs:
        if output.output_type == "stream":
            if output.name == "stdout":
                printed += output.text
            continue
        if printed:
            yield nbformat.v4.new_output("stream", text=printed)
            printed = ""
        output.data = _smaller(output.data)
        if output.data:
            yield output
    if printed:
        yield nbformat.v4.new_output("stream", text=printed)


def _smaller(data: Mapping[str, str]) -> dict[str, str]:
    """Keeps a picture once, as PNG where that is small, else as JPEG."""
    if "image/png" not in data:
        return {}
    png = base64.b64decode(data["image/png"])
    picture = Image.open(BytesIO(png)).convert("RGB")
    if len(png) <= _LARGEST_PNG and picture.width <= _WIDEST:
        return {"image/png": data["image/png"]}
    picture.thumbnail((_WIDEST, 10 * _WIDEST), Image.Resampling.LANCZOS)
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=85, subsampling=0, optimize=True)
    return {"image/jpeg": base64.b64encode(stream.getvalue()).decode()}
